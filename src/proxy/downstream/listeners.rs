//! The open listeners. They can change while the process runs: each core opens and closes its
//! sockets to follow, and connections to the listeners that stay are not affected.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::listen::{self, Origin, PortSocket, StartError};
use crate::{
    proxy::{Settings, Shared},
    routing::{Listener, ListenerProtocol, Port, Transport},
    util::{
        drain::{self, Drain, Phase},
        sync::lock,
    },
};

/// The listeners at one moment.
pub(crate) type OpenListeners = Arc<[Arc<OpenListener>]>;

/// The listeners of the data plane.
#[derive(Debug)]
pub struct Listeners {
    settings: Arc<Settings>,
    shared: Arc<Shared>,
    cores: usize,
    sockets: Sockets,
    /// True while another process listens on the same addresses.
    are_shared: AtomicBool,
    /// True once sockets that are taken over may listen.
    may_listen: Arc<watch::Sender<bool>>,
    drain: Drain,
    open: watch::Sender<OpenListeners>,
    /// The listeners that were closed, as long as a core has a socket of theirs. Held while the
    /// listeners change.
    closing: Mutex<Vec<Weak<OpenListener>>>,
}

/// The sockets that are there when the process starts.
#[derive(Clone, Debug, Default)]
pub struct Sockets {
    /// Those that the service manager holds, for the listeners with their addresses.
    pub held: Arc<[TcpListener]>,
    /// True if the process takes over from one that still listens on the same addresses.
    pub takes_over: bool,
}

/// A listener with its sockets.
#[derive(Debug)]
pub(crate) struct OpenListener {
    /// The listener as it was requested, possibly with port 0.
    requested: Listener,
    /// The listener with the port that it has.
    pub(crate) bound: Listener,
    /// A socket for each core, until that core takes it.
    sockets: Mutex<Vec<Option<PortSocket>>>,
    pub(crate) origin: Origin,
    may_listen: Arc<watch::Sender<bool>>,
    /// The sockets that are taken over and do not listen yet.
    pub(super) quiet: watch::Sender<usize>,
    /// Ends the listener, and its connections once they are idle.
    pub(crate) signal: drain::Signal,
}

impl Listeners {
    /// Returns a set of listeners for this number of cores. None is open yet.
    pub(crate) fn new(
        settings: Arc<Settings>,
        shared: Arc<Shared>,
        cores: usize,
        sockets: Sockets,
        drain: Drain,
    ) -> Self {
        Self {
            settings,
            shared,
            cores,
            are_shared: AtomicBool::new(sockets.takes_over),
            may_listen: Arc::new(watch::Sender::new(!sockets.takes_over)),
            sockets,
            drain,
            open: watch::Sender::new(Arc::from([])),
            closing: Mutex::default(),
        }
    }

    /// Lets sockets that are taken over listen, and waits until they do. Nothing may fail from here
    /// on: connections would be lost.
    pub async fn listen(&self) {
        self.may_listen.send_replace(true);
        let open = self.open.borrow().clone();
        for listener in open
            .iter()
            .filter(|one| one.bound.protocol != ListenerProtocol::Udp)
        {
            let mut quiet = listener.quiet.subscribe();
            // It fails only without a sender, which the listener has.
            let _ = quiet.wait_for(|quiet| *quiet == 0).await;
        }
    }

    /// Notes that no other process listens on the same addresses any more.
    pub fn are_alone(&self) {
        self.are_shared.store(false, Relaxed);
    }

    /// Returns the addresses that are listened on for a protocol, with their ports.
    pub fn addresses(&self, protocol: ListenerProtocol) -> Vec<SocketAddr> {
        let open = self.open.borrow();
        let bound = open.iter().map(|one| one.bound);
        bound
            .filter(|listener| listener.protocol == protocol)
            .map(|listener| listener.address)
            .collect()
    }

    /// Replaces the listeners of HTTP. Those that are in both sets are not touched. The others stop
    /// accepting, and their connections end as in a drain: when no request is in flight. Has no
    /// effect once the process drains.
    ///
    /// # Errors
    /// A new listener cannot be opened. Nothing has changed then.
    pub fn replace(&self, listeners: &[Listener]) -> Result<(), StartError> {
        let mut closing = lock(&self.closing);
        if self.drain.phase() != Phase::Running {
            return Ok(());
        }

        let before = self.open.borrow().clone();
        let mut after = Vec::with_capacity(listeners.len());
        for listener in listeners {
            after.push(self.keep_or_open(*listener, &before, &closing)?);
        }

        let https = after
            .iter()
            .map(|one| one.bound)
            .find(|listener| listener.protocol == ListenerProtocol::Https);
        let https_port = https.map_or(0, |listener| listener.address.port());
        self.shared.https_port.store(https_port, Relaxed);

        let ports = before.iter().filter(|one| !one.bound.protocol.is_http());
        after.extend(ports.cloned());
        self.swap(&before, after, &mut closing);
        Ok(())
    }

