//! A real cluster: its watches into `objects::Event`s, its status and Events written, and what several replicas need to
//! know of each other.

mod leader;
mod lease;
mod objects;
mod paths;
mod replicas;
mod secret_store;
mod source;
mod unread;
mod writer;

use std::path::Path;

pub use kube::Client;
use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig},
};

pub use leader::elect;
pub use objects::{Objects, WriteError};
pub use replicas::announce;
pub use secret_store::{AccountSecret, Accounts};
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

/// The namespace for what replicas share: the one that is set, else that of the pod, else `kube-system`.
pub fn namespace(set: Option<&str>, client: &Client, kubeconfig: Option<&Path>) -> String {
    match (set, kubeconfig) {
        (Some(namespace), _) => namespace.to_owned(),
        (None, None) => client.default_namespace().to_owned(),
        (None, Some(_)) => "kube-system".to_owned(),
    }
}
