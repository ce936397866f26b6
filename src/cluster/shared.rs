//! The state of the mini cluster as readers and the committer share it.

use std::sync::{RwLock, RwLockReadGuard};

use tokio::sync::watch;

use super::machine::Machine;
use crate::{
    objects::{Change, Kind},
    util::sync::{read, write},
};

/// The state machine, and a bell for each kind.
pub(super) struct Shared {
    machine: RwLock<Machine>,
    /// One bell for each kind, rung after each change.
    bells: Vec<watch::Sender<()>>,
}

impl Shared {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine: RwLock::new(machine),
            bells: Kind::ALL.iter().map(|_kind| watch::channel(()).0).collect(),
        }
    }

    pub(super) fn machine(&self) -> RwLockReadGuard<'_, Machine> {
        read(&self.machine)
    }

    pub(super) fn bell(&self, kind: Kind) -> watch::Receiver<()> {
        self.bells[kind as usize].subscribe()
    }

    /// Makes changes visible and wakes the watches of their kinds.
    pub(super) fn publish(&self, changes: Vec<Change>) {
        let mut touched: Vec<Kind> = changes
            .iter()
            .map(|change| change.object.key.kind)
            .collect();
        touched.dedup();
        write(&self.machine).apply(changes);
        for kind in touched {
            self.bells[kind as usize].send_replace(());
        }
    }
}
