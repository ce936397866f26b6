//! Endpoints that cannot be connected to, with the reason: shared by all cores, and kept until the
//! endpoint responds again.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use crate::{proxy::downstream::listen::is_exhausted, routing::BackendSettings, util::sync::lock};

/// The most endpoints that are remembered.
const MAX_KNOWN: usize = 4096;
/// The shortest interval between two log lines about the same endpoint.
const QUIET: Duration = Duration::from_secs(60);

/// The identity of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey {
    /// Its address.
    pub addr: SocketAddr,
    /// The name that led to its address, for Services of type ExternalName.
    pub name: Option<Box<str>>,
    /// The settings of its backend.
    pub backend: Arc<BackendSettings>,
}

/// The reason why no connection to an endpoint can be made. The text follows a colon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// Nothing listens on the port.
    #[error("connection refused")]
    Refused,
    /// The connection was not accepted within `connect_timeout`.
    #[error("connection timed out")]
    TimedOut,
    /// The network reports that the endpoint cannot be reached.
    #[error("{0}")]
    Network(Box<str>),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(Box<str>),
    /// The TLS handshake did not end within `connect_timeout`.
    #[error("the TLS handshake timed out")]
    TlsTimedOut,
    /// The endpoint does not speak HTTP/2.
    #[error("it does not speak HTTP/2")]
    NotHttp2,
}

/// The condition of one endpoint: working, or failing with a reason.
#[derive(Debug)]
pub(crate) struct Condition {
    key: EndpointKey,
    /// True while `state` has a failure. Read for every response, written under the lock.
    failing: AtomicBool,
    /// True while health checks say that it is down.
    down: AtomicBool,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
    /// The requests in flight, of all cores, if the backend limits them.
    in_flight: AtomicU32,
    /// Told when one of them ends.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    failure: Option<ConnectFailure>,
    /// The time of the last logged failure.
    logged: Option<Instant>,
    /// True if the recovery must be logged, because the failure was.
    log_end: bool,
    /// The reason why health checks say that it is down.
    down: Option<Box<str>>,
}

/// The conditions of all endpoints.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    known: Mutex<HashMap<EndpointKey, Arc<Condition>>>,
    changes: watch::Sender<u64>,
}

impl ConnectFailure {
    /// Classifies a failed connect; `None` if the fault is ours.
    pub(crate) fn of_connect(error: &io::Error) -> Option<Self> {
        let network = |text: &str| Some(Self::Network(text.into()));
        match error.kind() {
            _ if is_exhausted(error) => None,
            // No local port is left.
            io::ErrorKind::AddrNotAvailable => None,
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            io::ErrorKind::TimedOut => Some(Self::TimedOut),
            io::ErrorKind::HostUnreachable => network("no route to host"),
            io::ErrorKind::NetworkUnreachable => network("network unreachable"),
            io::ErrorKind::ConnectionReset => network("connection reset"),
            _ => network(&error.to_string()),
        }
    }

    /// Returns true for TLS failures: the backend is up, and its configuration is wrong.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::TlsTimedOut)
    }
}

impl Condition {
    /// Reports whether the limit of its backend lets it have another request.
    pub(crate) fn has_room(&self) -> bool {
        let limit = self.key.backend.limits.requests;
        limit.is_none_or(|limit| self.in_flight.load(Relaxed) < limit)
    }

    /// Counts a request, if they are limited.
    pub(crate) fn begin(&self) {
        if self.key.backend.limits.requests.is_some() {
            self.in_flight.fetch_add(1, Relaxed);
        }
    }

    /// Counts its end.
    pub(crate) fn end(&self) {
        if self.key.backend.limits.requests.is_some() {
            self.in_flight.fetch_sub(1, Relaxed);
            self.room.notify_one();
        }
    }

    /// Waits for the end of a request, of any core.
    pub(crate) fn room(&self) -> impl Future<Output = ()> {
        self.room.notified()
    }

    /// Records that no connection could be made.
    pub(crate) fn failed(&self, failure: ConnectFailure) {
        let mut state = lock(&self.state);
        self.failing.store(true, Relaxed);
        if state.failure.as_ref() == Some(&failure) {
            return;
        }

        let now = Instant::now();
        if state
            .logged
            .is_none_or(|logged| now.duration_since(logged) >= QUIET)
        {
            (state.logged, state.log_end) = (Some(now), true);
            let backend = &self.key.backend;
            tracing::warn!(
                endpoint = %self.key.addr,
                name = self.key.name.as_deref(),
                backend = %backend.id,
                protocol = %backend.protocol,
                reason = %failure,
                "cannot connect to the endpoint"
            );
        }

        let before = state.failure.replace(failure);
        self.tell(before.as_ref(), state.failure.as_ref());
    }

    /// Records that the endpoint responded.
    pub(crate) fn works(&self) {
        if !self.failing.load(Relaxed) {
            return;
        }
        let mut state = lock(&self.state);
        self.failing.store(false, Relaxed);

        let before = state.failure.take();
        if std::mem::take(&mut state.log_end) {
            tracing::info!(
                endpoint = %self.key.addr,
                protocol = %self.key.backend.protocol,
                "the endpoint responds again"
            );
        }
        self.tell(before.as_ref(), None);
    }

    /// Reports whether health checks say that it is down.
    pub(crate) fn is_down(&self) -> bool {
        self.down.load(Relaxed)
    }

