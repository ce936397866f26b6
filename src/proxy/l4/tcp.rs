//! TCP: a connection to a port is passed to an endpoint of its backend.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use socket2::SockRef;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{rustls::ProtocolVersion, server::TlsStream};

use super::{mismatch::ProxyMismatch, record::Record, relay::Relay};
use crate::{
    limit::{Permit, Place},
    proxy::{
        counters::{Count, Counters, PortCounters},
        downstream::{
            client::ClientStream,
            handshake::{self, HELLO, Passed},
            hello::{self, Start},
            proxy_protocol,
        },
        proxy_header::{self, Extensions},
        request::{
            error::{Error, Kind, Retry},
            terms::Terms,
        },
        upstream::{
            self,
            pick::{Picker, Tried},
            pool::{Begins, EndpointStream, Lease},
        },
        worker::{ClientKey, Worker},
    },
    routing::{EndedTls, Host, OpenPort, Port, PortRoute, Protocol},
    tls::Server,
    util::drain::Drain,
};

/// The reason why a client is refused that has many connections already.
const TOO_MANY_OF_CLIENT: &str = "this client has too many connections";
/// The reason why a client is refused if the Service has many connections already.
const TOO_MANY: &str = "the service has too many connections";
/// The place of all clients among those of a limit.
pub(super) const EVERYBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Serves a connection from accept to its end.
pub(crate) async fn serve(
    client: TcpStream,
    peer: SocketAddr,
    port: Port,
    tls: Option<Arc<Server>>,
    permit: Permit,
    worker: Rc<Worker>,
    drain: Drain,
) {
    // Boxed: the beginning is short, and a connection reserves space for its future all its life.
    let begun = Box::pin(begin((client, peer), port, tls, permit, worker)).await;
    if let Some(connection) = begun {
        connection.relay(drain).await;
    }
}

/// Serves a connection whose TLS is passed through, from its ClientHello to its end. `permit`
/// counts its client already.
pub(crate) async fn pass_through(
    passed: Passed,
    ends: (SocketAddr, SocketAddr),
    port: Port,
    permit: Permit,
    worker: Rc<Worker>,
    drain: Drain,
) {
    let begun = Box::pin(begin_passed(passed, ends, port, permit, worker)).await;
    if let Some(connection) = begun {
        connection.relay(drain).await;
    }
}

/// Prepares a connection of a client up to that with its endpoint.
async fn begin(
    (mut client, peer): (TcpStream, SocketAddr),
    port: Port,
    tls: Option<Arc<Server>>,
    mut permit: Permit,
    worker: Rc<Worker>,
) -> Option<Box<Connection>> {
    // The port may have been closed since the connection was made.
    let Some(open) = worker.shared.ports.load().find(port).cloned() else {
        return abort(&client);
    };

    let local = client.local_addr().ok()?;
    let (ends, mut known) = if open.accepts_proxy {
        match proxied(&mut client, port, &worker, (peer, local)).await {
            Some(proxied) => proxied,
            None => return abort(&client),
        }
    } else {
        ((peer, local), Extensions::default())
    };

    let ip = ends.0.ip().to_canonical();
    if permit.count_client(ip).is_err() {
        worker.counters.connections_refused.add(1);
        return abort(&client);
    }

    let Some((route, host, read)) = sort(&client, &open, port, &worker).await else {
        return abort(&client);
    };
    let mut record = Record::new(&worker, ip, port, host.clone(), &route);
    if !route.lets_in(ip) {
        let (counter, why) = (
            &worker.counters.connections_forbidden,
            Kind::Forbidden.reason(),
        );
        return refuse(&client, counter, record.as_deref_mut(), why);
    }
    let places = [
        worker.admit(route.limits.as_deref(), ip),
        worker.admit(route.total.as_deref(), EVERYBODY),
    ];
    let [Ok(of_client), Ok(of_all)] = places else {
        let counter = &worker.counters.connections_refused;
        let why = match places {
            [Ok(_), _] => TOO_MANY,
            _ => TOO_MANY_OF_CLIENT,
        };
        return refuse(&client, counter, record.as_deref_mut(), why);
    };

    if let Some(host) = host {
        known.authority = Some(host.as_str().into());
    }
    let mut session = Session {
        ends,
        known,
        route: route.clone(),
        record,
        open: Open::new(&worker.counters, |counters| &counters.tcp),
        worker,
        _permit: permit,
        _places: [of_client, of_all],
    };
    let watched = (!open.accepts_proxy).then_some(port);
    match (&route.ends_tls, tls) {
        (None, _) => {
            let client = ClientStream::Plain(client);
            session.connected(client, read, None, watched).await
        }
        (Some(_), None) => abort(&client),
        (Some(ended), Some(server)) => {
            let (client, connected) = session.end_tls((client, read), ended, &server).await?;
            let client = ClientStream::Tls(client);
            session.connected(client, Vec::new(), connected, None).await
        }
    }
}

