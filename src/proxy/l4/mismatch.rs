//! Headers of the PROXY protocol that clients send where none is expected, and the reverse: what
//! was seen lately at each port, for findings.

use std::{
    collections::BTreeMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    routing::{Port, PortTable},
    util::sync::lock,
};

/// The time for which a port is reported after the last connection of that kind; longer than the
/// pauses of most clients, so that a finding does not come and go.
const REPORTED: Duration = Duration::from_secs(3600);

/// The way in which clients and a port differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProxyMismatch {
    /// No header came where one is expected.
    Missing,
    /// A header came where none is expected.
    Unexpected,
}

/// The mismatches that were seen lately. Bounded by the ports that are open.
#[derive(Debug, Default)]
pub struct ProxyMismatches {
    seen: Mutex<BTreeMap<(Port, ProxyMismatch), Instant>>,
    /// Changes with each one that was not seen before.
    new: watch::Sender<u64>,
}

impl ProxyMismatches {
    /// Notes a connection.
    pub(super) fn note(&self, port: Port, mismatch: ProxyMismatch) {
        let before = lock(&self.seen).insert((port, mismatch), Instant::now());
        if before.is_none() {
            self.new.send_modify(|version| *version += 1);
        }
    }

    /// Subscribes to mismatches that were not seen before.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.new.subscribe()
    }

    /// Returns those that were seen lately, of the ports that still expect the same.
    pub fn recent(&self, table: &PortTable) -> Vec<(Port, ProxyMismatch)> {
        let mut seen = lock(&self.seen);
        seen.retain(|(port, mismatch), last| {
            let accepts = table.find(*port).map(|open| open.accepts_proxy);
            let is_current = accepts == Some(*mismatch == ProxyMismatch::Missing);
            is_current && last.elapsed() < REPORTED
        });
        seen.keys().copied().collect()
    }
}
