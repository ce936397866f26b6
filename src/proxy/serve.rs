//! Serves one client connection: PROXY protocol, TLS, the guarded HTTP server, deadlines, drain.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Request, Response, header::CONNECTION};
use hyper::{
    body::Incoming,
    server::conn,
    service::{Service, service_fn},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_rustls::rustls::ProtocolVersion;

use super::{
    body::Body,
    conn::{ConnInfo, TlsInfo},
    conn_state::{ConnState, DRAIN_IDLE, DeadlineAction, InFlightGuard},
    guard::{
        h1::GuardH1,
        h2::{GuardH2, PREFACE},
        head::Limits,
    },
    handle::handle,
    handshake::handshake,
    pin::Pins,
    proxy_protocol,
    streams::Streams,
    worker::Worker,
};
use crate::{limit::Permit, tls::Server, util::drain::Drain};

/// The size of a read that detects the protocol of a plain connection.
const FIRST: usize = 2048;

/// The time that a connection has to end after its deadline has passed.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves a connection from accept to its end. An upgraded connection continues after that, with
/// `permit`.
pub(super) async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<Server>>,
    mut permit: Permit,
    worker: Rc<Worker>,
    drain: Drain,
) {
    let settings = worker.settings.clone();
    // Only latency is lost when this fails.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else {
        return;
    };

    let peer_ip = peer.ip().to_canonical();
    let mut ends = (peer, local);
    let mut listener = Some(local.port());
    if settings
        .proxy_protocol_from
        .iter()
        .any(|net| net.contains(&peer_ip))
    {
        match timeout(
            settings.client_header_timeout,
            proxy_protocol::read(&mut stream),
        )
        .await
        {
            Ok(Ok(Some(addresses))) => (ends, listener) = (addresses, None),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                worker.counters.bad_connections.add(1);
                tracing::debug!(%peer, %error, "connection closed");
                return;
            }
            Err(_late) => return worker.counters.bad_connections.add(1),
        }
    }

    let ip = ends.0.ip().to_canonical();
    if permit.count_client(ip).is_err() {
        return worker.counters.connections_refused.add(1);
    }
    let Ok(client_ip) = HeaderValue::from_str(&ip.to_string()) else {
        return;
    };

    let conn = ConnInfo {
        client: SocketAddr::new(ip, ends.0.port()),
        peer,
        local: ends.1,
        listener,
        client_ip,
        trusted: settings.trusted_proxies.iter().any(|net| net.contains(&ip)),
        tls: None,
        state: Arc::new(ConnState::new((&*settings).into())),
        pins: Pins::default(),
    };

    let state = conn.state.clone();

    // From here on a connection is one allocation of the size of its kind, not of the largest kind.
    let connection = match tls {
        None => {
            let Some((h2, first)) =
                protocol(&stream, settings.client_header_timeout, drain.clone()).await
            else {
                return;
            };
            if h2 {
                http2(stream, first, conn, permit, &worker)
            } else {
                http1(stream, &first, conn, permit, &worker)
            }
        }
        Some(server) => {
            let handshake = Box::pin(handshake(
                stream,
                &server,
                &worker.shared.challenges,
                ip,
                ends.1.ip(),
            ));
            let stream = match timeout(settings.handshake_timeout, handshake).await {
                Ok(Ok(Some(stream))) => stream,
                Ok(Ok(None)) => return,
                Ok(Err(_)) | Err(_) => return worker.counters.bad_connections.add(1),
            };

            let session = stream.get_ref().1;
            let h2 = session.alpn_protocol() == Some(b"h2");
            let version = match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            };
            let sni = session.server_name().map(Into::into);
            let tls = Some(TlsInfo {
                sni,
                version,
                resolver: server.resolver().clone(),
            });

            let conn = ConnInfo { tls, ..conn };
            if h2 {
                http2(stream, Vec::new(), conn, permit, &worker)
            } else {
                http1(stream, &[], conn, permit, &worker)
            }
        }
    };

    drive(connection, &state, drain).await;
    if state.is_flooded() {
        worker.counters.floods.add(1);
    }
}

/// Detects the protocol of a plain connection. Returns true for HTTP/2 (prior knowledge, RFC 9113
/// section 3.3), and the bytes read so far. `None` if the connection ended or sent nothing in time.
async fn protocol(stream: &TcpStream, time: Duration, mut drain: Drain) -> Option<(bool, Vec<u8>)> {
    let mut first = Vec::new();
    let known = async {
        loop {
            stream.readable().await.ok()?;
            match take(stream, &mut first) {
                Ok(0) => return None,
                Ok(_) if first.starts_with(PREFACE) => return Some(true),
                Ok(_) if PREFACE.starts_with(&first) => {}
                Ok(_) => return Some(false),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    };

    // While draining, a request that comes at once is still served: its client could not know of
    // the drain.
    let leaving = async {
        drain.draining().await;
        sleep(DRAIN_IDLE).await;
    };

    let h2 = tokio::select! {
        known = timeout(time, known) => known.ok().flatten()?,
        () = leaving => return None,
    };
    Some((h2, first))
}

/// Reads the available bytes. Not async, so that waiting connections do not hold its buffer.
fn take(stream: &TcpStream, into: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; FIRST];
    let n = stream.try_read(&mut buffer)?;
    into.extend_from_slice(&buffer[..n]);
    Ok(n)
}

/// A connection that an HTTP server serves.
trait Served {
    /// Continues to serve the connection; ready when it has ended.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()>;

    /// Tells the client that no request may follow, if the protocol can do so outside of responses.
    fn goodbye(self: Pin<&mut Self>);
}

impl<I, S> Served for conn::http1::UpgradeableConnection<TokioIo<I>, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self, cx).map(|_| ())
    }

    fn goodbye(self: Pin<&mut Self>) {}
}

