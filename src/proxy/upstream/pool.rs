//! Upstream connections of one core: per backend and endpoint a list of idle HTTP/1.1 connections,
//! or one shared HTTP/2 connection.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};

use super::{
    condition::{Condition, ConnectFailure, EndpointKey},
    deferred_write_error::DeferredWriteError,
    h1::Connection,
    h2::{Place, Sender, Shared},
    pin::Claim,
};
use crate::{
    balance::Outlier,
    proxy::{
        Settings, clock,
        counters::{Counters, EndpointStats},
        request::error::{Error, Kind, Retry},
        transport::Transport,
        worker::{self, Worker},
    },
    routing::{BackendSettings, Host, Protocol},
    tls::{UpstreamTlsError, handshake_failure},
};

/// The most requests on one HTTP/2 connection before another is opened, even if the endpoint allows
/// more.
const STREAMS: usize = 100;
/// The duration after which a connect that has not ended is unusual: longer than it takes to send a
/// lost SYN again.
const USUAL_CONNECT: Duration = Duration::from_millis(1500);
/// The most HTTP/2 connections to one endpoint; beyond that, requests queue.
const MAX_SHARED: usize = 8;

/// The identity of an endpoint in the pool: only connections with the same key are shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamKey {
    pub(crate) addr: SocketAddr,
    /// The name that led to the address, if there was one.
    pub(crate) name: Option<Rc<str>>,
    pub(crate) backend: Arc<BackendSettings>,
}

/// One endpoint as this core sees it. It outlives changes of the routing table.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) key: UpstreamKey,
    pub(crate) outlier: RefCell<Outlier>,
    pub(crate) in_flight: Cell<u32>,
    pub(crate) last_used: Cell<Instant>,
    /// Its counters for metrics and `status`.
    pub(crate) stats: Arc<EndpointStats>,
    /// Shared with the other cores.
    pub(crate) condition: Arc<Condition>,
    pub(crate) counters: Arc<Counters>,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<(Begun, Shared)>>,
    /// The connects that have not ended yet, and the time since when there are any or the last of
    /// them succeeded.
    pending: Cell<(u32, Instant)>,
    /// Set while an HTTP/2 connection is opened, so that concurrent requests share it.
    connecting: RefCell<Option<Rc<Connecting>>>,
    max_idle: usize,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
    begun: Begun,
}

/// The start of a connection that has some requests alone; `None` for connections that all requests
/// share.
pub(crate) type Begun = Option<Rc<Beginning>>;

/// The start of a connection. Requests with another one are never sent over it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    /// The header of the PROXY protocol, which tells the endpoint whose requests these are.
    pub(crate) header: Option<Box<[u8]>>,
    /// The name in TLS that the requests have (SNI).
    pub(crate) name: Option<Box<str>>,
}

/// A connection to an endpoint for bytes alone.
pub(crate) type EndpointStream = Transport<TlsStream<TcpStream>>;

/// The beginning of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Begins<'a> {
    /// The header of the PROXY protocol, before TLS.
    pub(crate) header: Option<&'a [u8]>,
    /// The name in TLS, in place of that of the endpoint.
    pub(crate) name: Option<&'a str>,
    /// The protocols that the endpoint may choose from (ALPN); `None` for that of HTTP.
    pub(crate) protocols: Option<&'a [Vec<u8>]>,
}

impl<'a> Begins<'a> {
    fn of(begun: &'a Begun) -> Self {
        let begun = begun.as_deref();
        Self {
            header: begun.and_then(|begun| begun.header.as_deref()),
            name: begun.and_then(|begun| begun.name.as_deref()),
            protocols: None,
        }
    }
}

/// A connection in use by one request.
#[derive(Debug)]
pub(crate) struct Lease {
    upstream: Rc<Upstream>,
    /// Its place on an HTTP/2 connection.
    place: Option<Place>,
    begun: Begun,
    keeper: Keeper,
}

/// The owner of an HTTP/1.1 connection once the response on it is complete.
#[derive(Debug)]
pub(crate) enum Keeper {
    /// The pool: every client may use it.
    Pool,
    /// The client connection that it is pinned to.
    Client(Claim),
    /// No owner: it is closed.
    Close,
}

