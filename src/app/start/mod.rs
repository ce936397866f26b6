//! Starts the process from its configuration, and shuts it down.

mod cluster_source;
mod error;
mod listeners;
mod second_copy;
mod shutdown;
mod source;
pub(crate) mod state;
mod takeover;
mod watchdog;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{self, Handle},
    sync::{mpsc, watch},
};

pub use self::error::RunError;
use self::{
    shutdown::Signals,
    source::{Cluster, ClusterKind, Connector},
    state::State,
};
use super::{
    backup,
    certificates::{self, Certificates, accounts, issuers::Issuers},
    control::{
        self, ControlLoop,
        classes::ClassNote,
        parsed::{self, Parsed},
        ports::Ports,
        publish::{Live, Publisher},
        role::Role,
    },
    inspect::Inspector,
    memory::MemoryTrimmer,
    metrics::{self, DataPlane, Ingresses},
    settings,
    tasks::{TaskError, Tasks},
    write_queue,
};
use crate::{
    acme::Timing,
    admin, cluster as mini,
    config::{Config, Listen},
    controller::{CountedIngresses, Index},
    k8s::{self, Unread},
    objects::{Key, Selection, Write},
    proxy::{self, Shared},
    routing::ListenerProtocol,
    store::Store,
    telemetry::{self, Metrics},
    tls::{self, Resolver},
    util::{clock::RELEASED, drain, memory, time::UnixSeconds},
};

/// Number of events that can wait for the compiler. Sources wait if it is exceeded.
const EVENTS: usize = 1024;

/// Time that blocking tasks have left when everything else has ended.
const BLOCKING_TASKS_LIMIT: Duration = Duration::from_secs(1);

/// Runs until SIGTERM or SIGINT has drained it, or another process has taken over. A second signal
/// ends it at once. With `takes_over`, it takes the place of the process that runs with its state
/// directory.
pub fn run(config: Config, takes_over: bool) -> Result<(), RunError> {
    telemetry::start(&config.log);
    tls::install();
    memory::set_up(proxy::cores(config.workers));

    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(RunError::start("the control runtime"))?;
    let ended = runtime.block_on(run_in_runtime(config, takes_over));
    runtime.shutdown_timeout(BLOCKING_TASKS_LIMIT);
    telemetry::flush();
    ended
}

async fn run_in_runtime(config: Config, takes_over: bool) -> Result<(), RunError> {
    let started = Instant::now();
    let (signal, drain) = drain::channel();
    // The API and the admin server end before the data plane if another process takes over.
    let (control_signal, control_drain) = drain::channel();
    let signal = Arc::new(signal);
    let mut signals = Signals::listen(signal.clone()).map_err(RunError::start("signals"))?;
    let predecessor = match takes_over {
        true => takeover::ask(&config.state)
            .await
            .map_err(RunError::start("the takeover"))?,
        false => None,
    };
    let state = State::open(&config)?;

    // Bodies are passed on as they come then.
    if let Err(error) = settings::check_spool(&config) {
        tracing::warn!(%error, "no request body is read whole");
    }

    // The data plane listens first: until the first compile it returns 503.
    let shared = Arc::new(Shared::default());
    shared.set_session_secret(state.local_ca.key_pem().as_bytes());
    shared.memory.set_budget(settings::memory_budget(&config));
    let metrics = Arc::new(Metrics::default());
    metrics.collect(Box::new(DataPlane(shared.clone())));

    let server_tls = server_tls(&config, &state);
    let data_plane =
        listeners::start_proxy(&config, &shared, &server_tls, &drain, predecessor.is_some())?;

    let mut tasks = Tasks::new(Handle::current());
    match backup::listen(&config.state) {
        Ok(listener) => {
            let serving = backup::serve(listener, state.store.clone(), config.node.clone());
            tasks.spawn_infallible("backups", serving);
        }
        Err(error) => tracing::warn!(%error, "`gatelet backup` works only when gatelet is stopped"),
    }
    let (events, event_receiver) = mpsc::channel(EVENTS);
    let selection = watch::Sender::new(settings::selection(&config, &[]));
    let connector = Connector {
        config: &config,
        store: &state.store,
        addresses: node_addresses(&config),
        selection: &selection,
        events,
        tasks: &mut tasks,
        drain: &control_drain,
    };
    let cluster = connector.connect().await?;
    let role = cluster.role.clone();

    tasks.spawn_infallible(
        "watchdog",
        watchdog::watch(shared.clone(), control_drain.clone()),
    );
    let parts = Parts {
        config: &config,
        state: &state,
        listeners: data_plane.listeners.clone(),
        shared: shared.clone(),
        metrics: metrics.clone(),
        selection,
        server_tls,
        started,
    };
    let inspector = parts
        .start_control(cluster, event_receiver, &mut tasks)
        .await?;

    let api = inspector.api;
    if let Listen(Some(addr)) = config.admin {
        let served = admin::serve(addr, Arc::new(inspector), metrics, control_drain).await;
        let (addr, serving) = served.map_err(|source| RunError::Admin { addr, source })?;
        tracing::info!(%addr, "admin");
        tasks.spawn_infallible("admin", serving);
    }

    let [http, https] = [ListenerProtocol::Http, ListenerProtocol::Https]
        .map(|protocol| list(&data_plane.listeners.addresses(protocol)));
    tracing::info!(%http, %https, api = %list(api.as_slice()), "serving");
    // It fails if systemd has not started the process.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);

    if let Some(predecessor) = predecessor {
        predecessor.end(&data_plane.listeners).await;
    }

    let place = takeover::Place::listen(&config.state);
    let outcome = tokio::select! {
        () = signals.first() => Outcome::Signal,
        error = tasks.failure() => Outcome::Failure(error),
        successor = place.asked() => Outcome::Takeover(successor),
    };

    let control = Control {
        tasks,
        role,
        drain: control_signal,
        store: state.store,
    };
    match outcome {
        Outcome::Takeover(successor) => {
            tracing::info!("another process takes over");
            if control.give_up().await {
                takeover::wait(&place, successor, &mut signals).await;
            }
            shutdown::drain(&mut signals, &signal, config.grace, data_plane).await;
            if k8s::in_cluster() {
                // The kubelet would start it again, and it would take the place back.
                tracing::info!("this process waits for the end of its pod");
                signals.first().await;
            }
            Ok(())
        }
        Outcome::Signal | Outcome::Failure(_) => {
            control.drain.drain(config.grace);
            shutdown::drain(&mut signals, &signal, config.grace, data_plane).await;
            control.end().await;
            match outcome {
                Outcome::Failure(error) => Err(error.into()),
                _ => Ok(()),
            }
        }
    }
}

