//! Shares the ACME accounts of a cluster's replicas through a Secret: all replicas answer CAs with
//! the same keys, and only the leader talks to CAs, after it has adopted the accounts of the leader
//! before it.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use crate::{
    acme::{Engine, SharedAccounts, SharedAccountsError},
    k8s::{AccountSecret, AccountsRead, WriteError},
};

/// Time until the Secret is read again if it cannot be watched.
const RETRY: Duration = Duration::from_secs(5);
/// Time until the Secret is read again if that is forbidden.
const RETRY_FORBIDDEN: Duration = Duration::from_secs(60);

impl SharedAccounts for AccountSecret {
    fn offer<'a>(
        &'a self,
        id: &'a str,
        account: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, SharedAccountsError>> + Send + 'a>> {
        Box::pin(async move {
            match Self::offer(self, id, &account).await {
                Ok(shared) => Ok(shared),
                // Without the right to the Secret every replica has an account of its own.
                Err(error) if error.forbids() => Ok(account),
                Err(error) => Err(SharedAccountsError(error.to_string())),
            }
        })
    }

    fn put<'a>(
        &'a self,
        id: &'a str,
        account: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<(), SharedAccountsError>> + Send + 'a>> {
        Box::pin(async move {
            match Self::put(self, id, &account).await {
                Err(error) if !error.forbids() => Err(SharedAccountsError(error.to_string())),
                _ => Ok(()),
            }
        })
    }
}

/// Keeps this replica's accounts and the Secret equal until no replica can lead any more.
pub(crate) async fn share(
    engine: Arc<Engine>,
    secret: AccountSecret,
    mut leads: watch::Receiver<bool>,
) {
    engine.lead(false);
    let mut is_logged = false;
    // True if this replica has led since the last read without interruption.
    let mut has_led = false;

    loop {
        has_led &= leads.has_changed().is_ok_and(|changed| !changed);
        let is_leader = *leads.borrow_and_update();
        let read = secret.load().await;

        match &read {
            Ok(read) => {
                // The leader's own accounts are newer than the Secret.
                if !(is_leader && has_led) {
                    adopt(&engine, read).await;
                }
                engine.lead(is_leader);
                if is_leader {
                    put(&engine, &secret, read).await;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut is_logged, true) {
                    tracing::warn!(%error, "the ACME accounts are not shared with other replicas");
                }
                engine.lead(is_leader && (has_led || error.forbids()));
            }
        }

        has_led = engine.leads();
        tokio::select! {
            () = engine.account_changed() => {}
            changed = leads.changed() => match changed {
                Ok(()) => has_led = false,
                Err(_ended) => return,
            },
            () = changed(&secret, &read) => {}
        }
    }
}

/// Adopts the accounts of the Secret that differ.
async fn adopt(engine: &Engine, read: &AccountsRead) {
    let own = engine.accounts();
    for (id, bytes) in read
        .accounts
        .iter()
        .filter(|(id, bytes)| own.get(*id) != Some(*bytes))
    {
        engine.adopt_account(id, bytes).await;
    }
}

/// Puts the accounts that differ into the Secret.
async fn put(engine: &Engine, secret: &AccountSecret, read: &AccountsRead) {
    let mut own = engine.accounts();
    own.retain(|id, bytes| read.accounts.get(id) != Some(bytes));
    for (id, bytes) in own {
        if let Err(error) = secret.put(&id, &bytes).await {
            tracing::warn!(%error, account = id, "an ACME account is not shared yet");
        }
    }
}

/// Waits until the Secret should be read again.
async fn changed(secret: &AccountSecret, read: &Result<AccountsRead, WriteError>) {
    let watched = match read {
        Ok(read) => secret.changed(read).await.map_err(|error| error.forbids()),
        Err(error) => Err(error.forbids()),
    };
    match watched {
        Ok(()) => {}
        Err(true) => sleep(RETRY_FORBIDDEN).await,
        Err(false) => sleep(RETRY).await,
    }
}
