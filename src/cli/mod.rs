//! Arguments, subcommands and exit codes.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line writes to its standard streams"
)]

mod backup;
mod checked;
mod client;
mod columns;
mod expose;
mod generate;
mod kubeconfig;
mod render;

use std::{fmt, net::IpAddr, path::PathBuf, process::ExitCode};

use clap::{
    ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, parser::ValueSource,
};
use clap_complete::Shell;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    admin::{CertsReport, IssuanceReport},
    app,
    config::{Config, Flags, Listen},
    util::{percent, terminal},
};

/// The front door of a small Kubernetes cluster, or of a device without one.
#[derive(Debug, Parser)]
#[command(name = "gatelet", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success; 1 failure, or `check` has warnings; 2 invalid \
arguments or configuration; 3 no running gatelet answers";

/// The width of tables that do not go to a terminal.
const OTHER_WIDTH: usize = 160;

const NO_GATELET: &str = "what answers is not a gatelet";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve: listeners, API, admin
    #[command(
        after_help = "Example: gatelet run --http 127.0.0.1:8080 --https 127.0.0.1:8443 \
                      --state /tmp/gatelet"
    )]
    Run {
        #[command(flatten)]
        flags: Flags,
        /// Take the place of the gatelet that runs with this state directory, without losing a
        /// request
        #[arg(long)]
        takeover: bool,
    },
    /// Serve an address under a host: writes a Service, an EndpointSlice and an Ingress
    #[command(after_help = expose::EXAMPLES, override_usage = expose::USAGE)]
    Expose(expose::ExposeArguments),
    /// Show what a running gatelet serves
    Status {
        #[command(flatten)]
        running: RunningFlags,
        /// Form of the output
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Explain the routing of a request, rule by rule
    #[command(
        after_help = "Examples: gatelet explain https://app.example.com/login, tcp://:1883, \
                      tls://app.example.com:443"
    )]
    Explain {
        /// URL, or host and path
        url: String,
        /// Address of the client
        #[arg(long, value_name = "ADDRESS")]
        from: Option<IpAddr>,
        /// Method of the request (GET)
        #[arg(long, value_name = "METHOD")]
        method: Option<String>,
        /// Field of the request, such as "X-Canary: always"; may be repeated
        #[arg(long = "header", value_name = "NAME: VALUE")]
        headers: Vec<String>,
        #[command(flatten)]
        running: RunningFlags,
        /// Form of the output
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Check manifests offline with the compiler that serves them
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// Files and folders of YAML or JSON, or - for standard input
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Configuration file of the gatelet that will serve them
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Further class of Ingresses to serve; may be repeated
        #[arg(long = "class", value_name = "NAME")]
        classes: Vec<String>,
        /// Form of the output
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Show and operate certificates: what is served, what is ordered, and what failed
    #[command(args_conflicts_with_subcommands = true, after_help = CERTS_EXAMPLES)]
    Certs {
        #[command(subcommand)]
        command: Option<CertsCommand>,
        #[command(flatten)]
        list: CertsFlags,
    },
    /// Print the kubeconfig of the mini cluster: of its administrator, or a new one for a user
    #[command(after_help = kubeconfig::EXAMPLES)]
    Kubeconfig(kubeconfig::KubeconfigArguments),
    /// Write the whole state to a file, whether gatelet runs or not
    #[command(after_help = backup::BACKUP_EXAMPLES)]
    Backup(backup::BackupArguments),
    /// Restore a backup into a state directory that is empty
    #[command(after_help = backup::RESTORE_EXAMPLES)]
    Restore(backup::RestoreArguments),
    /// Configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Write the man pages, one for each command, into a folder
    #[command(after_help = "Example: gatelet man /usr/local/share/man/man1")]
    Man {
        /// The folder
        folder: PathBuf,
    },
    /// Print the completions for a shell
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the version
    Version,
}

const COMPLETIONS_EXAMPLES: &str = "Examples:\n  source <(gatelet completions bash)\n  \
gatelet completions fish > ~/.config/fish/completions/gatelet.fish";

