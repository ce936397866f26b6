//! Our accounts at CAs: kept before any CA sees them, and shared with other replicas.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    engine::{Engine, lock},
    failure::{Class, Failure},
    issuer::AcmeIssuer,
    jws::AccountKey,
    record::{self, Account},
    want::Want,
};
use crate::store::Batch;

impl Engine {
    /// The accounts, by id, as other replicas take them in by [`Engine::adopt_account`]. They hold private keys.
    pub fn accounts(&self) -> BTreeMap<String, Vec<u8>> {
        lock(&self.accounts).iter().map(|(id, account)| (id.clone(), record::to_bytes(account))).collect()
    }

    /// Waits until an account was made or changed.
    pub async fn account_changed(&self) {
        self.accounts_changed.notified().await;
    }

    /// Takes in an account of another replica, in place of an own one. What cannot be read is passed over.
    pub async fn adopt_account(&self, id: &str, bytes: &[u8]) {
        let Some(account) = record::from_bytes::<Account>(bytes) else {
            tracing::warn!(account = id, "an account of another replica cannot be read");
            return;
        };
        lock(&self.cas).remove(id);
        if let Err(failure) = self.put_account(id, account).await {
            tracing::warn!(account = id, problem = failure.problem, "an account of another replica was not stored");
        }
        // Its key answers from now on.
        self.want(self.wants());
    }

    /// The account of an issuer; made and stored if there is none, before any CA sees its key.
    pub(super) async fn account(&self, id: &str, acme: &AcmeIssuer) -> Result<Account, Failure> {
        if let Some(account) = lock(&self.accounts).get(id) {
            return Ok(account.clone());
        }
        let account = Account {
            directory: acme.directory.clone(),
            key: STANDARD.encode(AccountKey::generate().pkcs8()),
            url: None,
            contacts: Vec::new(),
            next_key: None,
        };
        self.put_account(id, account.clone()).await?;
        Ok(account)
    }

    pub(super) async fn put_account(&self, id: &str, account: Account) -> Result<(), Failure> {
        self.commit(record::put(Batch::new(), id, &account)).await?;
        lock(&self.accounts).insert(id.to_owned(), account);
        self.accounts_changed.notify_one();
        Ok(())
    }

    /// The account that stands for a wish on every node: that of its first issuer, if it has one.
    pub(super) fn thumbprint_for(&self, want: &Want) -> Option<String> {
        let accounts = lock(&self.accounts);
        let issuer = want.issuers.iter().find_map(|issuer| accounts.get(&issuer.account_id()?))?;
        account_key(issuer).ok().map(|key| key.thumbprint())
    }
}

/// The key of a stored account.
pub(super) fn account_key(account: &Account) -> Result<AccountKey, Failure> {
    let damaged = || Failure::new(Class::Account, "the stored key of the account is damaged");
    let bytes = STANDARD.decode(&account.key).map_err(|_bad| damaged())?;
    AccountKey::from_pkcs8(&bytes).map_err(|_bad| damaged())
}