    /// Replaces the ports that are passed through, on an address. Those that stay are not touched.
    /// The others stop accepting; their connections end once they are quiet. Has no effect once the
    /// process drains.
    ///
    /// Returns the ports that cannot be opened.
    pub fn replace_ports(&self, address: IpAddr, ports: &[Port]) -> Vec<(Port, StartError)> {
        let mut closing = lock(&self.closing);
        if self.drain.phase() != Phase::Running {
            return Vec::new();
        }

        let before = self.open.borrow().clone();
        let http = before.iter().filter(|one| one.bound.protocol.is_http());
        let mut after: Vec<_> = http.cloned().collect();
        let mut failed = Vec::new();
        for port in ports {
            let listener = Listener {
                address: SocketAddr::new(address, port.number),
                protocol: match port.transport {
                    Transport::Tcp => ListenerProtocol::Tcp,
                    Transport::Udp => ListenerProtocol::Udp,
                },
            };
            match self.keep_or_open(listener, &before, &closing) {
                Ok(one) => after.push(one),
                Err(error) => failed.push((*port, error)),
            }
        }

        self.swap(&before, after, &mut closing);
        failed
    }

    /// Returns the open listener that was requested like this, or opens it.
    fn keep_or_open(
        &self,
        requested: Listener,
        before: &OpenListeners,
        closing: &[Weak<OpenListener>],
    ) -> Result<Arc<OpenListener>, StartError> {
        if let Some(known) = before.iter().find(|one| one.requested == requested) {
            return Ok(known.clone());
        }

        // If only the protocol of an address changes, or a core has not closed it yet, its old
        // sockets are still open.
        let closing = closing.iter().filter_map(Weak::upgrade);
        let mut ours = before.iter().cloned().chain(closing);
        let is_udp = |listener: Listener| listener.protocol == ListenerProtocol::Udp;
        let is_ours = ours.any(|one| {
            one.bound.address == requested.address && is_udp(one.bound) == is_udp(requested)
        });
        let held = self.sockets.held.iter().find(|held| {
            let at = held.local_addr();
            !is_udp(requested) && at.is_ok_and(|at| is_same(at, requested.address))
        });
        let origin = match held {
            Some(_) => Origin::Held,
            None if self.are_shared.load(Relaxed) => Origin::TakenOver,
            None => Origin::Own,
        };
        let (address, sockets) = match held {
            Some(held) => listen::share(held, self.cores, &self.settings)?,
            None => listen::bind(requested, self.cores, (is_ours, origin), &self.settings)?,
        };
        let (signal, _drain) = drain::channel();
        Ok(Arc::new(OpenListener {
            requested,
            bound: Listener {
                address,
                ..requested
            },
            sockets: Mutex::new(sockets.into_iter().map(Some).collect()),
            may_listen: self.may_listen.clone(),
            quiet: watch::Sender::new(match origin {
                Origin::TakenOver => self.cores,
                Origin::Own | Origin::Held => 0,
            }),
            origin,
            signal,
        }))
    }

    /// Makes a set of listeners the open one, and closes those that are not in it.
    fn swap(
        &self,
        before: &OpenListeners,
        after: Vec<Arc<OpenListener>>,
        closing: &mut Vec<Weak<OpenListener>>,
    ) {
        let closed = before
            .iter()
            .filter(|one| !after.iter().any(|kept| Arc::ptr_eq(one, kept)));
        let closed: Vec<_> = closed.cloned().collect();
        self.open.send_replace(after.into());

        for one in &closed {
            one.signal.drain(Duration::MAX);
        }
        closing.retain(|one| one.strong_count() > 0);
        closing.extend(closed.iter().map(Arc::downgrade));
    }

    /// Subscribes to the listeners.
    pub(crate) fn subscribe(&self) -> watch::Receiver<OpenListeners> {
        self.open.subscribe()
    }
}

/// Returns true if a socket at one address is what a listener at the other one asks for: `[::]` and
/// `0.0.0.0` both mean every address.
fn is_same(socket: SocketAddr, listener: SocketAddr) -> bool {
    let all = socket.ip().is_unspecified() && listener.ip().is_unspecified();
    socket.port() == listener.port() && (all || socket.ip() == listener.ip())
}

impl OpenListener {
    /// Waits until sockets that are taken over may listen.
    pub(super) async fn may_listen(&self) {
        // It fails only without a sender, which the listener has.
        let _ = self.may_listen.subscribe().wait_for(|may| *may).await;
    }

    /// Takes the socket of a core; `None` if that core has it already.
    pub(crate) fn take(&self, core: usize) -> Option<PortSocket> {
        lock(&self.sockets).get_mut(core)?.take()
    }
}
