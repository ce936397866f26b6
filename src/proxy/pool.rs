//! Upstream connections of one core: per endpoint and protocol a list of idle HTTP/1.1 connections,
//! or one shared HTTP/2 connection.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use hyper::{client::conn::http2, rt::Executor};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::rustls::pki_types::ServerName;

use super::{
    Settings,
    body::RequestBody,
    condition::{Condition, ConnectFailure, EndpointKey},
    counters::{Counters, EndpointStats},
    deferred_write_error::DeferredWriteError,
    error::{Error, Kind, Retry},
    exchange::Connection,
    pin::Claim,
    worker::{self, Worker},
};
use crate::{balance::Outlier, routing::Protocol, tls::handshake_failure};

/// Requests on one HTTP/2 connection before another is opened: the number that most servers allow.
const STREAMS: usize = 100;
/// The most HTTP/2 connections to one endpoint; beyond that, requests queue.
const MAX_SHARED: usize = 8;

/// The bytes of a response that an HTTP/2 backend may send ahead: enough for full speed from a
/// nearby backend.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all responses on a connection: clients may stop reading all but one of them without
/// blocking that one.
const CONNECTION_WINDOW: u32 = 128 * STREAM_WINDOW;

/// The identity of an endpoint in the pool: only connections with the same key are shared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct UpstreamKey {
    pub(super) addr: SocketAddr,
    pub(super) protocol: Protocol,
    /// The name for SNI and verification, if the endpoint has one.
    pub(super) name: Option<Rc<str>>,
}

/// One endpoint as this core sees it. It outlives changes of the routing table.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) key: UpstreamKey,
    pub(super) outlier: RefCell<Outlier>,
    pub(super) in_flight: Cell<u32>,
    pub(super) last_used: Cell<Instant>,
    /// Its counters for metrics and `status`.
    pub(super) stats: Arc<EndpointStats>,
    /// Shared with the other cores.
    pub(super) condition: Arc<Condition>,
    pub(super) counters: Arc<Counters>,
    idle: RefCell<Vec<Idle>>,
    shared: RefCell<Vec<Shared>>,
    /// Held while an HTTP/2 connection is opened, so that concurrent requests share it.
    connecting: tokio::sync::Mutex<()>,
    max_idle: usize,
}

/// An HTTP/2 connection; its requests are counted by the clones of `streams`.
#[derive(Clone, Debug)]
struct Shared {
    sender: http2::SendRequest<RequestBody>,
    streams: Rc<()>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

/// A connection in use by one request.
#[derive(Debug)]
pub(super) struct Lease {
    upstream: Rc<Upstream>,
    /// Its place on an HTTP/2 connection.
    streams: Option<Rc<()>>,
    keeper: Keeper,
}

/// The owner of an HTTP/1.1 connection once the response on it is complete.
#[derive(Debug)]
pub(super) enum Keeper {
    /// The pool: every client may use it.
    Pool,
    /// The client connection that it is pinned to.
    Client(Claim),
    /// No owner: it is closed.
    Close,
}

/// Runs hyper's tasks on the core that created them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

impl Upstream {
    pub(super) fn new(
        key: UpstreamKey,
        settings: &Settings,
        counters: &Arc<Counters>,
        shared: &worker::Shared,
    ) -> Rc<Self> {
        let name = key.name.as_deref().map(Into::into);
        Rc::new(Self {
            condition: shared.condition(EndpointKey {
                addr: key.addr,
                protocol: key.protocol,
                name,
            }),
            stats: counters.endpoint(key.addr, key.protocol),
            counters: counters.clone(),
            key,
            outlier: RefCell::default(),
            in_flight: Cell::new(0),
            last_used: Cell::new(Instant::now()),
            idle: RefCell::default(),
            shared: RefCell::default(),
            connecting: tokio::sync::Mutex::default(),
            max_idle: settings.max_idle_per_endpoint,
        })
    }

    /// Returns an HTTP/1.1 connection, and true if it was used before. Closes idle ones whose peer
    /// has closed or sent anything. With `fresh`, always opens a new one.
    pub(super) async fn connection(
        self: &Rc<Self>,
        worker: &Worker,
        fresh: bool,
    ) -> Result<(Connection, Lease, bool), Error> {
        let lease = Lease::new(self.clone());
        if !fresh && let Some(connection) = self.take_idle() {
            return Ok((connection, lease, true));
        }
        // Boxed, here and below: connecting is rare, and every request in flight reserves space for
        // this future.
        let connection = Box::pin(self.connect_h1(worker)).await?;
        Ok((connection, lease, false))
    }

    /// Returns a stream on an HTTP/2 connection, and true if the connection existed before.
    pub(super) async fn stream(
        self: &Rc<Self>,
        worker: &Worker,
    ) -> Result<(http2::SendRequest<RequestBody>, Lease, bool), Error> {
        let mut lease = Lease::new(self.clone());
        if let Some(sender) = self.join_shared(&mut lease) {
            return Ok((sender, lease, true));
        }

        let _one_at_a_time = self.connecting.lock().await;
        if let Some(sender) = self.join_shared(&mut lease) {
            return Ok((sender, lease, true));
        }

        let sender = Box::pin(self.connect_h2(worker)).await?;
        let streams = Rc::new(());
        lease.streams = Some(streams.clone());
        self.shared.borrow_mut().push(Shared {
            sender: sender.clone(),
            streams,
        });
        Ok((sender, lease, false))
    }

    /// Takes the most recently used idle connection.
    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        std::iter::from_fn(|| idle.pop())
            .map(|idle| idle.connection)
            .find(Connection::is_quiet)
    }

    /// Records that the endpoint responded.
    pub(super) fn succeeded(&self) {
        self.outlier.borrow_mut().succeeded();
        self.condition.works();
        if self.stats.ejected.load(Relaxed) {
            self.stats.ejected.store(false, Relaxed);
        }
    }

