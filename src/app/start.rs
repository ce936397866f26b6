//! From a `Config` to a running process, and back to none.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicBool},
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, watch};

use super::{
    accounts,
    cache::Cache,
    certificates::{self, Certificates},
    classes::Classes,
    engine::Engine,
    files,
    inspect::Inspector,
    issuers::Issuers,
    metrics::{self, DataPlane},
    origin::Origin,
    parsed::Parsed,
    publish::{Live, Publisher},
    role::Role,
    stop::{self, Signals},
    tasks::Tasks,
    tidy::Tidy,
    trim, watchdog,
    writer::{self, Announced},
};
use crate::{
    acme::Timing,
    admin, apiserver,
    cluster::{self as mini, Local},
    config::{Config, Listen},
    controller::{self, Index},
    k8s::{self, AccountSecret},
    objects::{Kind, Propose, View, Write, WriteBack},
    proxy::{self, Settings, Shared, StartError, settings::AccessLog},
    store::{self, Batch, Health, SealKeys, Store},
    telemetry::{self, Metrics},
    tls::{self, LocalCa, Resolver},
    util::{
        drain::{self, Drain},
        memory, port,
    },
};

/// Keys of the store.
const CA_CERTIFICATE: &str = "ca/certificate";
const CA_KEY: &str = "ca/key";
const API_IDENTITY: &str = "api/identity";

/// Events that may wait for the compiler; sources wait when it is full.
const EVENTS: usize = 1024;

/// What tasks that block may still take when all else has ended.
const LAST_TASKS: Duration = Duration::from_secs(1);