const CHECK_EXAMPLES: &str = "Examples:\n  gatelet check manifests/\n  \
kubectl kustomize overlays/home | gatelet check -\n  gatelet check --class nginx manifests/\n\n\
Exit codes: 0 no warnings, though there may be notes; 1 warnings, or a file that cannot be read; \
2 invalid arguments or configuration";

const CERTS_EXAMPLES: &str = "Examples:\n  gatelet certs\n  gatelet certs show shop.example.com\n  \
gatelet certs renew shop.example.com";

/// The flags for reports about certificates.
#[derive(Debug, clap::Args)]
struct CertsFlags {
    #[command(flatten)]
    running: RunningFlags,
    /// Form of the output
    #[arg(short, long, default_value = "table")]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// List the certificates that a running gatelet serves and orders
    List(CertsFlags),
    /// Show the details of one certificate
    Show {
        /// Its name, or one of its hosts
        name: String,
        #[command(flatten)]
        flags: CertsFlags,
    },
    /// Renew a certificate now, also before it is due or after failures
    Renew {
        /// Its name, or one of its hosts
        name: String,
        #[command(flatten)]
        running: RunningFlags,
    },
    /// Revoke a certificate, and order a new one
    Revoke {
        /// Its name, or one of its hosts
        name: String,
        /// Reason (RFC 5280): 1 key compromise, 4 superseded, 5 no longer operated, ...
        #[arg(long, value_name = "NUMBER")]
        reason: Option<u8>,
        #[command(flatten)]
        running: RunningFlags,
    },
    /// Change the key of the account at an ACME issuer
    ChangeKey {
        /// Name of the issuer
        issuer: String,
        #[command(flatten)]
        running: RunningFlags,
    },
    /// Make a new account, with a new key, at an ACME issuer that no longer accepts the old one
    NewAccount {
        /// Name of the issuer
        issuer: String,
        #[command(flatten)]
        running: RunningFlags,
    },
    /// Print the root certificate of the local CA
    Ca(StateFlags),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check the configuration: file, environment and flags
    Check(Flags),
    /// Print every key with its value and the source of that
    #[command(after_help = "Example: gatelet config print --config gatelet.toml")]
    Print {
        #[command(flatten)]
        flags: Flags,
        /// Form of the output
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
}

#[derive(Debug, clap::Args)]
struct RunningFlags {
    /// Configuration file
    #[arg(long, env = "GATELET_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Admin address of the running gatelet
    #[arg(long, env = "GATELET_ADMIN", value_name = "ADDR:PORT")]
    admin: Option<Listen>,
}

#[derive(Debug, clap::Args)]
struct StateFlags {
    /// Configuration file
    #[arg(long, env = "GATELET_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// State directory
    #[arg(long, env = "GATELET_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    /// A table in which nothing is cut
    Wide,
    Json,
    Yaml,
}

/// The failure of a command, by exit code.
#[derive(Debug)]
enum Failure {
    /// The command failed, or has warnings: 1.
    Failed(String),
    /// Invalid arguments or configuration: 2.
    Usage(String),
    /// No running gatelet answers: 3.
    Unreachable(String),
}

/// Runs the command line and returns the exit code of the process.
pub fn main() -> ExitCode {
    let parsed = Arguments::command().try_get_matches();
    let (arguments, matches) =
        match parsed.and_then(|all| Ok((Arguments::from_arg_matches(&all)?, all))) {
            Ok(parsed) => parsed,
            Err(error) => {
                // If even this cannot be printed, there is no way to report it.
                let _ = error.print();
                return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
            }
        };

    let (code, message) = match dispatch(arguments.command, &matches) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Failed(message)) => (1, message),
        Err(Failure::Usage(message)) => (2, message),
        Err(Failure::Unreachable(message)) => (3, message),
    };

    // `check` has printed its warnings already, and fails with an empty message.
    if !message.is_empty() {
        eprintln!("gatelet: {message}");
    }
    ExitCode::from(code)
}

