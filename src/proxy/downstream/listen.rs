//! Listeners: binds them before anything starts, so that conflicts are reported at once, and
//! accepts connections until the drain.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, TcpKeepalive, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};

use super::{listeners::OpenListener, serve::serve};
use crate::{
    limit::Connections,
    proxy::{Settings, l4, memory, worker::Worker},
    routing::{Listener, ListenerProtocol, Port},
    tls::Server,
    util::{datagram, drain::Drain, port},
};

/// The most connections that may wait to be accepted.
const BACKLOG: i32 = 1024;
/// The interval between keep-alive probes of a silent client.
const PROBE: Duration = Duration::from_secs(15);
/// The shortest and the longest silence before the first probe that Linux accepts.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(32_767));
/// The longest user timeout; Linux accepts milliseconds below 2^31.
const USER_TIMEOUT: Duration = Duration::from_secs(2_000_000);
/// The BPF instruction that returns the number of bytes to keep; with 0, every packet is dropped.
const BPF_RET: u16 = 0x06;
/// The pause after the system ran out of descriptors: open ones have to close first.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest time for which connections in a held socket wait for the table, such as while the
/// API server of a cluster is away.
const PATIENCE: Duration = Duration::from_secs(10);

/// The reason why the data plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {addr}: {why}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The reason, or the way out.
        why: String,
        /// True if a privilege is missing.
        denied: bool,
    },
    /// A thread cannot be started.
    #[error("cannot start a data-plane thread: {0}")]
    Thread(#[from] io::Error),
}

/// The parts of a core that it needs to accept connections.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor {
    pub(crate) worker: Rc<Worker>,
    pub(crate) connections: Arc<Connections>,
    /// TLS of the listeners that end it.
    pub(crate) tls: Option<Arc<Server>>,
    /// Connections of this core, without upgraded ones.
    pub(crate) open: Rc<Cell<usize>>,
}

/// The protocol that a listener's connections are served with.
enum Served {
    /// HTTP, with TLS or without.
    Http(Option<Arc<Server>>),
    /// The bytes of a port, whose clients may use TLS.
    Tcp(Port, Option<Arc<Server>>),
}

/// A socket of a listener.
#[derive(Debug)]
pub(crate) enum PortSocket {
    Tcp(std::net::TcpListener),
    Udp(std::net::UdpSocket),
}

/// Binds one socket per core to an address; with port 0, all of them to the port that the system
/// chose. The address must be free unless it is `ours` already, or that of the process that is
/// taken over.
pub(crate) fn bind(
    listener: Listener,
    cores: usize,
    (ours, origin): (bool, Origin),
    settings: &Settings,
) -> Result<(SocketAddr, Vec<PortSocket>), StartError> {
    if !ours && origin != Origin::TakenOver {
        free(listener)?;
    }

    let mut bound = listener.address;
    let mut sockets = Vec::with_capacity(cores);
    for _ in 0..cores {
        sockets.push(if listener.protocol == ListenerProtocol::Udp {
            let socket = receive(bound)?;
            bound = socket.local_addr()?;
            PortSocket::Udp(socket)
        } else {
            let socket = listen(bound, origin, settings)?;
            bound = socket.local_addr()?;
            PortSocket::Tcp(socket)
        });
    }
    Ok((bound, sockets))
}

/// Returns a socket per core for the queue of a socket that the service manager holds.
pub(super) fn share(
    held: &std::net::TcpListener,
    cores: usize,
    settings: &Settings,
) -> Result<(SocketAddr, Vec<PortSocket>), StartError> {
    prepare(&SockRef::from(held), settings)?;
    let share = |_core| held.try_clone().map(PortSocket::Tcp);
    let sockets: io::Result<Vec<_>> = (0..cores).map(share).collect();
    Ok((held.local_addr()?, sockets?))
}