/// The outcome of opening an HTTP/2 connection, shared by all requests that wait for it.
#[derive(Debug, Default)]
struct Connecting {
    /// `None` until it is known, and if the request that opened it was abandoned.
    outcome: Cell<Option<Result<(), Error>>>,
    known: Notify,
}

/// Ends the wait of the others when the request that opens the connection does, or is abandoned.
struct Opening<'a> {
    upstream: &'a Upstream,
    connecting: Rc<Connecting>,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        *self.upstream.connecting.borrow_mut() = None;
        self.connecting.known.notify_waiters();
    }
}

/// A connect that has not ended.
struct Pending<'a>(&'a Upstream);

impl<'a> Pending<'a> {
    fn begin(upstream: &'a Upstream) -> Self {
        let (others, since) = upstream.pending.get();
        let since = if others == 0 { Instant::now() } else { since };
        upstream.pending.set((others + 1, since));
        Self(upstream)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let (pending, since) = self.0.pending.get();
        self.0.pending.set((pending - 1, since));
    }
}

impl Upstream {
    pub(crate) fn new(
        key: UpstreamKey,
        settings: &Settings,
        counters: &Arc<Counters>,
        shared: &worker::Shared,
    ) -> Rc<Self> {
        let name = key.name.as_deref().map(Into::into);
        Rc::new(Self {
            condition: shared.condition(EndpointKey {
                addr: key.addr,
                name,
                backend: key.backend.clone(),
            }),
            stats: counters.endpoint(key.addr, &key.backend),
            counters: counters.clone(),
            max_idle: key
                .backend
                .limits
                .idle
                .unwrap_or(settings.max_idle_per_endpoint),
            key,
            outlier: RefCell::default(),
            in_flight: Cell::new(0),
            last_used: Cell::new(Instant::now()),
            idle: RefCell::default(),
            shared: RefCell::default(),
            pending: Cell::new((0, Instant::now())),
            connecting: RefCell::default(),
        })
    }

    /// Returns an HTTP/1.1 connection, and true if it was used before. Closes idle ones whose peer
    /// has closed or sent anything. With `fresh`, always opens a new one. Its connect, and its TLS
    /// handshake, may each take `limit`.
    pub(crate) async fn connection(
        self: &Rc<Self>,
        worker: &Worker,
        limit: Duration,
        fresh: bool,
        begun: &Begun,
    ) -> Result<(Connection, Lease, bool), Error> {
        let mut lease = Lease::new(self.clone());
        lease.begun.clone_from(begun);
        if !fresh && let Some(connection) = self.take_idle(begun) {
            return Ok((connection, lease, true));
        }
        // Boxed, here and below: connecting is rare, and every request in flight reserves space for
        // this future.
        let connection = Box::pin(self.connect_h1(worker, limit, begun)).await?;
        Ok((connection, lease, false))
    }

    /// Returns a place on an HTTP/2 connection, and true if the connection existed before. Requests
    /// that come while one is opened share its outcome, failure too.
    pub(crate) async fn stream(
        self: &Rc<Self>,
        worker: &Worker,
        limit: Duration,
        begun: &Begun,
    ) -> Result<(Sender, Lease, bool), Error> {
        let mut lease = Lease::new(self.clone());
        loop {
            if let Some(sender) = self.join_shared(&mut lease, begun) {
                return Ok((sender, lease, true));
            }

            if begun.is_some() {
                // Only requests with the same beginning could wait for it.
                self.drop_unused();
                let opened = Box::pin(self.connect_h2(worker, limit, begun)).await?;
                lease.place = Some(opened.join());
                let sender = opened.sender();
                self.shared.borrow_mut().push((begun.clone(), opened));
                return Ok((sender, lease, false));
            }

            let known = self.connecting.borrow().clone();
            if let Some(connecting) = known {
                connecting.known.notified().await;
                if let Some(Err(error)) = connecting.outcome.get() {
                    return Err(error);
                }
                continue;
            }

            let connecting = Rc::<Connecting>::default();
            *self.connecting.borrow_mut() = Some(connecting.clone());
            let opening = Opening {
                upstream: self,
                connecting,
            };
            let opened = Box::pin(self.connect_h2(worker, limit, begun)).await;
            let outcome = opened.map(|shared| self.shared.borrow_mut().push((None, shared)));
            opening.connecting.outcome.set(Some(outcome));
            drop(opening);
            outcome?;

            let closed = Kind::BadGateway("the backend closed the connection");
            let joined = self.join_shared(&mut lease, begun);
            let sender = joined.ok_or_else(|| Error::upstream(closed, Retry::IfReused))?;
            return Ok((sender, lease, false));
        }
    }