fn dispatch(command: Command, matches: &ArgMatches) -> Result<(), Failure> {
    match command {
        Command::Run { flags, takeover } => {
            let config = Config::load(&flags).map_err(usage)?;
            app::run(config, takeover).map_err(failed)
        }
        Command::Expose(arguments) => expose::run(arguments),

        Command::Status { running, output } => {
            let report = parse(&client::get(&admin(&running)?, "/v1/status")?)?;
            print(&report, output, |report| {
                render::status(report, width(output))
            })
        }
        Command::Explain {
            url,
            from,
            method,
            headers,
            running,
            output,
        } => {
            let mut path = format!("/v1/explain?url={}", percent::encode(&url));
            if let Some(from) = from {
                path += &format!("&from={}", percent::encode(&from.to_string()));
            }
            if let Some(method) = method {
                path += &format!("&method={}", percent::encode(&method));
            }
            for header in headers {
                path += &format!("&header={}", percent::encode(&header));
            }
            let report = parse(&client::get(&admin(&running)?, &path)?)?;
            print(&report, output, render::explain)
        }

        Command::Check {
            paths,
            config,
            classes,
            output,
        } => {
            let flags = config.map(|config| Flags {
                config: Some(config),
                ..Flags::default()
            });
            let config = flags.map(|flags| Config::load(&flags)).transpose();
            let config = config.map_err(usage)?;
            config
                .as_ref()
                .map_or(Ok(()), app::check_spool)
                .map_err(usage)?;

            let report = app::check(&paths, config.as_ref(), &classes).map_err(failed)?;

            print(&report, output, checked::check)?;
            if report.has_warnings() {
                Err(Failure::Failed(String::new()))
            } else {
                Ok(())
            }
        }

        Command::Certs { command, list } => certs(command.unwrap_or(CertsCommand::List(list))),
        Command::Kubeconfig(arguments) => kubeconfig::run(arguments),
        Command::Backup(arguments) => backup::backup(arguments),
        Command::Restore(arguments) => backup::restore(arguments),
        Command::Config {
            command: ConfigCommand::Check(flags),
        } => {
            let (_, file) = Config::explain(&flags, &|_| None).map_err(usage)?;
            let config = Config::load(&flags).map_err(usage)?;

            let in_file = |error: &dyn fmt::Display| match &file {
                Some(path) => Failure::Usage(format!("{}: {error}", path.display())),
                None => Failure::Usage(error.to_string()),
            };
            app::check_issuers(&config).map_err(|error| in_file(&error))?;
            app::check_spool(&config).map_err(|error| in_file(&error))?;

            match file {
                Some(path) => println!("{}: valid", path.display()),
                None => println!(
                    "there is no configuration file: defaults, environment and flags are valid"
                ),
            }
            Ok(())
        }
        Command::Config {
            command: ConfigCommand::Print { flags, output },
        } => {
            // Only clap knows whether a value comes from a flag or from a variable.
            let matches = matches
                .subcommand()
                .and_then(|(_, config)| config.subcommand())
                .map(|(_, print)| print);

            let settings = Config::explain(&flags, &|key| {
                matches.and_then(|matches| source_of(matches, key))
            });
            let (settings, _) = settings.map_err(usage)?;
            let settings = serde_json::to_value(&settings).map_err(failed)?;
            print(&settings, output, render::settings)
        }

        Command::Man { folder } => generate::man(&folder),
        Command::Completions { shell } => {
            generate::completions(shell);
            Ok(())
        }
        Command::Version => {
            println!("gatelet {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    }
}

fn certs(command: CertsCommand) -> Result<(), Failure> {
    let operate = |running: &RunningFlags, what: &str, name: &str, rest: &str| {
        let path = format!("/v1/certs/{what}?name={}{rest}", percent::encode(name));
        client::post(&admin(running)?, &path).map(|done| print!("{done}"))
    };

    match command {
        CertsCommand::List(CertsFlags { running, output }) => {
            let report = parse(&client::get(&admin(&running)?, "/v1/certs")?)?;
            print(&report, output, |report| {
                render::certs(report, width(output))
            })
        }
        CertsCommand::Show {
            name,
            flags: CertsFlags { running, output },
        } => {
            let report: CertsReport = parse(&client::get(&admin(&running)?, "/v1/certs")?)?;
            print(find(&report, &name)?, output, render::certificate)
        }

        CertsCommand::Renew { name, running } => operate(&running, "renew", &name, ""),
        CertsCommand::Revoke {
            name,
            reason,
            running,
        } => {
            let reason = reason
                .map(|reason| format!("&reason={reason}"))
                .unwrap_or_default();

            operate(&running, "revoke", &name, &reason)
        }
        CertsCommand::ChangeKey { issuer, running } => operate(&running, "change-key", &issuer, ""),
        CertsCommand::NewAccount { issuer, running } => {
            operate(&running, "new-account", &issuer, "")
        }
        CertsCommand::Ca(flags) => file(&flags, app::root_path),
    }
}

/// Finds a certificate by its name, else by one of its hosts.
fn find<'a>(report: &'a CertsReport, name: &str) -> Result<&'a IssuanceReport, Failure> {
    let all = &report.certificates;
    let by_name = all.iter().find(|one| one.issuance.name == name);
    let has_host = |one: &&IssuanceReport| one.issuance.hosts.iter().any(|host| host == name);
    let found = by_name.or_else(|| all.iter().find(has_host));
    found.ok_or_else(|| {
        Failure::Failed(format!(
            "there is no certificate {name}; `gatelet certs` lists the existing ones"
        ))
    })
}

/// Returns the flag or variable that a key was set by.
fn source_of(matches: &ArgMatches, key: &str) -> Option<String> {
    // A flag has no section in its name.
    let flag = key.rsplit('.').next().unwrap_or(key);
    match matches
        .try_contains_id(key)
        .ok()
        .and_then(|_known| matches.value_source(key))?
    {
        ValueSource::CommandLine => Some(format!("--{}", flag.replace('_', "-"))),
        ValueSource::EnvVariable => Some(format!("GATELET_{}", flag.to_ascii_uppercase())),
        _ => None,
    }
}

fn admin(flags: &RunningFlags) -> Result<String, Failure> {
    let flags = Flags {
        config: flags.config.clone(),
        admin: flags.admin,
        ..Flags::default()
    };
    let config = Config::load(&flags).map_err(usage)?;
    match config.admin {
        Listen(Some(addr)) => Ok(addr.to_string()),
        Listen(None) => Err(Failure::Usage(
            "the admin address is off; name one with --admin".to_owned(),
        )),
    }
}

fn file(flags: &StateFlags, which: fn(&std::path::Path) -> PathBuf) -> Result<(), Failure> {
    let flags = Flags {
        config: flags.config.clone(),
        state: flags.state.clone(),
        ..Flags::default()
    };
    let config = Config::load(&flags).map_err(usage)?;
    let path = which(&config.state);
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let hint = "it is written when gatelet runs; name its state directory with --state";
        Failure::Failed(format!("{}: {error} ({hint})", path.display()))
    })?;
    print!("{text}");
    Ok(())
}

/// Returns the width of tables: that of the terminal, or a fixed one for other programs.
fn width(output: Output) -> Option<usize> {
    match output {
        Output::Wide => None,
        _ => Some(terminal::columns().unwrap_or(OTHER_WIDTH)),
    }
}

/// Prints a report: as a table, or whole as JSON or YAML.
fn print<T: Serialize>(
    report: &T,
    output: Output,
    table: impl Fn(&T) -> String,
) -> Result<(), Failure> {
    match output {
        Output::Table | Output::Wide => print!("{}", table(report)),
        Output::Json => println!("{}", serde_json::to_string_pretty(report).map_err(failed)?),
        Output::Yaml => print!("{}", yaml(report)?),
    }
    Ok(())
}

/// Parses a report of a running gatelet.
fn parse<T: DeserializeOwned>(json: &str) -> Result<T, Failure> {
    serde_json::from_str(json)
        .map_err(|error| Failure::Unreachable(format!("{NO_GATELET}: {error}")))
}

fn failed(error: impl fmt::Display) -> Failure {
    Failure::Failed(error.to_string())
}

fn usage(error: impl fmt::Display) -> Failure {
    Failure::Usage(error.to_string())
}

fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(failed)
}
