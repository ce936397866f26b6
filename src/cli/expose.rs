//! `gatelet expose`.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::{Value, json};

use super::{Failure, Output, StateFlags, render, yaml};
use crate::{
    app::{self, Entrance, ExposeError, ExposeTls, Exposure},
    config::{Config, Flags},
};

/// The host comes first: after `--tls` it would be the value of that.
pub(super) const USAGE: &str = "gatelet expose <HOST> --to <ADDR:PORT> [OPTIONS]\n       \
gatelet expose --tcp|--udp <PORT> --to <ADDR:PORT> [OPTIONS]";

pub(super) const EXAMPLES: &str = "Examples:
  gatelet expose app.example.com --to 127.0.0.1:3000 --tls auto
  gatelet expose app.example.com --to 192.168.1.20:8080 --path /api
  gatelet expose --tcp 1883 --to 192.168.1.7:1883
  gatelet expose --udp 53 --to 192.168.1.8:53
  gatelet expose '*.example.com' --to 127.0.0.1:3000 --dry-run -o yaml > app.yaml";

#[derive(Debug, clap::Args)]
pub(super) struct ExposeArguments {
    /// Host of the requests, or *.SUFFIX
    #[arg(required_unless_present_any = ["tcp", "udp"], conflicts_with_all = ["tcp", "udp"])]
    host: Option<String>,
    /// TCP port that is passed through, instead of a host
    #[arg(
        long,
        value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..),
        conflicts_with_all = ["path", "tls", "issuer"]
    )]
    tcp: Option<u16>,
    /// The same for a UDP port
    #[arg(
        long,
        value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..),
        conflicts_with_all = ["tcp", "path", "tls", "issuer"]
    )]
    udp: Option<u16>,
    /// Address of the backend; 127.0.0.1 and [::1] are this device
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
    to: SocketAddr,
    /// Path prefix
    #[arg(long, default_value = "/")]
    path: String,
    /// Name of the objects [default: host and path, or the port, with dashes]
    #[arg(long)]
    name: Option<String>,
    /// Namespace of the objects
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// Redirect plain HTTP to HTTPS; with `auto`, order a certificate and renew it
    #[arg(
        long,
        value_name = "auto",
        num_args = 0..=1,
        default_missing_value = "",
        value_parser = tls
    )]
    tls: Option<Tls>,
    /// Issuer of that certificate; implies --tls auto [default: the default issuer of the
    /// configuration, or letsencrypt]
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// Print the objects and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the objects in this form
    #[arg(short, long, default_value = "table")]
    output: Output,
    #[command(flatten)]
    state: StateFlags,
}

/// The value of `--tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tls {
    Redirect,
    Auto,
}

/// Parses the value of `--tls`, which may be a host in the wrong place.
fn tls(text: &str) -> Result<Tls, String> {
    match text {
        "" => Ok(Tls::Redirect),
        "auto" => Ok(Tls::Auto),
        _ => Err(
            "only `auto` can be its value; the host goes before it: gatelet expose HOST --tls"
                .to_owned(),
        ),
    }
}

/// Parses an address with a port; `localhost` is 127.0.0.1.
fn address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text
        .strip_prefix("localhost:")
        .and_then(|port| port.parse().ok())
    {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    text.parse().map_err(|_bad| {
        format!("{text:?} is not an address with a port (127.0.0.1:3000, [2001:db8::5]:80)")
    })
}

/// Runs the command.
pub(super) fn run(arguments: ExposeArguments) -> Result<(), Failure> {
    let flags = Flags {
        config: arguments.state.config,
        state: arguments.state.state,
        ..Flags::default()
    };
    let config = Config::load(&flags).map_err(super::usage)?;

    let tls = match (arguments.issuer, arguments.tls) {
        (Some(issuer), _) => ExposeTls::Issued(issuer),
        (None, Some(Tls::Auto)) => {
            let default = config.default_issuer.clone();
            ExposeTls::Issued(default.unwrap_or_else(|| "letsencrypt".to_owned()))
        }
        (None, Some(Tls::Redirect)) => ExposeTls::Required,
        (None, None) => ExposeTls::Optional,
    };
    let exposure = Exposure {
        entrance: match (arguments.tcp, arguments.udp) {
            (Some(port), _) => Entrance::Tcp(port),
            (None, Some(port)) => Entrance::Udp(port),
            (None, None) => Entrance::Host {
                host: arguments.host.unwrap_or_default(),
                path: arguments.path,
                tls,
            },
        },
        to: arguments.to,
        name: arguments.name,
        namespace: arguments.namespace,
    };

    if arguments.dry_run {
        let objects = exposure
            .objects(&app::device(&config.node))
            .map_err(failure)?;
        return print(
            &objects,
            if arguments.output == Output::Table {
                Output::Yaml
            } else {
                arguments.output
            },
        );
    }

    let (objects, written) = app::expose(&config.state, &exposure).map_err(failure)?;
    match arguments.output {
        Output::Table => print!("{}", render::written(&written)),
        form => print(&objects, form)?,
    }

    // The objects are valid before their program runs, so its absence is only a note.
    let effect = match exposure.entrance {
        Entrance::Host { .. } => "requests get 502",
        Entrance::Tcp(_) => "connections are reset",
        // Nothing shows whether a program listens.
        Entrance::Udp(_) => return Ok(()),
    };
    if exposure.to.ip().is_loopback()
        && let Err(error) = TcpStream::connect_timeout(&exposure.to, Duration::from_secs(1))
    {
        eprintln!(
            "note: nothing answers on {} yet ({error}): {effect} until it does",
            exposure.to,
        );
    }

    Ok(())
}

/// Prints YAML documents, or one JSON List, as `kubectl apply -f` reads them.
fn print(objects: &[Value], output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        println!(
            "{}",
            serde_json::to_string_pretty(&list)
                .map_err(|error| Failure::Failed(error.to_string()))?
        );
        return Ok(());
    }
    for (number, object) in objects.iter().enumerate() {
        print!("{}{}", if number > 0 { "---\n" } else { "" }, yaml(object)?);
    }
    Ok(())
}

fn failure(error: ExposeError) -> Failure {
    let message = error.to_string();
    match error {
        ExposeError::Argument(_) => Failure::Usage(message),
        ExposeError::NoGatelet(_) => Failure::Unreachable(message),
        ExposeError::Taken(_) | ExposeError::Api { .. } => Failure::Failed(message),
    }
}
