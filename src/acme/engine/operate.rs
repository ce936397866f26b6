//! Requests from outside: renewals and account key changes by the operator (revocations are in
//! `revoke`), and the adoption of certificates that another replica obtained.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    accounts::account_key,
    {Ca, Engine},
};
use crate::{
    acme::{
        ca::{ari_id, jws::AccountKey},
        issuer::{AcmeIssuer, Issuer},
        order::{classify, keys},
        plan::{
            failure::{Failure, FailureState},
            record::{self, Account, StoredCertificate},
        },
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

impl From<Failure> for OperateError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.problem)
    }
}

impl Engine {
    /// Makes the loop plan again, after a change outside, such as the clock's.
    pub fn look_again(&self) {
        self.kick.notify_one();
    }

    /// Renews a certificate now, whatever is left of its lifetime. `name` is the ID of a spec or
    /// one of its hosts. Earlier failures are forgotten, because the operator has acted.
    ///
    /// # Errors
    /// [`OperateError::Unknown`], [`OperateError::Follows`].
    pub async fn renew(&self, name: &str) -> Result<Arc<str>, OperateError> {
        self.check_lead()?;
        let spec = self.find(name)?;
        let names: Vec<String> = spec.names.iter().map(ToString::to_string).collect();

        let had_failures = {
            let mut state = self.state();
            for account in spec.issuers.iter().filter_map(|issuer| issuer.account_id()) {
                if let Some(budget) = state.budgets.get_mut(&account) {
                    budget.forgive(&names);
                }
            }
            state.forced.insert(spec.id.to_string());
            state.failures.remove(&*spec.id).is_some()
        };

        if had_failures {
            self.commit(record::remove::<Vec<FailureState>>(Batch::new(), &spec.id))
                .await?;
        }
        self.look_again();
        Ok(spec.id.clone())
    }

    /// Changes the key of an issuer's account (RFC 8555 section 7.3.5). The new key is stored
    /// before the CA sees it, so that the valid one of the two can be found after a crash.
    ///
    /// # Errors
    /// The CA refuses, or the store fails.
    pub async fn change_key(&self, issuer: &Issuer) -> Result<(), OperateError> {
        self.check_lead()?;
        let acme = issuer
            .acme()
            .ok_or_else(|| OperateError::Local(issuer.name.to_string()))?;
        let ca = self.ca(issuer, acme)?;
        self.enter(&ca, acme).await?;

        let mut account = self.account(&ca.account, acme).await?;
        let next = AccountKey::generate();
        account.next_key = Some(STANDARD.encode(next.pkcs8()));
        self.put_account(&ca.account, account.clone()).await?;
        self.share_account(&ca.account, &account).await?;

        let session = ca
            .session()
            .ok_or_else(|| OperateError::Failed("no account is registered yet".to_owned()))?;
        session
            .change_key(&next)
            .await
            .map_err(|error| OperateError::from(classify::failure(&error)))?;

        self.settle(&ca, account, true).await?;
        Ok(())
    }

    /// Makes sure that there is a session for the account, if the CA knows it.
    pub(crate) async fn enter(&self, ca: &Ca, acme: &AcmeIssuer) -> Result<(), Failure> {
        let account = self.account(&ca.account, acme).await?;
        let account = self.settled(ca, account).await?;
        if let Some(url) = &account.url
            && ca.session().is_none()
        {
            ca.enter(Arc::new(account_key(&account)?), url);
        }
        Ok(())
    }

    /// Returns the account with one key. If a crash left two keys, asks the CA which one is valid.
    pub(crate) async fn settled(&self, ca: &Ca, account: Account) -> Result<Account, Failure> {
        let Some(next) = &account.next_key else {
            return Ok(account);
        };
        let changed = Account {
            key: next.clone(),
            ..account.clone()
        };
        let key = account_key(&changed)?;
        match ca.client.new_account(&key, &[], None, true).await {
            Ok(_) => self.settle(ca, account, true).await,
            Err(error) if error.is("accountDoesNotExist") => self.settle(ca, account, false).await,
            Err(error) => Err(classify::failure(&error)),
        }
    }

    /// Keeps one of two keys: the new one if it was `changed` at the CA.
    async fn settle(
        &self,
        ca: &Ca,
        mut account: Account,
        changed: bool,
    ) -> Result<Account, Failure> {
        if let Some(next) = account.next_key.take().filter(|_| changed) {
            account.key = next;
        }
        self.put_account(&ca.account, account.clone()).await?;
        if let Some(url) = &account.url {
            ca.enter(Arc::new(account_key(&account)?), url);
        }
        self.refresh_responses();
        self.look_again();
        Ok(account)
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
        let now = self.clock().guess(self.reading()).0;
        let Ok(certificate) = keys::check(spec, chain, key, now) else {
            return false;
        };

        if self
            .stored(&spec.id)
            .is_some_and(|stored| stored.not_before >= certificate.not_before().0)
        {
            return false;
        }

        let directory = issuer
            .acme()
            .map(|acme| acme.directory.clone())
            .unwrap_or_default();
        let ari = if directory.is_empty() {
            None
        } else {
            certificate
                .certified()
                .cert
                .first()
                .and_then(|leaf| ari_id(leaf))
        };

        let stored = StoredCertificate {
            chain: chain.to_owned(),
            key: key.to_owned(),
            names: spec.names.iter().map(ToString::to_string).collect(),
            issuer: issuer.name.to_string(),
            directory,
            not_before: certificate.not_before().0,
            not_after: certificate.not_after().0,
            stored: now,
            print: spec.fingerprint(issuer),
            ari: ari.unwrap_or_default(),
            revoked: false,
            adopted: true,
            unwanted: None,
            previous: None,
        };

        let batch = record::put(Batch::new(), &spec.id, &stored);
        let batch = record::remove::<Vec<FailureState>>(batch, &spec.id);
        if let Err(failure) = self.commit(batch).await {
            tracing::warn!(
                certificate = &*spec.id,
                problem = failure.problem,
                "storing a certificate failed; it is active until the process ends"
            );
        }

        {
            let mut state = self.state();
            state.certificates.insert(spec.id.to_string(), stored);
            state.failures.remove(&*spec.id);
        }

        self.publish();
        self.look_again();
        true
    }

    /// Fails on replicas that do not lead, because they would never carry out the request.
    pub(crate) fn check_lead(&self) -> Result<(), OperateError> {
        if self.leads() {
            Ok(())
        } else {
            Err(OperateError::Follows)
        }
    }

    /// Finds a spec by its ID or one of its names.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<CertificateSpec>, OperateError> {
        let specs = self.specs();
        let by_id = specs.iter().find(|spec| *spec.id == *name);
        let by_host = || {
            specs
                .iter()
                .find(|spec| spec.names.iter().any(|one| one.to_string() == name))
        };
        by_id
            .or_else(by_host)
            .cloned()
            .ok_or_else(|| OperateError::Unknown(name.to_owned()))
    }
}
