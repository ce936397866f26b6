//! Which cluster is served: one of Kubernetes, or the mini cluster.

use std::{
    fs::File,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::{
    config::{Config, Mode},
    k8s,
};

/// Where k3s puts the administrator's kubeconfig.
const K3S: &str = "/etc/rancher/k3s/k3s.yaml";

/// Where objects come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ClusterSource {
    /// The mini cluster; and why not the k3s that is here too, where nobody said that it is not
    /// meant.
    Mini(Option<String>),
    /// The cluster of this kubeconfig.
    Kubeconfig(PathBuf),
    /// The cluster around this process.
    InCluster,
}

impl ClusterSource {
    /// As the configuration says, and what is there.
    pub(super) fn find(config: &Config) -> Self {
        choose(
            config.mode,
            config.kubeconfig.as_deref(),
            k8s::in_cluster(),
            Path::new(K3S),
        )
    }

    /// The kubeconfig of a cluster that is not around this process.
    pub(super) fn kubeconfig(&self) -> Option<&Path> {
        match self {
            Self::Kubeconfig(path) => Some(path),
            Self::Mini(_) | Self::InCluster => None,
        }
    }
}

fn choose(mode: Mode, named: Option<&Path>, in_cluster: bool, k3s: &Path) -> ClusterSource {
    let found = || match File::open(k3s) {
        Ok(_readable) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    match (mode, named) {
        (Mode::Standalone, _) => ClusterSource::Mini(None),
        (_, Some(named)) => ClusterSource::Kubeconfig(named.to_owned()),
        _ if in_cluster => ClusterSource::InCluster,
        (Mode::Auto, None) => match found() {
            Ok(true) => ClusterSource::Kubeconfig(k3s.to_owned()),
            Ok(false) => ClusterSource::Mini(None),
            Err(error) => ClusterSource::Mini(Some(format!("{}: {error}", k3s.display()))),
        },
        (Mode::Kubernetes, None) => match found() {
            Ok(false) => ClusterSource::InCluster,
            // Who cannot read it is told so when it is read.
            Ok(true) | Err(_) => ClusterSource::Kubeconfig(k3s.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_taken_as_it_is_named_or_found_and_one_that_cannot_be_read_is_told() {
        let (there, absent, unreadable) = (
            Path::new("/dev/null"),
            Path::new("/absent"),
            Path::new("/dev/null/k3s.yaml"),
        );
        let (named, kubeconfig) = (Some(Path::new("/named")), |path: &Path| {
            ClusterSource::Kubeconfig(path.to_owned())
        });
        let choose = |mode, named, k3s| choose(mode, named, false, k3s);
        for k3s in [there, absent, unreadable] {
            assert_eq!(
                choose(Mode::Standalone, named, k3s),
                ClusterSource::Mini(None)
            );
            assert_eq!(
                choose(Mode::Auto, named, k3s),
                kubeconfig(Path::new("/named"))
            );
            assert_eq!(
                super::choose(Mode::Auto, None, true, k3s),
                ClusterSource::InCluster
            );
        }
        assert_eq!(choose(Mode::Auto, None, there), kubeconfig(there));
        assert_eq!(choose(Mode::Kubernetes, None, there), kubeconfig(there));
        assert_eq!(choose(Mode::Auto, None, absent), ClusterSource::Mini(None));
        assert_eq!(
            choose(Mode::Kubernetes, None, absent),
            ClusterSource::InCluster
        );
        assert_eq!(
            choose(Mode::Kubernetes, None, unreadable),
            kubeconfig(unreadable)
        );
        let ClusterSource::Mini(Some(why)) = choose(Mode::Auto, None, unreadable) else {
            panic!("it is passed over")
        };
        assert!(why.starts_with("/dev/null/k3s.yaml: "), "{why}");
    }
}
