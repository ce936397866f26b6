//! Opens and closes the ports of layer 4 as the objects say.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use tokio::sync::watch;

use super::{endpoint_health, publish::Live};
use crate::{
    controller::{Finding, Index, Reason},
    objects::EventType,
    proxy::{ConnectFailure, EndpointKey, Listeners, ProxyMismatch, Shared},
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

    /// Subscribes to ports whose clients use the PROXY protocol otherwise than expected.
    pub(super) fn mismatches(&self) -> watch::Receiver<u64> {
        self.shared.mismatches.subscribe()
    }

    /// Returns a finding for each port that cannot be opened, that has an endpoint whose TLS
    /// handshakes fail, or whose clients use the PROXY protocol otherwise than expected.
    pub(super) fn findings(
        &self,
        index: &Index,
        failing: &HashMap<EndpointKey, ConnectFailure>,
    ) -> Vec<Finding> {
        let mut findings = self.failures(index);
        let table = self.shared.ports.load();
        for (port, open) in table.iter().filter(|_| !failing.is_empty()) {
            let Some((about, field)) = index.port_owner(port) else {
                continue;
            };
            let mut routes = open.routes().map(|(_, route)| &*route.backend);
            let message = routes.find_map(|backend| endpoint_health::failed(failing, backend));
            findings.extend(message.map(|message| Finding {
                about: about.clone(),
                severity: EventType::Warning,
                reason: Reason::TlsHandshakeFailed,
                field: field.into(),
                message: message.into(),
            }));
        }

        let seen = self.shared.mismatches.recent(&table);
        findings.extend(seen.into_iter().filter_map(|(port, mismatch)| {
            let (about, field) = index.port_owner(port)?;
            let (severity, message) = match mismatch {
                ProxyMismatch::Missing => (
                    EventType::Warning,
                    "connections came without a header of the PROXY protocol, which this port \
                     expects, and were reset",
                ),
                ProxyMismatch::Unexpected => (
                    EventType::Normal,
                    "connections came with a header of the PROXY protocol, which this port does \
                     not expect: the endpoints get it as it is",
                ),
            };
            Some(Finding {
                about: about.clone(),
                severity,
                reason: Reason::ProxyMismatch,
                field: field.into(),
                message: format!("port {}: {message}", port.number).into(),
            })
        }));
        findings
    }

    /// Returns a finding for each port that cannot be opened.
    fn failures(&self, index: &Index) -> Vec<Finding> {
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
