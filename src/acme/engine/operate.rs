//! Requests from outside: renewals, new accounts and account key changes by the operator
//! (revocations are in `revoke`), and the adoption of certificates that another replica obtained.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Engine, run::has_room};
use crate::{
    acme::{
        ca::{ClientError, jws::AccountKey},
        issuer::Issuer,
        order::{Attempt, account, keys},
        plan::{Failure, FailureState, Step, StoredCertificate, plan, record},
        spec::CertificateSpec,
    },
    store::Batch,
};

/// A request of the operator that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperateError {
    /// No spec has this name.
    #[error("there is no certificate {0}; `gatelet certs` lists the existing ones")]
    Unknown(String),
    /// Its certificate has not been issued yet.
    #[error("the certificate {0} has not been issued yet")]
    Nothing(String),
    /// Its issuer does not support the request.
    #[error("{0} was not issued by an ACME CA, which this request needs")]
    Local(String),
    /// This replica does not lead.
    #[error(
        "this replica does not lead; send the request to the leader, whose node the Lease \
        `gatelet` names"
    )]
    Follows,
    /// The CA refused, or the store failed.
    #[error("{0}")]
    Failed(String),
}

impl From<ClientError> for OperateError {
    fn from(error: ClientError) -> Self {
        Failure::from(error).into()
    }
}

impl From<Failure> for OperateError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.problem)
    }
}

impl Engine {
    /// Renews a certificate now, whatever is left of its lifetime. Returns a sentence about when
    /// that happens. `name` is the ID of a spec or one of its hosts. Earlier failures are
    /// forgotten, because the operator has acted.
    ///
    /// # Errors
    /// [`OperateError::Unknown`], [`OperateError::Follows`].
    pub async fn renew(&self, name: &str) -> Result<String, OperateError> {
        let spec = self.find(name)?;
        let names = spec.names_as_text();

        let had_failures = {
            let mut state = self.context.ledger.state();
            for account in spec.issuers.iter().filter_map(|issuer| issuer.account_id()) {
                if let Some(budget) = state.budgets.get_mut(&account) {
                    budget.forgive(&names);
                }
            }
            state.forced.insert(spec.id.to_string());
            state.failures.remove(&*spec.id).is_some()
        };

        if had_failures {
            let batch = record::remove::<Vec<FailureState>>(Batch::new(), &spec.id);
            self.context.ledger.commit(batch).await?;
        }
        let when = self.time_of_renewal(&spec);
        self.look_again();
        Ok(when)
    }

    fn time_of_renewal(&self, spec: &Arc<CertificateSpec>) -> String {
        let (context, id) = (&self.context, &spec.id);
        if context.progress.is_running(id) {
            return format!(
                "an order of {id} is already under way; its certificate is the renewal"
            );
        }

        let plan = {
            let state = context.ledger.state();
            plan(context.time.now(), std::slice::from_ref(spec), &state)
        };
        let step = plan.decisions.into_iter().map(|decision| decision.step);
        match step.last() {
            Some(Step::Wait { until, why }) => format!("{id} is renewed at {until}: {why}"),
            Some(Step::Blocked { why }) => format!("{id} cannot be renewed: {why}"),
            Some(Step::ClockUnknown) | None => format!("{id} is renewed once the time is known"),
            Some(Step::Obtain { issuer, .. }) => {
                let account = issuer.account_id().unwrap_or_default();
                let specs = context.assignment.specs();
                let is_running =
                    |other: &&Arc<CertificateSpec>| context.progress.is_running(&other.id);
                let running = specs.iter().filter(is_running);
                let beside: Vec<_> = running.filter(|other| other.uses(&account)).collect();
                if has_room(context, spec, &account, &beside) {
                    format!("{id} is being renewed now")
                } else {
                    format!("{id} is renewed after the running orders of its account")
                }
            }
        }
    }

    /// Changes the key of an issuer's account (RFC 8555 section 7.3.5). The new key is stored
    /// before the CA sees it, so that the valid one of the two can be found after a crash.
    ///
    /// # Errors
    /// The CA refuses, or the store fails.
    pub async fn change_key(&self, issuer: &Issuer) -> Result<(), OperateError> {
        self.check_lead()?;
        let context = &self.context;
        let (ca, acme) = context.cas.get(issuer)?;
        let _alone = ca.registering.lock().await;
        let session = account::session(context, &ca, acme).await?;

        let mut account = context.accounts.get(&ca.account, acme).await?;
        let next = AccountKey::generate();
        account.next_key = Some(STANDARD.encode(next.pkcs8()));
        context.accounts.put(&ca.account, account.clone()).await?;
        context.accounts.share(&ca.account, &account).await?;

        session.change_key(&next).await?;
        account::settle(context, &ca, account, true).await?;
        Ok(())
    }

    /// Makes a new key and account for an issuer, because the CA no longer accepts the old ones.
    /// Earlier failures of its certificates are forgotten.
    ///
    /// # Errors
    /// The CA refuses, or the store fails. Then the old account stays.
    pub async fn new_account(&self, issuer: &Issuer) -> Result<(), OperateError> {
        self.check_lead()?;
        let context = &self.context;
        let account = issuer.account_id().unwrap_or_default();
        let specs = context.assignment.specs();
        let using: Vec<_> = specs.iter().filter(|spec| spec.uses(&account)).collect();
        let Some(spec) = using.first() else {
            return Err(OperateError::Unknown(issuer.name.to_string()));
        };

        let attempt = Attempt::new(context, spec, issuer)?;
        {
            let _alone = attempt.ca.registering.lock().await;
            let made = attempt.new_account(context.time.now_or_failure()?).await;
            self.look_again();
            made?;
        }

        let mut batch = Batch::new();
        for spec in using {
            let failures = &mut context.ledger.state().failures;
            if failures.remove(&*spec.id).is_some() {
                batch = record::remove::<Vec<FailureState>>(batch, &spec.id);
            }
        }
        if !batch.is_empty() {
            context.ledger.commit(batch).await?;
        }
        self.look_again();
        Ok(())
    }

    /// Adopts an existing certificate, after the store was lost or from another replica. Returns
    /// false if it does not fit the spec or is not newer than the stored one.
    pub async fn adopt(
        &self,
        spec: &CertificateSpec,
        issuer: &Issuer,
        chain: &str,
        key: &str,
    ) -> bool {
        let now = self.context.time.guess();
        let Ok(certificate) = keys::check(spec, chain, key, now) else {
            return false;
        };

        let before = self.context.ledger.stored(&spec.id);
        if before.is_some_and(|before| before.not_before >= certificate.not_before()) {
            return false;
        }

        let pair = (chain.to_owned(), key.to_owned());
        let stored = StoredCertificate {
            adopted: true,
            ..keys::stored(spec, issuer, &certificate, pair, now)
        };
        self.context.ledger.adopt(&spec.id, stored).await;
        self.look_again();
        true
    }

    /// Fails on replicas that do not lead, because they would never carry out the request.
    fn check_lead(&self) -> Result<(), OperateError> {
        if self.leads() {
            Ok(())
        } else {
            Err(OperateError::Follows)
        }
    }

    /// Finds a spec by its ID or one of its names, to do something with its certificate.
    pub(super) fn find(&self, name: &str) -> Result<Arc<CertificateSpec>, OperateError> {
        self.check_lead()?;
        let found = self.context.assignment.find(name);
        found.ok_or_else(|| OperateError::Unknown(name.to_owned()))
    }
}