/// Prepares a connection whose TLS is passed through, up to that with its endpoint.
async fn begin_passed(
    passed: Passed,
    ends: (SocketAddr, SocketAddr),
    port: Port,
    permit: Permit,
    worker: Rc<Worker>,
) -> Option<Box<Connection>> {
    let Passed {
        stream: client,
        read,
        host,
        to,
    } = passed;

    let route = match &to.target {
        Ok(route) => route.clone(),
        Err(refusal) => {
            worker.counters.tls.failures.add(1);
            tracing::debug!(%host, reason = refusal.reason(), "TLS connection closed");
            return abort(&client);
        }
    };

    let known = Extensions {
        authority: Some(host.as_str().into()),
        ..Extensions::default()
    };
    let mut record = Record::new(&worker, ends.0.ip(), port, Some(host), &route);
    if !to.lets_in(ends.0.ip()) {
        let (counter, why) = (
            &worker.counters.connections_forbidden,
            Kind::Forbidden.reason(),
        );
        return refuse(&client, counter, record.as_deref_mut(), why);
    }

    let session = Session {
        ends,
        known,
        route,
        record,
        open: Open::new(&worker.counters, |counters| &counters.tls),
        worker,
        _permit: permit,
        _places: [None, None],
    };
    let client = ClientStream::Plain(client);
    session.connected(client, read, None, None).await
}

/// Chooses the destination of a connection to a port, by the name in its ClientHello where names
/// decide. Returns the name and the bytes that were read too; `None` if there is no destination.
async fn sort(
    client: &TcpStream,
    open: &OpenPort,
    port: Port,
    worker: &Worker,
) -> Option<(Arc<PortRoute>, Option<Host>, Vec<u8>)> {
    let ends_tls = open.route().is_some_and(|route| route.ends_tls.is_some());
    if !open.has_names() && !ends_tls {
        return Some((open.route()?.clone(), None, Vec::new()));
    }

    let (start, read) = match hello::read_in_time(client, HELLO).await {
        Ok(read) => read,
        Err(error) => {
            worker.counters.bad_connections.add(1);
            tracing::debug!(%port, %error, "connection without a ClientHello closed");
            return None;
        }
    };
    let name = match &start {
        Start::Hello(hello) => hello.server_name.as_deref(),
        Start::Other => {
            if !open.accepts_proxy && proxy_header::begins(&read) {
                unexpected(worker, port);
            }
            None
        }
    };

    let host = name.and_then(|name| Host::parse(name).ok());
    let route = open.find(host.as_ref());
    if route.is_none() {
        worker.counters.tcp.failures.add(1);
        tracing::debug!(%port, host = host.as_ref().map(Host::as_str), "no destination");
    }
    Some((route?.clone(), host, read))
}

/// A client that goes to an endpoint.
struct Session {
    /// The addresses of the client, and of its destination.
    ends: (SocketAddr, SocketAddr),
    /// The facts about its TLS that are known.
    known: Extensions,
    route: Arc<PortRoute>,
    record: Option<Box<Record>>,
    open: Open,
    worker: Rc<Worker>,
    _permit: Permit,
    /// The places of the connection among those of its client, and among all of the Service.
    _places: [Option<Box<Place<ClientKey>>>; 2],
}

/// A client that is connected to its endpoint.
struct Connection {
    session: Session,
    client: ClientStream,
    endpoint: EndpointStream,
    lease: Lease,
    /// The header of the PROXY protocol that the endpoint has not got yet.
    header: Option<Vec<u8>>,
    /// The bytes that were read from the client.
    read: Vec<u8>,
    /// The port whose clients are not expected to send a header.
    watched: Option<Port>,
}

/// A connection to an endpoint.
type Connected = (EndpointStream, Lease);

