//! An attempt to obtain one certificate from one CA, and what all of its parts need.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::classify;
use crate::acme::{
    ca::{Authorization, ClientError, Order, Replied, Session},
    dns::{Lookup, Provider},
    issuer::{AcmeIssuer, Issuer},
    plan::{Class, Failure, PendingOrder},
    spec::CertificateSpec,
    state::{Ca, Context, Timing},
};

/// The longest pause between two polls if the CA sends no `Retry-After`.
pub(crate) const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// An attempt to obtain one certificate.
pub(crate) struct Attempt<'a> {
    pub(crate) context: &'a Context,
    pub(crate) spec: &'a CertificateSpec,
    pub(crate) issuer: &'a Issuer,
    pub(crate) acme: &'a AcmeIssuer,
    pub(crate) ca: &'a Ca,
    /// Challenge types that failed in earlier attempts.
    pub(crate) failed: Vec<String>,
}

impl Attempt<'_> {
    /// Returns the session of the account.
    pub(crate) fn session(&self) -> Result<Session, Failure> {
        self.ca
            .session()
            .ok_or_else(|| Failure::new(Class::Account, "no account is registered yet"))
    }

    pub(crate) fn set_progress(&self, what: &str) {
        self.context.progress.set(&self.spec.id, what);
    }

    /// Fails if the spec was changed or removed since the attempt began, so that its order is
    /// abandoned.
    pub(crate) fn check_current(&self) -> Result<(), Failure> {
        if self.context.assignment.contains(self.spec, self.issuer) {
            return Ok(());
        }
        let problem = "the certificate's specification was changed or removed";
        Err(Failure::new(Class::Changed, problem))
    }

    /// Returns the failure for a CA that takes longer than this attempt waits. The order stays
    /// stored and the next attempt resumes it.
    pub(crate) fn timed_out(&self, what: &str, retry_after: Option<Duration>) -> Failure {
        let retry_after = retry_after.and_then(|wait| i64::try_from(wait.as_secs()).ok());
        Failure {
            retry_after,
            ..Failure::new(Class::Transport, format!("{what}; trying again later"))
        }
    }

    /// Converts an error into a failure, and passes the CA's time on to the clock.
    pub(crate) fn failed(&self, error: &ClientError) -> Failure {
        self.context.time.witness(error.date);
        classify::failure(error)
    }

    pub(crate) async fn put_pending_order(&self, pending: &PendingOrder) -> Result<(), Failure> {
        let ledger = &self.context.ledger;
        ledger.put_pending_order(&self.spec.id, pending).await
    }

    /// Reads the order.
    pub(super) async fn order(&self, url: &str) -> Result<Replied<Order>, Failure> {
        let order = self.session()?.order(url).await;
        order.map_err(|error| self.failed(&error))
    }

    /// Reads an authorization.
    pub(super) async fn authorization(&self, url: &str) -> Result<Replied<Authorization>, Failure> {
        let authorization = self.session()?.authorization(url).await;
        authorization.map_err(|error| self.failed(&error))
    }

    /// Returns the resolvers for public names: those of the DNS provider, if one is configured.
    pub(super) fn lookup(&self) -> &Lookup {
        let provider = self.acme.dns.as_ref();
        provider.map_or(&self.context.lookup, Provider::lookup)
    }
}

/// Waits between polls until the deadline: as long as the CA asks for, otherwise a little longer
/// each time.
pub(crate) struct Poller {
    pause: Duration,
    shortest: Duration,
    deadline: Instant,
}

impl Poller {
    pub(crate) fn new(timing: &Timing) -> Self {
        Self {
            pause: timing.poll_interval,
            shortest: timing.poll_interval,
            deadline: Instant::now() + timing.poll_timeout,
        }
    }

    /// Waits until the next poll. Returns false if that would be after the deadline.
    pub(crate) async fn next(&mut self, retry_after: Option<Duration>) -> bool {
        // Don't busy-poll on `Retry-After: 0`.
        let pause = retry_after.map_or(self.pause, |wait| wait.max(self.shortest));
        if Instant::now() + pause > self.deadline {
            return false;
        }

        sleep(pause).await;
        self.pause = (self.pause * 2).min(LONGEST_LOOK);
        true
    }
}
