//! TCP: a connection to a port is passed to an endpoint of its backend.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use socket2::SockRef;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{record::Record, relay::Relay};
use crate::{
    limit::{Permit, Place},
    proxy::{
        counters::{Count, PortCounters},
        downstream::{client::ClientStream, handshake::Passed, proxy_protocol},
        proxy_header,
        request::{
            error::{Error, Kind, Retry},
            terms::Terms,
        },
        upstream::{
            self,
            pick::{Picker, Tried},
            pool::Lease,
        },
        worker::{ClientKey, Worker},
    },
    routing::{Port, PortRoute},
    tls::Server,
    util::drain::Drain,
};

/// The reason why a client is refused that has many connections already.
const TOO_MANY: &str = "this client has too many connections";

/// Serves a connection from accept to its end.
pub(crate) async fn serve(
    mut client: TcpStream,
    peer: SocketAddr,
    port: Port,
    tls: Option<Arc<Server>>,
    mut permit: Permit,
    worker: Rc<Worker>,
    drain: Drain,
) {
    // The port may have been closed since the connection was made.
    let Some(route) = worker.shared.ports.load().find(port).cloned() else {
        return abort(&client);
    };

    // Only latency is lost when this fails.
    let _ = client.set_nodelay(true);
    let Ok(local) = client.local_addr() else {
        return;
    };
    let ends = if route.accepts_proxy {
        match Box::pin(proxied(&mut client, &worker, (peer, local))).await {
            Some(ends) => ends,
            None => return abort(&client),
        }
    } else {
        (peer, local)
    };

    let ip = ends.0.ip().to_canonical();
    if permit.count_client(ip).is_err() {
        worker.counters.connections_refused.add(1);
        return abort(&client);
    }
    let mut record = Record::new(&worker, ip, port, None, &route);
    if !route.lets_in(ip) {
        let (counter, why) = (
            &worker.counters.connections_forbidden,
            Kind::Forbidden.reason(),
        );
        return refuse(&client, counter, record.as_deref_mut(), why);
    }
    let Ok(place) = worker.admit(route.limits.as_deref(), ip) else {
        let counter = &worker.counters.connections_refused;
        return refuse(&client, counter, record.as_deref_mut(), TOO_MANY);
    };

    let client = match tls.filter(|_| route.ends_tls) {
        None if route.ends_tls => return abort(&client),
        None => ClientStream::Plain(client),
        Some(server) => match Box::pin(end_tls(client, &server, &worker)).await {
            Some(stream) => ClientStream::Tls(stream),
            None => return,
        },
    };
    let session = Session {
        client,
        read: Vec::new(),
        ends,
        route,
        record,
        counters: &worker.counters.tcp,
        _place: place,
    };
    session.run(&worker, drain).await;
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
    let _permit = permit;
    let Passed {
        stream: client,
        read,
        host,
        to,
    } = passed;

    let counters = &worker.counters.tls;
    let route = match &to.target {
        Ok(route) => route.clone(),
        Err(refusal) => {
            counters.failures.add(1);
            tracing::debug!(%host, reason = refusal.reason(), "TLS connection closed");
            return abort(&client);
        }
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
        client: ClientStream::Plain(client),
        read,
        ends,
        route,
        record,
        counters,
        _place: None,
    };
    session.run(&worker, drain).await;
}

/// A connection of a client that goes to an endpoint.
struct Session<'a> {
    client: ClientStream,
    /// The bytes that were read from it.
    read: Vec<u8>,
    /// The addresses of the client, and of its destination.
    ends: (SocketAddr, SocketAddr),
    route: Arc<PortRoute>,
    record: Option<Box<Record>>,
    counters: &'a PortCounters,
    /// The place of the connection among those of its client.
    _place: Option<Box<Place<ClientKey>>>,
}

