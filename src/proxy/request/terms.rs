//! The terms on which one request is forwarded: those of the route's policy, and for the rest the
//! settings.

use std::time::Duration;

use crate::{
    proxy::Settings,
    routing::{LoadBalancing, Policy},
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
    /// policy, if they are shorter than those of the settings, and a deadline for everything.
    pub(crate) fn beside(settings: &Settings, policy: Option<&Policy>) -> Self {
        let (own, general) = (Self::new(settings, policy), Self::new(settings, None));
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
