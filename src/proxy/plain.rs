//! Listeners and the HTTP server of each core.

use std::{cell::Cell, io, net::SocketAddr, rc::Rc, sync::Arc, thread::JoinHandle, time::Duration};

use http::{HeaderValue, Request};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ProtocolVersion, ServerConfig},
};

use super::{
    Settings, Shared,
    conn::{ConnInfo, TlsInfo},
    handle::handle,
    pool::Local,
    worker::Worker,
};
use crate::{limit::Connections, util::drain::Drain};

/// A running data plane.
#[derive(Debug)]
pub struct Running {
    /// Addresses of the HTTP listeners.
    pub http: Vec<SocketAddr>,
    /// Addresses of the HTTPS listeners.
    pub https: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

/// Why the data plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {addr}: {why}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What to do about it.
        why: String,
        /// Whether it is a matter of rights.
        denied: bool,
    },
    /// A thread cannot be made.
    #[error("cannot start a data-plane thread: {0}")]
    Thread(#[from] io::Error),
}

impl Running {
    /// Waits until every core has drained.
    pub fn join(self) {
        for thread in self.threads {
            // A core that panicked has been reported by the panic itself.
            let _ = thread.join();
        }
    }
}

/// Binds every listener and starts a thread per core.
pub fn start(
    settings: Settings,
    shared: Arc<Shared>,
    tls: Option<Arc<ServerConfig>>,
    drain: Drain,
) -> Result<Running, StartError> {
    let cores = match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let mut http = Vec::new();
    let mut https = Vec::new();
    let mut sockets: Vec<Vec<(std::net::TcpListener, bool)>> = (0..cores).map(|_| Vec::new()).collect();
    let wanted = settings.http.iter().map(|addr| (*addr, false)).chain(settings.https.iter().map(|addr| (*addr, true)));
    for (addr, secure) in wanted {
        let mut bound = free(addr)?;
        for core in &mut sockets {
            let socket = listen(bound)?;
            bound = socket.local_addr()?;
            core.push((socket, secure));
        }
        if secure { &mut https } else { &mut http }.push(bound);
    }
    let settings = Arc::new(settings);
    let connections = Connections::new(settings.max_connections, settings.max_connections_per_client);
    let mut threads = Vec::new();
    for (index, listeners) in sockets.into_iter().enumerate() {
        let (settings, shared, tls) = (settings.clone(), shared.clone(), tls.clone());
        let (connections, drain) = (connections.clone(), drain.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let core = move || {
            let tasks = tokio::task::LocalSet::new();
            tasks.block_on(&runtime, async move {
                let worker = Worker::new(index, settings, shared);
                let upgraded = worker.clone();
                let open = Rc::new(Cell::new(0_usize));
                let mut loops = tokio::task::JoinSet::new();
                for (listener, secure) in listeners {
                    let tls = if secure { tls.clone().map(TlsAcceptor::from) } else { None };
                    let (worker, connections) = (worker.clone(), connections.clone());
                    loops.spawn_local(accept(listener, tls, worker, connections, open.clone(), drain.clone()));
                }
                let mut drain = drain;
                let grace = drain.draining().await;
                let empty = async {
                    while loops.join_next().await.is_some() {}
                    while open.get() + upgraded.tunnels.get() > 0 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                };
                tokio::select! {
                    _all = timeout(grace, empty) => {}
                    () = drain.stopped() => {}
                }
            });
        };
        threads.push(std::thread::Builder::new().name(format!("proxy-{index}")).spawn(core)?);
    }
    Ok(Running { http, https, threads })
}

/// SO_REUSEPORT would let us share a port with a stranger: try without it first.
fn free(addr: SocketAddr) -> Result<SocketAddr, StartError> {
    let probe = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    probe.set_reuse_address(true)?;
    let tried = probe.bind(&addr.into()).and_then(|()| probe.listen(1));
    match tried {
        Ok(()) => Ok(addr),
        Err(error) => {
            let why = match error.kind() {
                io::ErrorKind::AddrInUse => format!(
                    "something else listens there (see `ss -ltnp 'sport = :{}'`); stop it, or choose another address with --http or --https",
                    addr.port()
                ),
                io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another address with --http or --https"
                        .to_owned()
                }
                _ => error.to_string(),
            };
            Err(StartError::Listen { addr, why, denied: error.kind() == io::ErrorKind::PermissionDenied })
        }
    }
}

fn listen(addr: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

async fn accept(
    listener: std::net::TcpListener,
    tls: Option<TlsAcceptor>,
    worker: Rc<Worker>,
    connections: Arc<Connections>,
    open: Rc<Cell<usize>>,
    mut drain: Drain,
) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let watching = drain.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = drain.draining() => return,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors: what is open has to close first.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Some(permit) = connections.admit(peer.ip()) else { continue };
        let (tls, worker, open, drain) = (tls.clone(), worker.clone(), open.clone(), watching.clone());
        open.set(open.get() + 1);
        tokio::task::spawn_local(async move {
            let _permit = permit;
            connection(stream, peer, tls, worker, drain).await;
            open.set(open.get() - 1);
        });
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>, worker: Rc<Worker>, drain: Drain) {
    // Only latency is lost when this fails.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
    let ip = peer.ip().to_canonical();
    let Ok(client_ip) = HeaderValue::from_str(&ip.to_string()) else { return };
    let trusted = worker.settings.trusted_proxies.iter().any(|net| net.contains(&ip));
    let mut info = ConnInfo { client: peer, peer, local, client_ip, trusted, tls: None };
    match tls {
        None => serve(stream, info, worker, drain, false).await,
        Some(acceptor) => {
            let Ok(Ok(stream)) = timeout(worker.settings.handshake_timeout, acceptor.accept(stream)).await else {
                return;
            };
            let session = stream.get_ref().1;
            let h2 = session.alpn_protocol() == Some(b"h2");
            let version = match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            };
            info.tls = Some(TlsInfo { sni: session.server_name().map(Into::into), version });
            serve(stream, info, worker, drain, h2).await;
        }
    }
}

async fn serve<T>(io: T, info: ConnInfo, worker: Rc<Worker>, mut drain: Drain, h2: bool)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let settings = worker.settings.clone();
    let info = Rc::new(info);
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, info) = (worker.clone(), info.clone());
        async move { Ok::<_, std::convert::Infallible>(handle(&worker, &info, request).await) }
    });
    if h2 {
        let connection = hyper::server::conn::http2::Builder::new(Local)
            .timer(TokioTimer::new())
            .max_concurrent_streams(settings.max_streams)
            .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(Some(settings.client_idle_timeout))
            .serve_connection(TokioIo::new(io), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ended = connection.as_mut() => return,
            _ = drain.draining() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        // hyper's own limit is 100; any number that is set costs an allocation per request.
        if settings.max_headers != 100 {
            builder.max_headers(settings.max_headers);
        }
        let connection = builder
            .timer(TokioTimer::new())
            .header_read_timeout(settings.client_header_timeout)
            .max_buf_size(settings.max_header_bytes.max(8192))
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ended = connection.as_mut() => return,
            _ = drain.draining() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}
