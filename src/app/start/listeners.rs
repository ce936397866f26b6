//! Starts the listeners of the data plane and of the mini cluster's API.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    sync::Arc,
};

use super::error::RunError;
use crate::{
    apiserver,
    app::{files, settings},
    config::{Config, Listen},
    objects::{Propose, View},
    proxy::{self, Shared, Sockets, StartError},
    routing::{Listener, ListenerProtocol},
    store::{Batch, Store},
    telemetry::AuditLog,
    tls,
    util::{descriptors, drain::Drain, sockets},
};

/// Key of the API's certificates and token in the store.
pub(super) const API_IDENTITY: &str = "api/identity";

/// Starts the data plane on the configured addresses; by default on ports 80 and 443, or on 8080
/// and 8443 if the process has no right to those. With `takes_over`, the process before this one
/// still listens on them.
pub(super) fn start_proxy(
    config: &Config,
    shared: &Arc<Shared>,
    server_tls: &Arc<tls::Server>,
    drain: &Drain,
    takes_over: bool,
) -> Result<proxy::Running, RunError> {
    let unspecified = unspecified();

    let address = |configured: Option<Listen>, port| match configured {
        Some(Listen(address)) => address,
        None => Some(SocketAddr::new(unspecified, port)),
    };

    let descriptors = descriptors::raise_limit().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot raise the limit of open files");
        // The soft limit of most systems.
        1024
    });
    let settings = settings::proxy(config, descriptors);
    let wanted = config.proxy.max_connections;
    if settings.max_connections < wanted {
        let allowed = settings.max_connections;
        tracing::warn!(
            descriptors,
            allowed,
            "too few open files for max_connections = {wanted}"
        );
    }

    let held: Arc<[TcpListener]> = sockets::held()
        .map_err(RunError::start("the sockets of the service manager"))?
        .into();
    let attempt = |http_port, https_port| {
        let listeners: Vec<Listener> = [
            (ListenerProtocol::Http, config.http, http_port),
            (ListenerProtocol::Https, config.https, https_port),
        ]
        .into_iter()
        .filter_map(|(protocol, configured, port)| {
            let address = address(configured, port)?;
            Some(Listener { address, protocol })
        })
        .collect();

        let server_tls = Some(server_tls.clone());
        proxy::start(
            settings.clone(),
            &listeners,
            Sockets {
                held: held.clone(),
                takes_over,
            },
            shared.clone(),
            server_tls,
            drain.clone(),
        )
    };

    let running = match attempt(80, 443) {
        Err(StartError::Listen {
            addr, denied: true, ..
        }) if config.http.is_none() || config.https.is_none() => {
            tracing::warn!(%addr, "not allowed to listen here: using ports 8080 and 8443 instead");
            attempt(8080, 8443)?
        }
        other => other?,
    };

    report_unused(&held, &running);
    Ok(running)
}

/// Warns of sockets of the service manager that no listener uses.
fn report_unused(held: &[TcpListener], running: &proxy::Running) {
    let used = [ListenerProtocol::Http, ListenerProtocol::Https]
        .map(|protocol| running.listeners.addresses(protocol))
        .concat();
    let held = held.iter().filter_map(|socket| socket.local_addr().ok());
    for addr in held.filter(|addr| !used.contains(addr)) {
        tracing::warn!(
            %addr,
            "no listener uses this socket of the service manager: connections to it only wait"
        );
    }
}

/// Returns the address that stands for all of this node. One socket takes both families, if the
/// system has IPv6.
fn unspecified() -> IpAddr {
    match UdpSocket::bind(("::", 0)) {
        Ok(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        Err(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    }
}

/// Returns the address on which the ports of layer 4 are opened: that of the HTTP listener, or of
/// the HTTPS listener.
pub(super) fn port_address(http: &[SocketAddr], https: &[SocketAddr]) -> IpAddr {
    let listener = http.first().or_else(|| https.first());
    listener.map_or_else(unspecified, SocketAddr::ip)
}

/// Returns the HTTPS listener as a client on this device reaches it. `None` if there is none, or if
/// that client would have to send a PROXY protocol header.
pub(super) fn own_listener(config: &Config, https: &[SocketAddr]) -> Option<SocketAddr> {
    let mut listener = *https.first()?;
    if listener.ip().is_unspecified() {
        listener.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    let mut proxies = config.proxy.proxy_protocol_from.iter();
    let needs_header = proxies.any(|net| net.contains(&listener.ip()));
    (!needs_header).then_some(listener)
}

/// The API of the mini cluster, before it is served.
pub(super) struct Api {
    pub(super) listen: SocketAddr,
    /// The address of this node, which the certificate and the kubeconfig name.
    pub(super) own: Option<IpAddr>,
    pub(super) objects: (Arc<dyn Propose>, Arc<dyn View>),
    pub(super) audit: Option<Arc<AuditLog>>,
    pub(super) drain: Drain,
}

impl Api {
    /// Starts the API, and writes its kubeconfig. Returns its address.
    pub(super) async fn start(
        self,
        config: &Config,
        store: &dyn Store,
    ) -> Result<SocketAddr, RunError> {
        let (listen, own) = (self.listen, self.own);
        let listen_ip = Some(listen.ip()).filter(|ip| !ip.is_unspecified());
        let addresses: Vec<IpAddr> = own.into_iter().chain(listen_ip).collect();
        let identity = load_identity(store, &addresses)?;
        let server = identity
            .server_config()
            .map_err(RunError::start("the API's identity"))?;

        let auth = identity
            .auth()
            .map_err(RunError::start("the API's identity"))?;
        let settings = apiserver::Settings::new(listen);
        let (propose, view) = self.objects;
        let served = apiserver::serve(
            settings, propose, view, server, auth, self.audit, self.drain,
        );
        let running =
            served
                .await
                .map_err(
                    |apiserver::ServeError::Listen { listen, source }| RunError::Api {
                        addr: listen,
                        source,
                    },
                )?;

        let host = match running.addr.ip() {
            ip if ip.is_unspecified() => own.unwrap_or_else(|| IpAddr::from([127, 0, 0, 1])),
            ip => ip,
        };
        let url = format!("https://{}", SocketAddr::new(host, running.addr.port()));

        let path = files::kubeconfig_path(&config.state);
        if let Err(error) = files::write(&path, &identity.kubeconfig(&url), 0o600) {
            // Serving is more important, and on a disk that became read-only the existing file is
            // right.
            tracing::error!(%error, "the kubeconfig was not written");
        }

        Ok(running.addr)
    }
}

/// Loads the API's identity. Generates it, or renews its certificate, if that is due.
fn load_identity(store: &dyn Store, addresses: &[IpAddr]) -> Result<apiserver::Identity, RunError> {
    const PART: &str = "the API's identity";
    let stored = store.get(API_IDENTITY).map_err(RunError::start(PART))?;
    let (identity, has_changed) =
        apiserver::Identity::load(stored.as_deref(), addresses).map_err(RunError::start(PART))?;
    if has_changed {
        let batch = Batch::new().put(API_IDENTITY, identity.to_bytes());
        store.commit(batch).map_err(RunError::start(PART))?;
    }
    Ok(identity)
}
