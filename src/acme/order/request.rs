//! The order at the CA: created once, found again, finalized.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{ORDER_LIFE, account::UNKNOWN_ACCOUNT, attempt::Attempt, classify::is_verdict, keys};
use crate::acme::{
    ca::{ClientError, Order, Problem, Replied},
    plan::{Class, Failure, PendingOrder},
};

impl Attempt<'_> {
    /// Returns the pending order if it still matches the spec, otherwise a new one, which is
    /// stored before it is sent to the CA.
    pub(super) async fn pending_order(&self) -> Result<PendingOrder, Failure> {
        let fingerprint = self.spec.fingerprint(self.issuer);
        let names = self.spec.names_as_text();
        let now = self.context.time.now_or_failure()?;

        if let Some(mut pending) = self.context.ledger.pending_order(&self.spec.id)
            && (pending.print, &*pending.issuer) == (fingerprint, &*self.issuer.name)
            && pending.names == names
        {
            if (now - pending.created).saturating_abs() > ORDER_LIFE {
                pending.order = None;
            }
            return Ok(pending);
        }

        let before = self.context.ledger.stored(&self.spec.id);
        let key_type = self.spec.key_type(self.issuer);
        let kept = before.as_ref().map(|stored| &*stored.key);
        self.set_progress("creating the key");
        let (key, csr) = keys::request(self.spec, key_type, kept).await?;

        let issuer = self.issuer.name.to_string();
        Ok(PendingOrder {
            issuer,
            names,
            key,
            csr,
            order: None,
            created: now,
            print: fingerprint,
            dns: Vec::new(),
            counted: Vec::new(),
        })
    }

    /// Returns the pending order's resource at the CA, or creates a new order.
    pub(super) async fn open(&self, pending: &mut PendingOrder) -> Result<Replied<Order>, Failure> {
        if let Some(url) = &pending.order {
            self.set_progress("reading the order");
            match self.ca.session()?.order(url).await {
                Ok(order) => return Ok(order),
                Err(error) if is_gone(&error) => {
                    tracing::info!(
                        certificate = &*self.spec.id,
                        "the CA no longer has the order; creating a new one"
                    );
                }
                Err(error) => return Err(error.into()),
            }
        }

        self.set_progress("ordering");
        self.check_current()?;
        let now = self.context.time.now_or_failure()?;
        (pending.order, pending.created) = (None, now);
        self.context
            .ledger
            .ordering(&self.spec.id, pending, &self.ca.account, now)
            .await?;

        let order = self.create_order().await?;
        self.context.time.witness(order.date);
        (pending.order, pending.created) = (
            Some(order.value.url.clone()),
            self.context.time.now().unwrap_or(now),
        );
        self.put_pending_order(pending).await?;
        Ok(order)
    }

    async fn create_order(&self) -> Result<Replied<Order>, Failure> {
        let mut replaces = self.replaces();
        let mut recovered = false;

        loop {
            let profile = self.acme.profile.as_deref();
            match self
                .ca
                .session()?
                .new_order(self.spec.ordered_names(), profile, replaces.as_deref())
                .await
            {
                Ok(order) => return Ok(order),
                Err(error) if is_about_account(&error) && !recovered => {
                    recovered = true;
                    self.recover_account().await?;
                }
                // A predecessor that the CA does not accept must never prevent a renewal.
                Err(error) if replaces.is_some() && is_verdict(&error) => {
                    tracing::info!(
                        certificate = &*self.spec.id,
                        %error,
                        "retrying the order without naming the replaced certificate"
                    );
                    replaces = None;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Returns the ID of the certificate that the new one replaces (RFC 9773 section 5). Orders
    /// that name it are exempt from rate limits.
    fn replaces(&self) -> Option<String> {
        let stored = self.context.ledger.stored(&self.spec.id)?;
        let now = self.context.time.now()?;
        let same =
            stored.directory == self.acme.directory && stored.not_after > now && !stored.revoked;
        let names = self.spec.names_as_text();
        let shared = stored.names.iter().any(|name| names.contains(name));
        (same && shared && !stored.ari.is_empty()).then_some(stored.ari)
    }

    pub(super) async fn finalize(
        &self,
        pending: &PendingOrder,
        order: &Order,
    ) -> Result<Replied<Order>, Failure> {
        let csr = STANDARD.decode(&pending.csr).map_err(|_bad| {
            Failure::new(Class::Content, "the stored certificate request is damaged")
        })?;
        match self.ca.session()?.finalize(order, &csr).await {
            Ok(order) => Ok(order),
            Err(error) if error.is("orderNotReady") => self.order(&order.url).await,
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns true if the CA has no such order, or says that it belongs to another account.
fn is_gone(error: &ClientError) -> bool {
    error.problem().is_some_and(|problem| {
        matches!(problem.status, 403 | 404 | 410)
            || matches!(&*problem.kind, "malformed" | UNKNOWN_ACCOUNT)
    })
}

/// Returns true if the CA does not know the account. Some CAs report that as `malformed`.
fn is_about_account(error: &ClientError) -> bool {
    let names_account = |problem: &Problem| problem.detail.to_lowercase().contains("account");
    error.is(UNKNOWN_ACCOUNT) || error.is("malformed") && error.problem().is_some_and(names_account)
}
