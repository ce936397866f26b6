//! The session of our account at a CA, also after a change of its key that was interrupted.

use std::sync::Arc;

use super::classify;
use crate::acme::{
    ca::Session,
    issuer::AcmeIssuer,
    plan::{
        failure::{Class, Failure},
        record::Account,
    },
    state::{accounts::account_key, ca_pool::Ca, context::Context},
};

/// Returns the session of the account, which the CA must know.
pub(crate) async fn session(
    context: &Context,
    ca: &Ca,
    acme: &AcmeIssuer,
) -> Result<Session, Failure> {
    let account = context.accounts.get(&ca.account, acme).await?;
    let account = settled(context, ca, account).await?;
    if let Some(url) = &account.url
        && ca.session().is_none()
    {
        ca.enter(Arc::new(account_key(&account)?), url);
    }
    ca.session()
        .ok_or_else(|| Failure::new(Class::Account, "there is no account at the CA"))
}

/// Returns the account with one key. If a crash left two keys, asks the CA which one is valid.
pub(crate) async fn settled(
    context: &Context,
    ca: &Ca,
    account: Account,
) -> Result<Account, Failure> {
    let Some(next) = &account.next_key else {
        return Ok(account);
    };
    let changed = Account {
        key: next.clone(),
        ..account.clone()
    };
    let key = account_key(&changed)?;
    match ca.client.new_account(&key, &[], None, true).await {
        Ok(_) => settle(context, ca, account, true).await,
        Err(error) if error.is("accountDoesNotExist") => settle(context, ca, account, false).await,
        Err(error) => Err(classify::failure(&error)),
    }
}

/// Keeps one of two keys: the new one if it was `changed` at the CA.
pub(crate) async fn settle(
    context: &Context,
    ca: &Ca,
    mut account: Account,
    changed: bool,
) -> Result<Account, Failure> {
    if let Some(next) = account.next_key.take().filter(|_| changed) {
        account.key = next;
    }
    context.accounts.put(&ca.account, account.clone()).await?;
    if let Some(url) = &account.url {
        ca.enter(Arc::new(account_key(&account)?), url);
    }
    context.accounts.refresh_responses();
    context.assignment.wake();
    Ok(account)
}