    /// Joins an open HTTP/2 connection that has a free stream.
    fn join_shared(&self, lease: &mut Lease) -> Option<http2::SendRequest<RequestBody>> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| !shared.sender.is_closed());

        let full = shared.len() >= MAX_SHARED;
        let least = shared
            .iter()
            .min_by_key(|shared| Rc::strong_count(&shared.streams))?;
        if !full && Rc::strong_count(&least.streams) > STREAMS {
            return None;
        }

        lease.streams = Some(least.streams.clone());
        Some(least.sender.clone())
    }

    /// Closes connections that were idle for too long. Returns false if nothing worth keeping is
    /// left.
    pub(super) fn sweep(&self, now: Instant, settings: &Settings) -> bool {
        let old = |since: Instant| now.duration_since(since) >= settings.upstream_idle_timeout;
        let over = |idle: &mut Idle| old(idle.since) || !idle.connection.is_quiet();
        self.idle
            .borrow_mut()
            .extract_if(.., over)
            .for_each(|idle| idle.connection.close());

        let unused = self.in_flight.get() == 0 && old(self.last_used.get());
        if unused {
            self.shared.borrow_mut().clear();
        }
        !unused || !self.idle.borrow().is_empty() || self.outlier.borrow().is_ejected(now)
    }

    async fn connect_h1(&self, worker: &Worker) -> Result<Connection, Error> {
        let tcp = self.tcp(worker.settings.connect_timeout).await?;
        Ok(match self.key.protocol {
            Protocol::Https => Connection::new(self.tls(tcp, worker, false).await?),
            _ => Connection::new(tcp),
        })
    }

    async fn connect_h2(&self, worker: &Worker) -> Result<http2::SendRequest<RequestBody>, Error> {
        let limit = worker.settings.connect_timeout;
        let tcp = self.tcp(limit).await?;
        match self.key.protocol {
            Protocol::H2 => {
                self.handshake_h2(self.tls(tcp, worker, true).await?, &worker.settings)
                    .await
            }
            _ => self.handshake_h2(tcp, &worker.settings).await,
        }
    }

    async fn tcp(&self, limit: Duration) -> Result<DeferredWriteError, Error> {
        match timeout(limit, TcpStream::connect(self.key.addr)).await {
            Ok(Ok(tcp)) => {
                // Only latency is lost when this fails.
                let _ = tcp.set_nodelay(true);
                // Pings are too rare to detect an endpoint that vanished.
                if matches!(self.key.protocol, Protocol::H2c | Protocol::H2) {
                    let _ = SockRef::from(&tcp).set_tcp_keepalive(&keepalive());
                }
                Ok(DeferredWriteError::new(tcp))
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

    async fn tls(
        &self,
        tcp: DeferredWriteError,
        worker: &Worker,
        h2: bool,
    ) -> Result<tokio_rustls::client::TlsStream<DeferredWriteError>, Error> {
        let name = match &self.key.name {
            Some(name) => ServerName::try_from(name.to_string()).map_err(|_bad| {
                self.failed(ConnectFailure::Tls(
                    "its name is not a valid server name".into(),
                ))
            })?,
            None => ServerName::IpAddress(self.key.addr.ip().into()),
        };

        let connector = worker.tls(h2);
        match timeout(
            worker.settings.connect_timeout,
            connector.connect(name, tcp),
        )
        .await
        {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => {
                Err(self.failed(ConnectFailure::Tls(handshake_failure(&error).into())))
            }
            Err(_elapsed) => Err(self.failed(ConnectFailure::TlsTimedOut)),
        }
    }

    async fn handshake_h2<T>(
        &self,
        io: T,
        settings: &Settings,
    ) -> Result<http2::SendRequest<RequestBody>, Error>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(settings.upstream_ping_interval))
            .keep_alive_while_idle(false)
            .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(super::SEND_BUFFER)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|_broken| self.failed(ConnectFailure::NotHttp2))?;

        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }

    /// Records why no connection could be made. Returns the error for the client, which reveals
    /// less than the log: nothing about the inside.
    pub(super) fn failed(&self, failure: ConnectFailure) -> Error {
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
    pub(super) fn new(upstream: Rc<Upstream>) -> Self {
        upstream.in_flight.set(upstream.in_flight.get() + 1);
        upstream.last_used.set(Instant::now());
        upstream.stats.begun.add(1);
        Self {
            upstream,
            streams: None,
            keeper: Keeper::Pool,
        }
    }

    pub(super) fn upstream(&self) -> &Rc<Upstream> {
        &self.upstream
    }

    /// Takes the shared connection out of use: a request on it has failed.
    pub(super) fn retire(&mut self) {
        if let Some(streams) = self.streams.take() {
            self.upstream
                .shared
                .borrow_mut()
                .retain(|shared| !Rc::ptr_eq(&shared.streams, &streams));
        }
    }

    /// Leaves the connection to `keeper` instead of the pool.
    pub(super) fn leave_to(&mut self, keeper: Keeper) {
        self.keeper = keeper;
    }

    /// Ends the lease after a complete response. An HTTP/1.1 connection goes to its keeper for
    /// another request.
    pub(super) fn finish(mut self, connection: Option<Connection>) {
        let Some(connection) = connection else { return };
        match std::mem::replace(&mut self.keeper, Keeper::Close) {
            Keeper::Client(claim) => claim.keep(self.upstream.clone(), connection),
            Keeper::Close => connection.close(),
            Keeper::Pool => {
                let mut idle = self.upstream.idle.borrow_mut();
                if idle.len() < self.upstream.max_idle {
                    idle.push(Idle {
                        connection,
                        since: Instant::now(),
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