/// Why the process cannot run, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state directory is somebody else's.
    #[error(transparent)]
    State(#[from] store::OpenError),
    /// The key of its private keys cannot be had.
    #[error(transparent)]
    Seal(#[from] store::SealError),
    /// A listener cannot be had.
    #[error(transparent)]
    Proxy(#[from] StartError),
    /// The API cannot listen.
    #[error("{}", cannot_listen(*.listen, .source, "--api"))]
    Api {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The admin address cannot be listened on.
    #[error("{}", cannot_listen(*.addr, .source, "--admin"))]
    Admin {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Anything else at the start.
    #[error("{0}")]
    Start(String),
    /// A part that must run has ended.
    #[error("{0}")]
    Ended(String),
}

/// Runs until SIGTERM or SIGINT has drained it. A second signal ends it at once.
pub fn run(config: Config) -> Result<(), RunError> {
    telemetry::start(&config.log);
    tls::install();
    memory::set_up(proxy::cores(config.workers));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_name("control")
        .enable_all()
        .build()
        .map_err(start("the control runtime"))?;
    let ended = runtime.block_on(Process::run(config));
    runtime.shutdown_timeout(LAST_TASKS);
    telemetry::flush();
    ended
}

struct Process;

impl Process {
    async fn run(config: Config) -> Result<(), RunError> {
        let started = Instant::now();
        let (signal, drain) = drain::channel();
        let signal = Arc::new(signal);
        let mut signals = Signals::listen(signal.clone()).map_err(start("signals"))?;
        let keys = SealKeys::read(&config.store)?;
        let (store, health) = store::open_sealed(&config.state, keys)?;
        let store_state = report(&health);
        let addresses = match config.address.as_slice() {
            [] => own_address().into_iter().collect(),
            set => set.to_vec(),
        };
        let own = addresses.first().copied();
        let ca = Arc::new(local_ca(&*store, &config)?);
        let resolver = Arc::new(Resolver::new(ca.clone(), config.tls.unknown_sni));
        if let Err(error) = files::write(&files::root_path(&config.state), ca.root_pem(), 0o644) {
            tracing::warn!(%error, "the local CA's root was not written");
        }

        let shared = Arc::new(Shared::default());
        let metrics = Arc::new(Metrics::default());
        metrics.collect(Box::new(DataPlane(shared.clone())));
        let live = Arc::new(Mutex::new(Live::default()));
        let ready = Arc::new(AtomicBool::new(false));

        let server_tls = Arc::new(tls::Server::new(resolver.clone(), config.tls.min_version));
        let listeners = proxy_start(&config, &shared, server_tls, &drain)?;

        let mut tasks = Tasks::new(tokio::runtime::Handle::current());
        let (events_tx, events_rx) = mpsc::channel(EVENTS);
        let mut api = None;
        let mut node = None;
        let mut mirrored = None;
        let mut copy = Vec::new();
        let mut cache = None;
        let mut account_secret = None;
        let unread = k8s::Unread::default();
        let origin = Origin::find(&config);
        let writer: Box<dyn WriteBack>;
        let (source, role) = match &origin {
            Origin::Mini(passed_over) => {
                let (propose, view) = mini_cluster(&store).await?;
                let this = mini::node(
                    &config.node,
                    &addresses,
                    concat!("v", env!("CARGO_PKG_VERSION")),
                );
                node = Some((propose.clone(), this));
                if let Listen(Some(addr)) = config.api {
                    let (propose, view) = (propose.clone(), view.clone());
                    api =
                        Some(serve_api(&config, addr, &*store, own, propose, view, &drain).await?);
                }
                mirrored = Some((propose.clone(), view.clone()));
                for kind in Kind::WATCHED {
                    let following = mini::follow(view.clone(), kind, events_tx.clone());
                    tasks.spawn_infallible("mini cluster", following);
                }
                writer = Box::new(mini::Writer::new(
                    propose,
                    view,
                    config.node.as_str().into(),
                ));
                (
                    mini_source(passed_over.as_deref()),
                    Role::alone(published(&config, addresses)),
                )
            }
            Origin::Kubeconfig(_) | Origin::Around => {
                let kubeconfig = origin.kubeconfig();
                let client = k8s::connect(kubeconfig)
                    .await
                    .map_err(start("kubeconfig"))?;
                let (kept, events) = Cache::load(&*store).map_err(start("the local copy"))?;
                (cache, copy) = (Some((kept, store.clone())), events);
                metrics.collect(Box::new(metrics::Kinds(unread.clone())));
                for kind in Kind::WATCHED {
                    let (events, unread) = (events_tx.clone(), unread.clone());
                    let following = k8s::follow(client.clone(), kind, events, unread);
                    tasks.spawn_infallible("cluster", following);
                }
                let source = match kubeconfig {
                    Some(path) => format!("the cluster of {}", path.display()),
                    None => "the cluster around this process".to_owned(),
                };
                let namespace = k8s::namespace(config.namespace.as_deref(), &client, kubeconfig);
                account_secret = Some(AccountSecret::new(client.clone(), &namespace));
                let role = replicate(&mut tasks, &config, &client, kubeconfig, addresses, &drain);
                writer = Box::new(k8s::Writer::new(client, config.node.as_str().into()));
                (source, role)
            }
        };
        drop(events_tx);
        tasks.spawn("watchdog", watchdog::watch(shared.clone(), drain.clone()));
        tasks.spawn("memory", trim::watch(shared.clone()));
        // For all that only one replica may do.
        let leads = role.leads.clone();
        let (queue, writing) = writer::start(writer, leads.clone());
        tasks.spawn("status writer", writing);
        if let Some((propose, view)) = mirrored {
            let queue = queue.clone();
            let tell = move |note| queue.push(Write::Note(note, 1));
            tasks.spawn_infallible(
                "mirror of Endpoints",
                mini::mirror_endpoints(propose, view, tell),
            );
        }

        let issuers = Issuers::load(&config, certificates::time()).map_err(RunError::Start)?;
        let mut settings = controller_settings(&config, &origin, &role);
        settings.issuers = issuers.names();
        settings.default_issuer = issuers.default().map(Into::into);
        let pace = Timing {
            http: !listeners.http.is_empty(),
            https: !listeners.https.is_empty(),
            ..Timing::default()
        };
        let (challenges, addresses) = (shared.challenges.clone(), role.addresses.clone());
        let parts = certificates::parts(
            store.clone(),
            ca,
            challenges,
            account_secret.clone(),
            addresses,
            pace,
        );
        let listener = own_listener(&config, &listeners.https);
        let (certificates, running) = Certificates::load(parts, issuers, listener, queue.clone())
            .map_err(start("the certificates"))?;
        let (acme, owners) = (certificates.engine.clone(), certificates.owners.clone());
        metrics.collect(Box::new(metrics::Certificates(acme.clone())));
        if config.cert_manager_metrics {
            metrics.collect_plain(Box::new(metrics::AsCertManager(acme.clone())));
        }
        tasks.spawn("certificates", running);
        if let Some(secret) = account_secret {
            tasks.spawn(
                "ACME accounts",
                accounts::share(acme.clone(), secret, leads),
            );
        }
        let mut engine_role = role.clone();
        let leading = *engine_role.leads.borrow_and_update();
        let parsed = Arc::new(Parsed::default());
        let classes = Classes::new(
            &config.controller,
            config.classless || !config.classes.is_empty(),
        );
        let note = classes.note();
        let mut engine = Engine {
            classes,
            index: Index::new(settings, {
                let parsed = parsed.clone();
                Box::new(move |chain, key, pattern| parsed.inspect(chain, key, pattern))
            }),
            publisher: Publisher::new(
                shared.clone(),
                resolver,
                metrics.clone(),
                live.clone(),
                parsed,
            ),
            certificates,
            writer: queue,
            leading,
            role: engine_role,
            logged: Announced::default(),
            announced: Announced::default(),
            cache,
            tidy: Tidy::new(store.clone()),
            tls_failures: shared.tls_failures(),
            ready: ready.clone(),
        };
        engine.warm_up(copy);
        tasks.spawn("controller", engine.run(events_rx));
        // Waits for the disk: serving does not wait for that.
        if let Some((propose, this)) = node {
            propose
                .propose(this)
                .await
                .map_err(start("the Node object"))?;
        }

        let inspector = Arc::new(Inspector {
            acme,
            owners,
            shared,
            live,
            ready,
            started,
            node: config.node.clone(),
            source,
            unread,
            note,
            role: role.clone(),
            store: store_state,
            http: listeners.http.clone(),
            https: listeners.https.clone(),
            api,
        });
        if let Listen(Some(addr)) = config.admin {
            let served = admin::serve(addr, inspector, metrics, drain.clone()).await;
            let (addr, serving) = served.map_err(|source| RunError::Admin { addr, source })?;
            tracing::info!(%addr, "admin");
            tasks.spawn("admin", serving);
        }
        let list = |all: &[SocketAddr]| {
            all.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        let (http, https) = (list(&listeners.http), list(&listeners.https));
        tracing::info!(%http, %https, api = %list(api.as_slice()), "serving");
        // Outside systemd there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        let outcome =
            until_told_to_stop(&mut tasks, &mut signals, &signal, config.grace, listeners).await;
        role.ended().await;
        tasks.shutdown().await;
        outcome
    }
}

/// Takes part in what replicas of one cluster agree on.
fn replicate(
    tasks: &mut Tasks,
    config: &Config,
    client: &k8s::Client,
    kubeconfig: Option<&Path>,
    own: Vec<IpAddr>,
    drain: &Drain,
) -> Role {
    let namespace = k8s::namespace(config.namespace.as_deref(), client, kubeconfig);
    let (leader, leads) = watch::channel(false);
    let (holds, holder) = watch::channel(String::new());
    let holder = Some(holder);
    tasks.spawn_infallible(
        "leader election",
        k8s::elect(
            client.clone(),
            namespace.clone(),
            config.node.clone(),
            leader,
            holds,
            drain.clone(),
        ),
    );
    if !config.publish.is_empty() {
        return Role {
            leads,
            holder,
            ..Role::alone(config.publish.clone())
        };
    }
    let (found, addresses) = watch::channel(Vec::new());
    let own = published(config, own);
    tasks.spawn_infallible(
        "addresses",
        k8s::announce(
            client.clone(),
            namespace,
            config.node.clone(),
            own,
            leads.clone(),
            found,
            drain.clone(),
        ),
    );
    Role {
        leads,
        holder,
        addresses,
    }
}

/// The addresses for the status of Ingresses, as far as this node knows.
fn published(config: &Config, own: Vec<IpAddr>) -> Vec<IpAddr> {
    match (config.publish.as_slice(), own.as_slice()) {
        ([], []) => vec![IpAddr::from([127, 0, 0, 1])],
        ([], _) => own,
        (set, _) => set.to_vec(),
    }
}

/// The mini cluster as a source; said loudly where k3s may have been meant.
fn mini_source(passed_over: Option<&str>) -> String {
    match passed_over {
        None => "mini cluster".to_owned(),
        Some(error) => {
            tracing::error!(
                error,
                "k3s is here, and its kubeconfig cannot be read: its Ingresses are not served, but those of the mini \
                 cluster; set `kubeconfig` to one that this user may read, or `mode` to \"standalone\""
            );
            format!("mini cluster, because the kubeconfig of k3s cannot be read: {error}")
        }
    }
}

async fn mini_cluster(
    store: &Arc<dyn Store>,
) -> Result<(Arc<dyn Propose>, Arc<dyn View>), RunError> {
    let store = store.clone();
    let opened = tokio::task::spawn_blocking(move || Local::open(store)).await;
    let local = opened
        .map_err(start("the mini cluster"))?
        .map_err(start("the mini cluster"))?;
    let local = Arc::new(local);
    Ok((local.clone(), local))
}

async fn until_told_to_stop(
    tasks: &mut Tasks,
    signals: &mut Signals,
    drain: &drain::Signal,
    grace: Duration,
    listeners: proxy::Running,
) -> Result<(), RunError> {
    let outcome = tokio::select! {
        () = signals.first() => Ok(()),
        why = tasks.failure() => Err(RunError::Ended(why)),
    };
    stop::drain(signals, drain, grace, listeners).await;
    outcome
}

async fn serve_api(
    config: &Config,
    addr: SocketAddr,
    store: &dyn Store,
    own: Option<IpAddr>,
    propose: Arc<dyn Propose>,
    view: Arc<dyn View>,
    drain: &Drain,
) -> Result<SocketAddr, RunError> {
    let kept = store
        .get(API_IDENTITY)
        .map_err(start("the API's identity"))?;
    let addresses: Vec<IpAddr> = own
        .into_iter()
        .chain(Some(addr.ip()).filter(|ip| !ip.is_unspecified()))
        .collect();
    let (identity, changed) = apiserver::Identity::load(kept.as_deref(), &addresses)
        .map_err(start("the API's identity"))?;
    if changed {
        let batch = Batch::new().put(API_IDENTITY, identity.to_bytes());
        store.commit(batch).map_err(start("the API's identity"))?;
    }
    let server = identity
        .server_config()
        .map_err(start("the API's identity"))?;
    let auth = apiserver::Auth::tokens([identity.token()]);
    let settings = apiserver::Settings::new(addr);
    let running = apiserver::serve(settings, propose, view, server, auth, drain.clone()).await;
    let running =
        running.map_err(
            |apiserver::ServeError::Listen { listen, source }| RunError::Api { listen, source },
        )?;
    let host = match running.addr.ip() {
        ip if ip.is_unspecified() => own.unwrap_or_else(|| IpAddr::from([127, 0, 0, 1])),
        ip => ip,
    };
    let url = format!("https://{}", SocketAddr::new(host, running.addr.port()));
    if let Err(error) = files::write(
        &files::kubeconfig_path(&config.state),
        &identity.kubeconfig(&url),
        0o600,
    ) {
        // Serving matters more, and on a disk that went read-only the one that is there is right.
        tracing::error!(%error, "the kubeconfig was not written");
    }
    Ok(running.addr)
}

fn local_ca(store: &dyn Store, config: &Config) -> Result<LocalCa, RunError> {
    let read = |key| store.get(key).map_err(start("the local CA"));
    if let (Some(certificate), Some(key)) = (read(CA_CERTIFICATE)?, read(CA_KEY)?) {
        let pem = |bytes| String::from_utf8(bytes).map_err(start("the local CA"));
        return LocalCa::from_pem(&pem(certificate)?, &pem(key)?).map_err(start("the local CA"));
    }
    let ca = LocalCa::generate(&format!("gatelet local CA of {}", config.node))
        .map_err(start("the local CA"))?;
    let batch = Batch::new()
        .put(CA_CERTIFICATE, ca.root_pem())
        .put(CA_KEY, ca.key_pem());
    store.commit(batch).map_err(start("the local CA"))?;
    Ok(ca)
}

/// The listeners that are set, or ports 80 and 443, or 8080 and 8443 where those are not allowed.
fn proxy_start(
    config: &Config,
    shared: &Arc<Shared>,
    server_tls: Arc<tls::Server>,
    drain: &Drain,
) -> Result<proxy::Running, RunError> {
    // Both families on one socket, where there is IPv6 at all.
    let v6 = UdpSocket::bind(("::", 0)).is_ok();
    let every = if v6 {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    };
    let any = |port| SocketAddr::new(every, port);
    let attempt = |http_port, https_port| {
        let mut settings = proxy_settings(config);
        settings.http = config.http.map_or_else(
            || vec![any(http_port)],
            |Listen(addr)| addr.into_iter().collect(),
        );
        settings.https = config.https.map_or_else(
            || vec![any(https_port)],
            |Listen(addr)| addr.into_iter().collect(),
        );
        proxy::start(
            settings,
            shared.clone(),
            Some(server_tls.clone()),
            drain.clone(),
        )
    };
    match attempt(80, 443) {
        Err(StartError::Listen {
            addr, denied: true, ..
        }) if config.http.is_none() || config.https.is_none() => {
            tracing::warn!(%addr, "not allowed to listen here: using ports 8080 and 8443 instead");
            Ok(attempt(8080, 8443)?)
        }
        other => Ok(other?),
    }
}

fn proxy_settings(config: &Config) -> Settings {
    Settings {
        workers: config.workers,
        access_log: match (config.log.access, config.log.format) {
            (None, _) => AccessLog::Off,
            (Some(share), telemetry::Format::Text) => AccessLog::Text(share),
            (Some(share), telemetry::Format::Json) => AccessLog::Json(share),
        },
        ..config.proxy.clone()
    }
}

pub(super) fn controller_settings(
    config: &Config,
    origin: &Origin,
    role: &Role,
) -> controller::Settings {
    controller::Settings {
        controller: config.controller.as_str().into(),
        classes: config
            .classes
            .iter()
            .map(|class| class.as_str().into())
            .collect(),
        classless: config.classless,
        standalone: matches!(origin, Origin::Mini(_)),
        default_backend: config.default_backend.as_deref().map(Into::into),
        ssl_redirect: config.ssl_redirect,
        hsts: config.hsts.as_deref().map(Into::into),
        // In a cluster whoever may write EndpointSlices would reach what listens on the nodes'
        // loopback.
        node: if matches!(origin, Origin::Mini(_)) {
            config.node.as_str().into()
        } else {
            "".into()
        },
        addresses: role.addresses.borrow().clone(),
        // Filled in by whoever knows the issuers.
        issuers: BTreeSet::new(),
        default_issuer: None,
        unsupported_guards: config.unsupported_guards,
    }
}

/// The HTTPS listener as a client on this device reaches it; `None` where there is none, or where
/// such a client would have to speak the PROXY protocol.
fn own_listener(config: &Config, https: &[SocketAddr]) -> Option<SocketAddr> {
    let mut listener = *https.first()?;
    if listener.ip().is_unspecified() {
        listener.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let proxied = config
        .proxy
        .proxy_protocol_from
        .iter()
        .any(|net| net.contains(&listener.ip()));
    (!proxied).then_some(listener)
}

/// The address that this node is reached at: the one that packets to the outside would come from.
/// Nothing is sent.
pub(super) fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    socket
        .local_addr()
        .ok()
        .map(|addr| addr.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

fn cannot_listen(addr: SocketAddr, error: &std::io::Error, flag: &str) -> String {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("cannot listen on {addr}: {}", port::taken(addr, flag))
        }
        _ => format!("cannot listen on {addr}: {error}; choose another address with {flag}"),
    }
}

fn report(health: &Health) -> String {
    match health {
        Health::Good => "good".to_owned(),
        Health::Repaired { records } => {
            tracing::warn!(
                records,
                "the store lacked records that its mirror had; they were brought back"
            );
            format!("repaired: {records} records came back from the mirror")
        }
        Health::Rebuilt { aside, records } => {
            tracing::error!(aside = %aside.display(), records, "the store was damaged: set aside, and rebuilt from its mirror");
            format!(
                "rebuilt: the damaged store is at {}, {records} records came back",
                aside.display()
            )
        }
        Health::MemoryOnly { why, records } => {
            tracing::error!(
                why,
                records,
                "state cannot be kept: what changes now is gone after a restart"
            );
            format!("in memory only, with {records} records of before: {why}")
        }
    }
}

fn start<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> RunError {
    move |error| RunError::Start(format!("{what}: {error}"))
}
