//! What one data-plane core owns, and what all cores share.

use std::{rc::Rc, sync::Arc};

use arc_swap::ArcSwap;

use super::Settings;
use crate::routing::RoutingTable;

/// What all cores and the control side share.
#[derive(Debug, Default)]
pub struct Shared {
    /// The routing table now.
    pub table: ArcSwap<RoutingTable>,
}

/// What one core owns. Made on its thread, inside its `LocalSet`.
#[derive(Debug)]
#[allow(dead_code, reason = "the server that makes it follows")]
pub(crate) struct Worker {}

impl Worker {
    #[allow(dead_code, reason = "the server that calls it follows")]
    /// The worker of core `_index`.
    pub(crate) fn new(_index: usize, _settings: Arc<Settings>, _shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {})
    }
}