/// The reason why a process ends.
enum Outcome {
    Signal,
    Failure(TaskError),
    Takeover(takeover::Successor),
}

/// The control side, which has the state.
struct Control {
    tasks: Tasks,
    role: Role,
    /// Ends the connections of the API and of the admin server.
    drain: drain::Signal,
    store: Arc<dyn Store>,
}

impl Control {
    /// Ends it. Returns the store.
    async fn end(self) -> Arc<dyn Store> {
        self.drain.stop();
        self.role.ended().await;
        self.tasks.shutdown().await;
        second_copy::make(&*self.store);
        self.store
    }

    /// Ends it, and closes the store. False if something still uses that: then the end of the
    /// process does.
    async fn give_up(self) -> bool {
        let closed = takeover::close(self.end().await).await;
        if !closed {
            tracing::error!("a part still uses the state: this process ends, and frees it then");
        }
        closed
    }
}

/// The parts that the control side is built on.
struct Parts<'a> {
    config: &'a Config,
    state: &'a State,
    listeners: Arc<proxy::Listeners>,
    shared: Arc<Shared>,
    metrics: Arc<Metrics>,
    selection: watch::Sender<Selection>,
    server_tls: Arc<tls::Server>,
    started: Instant,
}

impl Parts<'_> {
    /// Starts the control loop, the certificate engine and the tasks beside them. Returns the view
    /// of the process for the admin server.
    async fn start_control(
        self,
        cluster: Cluster,
        events: mpsc::Receiver<crate::objects::Event>,
        tasks: &mut Tasks,
    ) -> Result<Inspector, RunError> {
        let (config, store) = (self.config, &self.state.store);
        let is_mini = matches!(cluster.kind, ClusterKind::Mini { .. });
        let (role, namespace) = (cluster.role, cluster.namespace);
        let (queue, writing) = write_queue::start(cluster.writer, role.leads.clone());
        tasks.spawn_infallible("status writer", writing);

        let (trimmer, changes) = MemoryTrimmer::new(store.clone(), self.shared.clone());
        tasks.spawn_infallible("memory", trimmer.run());
        tasks.spawn_infallible("second copy", second_copy::keep(store.clone()));

        // Parts that only one kind of cluster has.
        let (mut cache, mut copy, mut account_secret) = (None, Vec::new(), None);
        let (mut own_api, mut unread, mut own_node) = (None, Unread::default(), None);
        let (mut manifests, mut manifest_findings) = (None, None);
        match cluster.kind {
            ClusterKind::Mini {
                propose,
                view,
                node,
                api,
                manifests: of_folder,
                findings,
            } => {
                own_api = api;
                (manifests, manifest_findings) = (Some(of_folder), Some(findings));
                own_node = Some((propose.clone(), node));
                let queue = queue.clone();
                let push = move |note| queue.push(Write::Note(note, 1));
                let mirroring = mini::mirror_endpoints(propose, view, push);
                tasks.spawn_infallible("mirror of Endpoints", mirroring);
            }
            ClusterKind::Kubernetes {
                unread: of_cluster,
                cache: of_store,
                copy: objects,
                account_secret: secret,
            } => {
                self.metrics
                    .collect(Box::new(metrics::Kinds(of_cluster.clone())));
                unread = of_cluster;
                cache = Some((of_store, store.clone()));
                copy = objects;
                account_secret = Some(secret);
            }
        }

        let issuers = Issuers::load(config, certificates::clock());
        let addresses = role.addresses.borrow().clone();
        let [http, https] = [ListenerProtocol::Http, ListenerProtocol::Https]
            .map(|protocol| self.listeners.addresses(protocol));
        let own_ports = settings::own_ports(config, &http, &https);
        let controller_settings =
            settings::controller(config, is_mini, addresses, &issuers, own_ports, &namespace);
        let timing = Timing {
            http: !http.is_empty(),
            https: !https.is_empty(),
            ..Timing::default()
        };
        let acme_parts = certificates::parts(
            store.clone(),
            self.state.local_ca.clone(),
            self.shared.challenges.clone(),
            account_secret.clone(),
            role.addresses.clone(),
            timing,
        );

        let listener = listeners::own_listener(config, &https);
        let (certificates, running) =
            Certificates::load(acme_parts, issuers, listener, queue.clone())
                .map_err(RunError::start("the certificates"))?;
        tasks.spawn("certificates", running);

        let (acme, owners) = (certificates.engine.clone(), certificates.owners.clone());
        let of_backends = self.shared.backend_clock();
        for clock in [self.server_tls.trusted().clock(), of_backends] {
            // The data plane goes on when another process has taken over the state.
            let engine = Arc::downgrade(&acme);
            clock.set(move || match engine.upgrade() {
                Some(engine) => engine.guess(),
                None => UnixSeconds::now().max(RELEASED),
            });
        }
        self.metrics
            .collect(Box::new(metrics::Certificates(acme.clone())));
        if config.cert_manager_metrics {
            self.metrics
                .collect_plain(Box::new(metrics::AsCertManager(acme.clone())));
        }

        if let Some(secret) = account_secret {
            let sharing = accounts::share(acme.clone(), secret, role.leads.clone());
            tasks.spawn_infallible("ACME accounts", sharing);
        }

        let parsed = Arc::new(Parsed::default());
        let inspect = {
            let parsed = parsed.clone();
            Box::new(move |chain: &[u8], key: &[u8], pattern: &_| {
                parsed.inspect(chain, key, pattern)
            })
        };

        let is_stored = {
            let acme = acme.clone();
            Box::new(move |secret: &Key, chain: &[u8]| {
                let stored = acme.stored(&format!("{}/{}", secret.namespace, secret.name));
                stored.is_some_and(|stored| stored.chain.as_bytes() == chain)
            })
        };

        let live = Arc::new(Mutex::new(Live::default()));
        let ready = Arc::new(AtomicBool::new(false));

        let class_note = ClassNote::new(&config.controller);
        let note = class_note.note();

        let ports = Ports::new(
            self.listeners,
            self.shared.clone(),
            live.clone(),
            listeners::port_address(&http, &https),
        );
        let counted = Arc::<CountedIngresses>::default();
        self.metrics.collect(Box::new(Ingresses(counted.clone())));
        let mut control = ControlLoop::new(control::Parts {
            index: Index::new(controller_settings, inspect)
                .recognizing(is_stored)
                .reading_authorities(Box::new(parsed::authorities))
                .counting(counted),
            class_note,
            publisher: Publisher::new(
                self.shared.clone(),
                self.server_tls,
                self.metrics,
                live.clone(),
                parsed,
            ),
            ports,
            certificates,
            selection: self.selection,
            queue,
            role: role.clone(),
            cache,
            changes,
            ready: ready.clone(),
        });

        // Serving does not wait for the cluster.
        control.warm_up(copy);
        tasks.spawn_infallible("controller", control.run(events));

        // After the control loop: they wait for the disk, which serving must not.
        let api = match own_api {
            Some(api) => Some(api.start(config, &**store).await?),
            None => None,
        };
        if let Some((propose, node)) = own_node {
            let proposed = propose.propose(node).await;
            proposed.map_err(RunError::start("the Node object"))?;
        }
        if let Some(manifests) = manifests {
            tasks.spawn_infallible("manifests", manifests.run());
        }

        Ok(Inspector {
            acme,
            owners,
            shared: self.shared,
            live,
            ready,
            started: self.started,
            node: config.node.clone(),
            source: cluster.description,
            unread,
            manifests: manifest_findings,
            note,
            role,
            store: self.state.health.clone(),
            http,
            https,
            api,
        })
    }
}

/// Returns the TLS settings of the listeners.
fn server_tls(config: &Config, state: &State) -> Arc<tls::Server> {
    let resolver = Arc::new(Resolver::new(
        state.local_ca.clone(),
        config.tls.unknown_sni,
    ));
    Arc::new(tls::Server::new(resolver, config.tls.min_version))
}

/// Returns the addresses of this node, the main one first.
fn node_addresses(config: &Config) -> Vec<IpAddr> {
    match config.address.as_slice() {
        [] => settings::own_address().into_iter().collect(),
        configured => configured.to_vec(),
    }
}

/// Lists addresses for the log.
fn list(addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(" ")
}
