//! Our accounts at CAs: kept before any CA sees them, and shared with other replicas.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::time::sleep;

use super::{
    ca::jws::AccountKey,
    engine::Engine,
    failure::{Class, Failure},
    issuer::AcmeIssuer,
    record::{self, Account},
    spec::CertificateSpec,
};
use crate::{store::Batch, util::sync::lock};

/// Other replicas have taken in a new account after this long.
const TAKEN_IN: Duration = Duration::from_secs(2);

/// The outcome of something that is done elsewhere.
type Outcome<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// Where accounts are for all replicas of a cluster. They hold private keys.
pub trait SharedAccounts: Send + Sync {
    /// Puts an account there, unless there is one with its id. Returns the one that is there then.
    fn offer<'a>(&'a self, id: &'a str, account: Vec<u8>) -> Outcome<'a, Vec<u8>>;

    /// Puts an account there, in place of the one with its id.
    fn put<'a>(&'a self, id: &'a str, account: Vec<u8>) -> Outcome<'a, ()>;
}

impl Engine {
    /// The accounts, by id, as other replicas take them in by [`Engine::adopt_account`]. They hold
    /// private keys.
    pub fn accounts(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.accounts)
            .iter()
            .map(|(id, account)| (id.clone(), record::to_bytes(account)))
            .collect()
    }

    /// Waits until an account was made or changed.
    pub async fn account_changed(&self) {
        self.accounts_changed.notified().await;
    }

    /// Takes in an account of another replica, in place of an own one. What cannot be read is
    /// passed over.
    pub async fn adopt_account(&self, id: &str, bytes: &[u8]) {
        let Some(account) = record::from_bytes::<Account>(bytes) else {
            tracing::warn!(account = id, "an account of another replica cannot be read");
            return;
        };
        lock(&self.cas).remove(id);
        if let Err(failure) = self.put_account(id, account).await {
            tracing::warn!(
                account = id,
                problem = failure.problem,
                "an account of another replica was not stored"
            );
        }
        self.answer_by_accounts();
    }

    /// The keys of the accounts answer CAs on this node as they are now. Where this replica gets
    /// the certificates, an attempt has said which one answers, and says so again.
    pub(super) fn answer_by_accounts(&self) {
        self.board.wants(&self.wants(), !self.leads(), |want| {
            self.thumbprint_for(want)
        });
    }

    /// An account answers for a wish from now on, on all replicas. Without a word it is that of the
    /// first issuer that has one.
    pub(super) async fn speaks_for(&self, want: &CertificateSpec, id: &str) -> Result<(), Failure> {
        if self.shared().is_none() || want.issuers.len() < 2 {
            return Ok(());
        }
        let is_first = want.issuers[0].account_id().as_deref() == Some(id);
        let mut changed = false;
        for other in want.issuers.iter().filter_map(|issuer| issuer.account_id()) {
            let Some(mut account) = lock(&self.accounts).get(&other).cloned() else {
                continue;
            };
            let differs = if other == id && !is_first {
                let wanted: BTreeSet<Arc<str>> =
                    self.wants().iter().map(|want| want.id.clone()).collect();
                account
                    .speaks_for
                    .retain(|known| wanted.contains(known.as_str()));
                account.speaks_for.insert(want.id.to_string())
            } else {
                account.speaks_for.remove(&*want.id)
            };
            if differs {
                self.put_account(&other, account.clone()).await?;
                self.share_account(&other, &account).await?;
                changed = true;
            }
        }
        if changed {
            sleep(TAKEN_IN).await;
        }
        Ok(())
    }

    /// The account of an issuer; made, stored and shared if there is none, before any CA sees its
    /// key.
    pub(super) async fn account(&self, id: &str, acme: &AcmeIssuer) -> Result<Account, Failure> {
        let known = lock(&self.accounts).get(id).cloned();
        let account = match known {
            Some(account) if account.url.is_some() => return Ok(account),
            Some(account) => account,
            None => {
                let account = Account {
                    directory: acme.directory.clone(),
                    key: STANDARD.encode(AccountKey::generate().pkcs8()),
                    url: None,
                    contacts: Vec::new(),
                    next_key: None,
                    speaks_for: BTreeSet::new(),
                };
                self.put_account(id, account.clone()).await?;
                account
            }
        };
        let Some(shared) = self.shared() else {
            return Ok(account);
        };
        let ours = record::to_bytes(&account);
        let kept = shared
            .offer(id, ours.clone())
            .await
            .map_err(|error| not_shared(&error))?;
        if kept != ours {
            self.adopt_account(id, &kept).await;
            return Ok(lock(&self.accounts).get(id).cloned().unwrap_or(account));
        }
        // A CA may come to any replica.
        sleep(TAKEN_IN).await;
        Ok(account)
    }

    /// Lets all replicas have an account as it is now; with an error they may not.
    pub(super) async fn share_account(&self, id: &str, account: &Account) -> Result<(), Failure> {
        let Some(shared) = self.shared() else {
            return Ok(());
        };
        shared
            .put(id, record::to_bytes(account))
            .await
            .map_err(|error| not_shared(&error))
    }

    pub(super) async fn put_account(&self, id: &str, account: Account) -> Result<(), Failure> {
        if lock(&self.accounts).get(id) == Some(&account) {
            return Ok(());
        }
        self.commit(record::put(Batch::new(), id, &account)).await?;
        lock(&self.accounts).insert(id.to_owned(), account);
        self.accounts_changed.notify_one();
        Ok(())
    }

    /// The account that stands for a wish on every node: the one that says so, else that of the
    /// first issuer that has one.
    pub(super) fn thumbprint_for(&self, want: &CertificateSpec) -> Option<String> {
        let accounts = lock(&self.accounts);
        let of_issuers = || {
            want.issuers
                .iter()
                .filter_map(|issuer| accounts.get(&issuer.account_id()?))
        };
        let account = of_issuers().find(|account| account.speaks_for.contains(&*want.id));
        account_key(account.or_else(|| of_issuers().next())?)
            .ok()
            .map(|key| key.thumbprint())
    }
}

/// The key of a stored account.
pub(super) fn account_key(account: &Account) -> Result<AccountKey, Failure> {
    let damaged = || Failure::new(Class::Account, "the stored key of the account is damaged");
    let bytes = STANDARD.decode(&account.key).map_err(|_bad| damaged())?;
    AccountKey::from_pkcs8(&bytes).map_err(|_bad| damaged())
}

fn not_shared(error: &str) -> Failure {
    Failure::new(
        Class::Store,
        format!("the account is not shared with the other replicas: {error}"),
    )
}