impl Connection {
    /// Copies bytes until both sides have ended.
    async fn relay(mut self: Box<Self>, drain: Drain) {
        let connection = &mut *self;
        let (session, worker) = (&connection.session, &connection.session.worker);
        let idle = session.route.policy.timeouts.idle;
        let idle = idle.unwrap_or(worker.settings.tcp_idle_timeout);
        let addr = connection.lease.upstream().key.addr;
        let attached = worker.attached.attach(&session.route.backend, addr);

        let (client, endpoint) = (&mut connection.client, &mut connection.endpoint);
        let counters = session.open.counters();
        let mut relay = Relay::new(worker, client, endpoint, idle, drain, counters);
        relay.follow(attached);
        relay.watch(connection.watched);
        let read = std::mem::take(&mut connection.read);
        if connection.header.is_some() || !read.is_empty() {
            relay.begin_with(connection.header.take().unwrap_or_default(), &read);
        }
        drop(read);

        let (end, moved) = relay.run().await;
        if let Some(record) = &mut connection.session.record {
            (record.reason, record.moved) = (end.reason(), moved);
        }
    }
}

impl Session {
    /// Connects a client to an endpoint, unless that is `connected` already. `read` are bytes that
    /// the client has sent; a header of the PROXY protocol after them is noted for the port that is
    /// `watched`.
    async fn connected(
        mut self,
        client: ClientStream,
        read: Vec<u8>,
        connected: Option<Connected>,
        watched: Option<Port>,
    ) -> Option<Box<Connection>> {
        let connected = match connected {
            Some(connected) => Some(connected),
            None => self.connect(&[]).await,
        };
        let Some((endpoint, lease)) = connected else {
            return abort(client.socket());
        };

        // With TLS to the endpoint, the header precedes that.
        let is_plain = self.route.backend.protocol() != Protocol::Tls;
        let header = self.header().filter(|_| is_plain);
        Some(Box::new(Connection {
            session: self,
            client,
            endpoint,
            lease,
            header,
            read,
            watched,
        }))
    }

    /// Returns the header of the PROXY protocol for the endpoint, if it gets one.
    fn header(&self) -> Option<Vec<u8>> {
        let version = self.route.sends_proxy?;
        Some(proxy_header::of_port(version, self.ends, &self.known))
    }

    /// Ends the TLS of a client. Where the endpoint has TLS too, it chooses the protocol (ALPN)
    /// among those of the client, so it is connected to first.
    async fn end_tls(
        &mut self,
        (client, read): (TcpStream, Vec<u8>),
        ended: &EndedTls,
        server: &Server,
    ) -> Option<(Box<TlsStream<TcpStream>>, Option<Connected>)> {
        let worker = self.worker.clone();
        let limit = worker.settings.handshake_timeout;
        let bad = || worker.counters.bad_connections.add(1);
        let Ok(Ok(start)) = timeout(limit, handshake::resume(client, &read)).await else {
            bad();
            return None;
        };
        drop(read);

        let hello = start.client_hello();
        let offered: Vec<Vec<u8>> = hello.alpn().into_iter().flatten().map(Vec::from).collect();
        let name = hello.server_name().map(str::to_owned);

        let mut connected = None;
        let protocol = if self.route.backend.protocol() == Protocol::Tls && !offered.is_empty() {
            let Some(made) = self.connect(&offered).await else {
                return abort(&start.io);
            };

            let chosen = match &made.0 {
                EndpointStream::Tls(stream) => stream.get_ref().1.alpn_protocol().map(Vec::from),
                EndpointStream::Plain(_) => None,
            };
            connected = Some(made);
            chosen
        } else {
            let mut ours = ended.protocols.iter();
            let ours = ours.find(|one| offered.iter().any(|other| **other == ***one));
            ours.map(|one| one.to_vec())
        };

        let local = (name.as_deref(), self.ends.1.ip());
        let config = server.for_port(ended.certificate.as_ref(), local, protocol.as_deref());
        let Ok(config) = config else {
            return abort(&start.io);
        };

        let Ok(Ok(stream)) = timeout(limit, start.into_stream(config)).await else {
            bad();
            return None;
        };

        self.known.protocol = protocol.map(Into::into);
        self.known.version = Some(match stream.get_ref().1.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        });
        Some((Box::new(stream), connected))
    }

    /// Connects to an endpoint. Tries another one if that fails, as long as there are attempts. An
    /// endpoint with TLS may choose one of the `protocols`.
    async fn connect(&mut self, protocols: &[Vec<u8>]) -> Option<Connected> {
        let header = self.header();
        let begins = Begins {
            header: header.as_deref(),
            name: None,
            protocols: Some(protocols),
        };
        let (worker, client) = (&self.worker, self.ends.0.ip());
        let error = match connect(worker, &self.route, client, &begins).await {
            Ok(connected) => {
                if let Some(record) = &mut self.record {
                    record.endpoint = Some(connected.1.upstream().key.addr);
                }
                return Some(connected);
            }
            Err(error) => error,
        };

        self.open.counters().failures.add(1);
        if let Some(record) = &mut self.record {
            (record.failed, record.reason) = (true, error.kind.reason());
        }
        tracing::debug!(client = %self.ends.0, %error, "connection to a port failed");
        None
    }
}

