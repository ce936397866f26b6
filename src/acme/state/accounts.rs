//! Our accounts at CAs: stored before any CA sees them, and shared with other replicas.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{sync::Notify, time::sleep};

use super::{
    assignment::Assignment, ca_pool::CaPool, ledger::Ledger, responder::ChallengeResponder,
};
use crate::{
    acme::{
        ca::jws::AccountKey,
        issuer::AcmeIssuer,
        plan::{Account, Class, Failure, record},
        spec::CertificateSpec,
    },
    store::{Batch, Store, StoreError},
    util::{sync::lock, time::UnixSeconds},
};

/// The time within which other replicas have adopted a new account.
const ADOPTED_WITHIN: Duration = Duration::from_secs(2);

/// The result of an operation on the shared accounts.
type Outcome<'a, T> = Pin<Box<dyn Future<Output = Result<T, SharedAccountsError>> + Send + 'a>>;

/// A failed operation on the shared accounts, described in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SharedAccountsError(pub String);

/// The accounts that all replicas of a cluster share. They contain private keys.
pub trait SharedAccounts: Send + Sync {
    /// Stores an account unless one with its ID exists. Returns the stored account.
    fn offer<'a>(&'a self, id: &'a str, account: Vec<u8>) -> Outcome<'a, Vec<u8>>;

    /// Stores an account, replacing any with its ID.
    fn put<'a>(&'a self, id: &'a str, account: Vec<u8>) -> Outcome<'a, ()>;
}

/// Our accounts by ID.
pub(crate) struct Accounts {
    known: Mutex<BTreeMap<String, Account>>,
    shared: Option<Arc<dyn SharedAccounts>>,
    /// Notified when an account is created or changed.
    changed: Notify,
    ledger: Arc<Ledger>,
    assignment: Arc<Assignment>,
    cas: Arc<CaPool>,
    responder: Arc<ChallengeResponder>,
}

