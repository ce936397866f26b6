//! Listeners: bound before anything starts, so that what is in the way is said at once; accepting,
//! until the drain.

use std::{cell::Cell, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

use super::{Settings, serve::serve, worker::Worker};
use crate::{
    limit::Connections,
    tls::Server,
    util::{drain::Drain, port},
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// Between probes whether a silent client is still there.
const PROBE: Duration = Duration::from_secs(15);
/// The shortest and the longest silence before the first probe that Linux takes, in whole seconds.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32_767));
/// Linux takes milliseconds up to 2^31.
const USER_TIMEOUT: Duration = Duration::from_secs(2_000_000);
/// Ends a filter of packets with the number of bytes to keep: with 0, every packet is dropped.
const BPF_RET: u16 = 0x06;
/// Pause when the system has no descriptor left: what is open has to close first.
const PAUSE: Duration = Duration::from_millis(50);

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

/// What a core needs to take in connections.
#[derive(Clone, Debug)]
pub(super) struct Acceptor {
    pub(super) worker: Rc<Worker>,
    pub(super) connections: Arc<Connections>,
    /// Connections of this core, upgraded ones not counted.
    pub(super) open: Rc<Cell<usize>>,
    pub(super) drain: Drain,
}

/// Binds one socket per core to an address; with port 0 all to the one that the system chose.
pub(super) fn bind(
    addr: SocketAddr,
    cores: usize,
    settings: &Settings,
) -> Result<(SocketAddr, Vec<std::net::TcpListener>), StartError> {
    free(addr)?;
    let mut bound = addr;
    let mut sockets = Vec::with_capacity(cores);
    for _ in 0..cores {
        let socket = listen(bound, settings)?;
        bound = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok((bound, sockets))
}

/// A socket that takes IPv4 too where it is for all addresses of IPv6, whatever the system's
/// default for that is.
fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// SO_REUSEPORT would let us share a port with a stranger: try without it first.
fn free(addr: SocketAddr) -> Result<(), StartError> {
    let probe = socket(addr)?;
    probe.bind(&addr.into()).and_then(|()| probe.listen(1)).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => port::taken(addr, "--http or --https"),
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another address with --http or --https"
                    .to_owned()
            }
            _ => error.to_string(),
        };
        StartError::Listen { addr, why, denied: error.kind() == io::ErrorKind::PermissionDenied }
    })
}

fn listen(addr: SocketAddr, settings: &Settings) -> Result<std::net::TcpListener, StartError> {
    let socket = socket(addr)?;
    // Accepted connections inherit both. The kernel finds clients that are gone without a word: no
    // PING over HTTP/2 has to wait behind data that a slow client has yet to take.
    let idle = settings.client_idle_timeout.clamp(KEEPALIVE.0, KEEPALIVE.1);
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(PROBE);
    socket.set_tcp_keepalive(&keepalive)?;
    // What a client does not take is thrown away then, also after the end of its connection.
    socket.set_tcp_user_timeout(Some(settings.stream_idle_timeout.min(USER_TIMEOUT)))?;

    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the drain begins.
pub(super) async fn accept(
    listener: std::net::TcpListener,
    tls: Option<Arc<Server>>,
    mut acceptor: Acceptor,
) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = acceptor.drain.draining() => break,
        };
        match accepted {
            Ok((stream, peer)) => acceptor.take(stream, peer, tls.clone()),
            Err(error) if is_exhausted(&error) => tokio::time::sleep(PAUSE).await,
            // The connection was gone before it was accepted.
            Err(_) => {}
        }
    }
    // Closing the listener resets what waits in it; their clients have done nothing wrong. So the
    // door is shut first, and then all who are inside are let in; who knocks meanwhile knocks
    // again, and finds the port closed or a successor.
    let _ = SockRef::from(&listener).attach_filter(&[SockFilter::new(BPF_RET, 0, 0, 0)]);
    let Ok(listener) = listener.into_std() else {
        return;
    };
    while let Ok((stream, peer)) = listener.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            acceptor.take(stream, peer, tls.clone());
        }
    }
}

impl Acceptor {
    fn take(&self, stream: TcpStream, peer: SocketAddr, tls: Option<Arc<Server>>) {
        let Ok(permit) = self.connections.admit() else {
            return self.worker.counters.connections_refused.add(1);
        };
        let Self {
            worker,
            open,
            drain,
            ..
        } = self.clone();
        open.set(open.get() + 1);
        tokio::task::spawn_local(async move {
            serve(stream, peer, tls, permit, worker, drain).await;
            open.set(open.get() - 1);
        });
    }
}

/// Out of descriptors or memory.
pub(super) fn is_exhausted(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(
        error.raw_os_error(),
        Some(ENOMEM | ENFILE | EMFILE | ENOBUFS)
    )
}
