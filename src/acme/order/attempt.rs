//! An attempt to obtain one certificate from one CA, and what all of its parts need.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::acme::{
    ca::{Authorization, Order, Replied},
    dns::{Lookup, Provider},
    issuer::{AcmeIssuer, ChallengeType, Issuer},
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
    pub(crate) ca: Arc<Ca>,
    /// Challenge types that failed in earlier attempts.
    pub(crate) failed: Vec<ChallengeType>,
}

impl<'a> Attempt<'a> {
    /// Prepares an attempt with an issuer that is an ACME CA.
    pub(crate) fn new(
        context: &'a Context,
        spec: &'a CertificateSpec,
        issuer: &'a Issuer,
    ) -> Result<Self, Failure> {
        let (ca, acme) = context.cas.get(issuer)?;
        Ok(Self {
            context,
            spec,
            issuer,
            acme,
            ca,
            failed: context.ledger.failed_challenges(spec, issuer),
        })
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
        Failure {
            retry_after,
            ..Failure::new(Class::Transport, format!("{what}; trying again later"))
        }
    }

    pub(crate) async fn put_pending_order(&self, pending: &PendingOrder) -> Result<(), Failure> {
        let ledger = &self.context.ledger;
        ledger.put_pending_order(&self.spec.id, pending).await
    }

    /// Reads the order.
    pub(super) async fn order(&self, url: &str) -> Result<Replied<Order>, Failure> {
        Ok(self.ca.session()?.order(url).await?)
    }

    /// Reads an authorization.
    pub(super) async fn authorization(&self, url: &str) -> Result<Replied<Authorization>, Failure> {
        Ok(self.ca.session()?.authorization(url).await?)
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
