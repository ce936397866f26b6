//! A real cluster: its watches into `objects::Event`s, its status and Events written.

mod objects;
mod paths;
mod source;
mod unread;
mod writer;

use std::path::Path;

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

pub use objects::{Objects, WriteError};
pub use source::follow;
pub use unread::Unread;
pub use writer::Writer;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(String);

/// A client of the cluster that the kubeconfig is for, or of the one that this process runs in. Nothing is sent yet:
/// the cluster may be away.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let config = match kubeconfig {
        Some(path) => {
            let wrong = |error: &dyn std::fmt::Display| ConnectError(format!("{}: {error}", path.display()));
            let file = Kubeconfig::read_from(path).map_err(|error| wrong(&error))?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options).await.map_err(|error| wrong(&error))?
        }
        None => {
            Config::incluster().map_err(|error| ConnectError(format!("no cluster around this process: {error}")))?
        }
    };
    Client::try_from(config).map_err(|error| ConnectError(error.to_string()))
}

/// Whether this process runs in a pod (the variables that a kubelet sets).
pub fn in_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}
