//! The endpoints that connections and sessions of ports go to. One that is not listed any more
//! keeps them for a time.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::routing::{Backend, EndpointSet};

/// The endpoints with connections of one core.
#[derive(Debug, Default)]
pub(crate) struct AttachedEndpoints(RefCell<HashMap<(usize, SocketAddr), Weak<Attached>>>);

/// An endpoint of a backend, as long as connections go to it.
#[derive(Debug)]
pub(crate) struct Attached {
    backend: Arc<Backend>,
    addr: SocketAddr,
    /// The time since when it is not listed any more.
    gone: Cell<Option<Instant>>,
    /// True once its connections have to end.
    is_over: Cell<bool>,
}

impl AttachedEndpoints {
    /// Returns the endpoint of a backend, for a connection to it.
    pub(super) fn attach(&self, backend: &Arc<Backend>, addr: SocketAddr) -> Rc<Attached> {
        let key = (Arc::as_ptr(backend).addr(), addr);
        let mut known = self.0.borrow_mut();
        if let Some(attached) = known.get(&key).and_then(Weak::upgrade) {
            return attached;
        }
        let attached = Rc::new(Attached {
            backend: backend.clone(),
            addr,
            gone: Cell::new(None),
            is_over: Cell::new(false),
        });
        known.insert(key, Rc::downgrade(&attached));
        attached
    }

    /// Looks which endpoints are not listed any more. Returns true if there are some whose
    /// connections have to end, since that was `limit` ago.
    pub(in crate::proxy) fn sweep(&self, now: Instant, limit: Duration) -> bool {
        let mut has_ended = false;
        self.0.borrow_mut().retain(|_, weak| {
            let Some(attached) = weak.upgrade() else {
                return false;
            };
            has_ended |= attached.look(now, limit);
            true
        });
        has_ended
    }
}

impl Attached {
    fn look(&self, now: Instant, limit: Duration) -> bool {
        let is_listed = match &**self.backend.endpoints() {
            EndpointSet::Empty => false,
            EndpointSet::Addresses(list) => list.iter().any(|one| one.addr == self.addr),
            // A name may lead to other addresses from one moment to the next.
            EndpointSet::Name { .. } => true,
        };
        let gone = (!is_listed).then(|| self.gone.get().unwrap_or(now));
        self.gone.set(gone);
        let is_over = gone.is_some_and(|since| now.duration_since(since) >= limit);
        self.is_over.set(is_over);
        self.is_over.get()
    }

    /// Returns true once the connections to it have to end.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Returns true if it has not been listed for this time.
    pub(super) fn is_gone_for(&self, limit: Duration) -> bool {
        self.gone
            .get()
            .is_some_and(|since| since.elapsed() >= limit)
    }
}