    /// Records that health checks failed.
    pub(super) fn is_down_because(&self, why: &str) {
        self.down.store(true, Relaxed);
        lock(&self.state).down = Some(why.into());
        let (endpoint, backend) = (self.key.addr, &self.key.backend.id);
        tracing::warn!(
            %endpoint,
            %backend,
            reason = why,
            "the endpoint is down by its health checks"
        );
    }

    /// Records that health checks succeeded, or that there are none any more.
    pub(super) fn is_well(&self) {
        if self.down.swap(false, Relaxed) {
            lock(&self.state).down = None;
            let (endpoint, backend) = (self.key.addr, &self.key.backend.id);
            tracing::info!(
                %endpoint,
                %backend,
                "the endpoint is well again by its health checks"
            );
        }
    }

    /// Returns the reason why there is no connection to it.
    pub(crate) fn failure(&self) -> Option<ConnectFailure> {
        lock(&self.state).failure.clone()
    }

    fn tell(&self, before: Option<&ConnectFailure>, after: Option<&ConnectFailure>) {
        if [before, after]
            .into_iter()
            .flatten()
            .any(ConnectFailure::is_tls)
        {
            self.changes.send_modify(|count| *count += 1);
        }
    }
}

impl Conditions {
    /// Returns the condition of an endpoint. Conditions that no core uses are dropped unless they
    /// have a failure.
    pub(crate) fn of(&self, key: EndpointKey) -> Arc<Condition> {
        let mut known = lock(&self.known);
        if let Some(condition) = known.get(&key) {
            return condition.clone();
        }
        let full = known.len() >= MAX_KNOWN;
        known.retain(|_, one| Arc::strong_count(one) > 1 || !full && one.failing.load(Relaxed));

        let (failing, state) = (AtomicBool::new(false), Mutex::default());
        let down = AtomicBool::new(false);
        let condition = Arc::new(Condition {
            key: key.clone(),
            failing,
            down,
            state,
            changes: self.changes.clone(),
            in_flight: AtomicU32::new(0),
            room: Notify::new(),
        });
        if known.len() < MAX_KNOWN {
            known.insert(key, condition.clone());
        }
        condition
    }

    /// Returns the failing endpoints with their reasons.
    pub(crate) fn failing(&self) -> HashMap<EndpointKey, ConnectFailure> {
        let known = lock(&self.known);
        known
            .iter()
            .filter_map(|(key, one)| Some((key.clone(), one.failure()?)))
            .collect()
    }

    /// Returns the endpoints that are down by their health checks, with the reasons.
    pub(crate) fn down(&self) -> HashMap<EndpointKey, Box<str>> {
        let known = lock(&self.known);
        let down = known.iter().filter(|(_, one)| one.is_down());
        down.filter_map(|(key, one)| Some((key.clone(), lock(&one.state).down.clone()?)))
            .collect()
    }

    /// Changes whenever TLS with an endpoint starts failing, recovers, or fails for a different
    /// reason.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{BackendId, Protocol};

    fn key(port: u16) -> EndpointKey {
        let id = BackendId {
            namespace: "n".into(),
            service: "s".into(),
            port: 443,
        };
        EndpointKey {
            addr: SocketAddr::from(([192, 0, 2, 1], port)),
            name: None,
            backend: Arc::new(BackendSettings::new(id, Protocol::Https)),
        }
    }

    #[test]
    fn a_failure_stays_until_the_endpoint_responds() {
        let conditions = Conditions::default();
        let mut changes = conditions.changes();
        let condition = conditions.of(key(1));
        condition.failed(ConnectFailure::Refused);
        assert!(
            !changes.has_changed().expect("open"),
            "that happens to every pod that starts"
        );
        condition.failed(ConnectFailure::Tls("x".into()));
        assert!(changes.has_changed().expect("open"));
        changes.mark_unchanged();
        condition.failed(ConnectFailure::Tls("x".into()));
        assert!(!changes.has_changed().expect("open"));

        drop(condition);
        conditions.of(key(2));
        assert_eq!(
            conditions.failing(),
            HashMap::from([(key(1), ConnectFailure::Tls("x".into()))])
        );
        conditions.of(key(1)).works();
        assert!(changes.has_changed().expect("open"));
        assert_eq!(conditions.failing(), HashMap::new());
    }

    #[test]
    fn the_number_of_known_endpoints_is_bounded() {
        let conditions = Conditions::default();
        for port in 0..=u16::MAX {
            conditions.of(key(port)).failed(ConnectFailure::Refused);
        }
        assert!(conditions.failing().len() <= MAX_KNOWN);
        assert!(
            conditions.failing().contains_key(&key(u16::MAX)),
            "the newest is known"
        );
    }

    #[test]
    fn our_own_faults_are_not_the_endpoints() {
        for (number, expected) in [
            (111, Some("connection refused")),
            (113, Some("no route to host")),
            (101, Some("network unreachable")),
            (110, Some("connection timed out")),
            (24, None),
            (99, None),
            (105, None),
        ] {
            let failure = ConnectFailure::of_connect(&io::Error::from_raw_os_error(number));
            assert_eq!(
                failure.map(|failure| failure.to_string()).as_deref(),
                expected,
                "{number}"
            );
        }
    }
}
