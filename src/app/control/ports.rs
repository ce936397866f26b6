//! Opens and closes the ports of layer 4 as the objects say.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
};

use super::publish::Live;
use crate::{
    controller::{Finding, Index, Reason},
    objects::EventType,
    proxy::{Listeners, Shared},
    routing::{Port, PortTable},
    util::sync::lock,
};

/// The ports of layer 4.
pub(crate) struct Ports {
    listeners: Arc<Listeners>,
    shared: Arc<Shared>,
    live: Arc<Mutex<Live>>,
    /// The address on which they are opened.
    address: IpAddr,
    /// The ports that cannot be opened, with the reasons.
    failed: Vec<(Port, String)>,
}

impl Ports {
    pub(crate) fn new(
        listeners: Arc<Listeners>,
        shared: Arc<Shared>,
        live: Arc<Mutex<Live>>,
        address: IpAddr,
    ) -> Self {
        Self {
            listeners,
            shared,
            live,
            address,
            failed: Vec::new(),
        }
    }

    /// Makes a table live: routes first, then the sockets.
    pub(super) fn publish(&mut self, table: Arc<PortTable>) {
        self.shared.ports.store(table);
        self.open();
    }

    /// Returns true if some ports cannot be opened.
    pub(super) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Opens the ports of the table, and closes the others. Returns true if other ports than before
    /// cannot be opened, or for other reasons.
    pub(super) fn open(&mut self) -> bool {
        let table = self.shared.ports.load();
        let ports: Vec<Port> = table.iter().map(|(port, _)| port).collect();
        let failed = self.listeners.replace_ports(self.address, &ports);
        let failed = failed.into_iter();
        let failed: Vec<_> = failed
            .map(|(port, error)| (port, error.to_string()))
            .collect();

        let has_changed = failed != self.failed;
        if has_changed {
            self.failed = failed;
            lock(&self.live).closed_ports = self.failed.iter().cloned().collect();
        }
        has_changed
    }

    /// Returns a finding for each port that cannot be opened.
    pub(super) fn findings(&self, index: &Index) -> Vec<Finding> {
        let failed = self.failed.iter();
        let findings = failed.filter_map(|(port, why)| {
            let (about, field) = index.port_owner(*port)?;
            Some(Finding {
                about: about.clone(),
                severity: EventType::Warning,
                reason: Reason::PortUnavailable,
                field: field.into(),
                message: why.as_str().into(),
            })
        });
        findings.collect()
    }
}
