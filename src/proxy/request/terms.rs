//! The terms on which one request is forwarded: those of the route's policy, and for the rest the
//! settings.

use std::time::Duration;

use crate::{
    proxy::Settings,
    routing::{Backend, LoadBalancing, Policy},
};

/// The wait for a place at an endpoint without another one, as the controllers on HAProxy have it.
const QUEUE: Duration = Duration::from_secs(5);

/// The terms of one request. See [`Settings`] for their meaning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) response_header_timeout: Duration,
    pub(crate) request_timeout: Option<Duration>,
    pub(crate) connect_timeout: Duration,
    pub(crate) stream_idle_timeout: Duration,
    /// The same of an upgraded connection.
    pub(crate) tunnel_timeout: Duration,
    /// The wait for a place at an endpoint.
    pub(crate) queue_timeout: Duration,
    pub(crate) max_body_bytes: Option<u64>,
    pub(crate) max_attempts: u32,
    /// The time after which no further attempt begins.
    pub(crate) attempts_time: Option<Duration>,
    pub(crate) balance: LoadBalancing,
    pub(crate) sends_address: bool,
    /// Bytes of a request body that are read before an endpoint is asked; `None` for none.
    pub(crate) read_ahead: Option<usize>,
}

impl Terms {
    /// Returns the terms of a request of our own beside that of a client: those of the route's
    /// policy and of the backend, if they are shorter than those of the settings, and a deadline
    /// for everything.
    pub(crate) fn beside(settings: &Settings, policy: Option<&Policy>, backend: &Backend) -> Self {
        let (own, general) = (Self::new(settings, policy), Self::within(settings, backend));
        let connect_timeout = own.connect_timeout.min(general.connect_timeout);
        let response_header_timeout = own
            .response_header_timeout
            .min(general.response_header_timeout);

        let whole = connect_timeout.saturating_add(response_header_timeout);
        Self {
            connect_timeout,
            response_header_timeout,
            request_timeout: Some(own.request_timeout.map_or(whole, |limit| limit.min(whole))),
            max_body_bytes: None,
            ..general
        }
    }

    /// Returns the terms of the settings, with the times of a backend if they are shorter.
    pub(crate) fn within(settings: &Settings, backend: &Backend) -> Self {
        let general = Self::new(settings, None);
        let Some(times) = backend.settings.times.as_deref() else {
            return general;
        };
        let shorter = |time: Duration, own: Option<Duration>| own.map_or(time, |own| time.min(own));
        Self {
            connect_timeout: shorter(general.connect_timeout, times.connect),
            response_header_timeout: shorter(
                general.response_header_timeout,
                times.response_header,
            ),
            ..general
        }
    }

    /// Returns the terms of a route's policy.
    pub(crate) fn new(settings: &Settings, policy: Option<&Policy>) -> Self {
        let defaults = Self {
            response_header_timeout: settings.response_header_timeout,
            request_timeout: settings.request_timeout,
            connect_timeout: settings.connect_timeout,
            stream_idle_timeout: settings.stream_idle_timeout,
            tunnel_timeout: settings.stream_idle_timeout,
            queue_timeout: QUEUE,
            max_body_bytes: settings.max_body_bytes,
            max_attempts: settings.max_attempts,
            attempts_time: None,
            balance: settings.balance,
            sends_address: false,
            read_ahead: None,
        };
        let Some(policy) = policy else {
            return defaults;
        };

        let timeouts = &policy.timeouts;
        Self {
            response_header_timeout: timeouts
                .response_header
                .unwrap_or(defaults.response_header_timeout),
            request_timeout: timeouts.request.or(defaults.request_timeout),
            connect_timeout: timeouts.connect.unwrap_or(defaults.connect_timeout),
            stream_idle_timeout: timeouts.idle.unwrap_or(defaults.stream_idle_timeout),
            tunnel_timeout: timeouts.tunnel.unwrap_or(defaults.tunnel_timeout),
            queue_timeout: timeouts.queue.unwrap_or(defaults.queue_timeout),
            max_body_bytes: policy.max_body_bytes.or(defaults.max_body_bytes),
            max_attempts: policy.attempts.unwrap_or(defaults.max_attempts),
            attempts_time: policy.attempts_time,
            balance: policy.balancing.unwrap_or(defaults.balance),
            sends_address: policy.sends_address,
            read_ahead: policy.reads_ahead.then_some(settings.max_buffered_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::{BackendId, BackendSettings, BackendTimes, Protocol, Timeouts};

    #[test]
    fn the_shortest_times_hold_beside_a_request() {
        const fn seconds(seconds: u64) -> Duration {
            Duration::from_secs(seconds)
        }
        let settings = Settings {
            connect_timeout: seconds(5),
            response_header_timeout: seconds(60),
            ..Settings::default()
        };
        let terms = |times: Option<BackendTimes>, policy: Option<u64>| {
            let id = BackendId {
                namespace: "a".into(),
                service: "b".into(),
                port: 80,
            };
            let backend = Backend::new(BackendSettings {
                times: times.map(Box::new),
                ..BackendSettings::new(id, Protocol::Http1)
            });
            let policy = policy.map(|time| Policy {
                timeouts: Timeouts {
                    response_header: Some(seconds(time)),
                    ..Timeouts::default()
                },
                ..Policy::default()
            });
            let terms = Terms::beside(&settings, policy.as_ref(), &backend);
            let alone = Terms::within(&settings, &backend).response_header_timeout;
            let (connect, response) = (terms.connect_timeout, terms.response_header_timeout);
            assert_eq!(terms.request_timeout, Some(connect + response));
            [connect, response, alone].map(|time| time.as_secs())
        };

        let times = |connect: u64, response_header: u64| BackendTimes {
            connect: Some(seconds(connect)),
            response_header: Some(seconds(response_header)),
        };
        assert_eq!(terms(None, None), [5, 60, 60]);
        assert_eq!(terms(None, Some(9)), [5, 9, 60]);
        assert_eq!(terms(Some(times(2, 3)), None), [2, 3, 3]);
        assert_eq!(terms(Some(times(2, 30)), Some(9)), [2, 9, 30]);
        assert_eq!(terms(Some(times(900, 900)), Some(900)), [5, 60, 60]);
        let unlimited = BackendTimes {
            connect: Some(Duration::MAX),
            response_header: None,
        };
        assert_eq!(terms(Some(unlimited), None), [5, 60, 60]);
    }
}
