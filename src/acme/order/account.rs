//! Our account at a CA: its registration and replacement, and its session, also after a change of
//! its key that was interrupted.

use std::sync::Arc;

use super::{attempt::Attempt, classify::is_verdict};
use crate::{
    acme::{
        ca::{ClientError, Session, Status},
        issuer::AcmeIssuer,
        plan::{Account, Class, Failure},
        state::{Ca, Context, NoticeReason, account_key, new_account},
    },
    util::time::UnixSeconds,
};

/// The ACME error type of a CA that does not know the account.
pub(super) const UNKNOWN_ACCOUNT: &str = "accountDoesNotExist";
/// The shortest time in seconds between two accounts that replace ended ones.
const BETWEEN_ACCOUNTS: i64 = 86_400;

impl Attempt<'_> {
    /// Returns the account, whose key is stored.
    pub(super) async fn known_account(&self) -> Result<Account, Failure> {
        let accounts = &self.context.accounts;
        accounts.get(&self.ca.account, self.acme).await
    }

    /// Makes sure that the CA knows the account. The key is stored before the CA sees it.
    pub(super) async fn account(&self) -> Result<(), Failure> {
        let _alone = self.ca.registering.lock().await;
        let contacts = &self.acme.contacts;
        let mut account = current(self.context, &self.ca, self.acme).await?;

        // A renewal that the operator requested agrees to new terms of service.
        let agrees = self.context.ledger.is_forced(&self.spec.id);
        if account.url.is_some() && !agrees {
            if account.contacts == *contacts {
                return Ok(());
            }

            self.set_progress("updating the contacts at the CA");
            match self.ca.session()?.update_contacts(contacts).await {
                Ok(()) => {
                    account.contacts.clone_from(contacts);
                    return self.context.accounts.put(&self.ca.account, account).await;
                }
                Err(error) if error.is(UNKNOWN_ACCOUNT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.register_or_replace(account).await
    }

    /// Finds the account by its key after the CA rejected a request because of the account, once.
    /// Registers the key again if the CA has lost the account, for example because it was
    /// reinstalled, and replaces an account that has ended.
    pub(super) async fn recover_account(&self) -> Result<(), Failure> {
        let _alone = self.ca.registering.lock().await;
        self.register_or_replace(self.known_account().await?).await
    }

    async fn register_or_replace(&self, account: Account) -> Result<(), Failure> {
        match self.register(account).await? {
            Registered::Valid => Ok(()),
            Registered::Ended(words) => self.replace_account(&words).await,
        }
    }

    /// Gives the issuer a new key and account, because the CA has ended the old one.
    async fn replace_account(&self, words: &str) -> Result<(), Failure> {
        let issuer = &self.issuer.name;
        let now = self.context.time.now_or_failure()?;

        // A CA that ends every account gets one a day.
        let replaced = self.known_account().await?.replaced;
        if replaced.is_some_and(|at| (now - at).saturating_abs() < BETWEEN_ACCOUNTS) {
            let problem = format!("the CA has ended the account: {words}");
            let advice = format!("ask the CA, then run `gatelet certs new-account {issuer}`");
            return Err(Failure::new(Class::Account, problem).advise(advice));
        }

        self.new_account(now).await.map_err(|failure| {
            let advice = format!(
                "the CA has ended the account ({words}); set other credentials as `eab` of this \
                issuer, or run `gatelet certs new-account {issuer}` once the CA accepts them again"
            );
            match failure.class {
                Class::Config if self.acme.eab.is_some() => failure.advise(advice),
                _ => failure,
            }
        })?;

        let message =
            format!("the CA has ended the account of {issuer} ({words}); a new one was made");
        let progress = &self.context.progress;
        progress.notify(&self.spec.id, NoticeReason::AccountReplaced, message);
        Ok(())
    }

    /// Makes a new key and registers it. If the CA refuses, the old account stays.
    pub(crate) async fn new_account(&self, now: UnixSeconds) -> Result<(), Failure> {
        let (accounts, id) = (&self.context.accounts, &self.ca.account);
        let before = self.known_account().await?;
        let account = new_account(self.acme, Some(now));
        accounts.replace(id, account.clone()).await?;

        let failure = match self.register(account).await {
            Ok(Registered::Valid) => return Ok(()),
            Ok(Registered::Ended(words)) => Failure::new(Class::Account, words),
            Err(failure) => failure,
        };
        // Without a verdict, the CA may have made the account.
        if matches!(failure.class, Class::Account | Class::Config) {
            let before = Account {
                replaced: Some(now),
                ..before
            };
            accounts.replace(id, before).await?;
        }
        Err(failure)
    }

    /// Registers the key, or finds the account that already has it.
    async fn register(&self, mut account: Account) -> Result<Registered, Failure> {
        self.set_progress("registering the account");
        let (client, contacts) = (&self.ca.client, &self.acme.contacts);
        let key = Arc::new(account_key(&account.key)?);
        let eab = self.acme.eab.as_ref();
        let is_known = account.url.is_some();
        let new =
            |binding, only_existing| client.new_account(&key, contacts, binding, only_existing);

        // A binding is only sent for a new account, because CAs accept some bindings only once. An
        // account without one must not be made where one is set.
        let agrees = is_known && self.context.ledger.is_forced(&self.spec.id);
        let mut made = new(None, eab.is_some() && !agrees).await;

        let has_ended = |error: &ClientError| is_known && error.is("unauthorized");
        if let (Some(eab), Err(error)) = (eab, &made)
            && is_verdict(error)
            && !has_ended(error)
        {
            made = new(Some(eab), false).await;
            // With a binding, these errors mean that the CA refuses the binding. It has accepted it
            // before if its response was lost and the request was repeated.
            if let Err(error) = &made
                && (error.is("malformed") || error.is("unauthorized"))
            {
                let Failure { problem, .. } = error.into();
                made = new(None, true).await;
                if made.is_err() {
                    let failure = Failure::new(Class::Config, problem);
                    return Err(failure.advise("check `eab` of this issuer"));
                }
            }
        }

        let made = match made {
            Ok(made) => made,
            Err(error) if has_ended(&error) => {
                return Ok(Registered::Ended(Failure::from(error).problem));
            }
            Err(error) => return Err(error.into()),
        };
        self.context.time.witness(made.date);
        if matches!(made.value.status, Status::Deactivated | Status::Revoked) {
            let words = format!("its status is {}", made.value.status);
            return Ok(Registered::Ended(words));
        }

        self.ca.enter(key.clone(), &made.value.url);
        account.contacts.clone_from(contacts);
        account.url = Some(made.value.url);
        self.context.accounts.put(&self.ca.account, account).await?;
        // More orders can begin now.
        self.context.assignment.wake();
        Ok(Registered::Valid)
    }
}

/// The standing of an account at the CA.
enum Registered {
    Valid,
    /// Deactivated or revoked, in the CA's words.
    Ended(String),
}

/// Returns the session of the account, which the CA must know.
pub(crate) async fn session(
    context: &Context,
    ca: &Ca,
    acme: &AcmeIssuer,
) -> Result<Session, Failure> {
    current(context, ca, acme).await?;
    ca.session()
}

/// Returns the account with one key, and opens its session if the CA knows it.
async fn current(context: &Context, ca: &Ca, acme: &AcmeIssuer) -> Result<Account, Failure> {
    let account = context.accounts.get(&ca.account, acme).await?;
    let account = settled(context, ca, account).await?;
    if let Some(url) = &account.url
        && ca.session().is_err()
    {
        ca.enter(Arc::new(account_key(&account.key)?), url);
    }
    Ok(account)
}

/// Returns the account with one key. If a crash left two keys, asks the CA which one is valid.
async fn settled(context: &Context, ca: &Ca, account: Account) -> Result<Account, Failure> {
    let Some(next) = &account.next_key else {
        return Ok(account);
    };
    let key = account_key(next)?;
    match ca.client.new_account(&key, &[], None, true).await {
        Ok(_) => settle(context, ca, account, true).await,
        Err(error) if error.is(UNKNOWN_ACCOUNT) => settle(context, ca, account, false).await,
        Err(error) => Err(error.into()),
    }
}

/// Keeps one of two keys: the new one if it was `changed` at the CA. Then the other replicas have
/// it too, because the CA may connect to any of them for the next order.
pub(crate) async fn settle(
    context: &Context,
    ca: &Ca,
    mut account: Account,
    changed: bool,
) -> Result<Account, Failure> {
    if let Some(next) = account.next_key.take().filter(|_| changed) {
        account.key = next;
    }
    if let Some(url) = &account.url {
        ca.enter(Arc::new(account_key(&account.key)?), url);
    }

    let accounts = &context.accounts;
    if changed {
        accounts.replace(&ca.account, account.clone()).await?;
    } else {
        accounts.put(&ca.account, account.clone()).await?;
        accounts.refresh_responses();
    }
    context.assignment.wake();
    Ok(account)
}
