//! The endpoints of a backend on one core: their connections, and whose turn it is. They are found
//! once per request; otherwise each look at an endpoint would search by the settings of its backend
//! and its address.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, Weak},
};

use super::pool::Upstream;
use crate::{
    proxy::worker::Worker,
    routing::{Backend, EndpointSet},
};

/// The endpoints of a backend, as one core uses them.
#[derive(Debug)]
pub(crate) struct Endpoints {
    /// While it lives, no other backend has its place in memory.
    backend: Weak<Backend>,
    set: Arc<EndpointSet>,
    /// In the order of the set; none for a name.
    upstreams: Box<[Rc<Upstream>]>,
    turn: Cell<usize>,
    used: Cell<bool>,
}

/// The endpoints of the backends that had requests lately, by the places of these in memory.
#[derive(Debug, Default)]
pub(crate) struct KnownEndpoints(RefCell<BTreeMap<usize, Rc<Endpoints>>>);

impl Endpoints {
    /// Returns the connections to an endpoint, by its place in the set.
    pub(super) fn upstream(&self, index: usize) -> &Rc<Upstream> {
        &self.upstreams[index]
    }

    /// Returns the next turn.
    pub(super) fn turn(&self) -> usize {
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        turn
    }
}

impl KnownEndpoints {
    /// Returns the endpoints of a backend, of which `set` is the current one.
    pub(super) fn of(
        &self,
        worker: &Worker,
        backend: &Arc<Backend>,
        set: &Arc<EndpointSet>,
    ) -> Rc<Endpoints> {
        let place = Arc::as_ptr(backend).addr();
        let mut all = self.0.borrow_mut();
        let known = all.get(&place);
        if let Some(known) = known
            && Arc::ptr_eq(&known.set, set)
        {
            known.used.set(true);
            return known.clone();
        }

        let upstreams = match &**set {
            EndpointSet::Addresses(list) => list
                .iter()
                .map(|endpoint| worker.upstream(&backend.settings, endpoint.addr, None))
                .collect(),
            EndpointSet::Empty | EndpointSet::Name { .. } => Box::default(),
        };

        // Backends without many requests would always begin with the same endpoint.
        let turn = known.map_or_else(|| worker.random() as usize, |known| known.turn.get());
        let made = Rc::new(Endpoints {
            backend: Arc::downgrade(backend),
            set: set.clone(),
            upstreams,
            turn: Cell::new(turn),
            used: Cell::new(true),
        });
        all.insert(place, made.clone());
        made
    }

    /// Forgets those without a request since the last call, and those of backends that are gone.
    pub(crate) fn sweep(&self) {
        self.0
            .borrow_mut()
            .retain(|_, known| known.used.replace(false) && known.backend.strong_count() > 0);
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}
