//! The open listeners. They can change while the process runs: each core opens and closes its
//! sockets to follow, and connections to the listeners that stay are not affected.

use std::{
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::watch;

use super::listen::{self, StartError};
use crate::{
    proxy::{Settings, Shared},
    routing::{Listener, ListenerProtocol},
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
    drain: Drain,
    open: watch::Sender<OpenListeners>,
    /// Held while the listeners change.
    changing: Mutex<()>,
}

/// A listener with its sockets.
#[derive(Debug)]
pub(crate) struct OpenListener {
    /// The listener as it was requested, possibly with port 0.
    requested: Listener,
    /// The listener with the port that it has.
    pub(crate) bound: Listener,
    /// A socket for each core, until that core takes it.
    sockets: Mutex<Vec<Option<TcpListener>>>,
    /// Ends the listener, and its connections once they are idle.
    pub(crate) signal: drain::Signal,
}

impl Listeners {
    /// Returns a set of listeners for this number of cores. None is open yet.
    pub(crate) fn new(
        settings: Arc<Settings>,
        shared: Arc<Shared>,
        cores: usize,
        drain: Drain,
    ) -> Self {
        Self {
            settings,
            shared,
            cores,
            drain,
            open: watch::Sender::new(Arc::from([])),
            changing: Mutex::default(),
        }
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

    /// Replaces the listeners. Those that are in both sets are not touched. The others stop
    /// accepting, and their connections end as in a drain: when no request is in flight. Has no
    /// effect once the process drains.
    ///
    /// # Errors
    /// A new listener cannot be opened. Nothing has changed then.
    pub fn replace(&self, listeners: &[Listener]) -> Result<(), StartError> {
        let _changing = lock(&self.changing);
        if self.drain.phase() != Phase::Running {
            return Ok(());
        }

        let before = self.open.borrow().clone();
        let mut after = Vec::with_capacity(listeners.len());
        for listener in listeners {
            let known = before.iter().find(|one| one.requested == *listener);
            after.push(match known {
                Some(known) => known.clone(),
                None => Arc::new(self.open(*listener, &before)?),
            });
        }

        let https = after
            .iter()
            .map(|one| one.bound)
            .find(|listener| listener.protocol == ListenerProtocol::Https);
        let https_port = https.map_or(0, |listener| listener.address.port());
        self.shared.https_port.store(https_port, Relaxed);

        let closed = before
            .iter()
            .filter(|one| !after.iter().any(|kept| Arc::ptr_eq(one, kept)));
        let closed: Vec<_> = closed.cloned().collect();
        self.open.send_replace(after.into());
        for one in closed {
            one.signal.drain(Duration::MAX);
        }
        Ok(())
    }

    /// Subscribes to the listeners.
    pub(crate) fn subscribe(&self) -> watch::Receiver<OpenListeners> {
        self.open.subscribe()
    }

    fn open(
        &self,
        requested: Listener,
        before: &OpenListeners,
    ) -> Result<OpenListener, StartError> {
        // If only the protocol of an address changes, its old sockets are still open.
        let is_ours = before
            .iter()
            .any(|one| one.bound.address == requested.address);
        let (address, sockets) =
            listen::bind(requested.address, self.cores, is_ours, &self.settings)?;
        let (signal, _drain) = drain::channel();
        Ok(OpenListener {
            requested,
            bound: Listener {
                address,
                ..requested
            },
            sockets: Mutex::new(sockets.into_iter().map(Some).collect()),
            signal,
        })
    }
}

impl OpenListener {
    /// Takes the socket of a core; `None` if that core has it already.
    pub(crate) fn take(&self, core: usize) -> Option<TcpListener> {
        lock(&self.sockets).get_mut(core)?.take()
    }
}
