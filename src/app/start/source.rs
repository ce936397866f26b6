//! Connects to the cluster that is served: follows its objects, and prepares what is written back.

use std::{net::IpAddr, path::Path, sync::Arc};

use tokio::sync::{mpsc, watch};

use super::{cluster_source::ClusterSource, error::RunError, listeners::Api};
use crate::{
    apiserver::Applier,
    app::{
        control::{cache::Cache, role::Role},
        files, settings,
        tasks::Tasks,
    },
    cluster::{self as mini, Local},
    config::{Config, Listen},
    k8s::{self, AccountSecret, Unread},
    manifests::{self, Manifests},
    objects::{Event, Kind, Proposal, Propose, Selection, View, WriteBack},
    store::Store,
    telemetry::AuditLog,
    util::drain::Drain,
};

/// The user and the field manager that the manifests folder is applied as.
const MANIFESTS_USER: &str = "system:gatelet:manifests";
const MANIFESTS_MANAGER: &str = "gatelet-manifests";

/// The cluster that is served.
pub(super) struct Cluster {
    /// Its name for `status`.
    pub(super) description: String,
    /// The namespace of gatelet itself.
    pub(super) namespace: String,
    pub(super) writer: Box<dyn WriteBack>,
    pub(super) role: Role,
    pub(super) kind: ClusterKind,
}

/// The parts that only one kind of cluster has.
pub(super) enum ClusterKind {
    Mini {
        propose: Arc<dyn Propose>,
        view: Arc<dyn View>,
        /// Creates or updates the Node of this device.
        node: Proposal,
        /// The API, if it is on.
        api: Option<Api>,
        /// The follower of the manifests folder, and its findings.
        manifests: Box<Manifests>,
        findings: manifests::Findings,
    },
    Kubernetes {
        /// Kinds that cannot be read.
        unread: Unread,
        cache: Cache,
        /// The objects of the local copy.
        copy: Vec<Event>,
        account_secret: AccountSecret,
    },
}

// Both kinds of cluster have a `follow`. A trait for it would bring tokio's channel into `objects`.
/// Connects to clusters.
pub(super) struct Connector<'a> {
    pub(super) config: &'a Config,
    pub(super) store: &'a Arc<dyn Store>,
    /// The addresses of this node.
    pub(super) addresses: Vec<IpAddr>,
    /// The objects that are followed of kinds with many.
    pub(super) selection: &'a watch::Sender<Selection>,
    /// Takes the changes of objects.
    pub(super) events: mpsc::Sender<Event>,
    pub(super) tasks: &'a mut Tasks,
    pub(super) drain: &'a Drain,
}

