//! The ACME accounts of a cluster's replicas: all answer CAs by the same keys, and only the one
//! that leads talks to them, once it has what the one before it had.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use crate::{
    acme::{Engine, SharedAccounts},
    k8s::{AccountSecret, AccountsRead, WriteError},
};

/// Between two looks at what other replicas wrote, while it cannot be watched.
const RETRY: Duration = Duration::from_secs(5);
/// Whether it is allowed by now is looked at this often.
const FORBIDDEN: Duration = Duration::from_secs(60);

impl SharedAccounts for AccountSecret {
    fn offer<'a>(
        &'a self,
        id: &'a str,
        account: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, String>> + Send + 'a>> {
        Box::pin(async move {
            match Self::offer(self, id, &account).await {
                Ok(there) => Ok(there),
                // Without the right to the Secret every replica has an account of its own.
                Err(error) if error.forbids() => Ok(account),
                Err(error) => Err(error.to_string()),
            }
        })
    }

    fn put<'a>(
        &'a self,
        id: &'a str,
        account: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(async move {
            match Self::put(self, id, &account).await {
                Err(error) if !error.forbids() => Err(error.to_string()),
                _ => Ok(()),
            }
        })
    }
}

/// Keeps what this replica has of accounts, and the Secret, the same, for as long as there may be a
/// leader.
pub(crate) async fn share(
    engine: Arc<Engine>,
    secret: AccountSecret,
    mut leads: watch::Receiver<bool>,
) -> Result<(), String> {
    engine.lead(false);
    let mut told = false;
    // Whether this replica has led since the last look, without another one in between.
    let mut led = false;
    loop {
        led &= leads.has_changed().is_ok_and(|changed| !changed);
        let leading = *leads.borrow_and_update();
        let read = secret.load().await;
        match &read {
            Ok(read) => {
                // Who leads knows better what the accounts are.
                if !(leading && led) {
                    take_in(&engine, read).await;
                }
                engine.lead(leading);
                if leading {
                    put(&engine, &secret, read).await;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the ACME accounts are not shared with other replicas");
                }
                engine.lead(leading && (led || error.forbids()));
            }
        }
        led = engine.leads();
        tokio::select! {
            () = engine.account_changed() => {}
            changed = leads.changed() => match changed {
                Ok(()) => led = false,
                Err(_ended) => return Ok(()),
            },
            () = changed(&secret, &read) => {}
        }
    }
}

/// Takes in what is different in the Secret.
async fn take_in(engine: &Engine, read: &AccountsRead) {
    let own = engine.accounts();
    for (id, bytes) in read
        .accounts
        .iter()
        .filter(|(id, bytes)| own.get(*id) != Some(*bytes))
    {
        engine.adopt_account(id, bytes).await;
    }
}

/// Puts what is different here into the Secret.
async fn put(engine: &Engine, secret: &AccountSecret, read: &AccountsRead) {
    let mut own = engine.accounts();
    own.retain(|id, bytes| read.accounts.get(id) != Some(bytes));
    for (id, bytes) in own {
        if let Err(error) = secret.put(&id, &bytes).await {
            tracing::warn!(%error, account = id, "an ACME account is not shared yet");
        }
    }
}

/// Waits until the Secret is worth another look.
async fn changed(secret: &AccountSecret, read: &Result<AccountsRead, WriteError>) {
    let watched = match read {
        Ok(read) => secret.changed(read).await.map_err(|error| error.forbids()),
        Err(error) => Err(error.forbids()),
    };
    match watched {
        Ok(()) => {}
        Err(true) => sleep(FORBIDDEN).await,
        Err(false) => sleep(RETRY).await,
    }
}
