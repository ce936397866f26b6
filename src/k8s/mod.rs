//! A real cluster: watches its objects, writes statuses, Secrets and Events back, and lets replicas
//! agree on a leader, their addresses and their ACME accounts.

mod client;
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

pub use client::{Client, ConnectError, connect};
pub use leader::elect;
pub use objects::{Objects, WriteError};
pub use replicas::announce;
pub use secret_store::{AccountSecret, Accounts, AccountsRead};
pub use source::follow;
pub use unread::Unread;
pub use writer::Writer;

/// Returns whether this process runs in a pod, by the variables that a kubelet sets.
pub fn in_cluster() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// Returns the namespace for the objects that replicas share: the one that is set, else that of the
/// pod, else `kube-system`.
pub fn namespace(set: Option<&str>, client: &Client, kubeconfig: Option<&Path>) -> String {
    match (set, kubeconfig) {
        (Some(namespace), _) => namespace.to_owned(),
        (None, None) => client.default_namespace(),
        (None, Some(_)) => "kube-system".to_owned(),
    }
}
