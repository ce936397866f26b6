//! Finds the cluster to serve: one of Kubernetes, or the mini cluster.

use std::{
    fs::File,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::{
    config::{Config, Mode},
    k8s,
};

/// The administrator's kubeconfig of k3s.
const K3S: &str = "/etc/rancher/k3s/k3s.yaml";

/// The place that objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClusterSource {
    /// The mini cluster; with an error if k3s is installed, its kubeconfig cannot be read, and the
    /// mode is not set.
    Mini(Option<String>),
    /// The cluster of this kubeconfig.
    Kubeconfig(PathBuf),
    /// The cluster that this process runs in.
    InCluster,
}

impl ClusterSource {
    /// Decides by the configuration and by what is there.
    pub(super) fn find(config: &Config) -> Self {
        choose(
            config.mode,
            config.kubeconfig.as_deref(),
            k8s::in_cluster(),
            Path::new(K3S),
        )
    }
}

fn choose(mode: Mode, configured: Option<&Path>, in_cluster: bool, k3s: &Path) -> ClusterSource {
    let is_readable = || match File::open(k3s) {
        Ok(_readable) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };

    match (mode, configured) {
        (Mode::Standalone, _) => ClusterSource::Mini(None),
        (_, Some(path)) => ClusterSource::Kubeconfig(path.to_owned()),
        _ if in_cluster => ClusterSource::InCluster,
        (Mode::Auto, None) => match is_readable() {
            Ok(true) => ClusterSource::Kubeconfig(k3s.to_owned()),
            Ok(false) => ClusterSource::Mini(None),
            Err(error) => ClusterSource::Mini(Some(format!("{}: {error}", k3s.display()))),
        },
        (Mode::Kubernetes, None) => match is_readable() {
            Ok(false) => ClusterSource::InCluster,
            // If it cannot be read, the connection fails with the reason.
            Ok(true) | Err(_) => ClusterSource::Kubeconfig(k3s.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cluster_is_the_configured_one_or_one_that_is_found() {
        let (readable, absent, unreadable) = (
            Path::new("/dev/null"),
            Path::new("/absent"),
            Path::new("/dev/null/k3s.yaml"),
        );
        let configured = Some(Path::new("/configured"));
        let kubeconfig = |path: &Path| ClusterSource::Kubeconfig(path.to_owned());
        let choose = |mode, configured, k3s| choose(mode, configured, false, k3s);

        for k3s in [readable, absent, unreadable] {
            assert_eq!(
                choose(Mode::Standalone, configured, k3s),
                ClusterSource::Mini(None)
            );
            assert_eq!(
                choose(Mode::Auto, configured, k3s),
                kubeconfig(Path::new("/configured"))
            );
            assert_eq!(
                super::choose(Mode::Auto, None, true, k3s),
                ClusterSource::InCluster
            );
        }

        for (mode, k3s, expected) in [
            (Mode::Auto, readable, kubeconfig(readable)),
            (Mode::Auto, absent, ClusterSource::Mini(None)),
            (Mode::Kubernetes, readable, kubeconfig(readable)),
            (Mode::Kubernetes, absent, ClusterSource::InCluster),
            (Mode::Kubernetes, unreadable, kubeconfig(unreadable)),
        ] {
            assert_eq!(choose(mode, None, k3s), expected, "{mode:?} {k3s:?}");
        }
    }

    #[test]
    fn a_kubeconfig_of_k3s_that_cannot_be_read_is_reported() {
        let unreadable = Path::new("/dev/null/k3s.yaml");
        let ClusterSource::Mini(Some(error)) = choose(Mode::Auto, None, false, unreadable) else {
            panic!("the mini cluster with the error")
        };
        assert!(error.starts_with("/dev/null/k3s.yaml: "), "{error}");
    }
}