/// Notes a header of the PROXY protocol where none is expected.
pub(super) fn unexpected(worker: &Worker, port: Port) {
    worker.counters.proxy_unexpected.add(1);
    let mismatches = &worker.shared.mismatches;
    mismatches.note(port, ProxyMismatch::Unexpected);
}

/// The addresses that a header of the PROXY protocol names, and its extensions.
type Proxied = ((SocketAddr, SocketAddr), Extensions);

/// Reads the header of the PROXY protocol. The addresses of the client and of its destination are
/// `ends` if the header has none; `None` if there is no valid header.
async fn proxied(
    client: &mut TcpStream,
    port: Port,
    worker: &Worker,
    ends: (SocketAddr, SocketAddr),
) -> Option<Proxied> {
    let limit = worker.settings.client_header_timeout;
    let why = match timeout(limit, proxy_protocol::read_all(client)).await {
        Ok(Ok((addresses, extensions))) => return Some((addresses.unwrap_or(ends), extensions)),
        Ok(Err(error)) => error.to_string(),
        Err(_late) => "it did not come in time".to_owned(),
    };

    worker.counters.bad_connections.add(1);
    worker.counters.proxy_missing.add(1);
    let mismatches = &worker.shared.mismatches;
    mismatches.note(port, ProxyMismatch::Missing);
    let peer = ends.0;
    tracing::debug!(%peer, why, "connection without a header of the PROXY protocol closed");
    None
}

/// Connects to an endpoint of a route. Tries another one if that fails, as long as there are
/// attempts.
async fn connect(
    worker: &Rc<Worker>,
    route: &PortRoute,
    client: IpAddr,
    begins: &Begins<'_>,
) -> Result<Connected, Error> {
    let terms = Terms::new(&worker.settings, Some(&route.policy));
    let session = session(worker, route, client);
    let picker = Picker {
        worker,
        backend: &route.backend,
        balance: terms.balance,
        session: session.as_deref(),
        groups: None,
    };

    let mut tried = Tried::default();
    let mut attempt = 1;
    loop {
        let picked = picker.pick_in_time(&mut tried, false, terms.queue_timeout);
        let chosen = picked.await?;
        let upstream = chosen.upstream;
        let lease = Lease::new(upstream.clone());
        let connecting = upstream.connect(worker, terms.connect_timeout, begins);
        let error = match connecting.await {
            Ok(stream) => {
                worker.counters.connects.add(1);
                upstream.succeeded();
                return Ok((stream, lease));
            }
            Err(error) => error,
        };

        worker.failed(&upstream, &error);
        if chosen.only || error.retry == Retry::Never || attempt >= terms.max_attempts {
            return Err(error);
        }
        attempt += 1;
        worker.counters.retries.add(1);
    }
}

/// Returns the session by which all connections of a client go to one endpoint, if they do.
pub(super) fn session<'a>(
    worker: &'a Worker,
    route: &'a PortRoute,
    client: IpAddr,
) -> Option<Box<upstream::session::Session<'a>>> {
    let (id, secret) = (route.backend.id(), &worker.shared.sessions);
    let text = client.to_canonical().to_string();
    let (text, one) = (text.as_bytes(), NonZeroU32::MIN);
    let session = || upstream::session::Session::of_text(id, secret, text, one);
    route.sticky.then(|| Box::new(session()))
}

/// Closes the connection of a client that may not come in, and counts it.
fn refuse<T>(
    client: &TcpStream,
    counter: &Count,
    record: Option<&mut Record>,
    why: &'static str,
) -> Option<T> {
    counter.add(1);
    if let Some(record) = record {
        (record.failed, record.reason) = (true, why);
    }
    abort(client)
}

/// Lets the client see that its connection failed: by a reset, as if nothing listened.
fn abort<T>(client: &TcpStream) -> Option<T> {
    let _ = SockRef::from(client).set_linger(Some(Duration::ZERO));
    None
}

/// Counts an open connection.
struct Open {
    counters: Arc<Counters>,
    of: fn(&Counters) -> &PortCounters,
}

impl Open {
    fn new(counters: &Arc<Counters>, of: fn(&Counters) -> &PortCounters) -> Self {
        of(counters).begun.add(1);
        Self {
            counters: counters.clone(),
            of,
        }
    }

    fn counters(&self) -> &PortCounters {
        (self.of)(&self.counters)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counters().ended.add(1);
    }
}
