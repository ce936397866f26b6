//! Requests for a CA's time, while the device's clock is unknown or in doubt.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::run::{Done, Loop};
use crate::{
    acme::{issuer::Issuer, spec::CertificateSpec, state::NoticeReason},
    util::clock::Trust,
};

/// The pause between two requests for the time, while it is unknown and while it is in doubt.
const TIME_UNKNOWN_PAUSE: Duration = Duration::from_secs(60);
const TIME_DOUBTED_PAUSE: Duration = Duration::from_secs(900);

impl Loop {
    /// Asks a CA for the time, which is unknown, and notifies one owner, once, that nothing is
    /// ordered. Returns when to ask next.
    pub(super) fn ask_unknown_time(&mut self, spec: &CertificateSpec) -> Instant {
        if !self.clock_notified {
            self.clock_notified = true;
            let message = "the clock of this device cannot be trusted: nothing is ordered until it \
                          is set or a CA confirms the time";
            let progress = &self.context().progress;
            progress.notify(&spec.id, NoticeReason::ClockSuspect, message.to_owned());
        }
        self.ask_for_time(first_ca(spec), TIME_UNKNOWN_PAUSE)
    }

    /// Asks a CA for the time if the wall clock contradicts an earlier date of a CA. One of the
    /// two clocks stood still or was set, and only a CA can tell which. Returns when to check next.
    pub(super) fn check_clock(&mut self, specs: &[Arc<CertificateSpec>]) -> Instant {
        let time = &self.context().time;
        let is_known = time.now().is_some();
        let is_open = is_known && time.trust() != Trust::Trusted;

        let ca = specs.iter().find_map(|spec| first_ca(spec));
        if is_open && ca.is_some() {
            return self.ask_for_time(ca, TIME_DOUBTED_PAUSE);
        }
        if !is_open && is_known {
            self.time_asked = None;
        }
        Instant::now() + self.context().timing.tick
    }

    /// Asks a CA for the time unless that was done within `again`, and returns when to ask next.
    /// The CA's certificate is verified at a time that has certainly passed, or by the wall clock.
    fn ask_for_time(&mut self, issuer: Option<Arc<Issuer>>, again: Duration) -> Instant {
        let again = again.min(self.context().timing.renewal_info);
        if let Some(last) = self.time_asked.filter(|last| last.elapsed() < again) {
            return last + again;
        }
        self.time_asked = Some(Instant::now());

        if let Some(issuer) = issuer {
            let engine = self.engine.clone();
            self.running.spawn(async move {
                let context = &engine.context;
                if let Ok((ca, _)) = context.cas.get(&issuer) {
                    match ca.client.time().await {
                        Ok(date) => context.time.witness(date),
                        Err(error) => {
                            context.time.use_other_clock();
                            tracing::debug!(
                                issuer = &*issuer.name,
                                %error,
                                "the CA's time is unavailable"
                            );
                        }
                    }
                }
                Done::Other
            });
        }

        Instant::now() + again
    }
}

/// Returns the first issuer of a spec that is a CA.
fn first_ca(spec: &CertificateSpec) -> Option<Arc<Issuer>> {
    let mut issuers = spec.issuers.iter();
    issuers.find(|issuer| issuer.acme().is_some()).cloned()
}