    /// Returns true if requests should rather go to another endpoint: health checks say that this
    /// one is down, it is ejected, or a
    /// request already waits for a connection to it and there is reason to doubt that it comes.
    pub(crate) fn seems_down(&self, now: Instant) -> bool {
        if self.condition.is_down() {
            return true;
        }
        let outlier = self.outlier.borrow();
        let (pending, since) = self.pending.get();
        let doubtful = outlier.has_failed() || now.duration_since(since) >= USUAL_CONNECT;
        outlier.is_ejected(now) || (pending > 0 && doubtful)
    }

    /// Takes the most recently used idle connection that has begun in this way.
    fn take_idle(&self, begun: &Begun) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        let next = || {
            let at = idle.iter().rposition(|one| one.begun == *begun)?;
            Some(idle.remove(at).connection)
        };
        std::iter::from_fn(next).find(Connection::is_quiet)
    }

    /// Records that the endpoint responded.
    pub(crate) fn succeeded(&self) {
        self.outlier.borrow_mut().succeeded();
        let (pending, _since) = self.pending.get();
        if pending > 0 {
            self.pending.set((pending, Instant::now()));
        }
        self.condition.works();
        if self.stats.ejected.load(Relaxed) {
            self.stats.ejected.store(false, Relaxed);
        }
    }

    /// Joins an open HTTP/2 connection that has room for a request, or, if there are as many
    /// connections as allowed, the one with the fewest: the request waits there for its turn.
    fn join_shared(&self, lease: &mut Lease, begun: &Begun) -> Option<Sender> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|(_, shared)| !shared.is_closed());

        let own = || shared.iter().filter(|(other, _)| other == begun);
        let full = own().count() >= MAX_SHARED;
        let own = own().map(|(_, shared)| shared);
        let least = own.min_by_key(|shared| shared.requests())?;
        let room = least.max_requests().min(STREAMS);
        if !full && least.requests() >= room {
            return None;
        }

        lease.place = Some(least.join());
        Some(least.sender())
    }

    /// Closes connections that were idle for too long. Returns false if nothing worth keeping is
    /// left.
    pub(crate) fn sweep(&self, now: Instant, settings: &Settings) -> bool {
        let old = |since: Instant| now.duration_since(since) >= settings.upstream_idle_timeout;
        let over = |idle: &mut Idle| old(idle.since) || !idle.connection.is_quiet();
        self.idle
            .borrow_mut()
            .extract_if(.., over)
            .for_each(|idle| idle.connection.close());

        // A client may have gone.
        let mut shared = self.shared.borrow_mut();
        shared.retain(|(begun, shared)| begun.is_none() || shared.requests() > 0);
        drop(shared);

        let unused = self.in_flight.get() == 0 && old(self.last_used.get());
        if unused {
            self.shared.borrow_mut().clear();
        }
        !unused || !self.idle.borrow().is_empty() || self.outlier.borrow().is_ejected(now)
    }

    /// Closes connections without requests whose beginning others have not, if there are many: each
    /// name of a request has its own.
    fn drop_unused(&self) {
        let mut shared = self.shared.borrow_mut();
        if shared.len() >= MAX_SHARED {
            shared.retain(|(begun, shared)| begun.is_none() || shared.requests() > 0);
        }
    }

    async fn connect_h1(
        &self,
        worker: &Worker,
        limit: Duration,
        begun: &Begun,
    ) -> Result<Connection, Error> {
        let _pending = Pending::begin(self);
        let tcp = self.tcp(limit, begun).await?;
        Ok(match self.key.backend.protocol {
            Protocol::Https => {
                let begins = Begins::of(begun);
                Connection::new(self.tls(tcp, worker, limit, &begins).await?)
            }
            _ => Connection::new(tcp),
        })
    }

    async fn connect_h2(
        &self,
        worker: &Worker,
        limit: Duration,
        begun: &Begun,
    ) -> Result<Shared, Error> {
        let _pending = Pending::begin(self);
        let tcp = self.tcp(limit, begun).await?;
        match self.key.backend.protocol {
            Protocol::H2 => {
                let tls = self.tls(tcp, worker, limit, &Begins::of(begun)).await?;
                self.handshake_h2(tls, worker, limit).await
            }
            _ => self.handshake_h2(tcp, worker, limit).await,
        }
    }

    async fn tcp(&self, limit: Duration, begun: &Begun) -> Result<DeferredWriteError, Error> {
        let mut tcp = self.open(limit).await?;
        if let Some(header) = Begins::of(begun).header {
            self.send(&mut tcp, header, limit).await?;
        }
        Ok(DeferredWriteError::new(tcp))
    }

    /// Opens a connection for bytes alone. Its connect, and its TLS handshake, may each take
    /// `limit`.
    pub(crate) async fn connect(
        &self,
        worker: &Worker,
        limit: Duration,
        begins: &Begins<'_>,
    ) -> Result<EndpointStream, Error> {
        let _pending = Pending::begin(self);
        let mut tcp = self.open(limit).await?;
        if self.key.backend.protocol != Protocol::Tls {
            return Ok(Transport::Plain(tcp));
        }

        if let Some(header) = begins.header {
            self.send(&mut tcp, header, limit).await?;
        }
        let tls = self.tls(tcp, worker, limit, begins).await?;
        Ok(Transport::Tls(Box::new(tls)))
    }

    /// Sends the header of the PROXY protocol.
    async fn send(&self, tcp: &mut TcpStream, header: &[u8], limit: Duration) -> Result<(), Error> {
        match timeout(limit, tcp.write_all(header)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.failed(ConnectFailure::Refused)),
            Err(_elapsed) => Err(self.failed(ConnectFailure::TimedOut)),
        }
    }

    async fn open(&self, limit: Duration) -> Result<TcpStream, Error> {
        match timeout(limit, TcpStream::connect(self.key.addr)).await {
            Ok(Ok(tcp)) => {
                // Only latency is lost when this fails.
                let _ = tcp.set_nodelay(true);
                // Pings are too rare to detect an endpoint that vanished, and a port has none.
                if !matches!(self.key.backend.protocol, Protocol::Http1 | Protocol::Https) {
                    let _ = SockRef::from(&tcp).set_tcp_keepalive(&keepalive());
                }
                Ok(tcp)
            }
            Ok(Err(error)) => match ConnectFailure::of_connect(&error) {
                Some(failure) => Err(self.failed(failure)),
                None => Err(Error::us(Kind::Unavailable(
                    "no descriptor, port or memory is left for another connection",
                ))),
            },
            Err(_elapsed) => Err(self.failed(ConnectFailure::TimedOut)),
        }
    }

    /// Begins TLS.
    pub(super) async fn tls<T: AsyncRead + AsyncWrite + Unpin>(
        &self,
        tcp: T,
        worker: &Worker,
        limit: Duration,
        begins: &Begins<'_>,
    ) -> Result<TlsStream<T>, Error> {
        let terms = &self.key.backend.tls;
        let h2 = self.key.backend.protocol == Protocol::H2;
        let unmet = |why: UpstreamTlsError| ConnectFailure::Tls(why.to_string().into());
        let mut config = worker
            .tls(terms, h2)
            .map_err(|why| self.failed(unmet(why)))?;
        if let Some(protocols) = begins.protocols {
            Arc::make_mut(&mut config).alpn_protocols = protocols.to_vec();
        }
        let connector = TlsConnector::from(config);
        let chosen = || terms.server_name.as_ref().map(Host::as_str);
        let chosen = begins.name.or_else(chosen);
        let name = match chosen.or(self.key.name.as_deref()) {
            Some(name) => ServerName::try_from(name.to_owned()).map_err(|_bad| {
                self.failed(ConnectFailure::Tls(
                    "its name is not a valid server name".into(),
                ))
            })?,
            None => ServerName::IpAddress(self.key.addr.ip().into()),
        };

        match timeout(limit, connector.connect(name, tcp)).await {
            Ok(Ok(stream)) => Ok(stream),
            // The client has chosen the name: its failure says nothing about others.
            Ok(Err(_)) if begins.name.is_some() => Err(Error::us(Kind::BadGateway(
                "the TLS handshake with the backend failed for the name of the request",
            ))),
            Ok(Err(error)) => {
                Err(self.failed(ConnectFailure::Tls(handshake_failure(&error).into())))
            }
            Err(_elapsed) => Err(self.failed(ConnectFailure::TlsTimedOut)),
        }
    }

    async fn handshake_h2<T>(
        &self,
        io: T,
        worker: &Worker,
        limit: Duration,
    ) -> Result<Shared, Error>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let opened = Shared::open(io, &worker.settings, &worker.deadlines);
        match timeout(limit, opened).await {
            Ok(Ok(shared)) => Ok(shared),
            Ok(Err(_)) | Err(_) => Err(self.failed(ConnectFailure::NotHttp2)),
        }
    }

    /// Records why no connection could be made. Returns the error for the client, which reveals
    /// less than the log: nothing about the inside.
    pub(crate) fn failed(&self, failure: ConnectFailure) -> Error {
        let kind = match &failure {
            ConnectFailure::Network(_) => Kind::BadGateway("the backend cannot be reached"),
            ConnectFailure::Refused => Kind::BadGateway("the backend refuses connections"),
            ConnectFailure::TimedOut => {
                Kind::GatewayTimeout("the backend did not accept a connection in time")
            }
            ConnectFailure::Tls(_) => Kind::BadGateway("the TLS handshake with the backend failed"),
            ConnectFailure::TlsTimedOut => {
                Kind::GatewayTimeout("the TLS handshake with the backend took too long")
            }
            ConnectFailure::NotHttp2 => Kind::BadGateway("the backend does not speak HTTP/2"),
        };
        self.condition.failed(failure);
        Error::upstream(kind, Retry::Safe)
    }
}