impl Session<'_> {
    /// Connects to an endpoint, and copies bytes until both sides have ended.
    async fn run(mut self, worker: &Rc<Worker>, drain: Drain) {
        let _open = Open::new(self.counters);
        // Boxed: connecting is short, and a connection reserves space for this future all its life.
        let connecting = Box::pin(connect(worker, &self.route, self.ends.0.ip()));
        let (mut endpoint, lease) = match connecting.await {
            Ok(connected) => connected,
            Err(error) => {
                self.counters.failures.add(1);
                if let Some(record) = &mut self.record {
                    (record.failed, record.reason) = (true, error.kind.reason());
                }
                tracing::debug!(client = %self.ends.0, %error, "connection to a port failed");
                return abort(self.client.socket());
            }
        };
        if let Some(record) = &mut self.record {
            record.endpoint = Some(lease.upstream().key.addr);
        }

        let idle = self.route.policy.timeouts.idle;
        let idle = idle.unwrap_or(worker.settings.tcp_idle_timeout);

        let (client, counters) = (&mut self.client, self.counters);
        let mut relay = Relay::new(worker, client, &mut endpoint, idle, drain, counters);

        let version = self.route.sends_proxy;
        let header = version.map(|one| proxy_header::header(one, self.ends.0, self.ends.1));
        let read = std::mem::take(&mut self.read);
        if header.is_some() || !read.is_empty() {
            relay.begin_with(header.unwrap_or_default(), &read);
        }
        drop(read);

        let (end, moved) = relay.run().await;
        if let Some(record) = &mut self.record {
            (record.reason, record.moved) = (end.reason(), moved);
        }
    }
}

/// Ends the TLS of a client; `None` if it does not come about in time.
async fn end_tls(
    client: TcpStream,
    server: &Server,
    worker: &Worker,
) -> Option<Box<TlsStream<TcpStream>>> {
    let config = server.any_protocol().clone();
    let limit = worker.settings.handshake_timeout;
    match timeout(limit, TlsAcceptor::from(config).accept(client)).await {
        Ok(Ok(stream)) => Some(Box::new(stream)),
        Ok(Err(_)) | Err(_) => {
            worker.counters.bad_connections.add(1);
            None
        }
    }
}

/// Reads the header of the PROXY protocol. Returns the addresses of the client and of its
/// destination, which are `ends` if the header has none; `None` if there is no valid header.
async fn proxied(
    client: &mut TcpStream,
    worker: &Worker,
    ends: (SocketAddr, SocketAddr),
) -> Option<(SocketAddr, SocketAddr)> {
    let limit = worker.settings.client_header_timeout;
    let why = match timeout(limit, proxy_protocol::read(client)).await {
        Ok(Ok(addresses)) => return Some(addresses.unwrap_or(ends)),
        Ok(Err(error)) => error.to_string(),
        Err(_late) => "it did not come in time".to_owned(),
    };

    worker.counters.bad_connections.add(1);
    let peer = ends.0;
    tracing::debug!(%peer, why, "connection without a header of the PROXY protocol closed");
    None
}

/// Connects to an endpoint. Tries another one if that fails, as long as there are attempts.
async fn connect(
    worker: &Rc<Worker>,
    route: &PortRoute,
    client: IpAddr,
) -> Result<(TcpStream, Lease), Error> {
    let terms = Terms::new(&worker.settings, Some(&route.policy));
    let session = session(worker, route, client);
    let picker = Picker {
        worker,
        backend: &route.backend,
        balance: terms.balance,
        session: session.as_deref(),
    };
    let mut tried = Tried::default();
    let mut attempt = 1;
    loop {
        let chosen = picker.pick(&mut tried, false).await?;
        let upstream = chosen.upstream;
        let lease = Lease::new(upstream.clone());
        let error = match upstream.connect(terms.connect_timeout).await {
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
fn refuse(client: &TcpStream, counter: &Count, record: Option<&mut Record>, why: &'static str) {
    counter.add(1);
    if let Some(record) = record {
        (record.failed, record.reason) = (true, why);
    }
    abort(client);
}

/// Lets the client see that its connection failed: by a reset, as if nothing listened.
fn abort(client: &TcpStream) {
    let _ = SockRef::from(client).set_linger(Some(Duration::ZERO));
}

/// Counts an open connection.
struct Open<'a>(&'a PortCounters);

impl<'a> Open<'a> {
    fn new(counters: &'a PortCounters) -> Self {
        counters.begun.add(1);
        Self(counters)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.ended.add(1);
    }
}