impl<I, S> Served for conn::http2::Connection<TokioIo<I>, S, Streams>
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible>,
    S::Future: 'static,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self, cx).map(|_| ())
    }

    fn goodbye(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

fn http1<I>(
    io: I,
    first: &[u8],
    conn: ConnInfo,
    permit: Permit,
    worker: &Rc<Worker>,
) -> Pin<Box<dyn Served>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = &worker.settings;
    let limits = Limits {
        bytes: settings.max_header_bytes,
        fields: settings.max_headers,
    };
    let guard = GuardH1::new(io, first, conn.state.clone(), limits, permit);

    let mut builder = conn::http1::Builder::new();
    // The guard refuses larger heads. hyper's default limit is 100 fields; setting any number costs
    // an allocation per request.
    if settings.max_headers > 100 {
        builder.max_headers(settings.max_headers);
    }

    let (conn, worker) = (Rc::new(conn), worker.clone());
    let max_buf_size = settings.max_header_bytes.max(8192);
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, conn, in_flight) = (
            worker.clone(),
            conn.clone(),
            InFlightGuard::new(&conn.state),
        );
        // Boxed: hyper reserves space for this future in every connection, idle or not.
        Box::pin(async move {
            let mut response = handle(&worker, &conn, request).await;
            response.body_mut().in_flight = Some(in_flight);
            if conn.state.is_draining() {
                response
                    .headers_mut()
                    .insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    });

    // Not `pipeline_flush`: with it hyper's write buffer has no bound, however slowly the client
    // reads.
    builder.header_read_timeout(None).max_buf_size(max_buf_size);
    Box::pin(
        builder
            .serve_connection(TokioIo::new(guard), service)
            .with_upgrades(),
    )
}

fn http2<I>(
    io: I,
    first: Vec<u8>,
    conn: ConnInfo,
    permit: Permit,
    worker: &Rc<Worker>,
) -> Pin<Box<dyn Served>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = &worker.settings;
    let guard = GuardH2::new(io, first, conn.state.clone(), permit);
    let streams = Streams::new(worker);

    let mut builder = conn::http2::Builder::new(streams.clone());
    builder
        .max_concurrent_streams(settings.max_streams)
        .max_send_buf_size(super::SEND_BUFFER)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX));

    let (conn, worker) = (Rc::new(conn), worker.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, conn, in_flight) = (
            worker.clone(),
            conn.clone(),
            InFlightGuard::new(&conn.state),
        );
        let streams = streams.clone();
        async move {
            let progress = streams.current();
            let mut response = handle(&worker, &conn, request).await;
            if let Some(progress) = &progress {
                progress.given();
            }
            let body = response.body_mut();
            (body.in_flight, body.progress) = (Some(in_flight), progress);
            Ok(response)
        }
    });

    Box::pin(builder.serve_connection(TokioIo::new(guard), service))
}

/// Runs a connection under the deadlines of its state.
///
/// A deadline that has passed is acted on once. The connection then has [`END_TIMEOUT`] to end by
/// itself, and is dropped after that: a client that does not cooperate must not keep it open.
async fn drive(mut connection: Pin<Box<dyn Served>>, state: &ConnState, mut drain: Drain) {
    let mut draining = pin!(drain.draining());
    let mut timer: Pin<&mut Sleep> = pin!(sleep(Duration::ZERO));
    let mut armed = Instant::now();
    // The time at which a connection whose deadline has passed is dropped.
    let mut dropped_at: Option<Instant> = None;

    std::future::poll_fn(|cx| {
        state.set_waker(cx.waker());
        loop {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if !state.is_draining() && draining.as_mut().poll(cx).is_ready() {
                state.drain();
                connection.as_mut().goodbye();
                continue;
            }

            let now = Instant::now();
            let wake_at = match state.deadline() {
                None => {
                    dropped_at = None;
                    return Poll::Pending;
                }
                Some((at, _)) if at > now => {
                    dropped_at = None;
                    at
                }
                Some((_, action)) => match dropped_at {
                    Some(at) if at > now => at,
                    Some(_) => return Poll::Ready(()),
                    None => {
                        match action {
                            DeadlineAction::End => return Poll::Ready(()),
                            DeadlineAction::Idle => connection.as_mut().goodbye(),
                            DeadlineAction::None | DeadlineAction::SlowHead => {}
                        }
                        state.decide(action);
                        dropped_at = Some(now + END_TIMEOUT);
                        continue;
                    }
                },
            };

            // A deadline that moved to a later time is checked when the old one passes: this saves
            // setting a timer per request.
            if wake_at < armed || timer.is_elapsed() {
                timer.as_mut().reset(wake_at);
                armed = wake_at;
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests;
