//! The access log of layer 4: one line for each connection, written when it ends. It goes to the
//! same place as the lines of requests (target `access`).

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use super::relay::{End, Moved};
use crate::{
    proxy::{settings::AccessLog, worker::Worker},
    routing::{Host, Port, PortRoute},
};

/// The entry of one connection, written when it is dropped.
#[derive(Debug)]
pub(crate) struct Record {
    began: Instant,
    client: IpAddr,
    port: Port,
    /// The host whose TLS is passed through.
    host: Option<Host>,
    route: Arc<PortRoute>,
    /// Log this connection only if it fails: sampling did not select it.
    errors_only: bool,
    pub(super) failed: bool,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) moved: Moved,
    pub(super) reason: &'static str,
}

impl Record {
    /// Creates the entry of a connection, if there is an access log.
    pub(super) fn new(
        worker: &Worker,
        client: IpAddr,
        port: Port,
        host: Option<Host>,
        route: &Arc<PortRoute>,
    ) -> Option<Box<Self>> {
        let share = match worker.settings.access_log {
            _ if route.policy.is_unlogged => return None,
            AccessLog::Off => return None,
            AccessLog::Text(share) | AccessLog::Json(share) => share,
        };
        Some(Box::new(Self {
            began: Instant::now(),
            client,
            port,
            host,
            route: route.clone(),
            errors_only: !worker.sampled(share),
            failed: false,
            endpoint: None,
            moved: Moved::default(),
            reason: "gatelet ended",
        }))
    }
}

impl End {
    /// Returns the reason as the log has it.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Client => "the client broke the connection",
            Self::Endpoint => "the endpoint broke the connection",
            Self::Idle => "idle for too long",
            Self::Drained => "draining",
            Self::Gone => "the endpoint is gone",
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.errors_only && !self.failed {
            return;
        }

        let origin = &self.route.origin;
        tracing::info!(
            target: "access",
            client = %self.client,
            port = %self.port,
            host = self.host.as_ref().map(tracing::field::display),
            received = self.moved.up,
            sent = self.moved.down,
            ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            failed = self.failed,
            route = format!("{}/{}", origin.namespace, origin.name),
            backend = %self.route.backend.id(),
            endpoint = self.endpoint.map(tracing::field::display),
            reason = self.reason,
        );
    }
}
