//! Pauses and time limits of the engine.

use std::time::Duration;

/// Pauses and time limits of the engine. Only tests need other values than the default.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// The pause between two orders at one CA.
    pub gap: Duration,
    /// The time limit for one task of the CA: a validation or a finalization.
    pub poll_timeout: Duration,
    /// The pause before the first poll of a task at the CA. Later pauses are longer.
    pub poll_interval: Duration,
    /// The time limit for one response of a CA.
    pub answer: Duration,
    /// The longest sleep of the loop, after which it reads the clock.
    pub tick: Duration,
    /// The pause between two requests for renewal information if the CA sends no `Retry-After`.
    pub renewal_info: Duration,
    /// Looks up names whose validation failed, so that the message names the cause.
    pub advice: bool,
    /// True if there is an HTTP listener.
    pub http: bool,
    /// True if there is an HTTPS listener.
    pub https: bool,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            gap: Duration::from_secs(5),
            poll_timeout: Duration::from_secs(300),
            poll_interval: Duration::from_millis(500),
            answer: Duration::from_secs(30),
            tick: Duration::from_secs(60),
            renewal_info: Duration::from_secs(6 * 3_600),
            advice: true,
            http: true,
            https: true,
        }
    }
}