impl Accounts {
    /// Loads the stored accounts.
    pub(crate) fn load(
        store: &dyn Store,
        shared: Option<Arc<dyn SharedAccounts>>,
        ledger: Arc<Ledger>,
        assignment: Arc<Assignment>,
        cas: Arc<CaPool>,
        responder: Arc<ChallengeResponder>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            known: Mutex::new(record::all(store)?),
            shared,
            changed: Notify::new(),
            ledger,
            assignment,
            cas,
            responder,
        })
    }

    /// Returns the accounts by ID, in the form that [`Self::adopt`] takes.
    pub(crate) fn all(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.known)
            .iter()
            .map(|(id, account)| (id.clone(), record::to_bytes(account)))
            .collect()
    }

    /// Waits until an account is created or changed.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Adopts an account of another replica, replacing our own. Unreadable accounts are logged and
    /// ignored.
    pub(crate) async fn adopt(&self, id: &str, bytes: &[u8]) {
        let Some(account) = record::from_bytes::<Account>(bytes) else {
            tracing::warn!(account = id, "an account of another replica is unreadable");
            return;
        };
        self.cas.forget(id);
        if let Err(failure) = self.put(id, account).await {
            tracing::warn!(
                account = id,
                problem = failure.problem,
                "storing an account of another replica failed"
            );
        }
        self.refresh_responses();
    }

    /// Updates the responses to HTTP challenges with the current account keys. On the leading
    /// replica the choices that attempts have made stay, because attempts repeat them.
    pub(crate) fn refresh_responses(&self) {
        let others = !self.assignment.leads();
        self.respond_for(&self.assignment.specs(), others);
    }

    /// Updates the responses to HTTP challenges for the specs: those without one yet, or with
    /// `others` all, because the accounts changed.
    pub(crate) fn respond_for(&self, specs: &[Arc<CertificateSpec>], others: bool) {
        self.responder
            .specs(specs, others, |spec| self.thumbprint_for(spec));
    }

    /// Makes all replicas respond to challenges for a spec with this account's key. By default it
    /// is the account of the first issuer that has one.
    pub(crate) async fn set_answering_account(
        &self,
        spec: &CertificateSpec,
        id: &str,
    ) -> Result<(), Failure> {
        if self.shared.is_none() || spec.issuers.len() < 2 {
            return Ok(());
        }

        let is_first = spec.issuers[0].account_id().as_deref() == Some(id);
        let mut changed = false;
        for other in spec.issuers.iter().filter_map(|issuer| issuer.account_id()) {
            let Some(mut account) = self.known(&other) else {
                continue;
            };

            let differs = if other == id && !is_first {
                let specs = self.assignment.specs();
                let used: BTreeSet<&str> = specs.iter().map(|spec| &*spec.id).collect();
                account
                    .speaks_for
                    .retain(|known| used.contains(known.as_str()));
                account.speaks_for.insert(spec.id.to_string())
            } else {
                account.speaks_for.remove(&*spec.id)
            };

            if differs {
                self.put(&other, account.clone()).await?;
                self.share(&other, &account).await?;
                changed = true;
            }
        }

        if changed {
            sleep(ADOPTED_WITHIN).await;
        }
        Ok(())
    }

    /// Returns the account of an issuer. If there is none, creates, stores and shares it before
    /// any CA sees its key.
    pub(crate) async fn get(&self, id: &str, acme: &AcmeIssuer) -> Result<Account, Failure> {
        let account = match self.known(id) {
            Some(account) if account.url.is_some() => return Ok(account),
            Some(account) => account,
            None => {
                let account = new_account(acme, None);
                self.put(id, account.clone()).await?;
                account
            }
        };

        let Some(shared) = &self.shared else {
            return Ok(account);
        };

        let ours = record::to_bytes(&account);
        let kept = shared
            .offer(id, ours.clone())
            .await
            .map_err(|error| not_shared(&error))?;
        if kept != ours {
            self.adopt(id, &kept).await;
            return Ok(self.known(id).unwrap_or(account));
        }

        // The CA may connect to any replica.
        sleep(ADOPTED_WITHIN).await;
        Ok(account)
    }

    /// Replaces an account by another one, for all replicas.
    pub(crate) async fn replace(&self, id: &str, account: Account) -> Result<(), Failure> {
        self.put(id, account.clone()).await?;
        self.share(id, &account).await?;
        self.refresh_responses();
        if self.shared.is_some() {
            // The CA may connect to any replica.
            sleep(ADOPTED_WITHIN).await;
        }
        Ok(())
    }

    /// Returns true if a CA knows the account, and its key is not being changed.
    pub(crate) fn is_registered(&self, id: &str) -> bool {
        let account = self.known(id);
        account.is_some_and(|account| account.url.is_some() && account.next_key.is_none())
    }

    /// Stores an account for all replicas. After an error, some may not have it.
    pub(crate) async fn share(&self, id: &str, account: &Account) -> Result<(), Failure> {
        let Some(shared) = &self.shared else {
            return Ok(());
        };
        shared
            .put(id, record::to_bytes(account))
            .await
            .map_err(|error| not_shared(&error))
    }

    pub(crate) async fn put(&self, id: &str, account: Account) -> Result<(), Failure> {
        if lock(&self.known).get(id) == Some(&account) {
            return Ok(());
        }
        let batch = record::put(Batch::new(), id, &account);
        self.ledger.commit(batch).await?;
        lock(&self.known).insert(id.to_owned(), account);
        self.changed.notify_one();
        Ok(())
    }

    fn known(&self, id: &str) -> Option<Account> {
        lock(&self.known).get(id).cloned()
    }

    /// Returns the thumbprint of the account whose key every node responds with for a spec: the
    /// account chosen for it, otherwise that of the first issuer that has one.
    fn thumbprint_for(&self, spec: &CertificateSpec) -> Option<String> {
        let accounts = lock(&self.known);
        let of_issuers = || {
            spec.issuers
                .iter()
                .filter_map(|issuer| accounts.get(&issuer.account_id()?))
        };
        let account = of_issuers().find(|account| account.speaks_for.contains(&*spec.id));
        let key = account_key(&account.or_else(|| of_issuers().next())?.key);
        key.ok().map(|key| key.thumbprint())
    }
}

/// Returns an account with a new key, which no CA knows yet. It may replace another one at a time.
pub(crate) fn new_account(acme: &AcmeIssuer, replaced: Option<UnixSeconds>) -> Account {
    Account {
        directory: acme.directory.clone(),
        key: STANDARD.encode(AccountKey::generate().pkcs8()),
        url: None,
        contacts: Vec::new(),
        next_key: None,
        replaced,
        speaks_for: BTreeSet::new(),
    }
}

/// Reads the key of a stored account.
pub(crate) fn account_key(stored: &str) -> Result<AccountKey, Failure> {
    let damaged = || Failure::new(Class::Account, "the stored key of the account is damaged");
    let bytes = STANDARD.decode(stored).map_err(|_bad| damaged())?;
    AccountKey::from_pkcs8(&bytes).map_err(|_bad| damaged())
}

fn not_shared(error: &SharedAccountsError) -> Failure {
    Failure::new(
        Class::Store,
        format!("sharing the account with the other replicas failed: {error}"),
    )
}