impl Lease {
    pub(crate) fn new(upstream: Rc<Upstream>) -> Self {
        upstream.in_flight.set(upstream.in_flight.get() + 1);
        upstream.last_used.set(clock::now());
        upstream.stats.begun.add(1);
        upstream.condition.begin();
        Self {
            upstream,
            place: None,
            begun: None,
            keeper: Keeper::Pool,
        }
    }

    pub(crate) fn upstream(&self) -> &Rc<Upstream> {
        &self.upstream
    }

    /// Takes the shared connection out of use: a request on it has failed.
    pub(crate) fn retire(&mut self) {
        if let Some(place) = self.place.take() {
            let mut shared = self.upstream.shared.borrow_mut();
            shared.retain(|(_, shared)| !shared.has(&place));
        }
    }

    /// Leaves the connection to `keeper` instead of the pool.
    pub(crate) fn leave_to(&mut self, keeper: Keeper) {
        self.keeper = keeper;
    }

    /// Ends the lease after a complete response. An HTTP/1.1 connection goes to its keeper for
    /// another request.
    pub(crate) fn finish(mut self, connection: Option<Connection>) {
        let Some(connection) = connection else { return };
        match std::mem::replace(&mut self.keeper, Keeper::Close) {
            Keeper::Client(claim) => claim.keep(self.upstream.clone(), connection),
            Keeper::Close => connection.close(),
            Keeper::Pool => {
                let mut idle = self.upstream.idle.borrow_mut();
                let begun = self.begun.take();

                // The oldest one may be of a client that has gone, or of another name.
                if begun.is_some() && idle.len() >= self.upstream.max_idle.max(1) {
                    idle.remove(0).connection.close();
                }
                if idle.len() < self.upstream.max_idle {
                    idle.push(Idle {
                        connection,
                        since: clock::now(),
                        begun,
                    });
                }
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.upstream
            .in_flight
            .set(self.upstream.in_flight.get().saturating_sub(1));
        self.upstream.stats.ended.add(1);
        self.upstream.condition.end();
    }
}

/// Returns TCP keep-alive settings: three unanswered probes end a connection that was silent for a
/// minute. gRPC servers do not count them.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(3)
}
