//! Endpoints that cannot be connected to, and why: shared by all cores, and kept until one answers
//! again.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::listen::is_exhausted;
use crate::{routing::Protocol, util::sync::lock};

/// Endpoints that are remembered.
const MAX_KNOWN: usize = 4096;
/// An endpoint that comes and goes is logged once in this time.
const QUIET: Duration = Duration::from_secs(60);

/// What tells endpoints apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointKey {
    /// Its address.
    pub addr: SocketAddr,
    /// What is spoken to it.
    pub protocol: Protocol,
    /// The name that led to its address, for Services of type ExternalName.
    pub name: Option<Box<str>>,
}

/// Why there is no connection to an endpoint. The text follows a colon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectFailure {
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// It did not answer within `connect_timeout`.
    #[error("connection timed out")]
    TimedOut,
    /// The network did not lead there.
    #[error("{0}")]
    Network(Box<str>),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(Box<str>),
    /// The TLS handshake did not end within `connect_timeout`.
    #[error("the TLS handshake timed out")]
    TlsTimedOut,
    /// It does not speak HTTP/2.
    #[error("it does not speak HTTP/2")]
    NotHttp2,
}

/// How an endpoint is.
#[derive(Debug)]
pub(super) struct Condition {
    key: EndpointKey,
    /// Whether the state has a failure: read for every answer, written under the lock.
    failing: AtomicBool,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    failure: Option<ConnectFailure>,
    /// When the log was told of a failure, and whether it still has to be told of the end of it.
    logged: Option<Instant>,
    log_end: bool,
}

/// The conditions of all endpoints.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    known: Mutex<HashMap<EndpointKey, Arc<Condition>>>,
    changes: watch::Sender<u64>,
}

impl ConnectFailure {
    /// What a failed connect says about the endpoint; `None` if it is our own fault.
    pub(super) fn of_connect(error: &io::Error) -> Option<Self> {
        let network = |text: &str| Some(Self::Network(text.into()));
        match error.kind() {
            _ if is_exhausted(error) => None,
            // No port of ours is left.
            io::ErrorKind::AddrNotAvailable => None,
            io::ErrorKind::ConnectionRefused => Some(Self::Refused),
            io::ErrorKind::TimedOut => Some(Self::TimedOut),
            io::ErrorKind::HostUnreachable => network("no route to host"),
            io::ErrorKind::NetworkUnreachable => network("network unreachable"),
            io::ErrorKind::ConnectionReset => network("connection reset"),
            _ => network(&error.to_string()),
        }
    }

    /// Whether it is about TLS, and so about how the backend is set up rather than whether it runs.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_) | Self::TlsTimedOut)
    }
}

impl Condition {
    /// No connection could be made.
    pub(super) fn failed(&self, failure: ConnectFailure) {
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
            let EndpointKey {
                addr,
                protocol,
                name,
            } = &self.key;
            let name = name.as_deref();
            tracing::warn!(endpoint = %addr, name, %protocol, reason = %failure, "no connection to an endpoint");
        }
        let before = state.failure.replace(failure);
        self.tell(before.as_ref(), state.failure.as_ref());
    }

    /// It answered.
    pub(super) fn works(&self) {
        if !self.failing.load(Relaxed) {
            return;
        }
        let mut state = lock(&self.state);
        self.failing.store(false, Relaxed);
        let before = state.failure.take();
        if std::mem::take(&mut state.log_end) {
            tracing::info!(endpoint = %self.key.addr, protocol = %self.key.protocol, "the endpoint answers again");
        }
        self.tell(before.as_ref(), None);
    }

    /// Why there is no connection to it.
    pub(super) fn failure(&self) -> Option<ConnectFailure> {
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
    /// That of an endpoint. One that no core uses is forgotten, unless it fails.
    pub(super) fn of(&self, key: EndpointKey) -> Arc<Condition> {
        let mut known = lock(&self.known);
        if let Some(condition) = known.get(&key) {
            return condition.clone();
        }
        let full = known.len() >= MAX_KNOWN;
        known.retain(|_, one| Arc::strong_count(one) > 1 || !full && one.failing.load(Relaxed));

        let (failing, state) = (AtomicBool::new(false), Mutex::default());
        let condition = Arc::new(Condition {
            key: key.clone(),
            failing,
            state,
            changes: self.changes.clone(),
        });
        if known.len() < MAX_KNOWN {
            known.insert(key, condition.clone());
        }
        condition
    }

    /// All endpoints without a connection, and why.
    pub(super) fn failing(&self) -> HashMap<EndpointKey, ConnectFailure> {
        let known = lock(&self.known);
        known
            .iter()
            .filter_map(|(key, one)| Some((key.clone(), one.failure()?)))
            .collect()
    }

    /// Changes whenever TLS begins or ends to fail with an endpoint, or fails for another reason.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> EndpointKey {
        EndpointKey {
            addr: SocketAddr::from(([192, 0, 2, 1], port)),
            protocol: Protocol::Https,
            name: None,
        }
    }

    #[test]
    fn a_failure_stays_until_the_endpoint_answers() {
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
    fn what_is_remembered_is_bounded() {
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
