//! What an operator can ask for: a renewal now, another account key (a revocation is next door).
//! And what a cluster brings along: a certificate that another replica got.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    accounts::account_key,
    ca::{ari_id, jws::AccountKey},
    classify,
    engine::{Ca, Engine},
    failure::{Failure, FailureState},
    issuer::{AcmeIssuer, Issuer},
    keys,
    record::{self, Account, StoredCertificate},
    spec::CertificateSpec,
};
use crate::store::Batch;

/// Why an operator's wish cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperateError {
    /// Nobody wants such a certificate.
    #[error("there is no certificate {0}; `gatelet certs` lists those there are")]
    Unknown(String),
    /// Nothing is held for it.
    #[error("there is no certificate for {0} yet")]
    Nothing(String),
    /// Its issuer does not revoke.
    #[error("{0} was not issued by a CA that revokes")]
    Local(String),
    /// Another replica is the one that gets certificates.
    #[error(
        "this replica does not lead: ask the one that does, whose node the Lease `gatelet` names"
    )]
    Follows,
    /// The CA refuses, or it cannot be stored.
    #[error("{0}")]
    Failed(String),
}

impl From<Failure> for OperateError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.problem)
    }
}

impl Engine {
    /// Something outside changed (the clock, perhaps): looks at everything again.
    pub fn look_again(&self) {
        self.kick.notify_one();
    }

    /// Renews now, whatever is left of its life. `name` is the id of a wish or one of its hosts.
    /// Earlier failures are forgiven: a person looked.
    ///
    /// # Errors
    /// [`OperateError::Unknown`], [`OperateError::Follows`].
    pub async fn renew(&self, name: &str) -> Result<Arc<str>, OperateError> {
        self.check_lead()?;
        let want = self.find(name)?;
        let names: Vec<String> = want.names.iter().map(ToString::to_string).collect();
        let was_in_trouble = {
            let mut state = self.state();
            for account in want.issuers.iter().filter_map(|issuer| issuer.account_id()) {
                if let Some(budget) = state.budgets.get_mut(&account) {
                    budget.forgive(&names);
                }
            }
            state.forced.insert(want.id.to_string());
            state.troubles.remove(&*want.id).is_some()
        };
        if was_in_trouble {
            self.commit(record::remove::<Vec<FailureState>>(Batch::new(), &want.id))
                .await?;
        }
        self.look_again();
        Ok(want.id.clone())
    }

    /// Gives the account of an issuer another key (RFC 8555 section 7.3.5). The new one is stored
    /// before the CA sees it, so that whichever of the two it has after a crash is found again.
    ///
    /// # Errors
    /// The CA refuses, or it cannot be stored.
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
            .ok_or_else(|| OperateError::Failed("there is no account".to_owned()))?;
        session
            .change_key(&next)
            .await
            .map_err(|error| OperateError::from(classify::failure(&error)))?;
        self.settle(&ca, account, true).await?;
        Ok(())
    }

    /// Makes sure that somebody speaks for the account.
    pub(super) async fn enter(&self, ca: &Ca, acme: &AcmeIssuer) -> Result<(), Failure> {
        let account = self.account(&ca.account, acme).await?;
        let account = self.settled(ca, account).await?;
        if let Some(url) = &account.url
            && ca.session().is_none()
        {
            ca.enter(Arc::new(account_key(&account)?), url);
        }
        Ok(())
    }

    /// The account with one key. Where a crash left two, the CA is asked which one it has.
    pub(super) async fn settled(&self, ca: &Ca, account: Account) -> Result<Account, Failure> {
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

    /// Keeps one of two keys.
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
        self.answer_by_accounts();
        self.look_again();
        Ok(account)
    }

    /// Takes over a certificate that is there already: after the store was lost, or from another
    /// replica. Returns whether it is of use; one that is no better than what is held is not.
    pub async fn adopt(
        &self,
        want: &CertificateSpec,
        issuer: &Issuer,
        chain: &str,
        key: &str,
    ) -> bool {
        let now = self.clock().guess(self.reading()).0;
        let Ok(certificate) = keys::check(want, chain, key, now) else {
            return false;
        };
        if self
            .held(&want.id)
            .is_some_and(|held| held.not_before >= certificate.not_before().0)
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
        let held = StoredCertificate {
            chain: chain.to_owned(),
            key: key.to_owned(),
            names: want.names.iter().map(ToString::to_string).collect(),
            issuer: issuer.name.to_string(),
            directory,
            not_before: certificate.not_before().0,
            not_after: certificate.not_after().0,
            stored: now,
            print: want.fingerprint(issuer),
            ari: ari.unwrap_or_default(),
            revoked: false,
            unwanted: None,
            previous: None,
        };
        if let Err(failure) = self
            .commit(record::put(Batch::new(), &want.id, &held))
            .await
        {
            tracing::warn!(
                want = &*want.id,
                problem = failure.problem,
                "a certificate was not stored, but is served"
            );
        }
        self.state().held.insert(want.id.to_string(), held);
        self.publish();
        self.look_again();
        true
    }

    /// What is asked of a replica that only serves would never be done.
    pub(super) fn check_lead(&self) -> Result<(), OperateError> {
        if self.leads() {
            Ok(())
        } else {
            Err(OperateError::Follows)
        }
    }

    pub(super) fn find(&self, name: &str) -> Result<Arc<CertificateSpec>, OperateError> {
        let wants = self.wants();
        let by_id = wants.iter().find(|want| *want.id == *name);
        let by_host = || {
            wants
                .iter()
                .find(|want| want.names.iter().any(|one| one.to_string() == name))
        };
        by_id
            .or_else(by_host)
            .cloned()
            .ok_or_else(|| OperateError::Unknown(name.to_owned()))
    }
}