/// Creates a socket. One for `[::]` accepts IPv4 too, whatever the system's default.
fn socket(addr: SocketAddr, protocol: Protocol) -> io::Result<Socket> {
    let domain = Domain::for_address(addr);
    let socket = if protocol == Protocol::UDP {
        Socket::new(domain, Type::DGRAM, Some(protocol))?
    } else {
        let socket = Socket::new(domain, Type::STREAM, Some(protocol))?;
        // For connections of before that are still closing.
        socket.set_reuse_address(true)?;
        socket
    };
    if addr.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    Ok(socket)
}

/// Checks that an address is free: SO_REUSEPORT would let us share the port with another process of
/// the same user, so try without it first.
fn free(Listener { address, protocol }: Listener) -> Result<(), StartError> {
    let choose = match protocol.is_http() {
        true => "another address with --http or --https",
        false => "another port",
    };
    let is_udp = protocol == ListenerProtocol::Udp;
    let tried = if is_udp {
        socket(address, Protocol::UDP)?.bind(&address.into())
    } else {
        let probe = socket(address, Protocol::TCP)?;
        probe.bind(&address.into()).and_then(|()| probe.listen(1))
    };

    tried.map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse if is_udp => {
                format!("another program has the port; stop it, or choose {choose}")
            }
            io::ErrorKind::AddrInUse => port::taken(address, choose),
            io::ErrorKind::PermissionDenied => {
                format!("ports below 1024 need root or CAP_NET_BIND_SERVICE; choose {choose}")
            }
            _ => error.to_string(),
        };
        StartError::Listen {
            addr: address,
            why,
            denied: error.kind() == io::ErrorKind::PermissionDenied,
        }
    })
}

/// Opens a socket for datagrams.
fn receive(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = socket(addr, Protocol::UDP)?;
    datagram::tell_addresses(&socket, addr.is_ipv6())?;
    // Only work is saved by that, and old systems do not know it.
    let _ = datagram::join_datagrams(&socket);
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

fn listen(
    addr: SocketAddr,
    origin: Origin,
    settings: &Settings,
) -> Result<std::net::TcpListener, StartError> {
    let socket = socket(addr, Protocol::TCP)?;
    prepare(&socket, settings)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    // Connections come to the other process until this one can serve them.
    if origin != Origin::TakenOver {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

/// Sets the options of a socket that listens.
fn prepare(socket: &Socket, settings: &Settings) -> io::Result<()> {
    // Accepted connections inherit all of them. The kernel detects clients that vanished; an HTTP/2
    // PING would have to wait behind data that a slow client has yet to read.
    let idle = settings.client_idle_timeout.clamp(KEEPALIVE.0, KEEPALIVE.1);
    let keepalive = TcpKeepalive::new().with_time(idle).with_interval(PROBE);
    socket.set_tcp_keepalive(&keepalive)?;
    // The kernel drops data that a client does not acknowledge in time, even after we closed.
    socket.set_tcp_user_timeout(Some(settings.stream_idle_timeout.min(USER_TIMEOUT)))?;
    // Only latency is lost when this fails.
    let _ = socket.set_tcp_nodelay(true);
    socket.set_nonblocking(true)
}

/// The origin of the sockets of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The process has opened them.
    Own,
    /// The process opens them beside those of the process that it takes over from, and listens
    /// once it can serve.
    TakenOver,
    /// The service manager holds them.
    Held,
}

/// Accepts until the drain begins. Connections can wait in a held socket: at the start until the
/// table has all objects, and during the drain for the next process. One that is taken over listens
/// from then on.
pub(crate) async fn accept(
    socket: std::net::TcpListener,
    opened: &OpenListener,
    acceptor: Acceptor,
    mut drain: Drain,
) {
    let bound = opened.bound;
    let served = match bound.protocol {
        ListenerProtocol::Http => Served::Http(None),
        ListenerProtocol::Https => Served::Http(acceptor.tls.clone()),
        ListenerProtocol::Tcp | ListenerProtocol::Udp => {
            Served::Tcp(Port::tcp(bound.address.port()), acceptor.tls.clone())
        }
    };
    if opened.origin != Origin::Own {
        let ready = async {
            opened.may_listen().await;
            // Connections do not wait for longer.
            let _ = timeout(PATIENCE, acceptor.worker.shared.ready()).await;
        };
        tokio::select! {
            () = ready => {}
            _ = drain.draining() => return,
        }
    }
    if opened.origin == Origin::TakenOver {
        if let Err(error) = SockRef::from(&socket).listen(BACKLOG) {
            tracing::error!(%error, "cannot listen");
        }
        opened.quiet.send_modify(|quiet| *quiet -= 1);
    }

    // Only now: until it listens, a socket counts as one whose other side has hung up.
    let Ok(listener) = TcpListener::from_std(socket) else {
        return;
    };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = drain.draining() => break,
        };
        match accepted {
            Ok((stream, peer)) => acceptor.take(stream, peer, &served, &drain),
            Err(error) if is_exhausted(&error) => tokio::time::sleep(PAUSE).await,
            // The client disconnected before the connection was accepted.
            Err(_) => {}
        }
    }

    // Idle connections close soon.
    acceptor.worker.deadlines.wake_all();
    if opened.origin == Origin::Held {
        return;
    }

    // Closing the listener would reset the connections that wait in it, so they are accepted first.
    // The filter drops new SYNs; clients retransmit them, to a closed port or to the successor.
    let _ = SockRef::from(&listener).attach_filter(&[SockFilter::new(BPF_RET, 0, 0, 0)]);
    let Ok(listener) = listener.into_std() else {
        return;
    };
    while let Ok((stream, peer)) = listener.accept() {
        if stream.set_nonblocking(true).is_ok()
            && let Ok(stream) = TcpStream::from_std(stream)
        {
            acceptor.take(stream, peer, &served, &drain);
        }
    }
}

