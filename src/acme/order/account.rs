//! Our account at a CA: its registration, and its session, also after a change of its key that was
//! interrupted.

use std::sync::Arc;

use super::{attempt::Attempt, classify};
use crate::acme::{
    ca::{
        ClientError, Session,
        jws::{AccountKey, ExternalAccount},
    },
    issuer::AcmeIssuer,
    plan::{Account, Class, Failure},
    state::{Ca, Context, account_key},
};

/// The ACME error type of a CA that does not know the account.
pub(super) const UNKNOWN_ACCOUNT: &str = "accountDoesNotExist";

impl Attempt<'_> {
    /// Returns the account, whose key is stored.
    pub(super) async fn known_account(&self) -> Result<Account, Failure> {
        let accounts = &self.context.accounts;
        accounts.get(&self.ca.account, self.acme).await
    }

    /// Makes sure that the CA knows the account. The key is stored before the CA sees it.
    pub(super) async fn account(&self) -> Result<(), Failure> {
        let contacts = &self.acme.contacts;
        let account = self.known_account().await?;
        let mut account = settled(self.context, self.ca, account).await?;

        if let Some(url) = &account.url {
            let key = Arc::new(account_key(&account)?);
            let session = self.ca.session().unwrap_or_else(|| self.ca.enter(key, url));
            // A renewal that the operator requested agrees to new terms of service.
            if self.context.ledger.is_forced(&self.spec.id) {
                return self.register(account, None).await;
            }

            if account.contacts == *contacts {
                return Ok(());
            }
            self.set_progress("updating the contacts at the CA");

            match session.update_account(contacts).await {
                Ok(_) => {
                    account.contacts.clone_from(contacts);
                    return self.context.accounts.put(&self.ca.account, account).await;
                }
                Err(error) if error.is(UNKNOWN_ACCOUNT) => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
        self.register(account, self.acme.eab.as_ref()).await
    }

    /// Registers the key, or finds the account that already has it. A binding is only sent for a
    /// new account, because CAs accept some bindings only once.
    async fn register(
        &self,
        mut account: Account,
        binding: Option<&ExternalAccount>,
    ) -> Result<(), Failure> {
        self.set_progress("registering the account");
        let (client, contacts) = (&self.ca.client, &self.acme.contacts);
        let key = Arc::new(account_key(&account)?);
        let eab = self.acme.eab.as_ref();

        let new = |binding| client.new_account(&key, contacts, binding, false);
        let mut made = new(binding).await;
        let needs_binding = |error: &ClientError| error.is("externalAccountRequired");
        if binding.is_none() && eab.is_some() && made.as_ref().is_err_and(needs_binding) {
            made = new(eab).await;
        }

        let made = made.map_err(|error| {
            let failure = self.failed(&error);
            // With a binding, these errors mean that the CA refuses the binding.
            if eab.is_some() && (error.is("malformed") || error.is("unauthorized")) {
                return Failure::new(Class::Config, failure.problem)
                    .advise("check `eab` of this issuer");
            }
            failure
        })?;

        self.context.time.witness(made.date);
        account.contacts.clone_from(contacts);
        self.store_account_url(account, key, made.value.url).await
    }

    async fn store_account_url(
        &self,
        mut account: Account,
        key: Arc<AccountKey>,
        url: String,
    ) -> Result<(), Failure> {
        self.ca.enter(key, &url);
        account.url = Some(url);
        self.context.accounts.put(&self.ca.account, account).await
    }

    /// Finds the account's URL by its key, after the CA rejected the URL that we have.
    pub(super) async fn look_up(&self) -> Result<(), Failure> {
        let account = self.known_account().await?;
        let key = Arc::new(account_key(&account)?);
        match self.ca.client.new_account(&key, &[], None, true).await {
            Ok(found) => self.store_account_url(account, key, found.value.url).await,
            Err(error) if error.is(UNKNOWN_ACCOUNT) => self.register_again().await,
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Registers the same key again, after the CA reported that it does not know the account.
    pub(super) async fn register_again(&self) -> Result<(), Failure> {
        tracing::warn!(
            issuer = &*self.issuer.name,
            "the CA does not know the account: registering its key again"
        );
        let account = self.known_account().await?;
        self.register(account, self.acme.eab.as_ref()).await
    }
}

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
        Err(error) if error.is(UNKNOWN_ACCOUNT) => settle(context, ca, account, false).await,
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
