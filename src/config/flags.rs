//! Settings on the command line and in the environment.

use std::{net::IpAddr, path::PathBuf};

use super::{Config, Listen, Mode};
use crate::controller::UnsupportedGuards;

/// The flags of `run`. Each can also come from the environment.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// Configuration file [default: /etc/gatelet/gatelet.toml, or the one under XDG_CONFIG_HOME
    /// without root]
    #[arg(long, env = "GATELET_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// State directory [default: /var/lib/gatelet, or the one under XDG_STATE_HOME without root]
    #[arg(long, env = "GATELET_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// File with the key that private keys in the state directory are sealed with
    #[arg(
        id = "store.seal_key_file",
        long = "seal-key-file",
        env = "GATELET_SEAL_KEY_FILE",
        value_name = "FILE"
    )]
    pub seal_key_file: Option<PathBuf>,
    /// Address for HTTP [default: port 80 on all, or 8080 where 80 is not allowed]
    #[arg(long, env = "GATELET_HTTP", value_name = "ADDR:PORT|off")]
    pub http: Option<Listen>,
    /// Address for HTTPS [default: port 443 on all, or 8443 where 443 is not allowed]
    #[arg(long, env = "GATELET_HTTPS", value_name = "ADDR:PORT|off")]
    pub https: Option<Listen>,
    /// Address of the mini cluster's API [default: 127.0.0.1:7443]
    #[arg(long, env = "GATELET_API", value_name = "ADDR:PORT|off")]
    pub api: Option<Listen>,
    /// Address for health, metrics and inspection [default: 127.0.0.1:9254]
    #[arg(long, env = "GATELET_ADMIN", value_name = "ADDR:PORT|off")]
    pub admin: Option<Listen>,
    /// Serve the objects of the cluster that this kubeconfig is for
    #[arg(long, env = "GATELET_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Source of the objects [default: auto]
    #[arg(long, env = "GATELET_MODE")]
    pub mode: Option<Mode>,
    /// Data-plane cores [default: all]
    #[arg(long, env = "GATELET_WORKERS", value_name = "N")]
    pub workers: Option<usize>,
    /// Name of this node [default: the host name]
    #[arg(long, env = "GATELET_NODE", value_name = "NAME")]
    pub node: Option<String>,
    /// Addresses that this node is reached at [default: found out]
    #[arg(
        long,
        env = "GATELET_ADDRESS",
        value_name = "IP,...",
        value_delimiter = ','
    )]
    pub address: Vec<IpAddr>,
    /// Namespace in a cluster for what replicas share [default: the pod's, or kube-system]
    #[arg(long, env = "GATELET_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Addresses written into the status of Ingresses [default: those of all nodes]
    #[arg(
        long,
        env = "GATELET_PUBLISH",
        value_name = "IP,...",
        value_delimiter = ','
    )]
    pub publish: Vec<IpAddr>,
    /// Names of IngressClasses to serve beside our own [default: none]
    #[arg(
        long,
        env = "GATELET_CLASSES",
        value_name = "NAME,...",
        value_delimiter = ','
    )]
    pub classes: Vec<String>,
    /// Refuse paths whose login or other guard is not supported, or serve them without it [default:
    /// refuse]
    #[arg(
        id = "unsupported_guards",
        long = "unsupported-guards",
        env = "GATELET_UNSUPPORTED_GUARDS"
    )]
    pub unsupported_guards: Option<UnsupportedGuards>,
}

impl Flags {
    /// Puts the flags that are set over a configuration.
    pub(super) fn put_over(&self, config: &mut Config) {
        fn set<T: Clone>(to: &mut T, from: &Option<T>) {
            if let Some(value) = from {
                to.clone_from(value);
            }
        }
        fn set_option<T: Clone>(to: &mut Option<T>, from: &Option<T>) {
            if from.is_some() {
                to.clone_from(from);
            }
        }
        fn set_list<T: Clone>(to: &mut Vec<T>, from: &Vec<T>) {
            if !from.is_empty() {
                to.clone_from(from);
            }
        }

        // Without `..`, so that a new flag does not compile until it is put over.
        let Self {
            config: _file,
            state,
            seal_key_file,
            http,
            https,
            api,
            admin,
            kubeconfig,
            mode,
            workers,
            node,
            address,
            namespace,
            publish,
            classes,
            unsupported_guards,
        } = self;

        set(&mut config.state, state);
        set(&mut config.api, api);
        set(&mut config.admin, admin);
        set(&mut config.mode, mode);
        set(&mut config.workers, workers);
        set(&mut config.node, node);
        set(&mut config.unsupported_guards, unsupported_guards);

        set_option(&mut config.store.seal_key_file, seal_key_file);
        set_option(&mut config.http, http);
        set_option(&mut config.https, https);
        set_option(&mut config.kubeconfig, kubeconfig);
        set_option(&mut config.namespace, namespace);

        set_list(&mut config.classes, classes);
        set_list(&mut config.address, address);
        set_list(&mut config.publish, publish);
    }
}
