//! `gatelet kubeconfig`.

use std::time::Duration;

use super::{Failure, StateFlags, file, render};
use crate::{
    app::{self, NewUser, NewUserError},
    config::{Config, Flags},
};

pub(super) const EXAMPLES: &str = "Examples:
  gatelet kubeconfig > ~/.kube/config
  gatelet kubeconfig --user ann --role view --namespace shop > ann.kubeconfig
  gatelet kubeconfig --user ci --role edit --namespace shop --days 30 > ci.kubeconfig";

#[derive(Debug, clap::Args)]
pub(super) struct KubeconfigArguments {
    /// Make a kubeconfig with a new client certificate for this user [default: print that of the
    /// administrator]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Bind the user to this role: a ClusterRole, or a Role of the namespace
    #[arg(long, value_name = "NAME", requires = "user")]
    role: Option<String>,
    /// Namespace of the binding [default: the role counts in all namespaces]
    #[arg(short, long, requires = "user")]
    namespace: Option<String>,
    /// Days for which the certificate is valid
    #[arg(
        long,
        default_value_t = 365,
        requires = "user",
        value_parser = clap::value_parser!(u64).range(1..=3650)
    )]
    days: u64,
    #[command(flatten)]
    state: StateFlags,
}

/// Runs the command.
pub(super) fn run(arguments: KubeconfigArguments) -> Result<(), Failure> {
    let Some(name) = arguments.user else {
        return file(&arguments.state, app::kubeconfig_path);
    };

    let flags = Flags {
        config: arguments.state.config,
        state: arguments.state.state,
        ..Flags::default()
    };
    let config = Config::load(&flags).map_err(super::usage)?;
    let user = NewUser {
        name,
        role: arguments.role,
        namespace: arguments.namespace,
        life: Duration::from_secs(arguments.days * 86_400),
    };

    let (kubeconfig, written) = app::new_user(&config.state, &user).map_err(failure)?;
    // The kubeconfig alone goes to standard output.
    match written {
        Some(written) => eprint!("{}", render::written(&[written])),
        None => eprintln!("note: without --role the user has the rights of every user only"),
    }
    print!("{kubeconfig}");
    Ok(())
}

fn failure(error: NewUserError) -> Failure {
    match error {
        NewUserError::NoGatelet(message) => Failure::Unreachable(message),
        other => Failure::Failed(other.to_string()),
    }
}
