//! Obtains one certificate from one CA: account, order, validation, finalization, download. Every
//! step is stored before the next one needs it, and begins by reading the state at the CA, so that
//! an attempt can stop anywhere and resume later.

pub(crate) mod account;
mod attempt;
mod certificate;
mod choice;
pub(crate) mod classify;
mod diagnose;
pub(crate) mod keys;
pub(crate) mod local;
mod prove;
mod publish;
mod refused;
mod request;

pub(crate) use attempt::Attempt;
pub(crate) use publish::remove_record;

use self::{attempt::Poller, prove::prove, refused::refused};
use crate::acme::{
    ca::{Order, Replied, Status},
    plan::{Class, Failure},
};

/// Age in seconds at which an order counts as expired (Let's Encrypt keeps orders for eight hours).
pub(crate) const ORDER_LIFE: i64 = 7 * 3_600;

impl Attempt<'_> {
    /// Obtains the certificate and stores it.
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        match self.run_once().await {
            Err(failure) if failure.class == Class::Account => {
                self.recover_account().await?;
                self.run_once().await
            }
            other => other,
        }
    }

    async fn run_once(&self) -> Result<(), Failure> {
        self.account().await?;
        let mut pending = self.pending_order().await?;
        let mut order = self.open(&mut pending).await?;
        let mut poller = Poller::new(&self.context.timing);
        let mut before = None;

        loop {
            self.check_current()?;
            let status = order.value.status.clone();
            self.set_progress(match status {
                Status::Pending => "validating",
                Status::Ready => "finalizing",
                Status::Valid => "downloading",
                _ => "waiting for the CA",
            });
            let acts = matches!(
                status,
                Status::Pending | Status::Ready | Status::Valid | Status::Invalid
            );
            let waits = !acts || before.as_ref() == Some(&status);
            if waits && !poller.next(order.retry_after).await {
                let problem = format!("the order is still {status}");
                return Err(self.timed_out(&problem, order.retry_after));
            }

            order = match &status {
                Status::Pending => {
                    prove(self, &mut pending, &order.value).await?;
                    self.order(&order.value.url).await?
                }
                Status::Ready => self.finalize(&pending, &order.value).await?,
                Status::Valid => {
                    let problem = "the CA reports the order as valid but gives no certificate URL";
                    let url = order.value.certificate.as_deref();
                    let url = url.ok_or_else(|| Failure::new(Class::Transport, problem))?;
                    return self.download(&pending, url).await;
                }
                Status::Invalid => {
                    // The next attempt creates another order.
                    pending.order = None;
                    self.put_pending_order(&pending).await?;
                    return Err(self.invalid_order(&order.value).await);
                }
                _ => self.order(&order.value.url).await?,
            };
            before = Some(status);
        }
    }

    /// Returns the reason why an order became invalid, in the CA's words.
    async fn invalid_order(&self, order: &Order) -> Failure {
        // The authorization may have failed in an attempt that ended before it was recorded.
        for url in &order.authorizations {
            let authorization = self.authorization(url).await;

            if let Ok(Replied { value, .. }) = authorization
                && value.status == Status::Invalid
            {
                return refused(self, &value, None).await;
            }
        }

        match &order.error {
            Some(problem) => {
                let failure = classify::of_problem(problem, None);
                // For an order, `unauthorized` refers to its names, not to the account.
                let class = if failure.class == Class::Account {
                    Class::Validation
                } else {
                    failure.class
                };
                Failure { class, ..failure }
            }
            None => Failure::new(
                Class::Validation,
                "the CA declared the order invalid without giving a reason",
            ),
        }
    }
}