impl Acceptor {
    fn take(&self, stream: TcpStream, peer: SocketAddr, served: &Served, drain: &Drain) {
        let admitted = self.connections.admit().ok();
        let Some(permit) = admitted.filter(|_| !memory::is_used_up()) else {
            return self.worker.counters.connections_refused.add(1);
        };
        let (worker, drain) = (self.worker.clone(), drain.clone());
        match served {
            Served::Http(tls) => {
                self.spawn(serve(stream, peer, tls.clone(), permit, worker, drain));
            }
            Served::Tcp(port, tls) => {
                let (port, tls) = (*port, tls.clone());
                self.spawn(l4::tcp::serve(
                    stream, peer, port, tls, permit, worker, drain,
                ));
            }
        }
    }

    /// Runs the task of a connection, and counts it while it runs.
    fn spawn(&self, connection: impl Future<Output = ()> + 'static) {
        self.open.set(self.open.get() + 1);
        tokio::task::spawn_local(Counted {
            connection: Box::pin(connection),
            open: self.open.clone(),
        });
    }
}

/// A connection that is counted while it runs. An `async` block in its place would have room for
/// the future twice.
struct Counted<F> {
    connection: Pin<Box<F>>,
    open: Rc<Cell<usize>>,
}

impl<F: Future<Output = ()>> Future for Counted<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.as_mut().poll(cx)
    }
}

impl<F> Drop for Counted<F> {
    fn drop(&mut self) {
        self.open.set(self.open.get() - 1);
    }
}

/// Returns true if the system is out of descriptors or memory.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    const ENOMEM: i32 = 12;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    matches!(
        error.raw_os_error(),
        Some(ENOMEM | ENFILE | EMFILE | ENOBUFS)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_connections_inherit_the_options_of_their_listener() {
        let settings = Settings::default();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = listen(loopback, Origin::Own, &settings).expect("it listens");
        let at = listener.local_addr().expect("its address");
        let _client = std::net::TcpStream::connect(at).expect("it is there");

        listener.set_nonblocking(false).expect("it can wait");
        let (accepted, _) = listener.accept().expect("the client");
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().expect("an option"));
        assert!(accepted.keepalive().expect("an option"));
        let unread = accepted.tcp_user_timeout().expect("an option");
        assert_eq!(unread, Some(settings.stream_idle_timeout));
    }
}