impl Connector<'_> {
    /// Finds the cluster, and starts to follow its objects.
    pub(super) async fn connect(self) -> Result<Cluster, RunError> {
        match ClusterSource::find(self.config) {
            ClusterSource::Mini(unreadable) => self.mini(unreadable.as_deref()).await,
            ClusterSource::Kubeconfig(path) => self.kubernetes(Some(&path)).await,
            ClusterSource::InCluster => self.kubernetes(None).await,
        }
    }

    /// Opens the mini cluster. `unreadable` is the error if it is served because
    /// the kubeconfig of k3s cannot be read.
    async fn mini(self, unreadable: Option<&str>) -> Result<Cluster, RunError> {
        let config = self.config;
        let (propose, view) = open_mini(self.store).await?;
        let version = concat!("v", env!("CARGO_PKG_VERSION"));
        let node = mini::node(&config.node, &self.addresses, version);

        let audit = match &config.log.audit {
            Some(path) => {
                let log = AuditLog::open(path).map_err(RunError::start("the audit log"))?;
                Some(Arc::new(log))
            }
            None => None,
        };

        let Listen(listen) = config.api;
        let api = listen.map(|listen| Api {
            listen,
            own: self.addresses.first().copied(),
            objects: (propose.clone(), view.clone()),
            audit: audit.clone(),
            drain: self.drain.clone(),
        });

        for kind in Kind::WATCHED {
            let (view, events) = (view.clone(), self.events.clone());
            let following = mini::follow(view, kind, self.selection.subscribe(), events);
            self.tasks.spawn_infallible("mini cluster", following);
        }

        let applier = Applier::new(
            propose.clone(),
            view.clone(),
            MANIFESTS_USER,
            MANIFESTS_MANAGER,
            audit,
            self.drain.clone(),
        );
        let folder = files::manifests_path(&config.state);
        if let Err(error) = files::private_folder(&folder) {
            tracing::warn!(%error, "the manifests folder was not created");
        }
        let (manifests, findings) = Manifests::new(folder, applier);

        let node_name = config.node.as_str().into();
        Ok(Cluster {
            description: describe_mini(unreadable),
            namespace: config
                .namespace
                .clone()
                .unwrap_or_else(|| "default".to_owned()),
            writer: Box::new(mini::Writer::new(propose.clone(), view.clone(), node_name)),
            role: Role::alone(published(config, self.addresses)),
            kind: ClusterKind::Mini {
                propose,
                view,
                node,
                api,
                manifests: Box::new(manifests),
                findings,
            },
        })
    }

    /// Connects to a cluster of Kubernetes; without a kubeconfig to the one that this process runs
    /// in.
    async fn kubernetes(self, kubeconfig: Option<&Path>) -> Result<Cluster, RunError> {
        let config = self.config;
        let client = k8s::connect(kubeconfig)
            .await
            .map_err(RunError::start("kubeconfig"))?;

        let (cache, copy) =
            Cache::load(&**self.store).map_err(RunError::start("the local copy"))?;

        // Ingresses name ConfigMaps and are read later: follow those of last time from the start.
        let selection = settings::selection(config, &copy);
        self.selection.send_replace(selection);

        let unread = Unread::default();
        for kind in Kind::WATCHED.into_iter().chain([Kind::Pod]) {
            let (events, unread) = (self.events.clone(), unread.clone());
            let selection = self.selection.subscribe();
            let following = k8s::follow(client.clone(), kind, selection, events, unread);
            self.tasks.spawn_infallible("cluster", following);
        }

        let namespace = k8s::namespace(config.namespace.as_deref(), &client, kubeconfig);
        let account_secret = AccountSecret::new(client.clone(), &namespace);
        let role = self.replicate(&client, namespace.clone());

        Ok(Cluster {
            description: match kubeconfig {
                Some(path) => format!("the cluster of {}", path.display()),
                None => "the cluster that this process runs in".to_owned(),
            },
            namespace,
            writer: Box::new(k8s::Writer::new(client, config.node.as_str().into())),
            role,
            kind: ClusterKind::Kubernetes {
                unread,
                cache,
                copy,
                account_secret,
            },
        })
    }

    /// Takes part in the election of a leader, and in the exchange of the replicas' addresses.
    fn replicate(self, client: &k8s::Client, namespace: String) -> Role {
        let config = self.config;
        let (leader, leads) = watch::channel(false);
        let (holder_sender, holder) = watch::channel(String::new());
        let election = k8s::elect(
            client.clone(),
            namespace.clone(),
            config.node.clone(),
            leader,
            holder_sender,
            self.drain.clone(),
        );
        self.tasks.spawn_infallible("leader election", election);

        let mut role = Role {
            leads,
            holder: Some(holder),
            ..Role::alone(config.publish.clone())
        };

        // Configured addresses need no exchange between the replicas.
        if !config.publish.is_empty() {
            return role;
        }

        let (sender, addresses) = watch::channel(Vec::new());
        let announcement = k8s::announce(
            client.clone(),
            namespace,
            config.node.clone(),
            published(config, self.addresses),
            role.leads.clone(),
            sender,
            self.drain.clone(),
        );
        self.tasks.spawn_infallible("addresses", announcement);

        role.addresses = addresses;
        role
    }
}

/// Opens the mini cluster in the store.
async fn open_mini(store: &Arc<dyn Store>) -> Result<(Arc<dyn Propose>, Arc<dyn View>), RunError> {
    const PART: &str = "the mini cluster";
    let store = store.clone();
    let local = tokio::task::spawn_blocking(move || Local::open(store))
        .await
        .map_err(RunError::start(PART))?
        .map_err(RunError::start(PART))?;
    let local = Arc::new(local);
    Ok((local.clone(), local))
}

/// Describes the mini cluster as a source, and logs an error if k3s may have been meant.
fn describe_mini(unreadable: Option<&str>) -> String {
    let Some(error) = unreadable else {
        return "mini cluster".to_owned();
    };
    tracing::error!(
        error,
        "k3s is installed, but its kubeconfig cannot be read: the Ingresses of the mini cluster \
         are served, not those of k3s; set `kubeconfig` to a file that this user can read, or \
         `mode` to \"standalone\""
    );
    format!("mini cluster, because the kubeconfig of k3s cannot be read: {error}")
}

/// Returns the addresses of this node for the status of Ingresses.
fn published(config: &Config, own: Vec<IpAddr>) -> Vec<IpAddr> {
    match (config.publish.as_slice(), own.as_slice()) {
        ([], []) => vec![IpAddr::from([127, 0, 0, 1])],
        ([], _) => own,
        (set, _) => set.to_vec(),
    }
}
