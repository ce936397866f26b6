//! Obtains one certificate from one CA: account, order, validation, finalization, download. Every
//! step is stored before the next one needs it, and begins by reading the state at the CA, so that
//! an attempt can stop anywhere and resume later.

pub(crate) mod classify;
mod diagnose;
pub(crate) mod keys;
mod prove;
pub(crate) mod triggered;

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::time::{Instant, sleep};

use crate::{
    acme::{
        ca::{
            ClientError, ErrorKind, Identifier, Order as Remote, Replied, Session, Status, ari_id,
            jws::{AccountKey, ExternalAccount},
        },
        engine::{Ca, Engine, Timing, accounts::account_key, notice::NoticeReason},
        issuer::{AcmeIssuer, Issuer},
        plan::{
            failure::{Class, Failure},
            record::{Account, PendingOrder, StoredCertificate},
        },
        spec::CertificateSpec,
    },
    pki::CertificateName,
    tls::Certificate,
};

/// Age in seconds at which an order counts as expired (Let's Encrypt keeps orders for eight hours).
pub(crate) const ORDER_LIFE: i64 = 7 * 3_600;
/// The longest pause between two polls if the CA sends no `Retry-After`.
pub(crate) const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// The ACME error type of a CA that does not know the account.
const UNKNOWN_ACCOUNT: &str = "accountDoesNotExist";

/// An attempt to obtain one certificate.
pub(crate) struct Attempt<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) spec: &'a CertificateSpec,
    pub(crate) issuer: &'a Issuer,
    pub(crate) acme: &'a AcmeIssuer,
    pub(crate) ca: &'a Ca,
    /// Challenge types that failed in earlier attempts.
    pub(crate) failed: Vec<String>,
}

/// Waits between polls until the deadline: as long as the CA asks for, otherwise a little longer
/// each time.
pub(crate) struct Poller {
    pause: Duration,
    shortest: Duration,
    deadline: Instant,
}

impl Poller {
    pub(crate) fn new(timing: &Timing) -> Self {
        Self {
            pause: timing.poll_interval,
            shortest: timing.poll_interval,
            deadline: Instant::now() + timing.poll_timeout,
        }
    }

    /// Waits until the next poll. Returns false if that would be after the deadline.
    pub(crate) async fn next(&mut self, retry_after: Option<Duration>) -> bool {
        // Don't busy-poll on `Retry-After: 0`.
        let pause = retry_after.map_or(self.pause, |wait| wait.max(self.shortest));
        if Instant::now() + pause > self.deadline {
            return false;
        }

        sleep(pause).await;
        self.pause = (self.pause * 2).min(LONGEST_LOOK);
        true
    }
}

impl Attempt<'_> {
    /// Obtains the certificate and stores it.
    pub(crate) async fn run(&self) -> Result<(), Failure> {
        match self.run_once().await {
            // The CA may have lost the account, for example because it was reinstalled. Register
            // the key again, once.
            Err(failure) if failure.class == Class::Account => {
                self.register_again().await?;
                self.run_once().await
            }
            other => other,
        }
    }

    async fn run_once(&self) -> Result<(), Failure> {
        self.account().await?;
        let mut pending = self.pending_order().await?;
        let mut order = self.open(&mut pending).await?;
        let mut poller = Poller::new(self.engine.timing());

        loop {
            self.check_current()?;
            let retry_after = order.retry_after;
            match &order.value.status {
                Status::Pending => {
                    self.set_progress("validating");
                    self.prove(&mut pending, &order.value).await?;
                    order = self.fetch_order(&order.value.url).await?;

                    if order.value.status == Status::Pending
                        && !poller.next(order.retry_after).await
                    {
                        return Err(self.timed_out("the order is still pending", order.retry_after));
                    }
                }
                Status::Ready => {
                    self.set_progress("finalizing");
                    order = self.finalize(&pending, &order.value).await?;

                    if order.value.status == Status::Ready && !poller.next(order.retry_after).await
                    {
                        return Err(self.timed_out("the order is still ready", order.retry_after));
                    }
                }
                Status::Valid => {
                    self.set_progress("downloading");
                    let Some(url) = &order.value.certificate else {
                        return Err(Failure::new(
                            Class::Transport,
                            "the CA reports the order as valid but gives no certificate URL",
                        ));
                    };

                    let (chain, certificate) = self.download(&pending, url).await?;
                    return self.store_certificate(&pending, chain, &certificate).await;
                }
                Status::Invalid => {
                    // The next attempt creates another order.
                    pending.order = None;
                    self.put_pending_order(&pending).await?;
                    return Err(self.invalid_order(&order.value).await);
                }
                _ => {
                    self.set_progress("waiting for the CA");
                    if !poller.next(retry_after).await {
                        return Err(
                            self.timed_out("the CA is still processing the order", retry_after)
                        );
                    }
                    order = self.fetch_order(&order.value.url).await?;
                }
            }
        }
    }

    /// Returns the session of the account.
    pub(crate) fn session(&self) -> Result<Session, Failure> {
        self.ca
            .session()
            .ok_or_else(|| Failure::new(Class::Account, "no account is registered yet"))
    }

    pub(crate) fn set_progress(&self, what: &str) {
        self.engine.set_progress(&self.spec.id, what);
    }

    /// Returns the names as text.
    fn names(&self) -> Vec<String> {
        self.spec.names.iter().map(ToString::to_string).collect()
    }

    /// Fails if the spec was changed or removed since the attempt began, so that its order is
    /// abandoned.
    pub(crate) fn check_current(&self) -> Result<(), Failure> {
        if self.engine.is_current(self.spec, self.issuer) {
            return Ok(());
        }
        Err(Failure::new(
            Class::Changed,
            "the certificate's specification was changed or removed",
        ))
    }

    /// Returns the failure for a CA that takes longer than this attempt waits. The order stays
    /// stored and the next attempt resumes it.
    pub(crate) fn timed_out(&self, what: &str, retry_after: Option<Duration>) -> Failure {
        let retry_after = retry_after.and_then(|wait| i64::try_from(wait.as_secs()).ok());
        Failure {
            retry_after,
            ..Failure::new(Class::Transport, format!("{what}; trying again later"))
        }
    }

    // === Account ===

    /// Makes sure that the CA knows the account. The key is stored before the CA sees it.
    async fn account(&self) -> Result<(), Failure> {
        let contacts = &self.acme.contacts;
        let account = self.engine.account(&self.ca.account, self.acme).await?;
        let mut account = self.engine.settled(self.ca, account).await?;

        if let Some(url) = &account.url {
            let key = Arc::new(account_key(&account)?);
            let session = self.ca.session().unwrap_or_else(|| self.ca.enter(key, url));
            // A renewal that the operator requested agrees to new terms of service.
            if self.engine.is_forced(&self.spec.id) {
                return self.register(account, None).await;
            }

            if account.contacts == *contacts {
                return Ok(());
            }
            self.set_progress("updating the contacts at the CA");

            match session.update_account(contacts).await {
                Ok(_) => {
                    account.contacts.clone_from(contacts);
                    return self.engine.put_account(&self.ca.account, account).await;
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
        let contacts = &self.acme.contacts;
        let key = Arc::new(account_key(&account)?);

        let mut made = self
            .ca
            .client
            .new_account(&key, contacts, binding, false)
            .await;

        if binding.is_none()
            && self.acme.eab.is_some()
            && made
                .as_ref()
                .is_err_and(|error| error.is("externalAccountRequired"))
        {
            made = self
                .ca
                .client
                .new_account(&key, contacts, self.acme.eab.as_ref(), false)
                .await;
        }

        let made = made.map_err(|error| {
            let failure = self.failed(&error);
            // With a binding, these errors mean that the CA refuses the binding.
            if self.acme.eab.is_some()
                && ["malformed", "unauthorized"]
                    .iter()
                    .any(|kind| error.is(kind))
            {
                return Failure {
                    class: Class::Config,
                    ..failure
                }
                .advise("check `eab` of this issuer");
            }
            failure
        })?;

        self.engine.witness(made.date);
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
        self.engine.put_account(&self.ca.account, account).await
    }

    /// Finds the account's URL by its key, after the CA rejected the URL that we have.
    async fn look_up(&self) -> Result<(), Failure> {
        let account = self.engine.account(&self.ca.account, self.acme).await?;
        let key = Arc::new(account_key(&account)?);
        match self.ca.client.new_account(&key, &[], None, true).await {
            Ok(found) => self.store_account_url(account, key, found.value.url).await,
            Err(error) if error.is(UNKNOWN_ACCOUNT) => self.register_again().await,
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Registers the same key again, after the CA reported that it does not know the account.
    async fn register_again(&self) -> Result<(), Failure> {
        tracing::warn!(
            issuer = &*self.issuer.name,
            "the CA does not know the account: registering its key again"
        );
        let account = self.engine.account(&self.ca.account, self.acme).await?;
        self.register(account, self.acme.eab.as_ref()).await
    }

    // === Order ===

    /// Returns the pending order if it still matches the spec, otherwise a new one, which is
    /// stored before it is sent to the CA.
    async fn pending_order(&self) -> Result<PendingOrder, Failure> {
        let fingerprint = self.spec.fingerprint(self.issuer);
        let names = self.names();
        let now = self.engine.now_or_failure()?;

        if let Some(mut pending) = self.engine.pending_order(&self.spec.id)
            && (pending.print, &*pending.issuer) == (fingerprint, &*self.issuer.name)
            && pending.names == names
        {
            if (now - pending.created).abs() > ORDER_LIFE {
                pending.order = None;
            }
            return Ok(pending);
        }

        let before = self.engine.stored(&self.spec.id);
        let key_type = self.spec.key_type(self.issuer);
        let (key, csr) = keys::request(
            self.spec,
            key_type,
            before.as_ref().map(|stored| &*stored.key),
        )?;

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

    pub(crate) async fn put_pending_order(&self, pending: &PendingOrder) -> Result<(), Failure> {
        self.engine
            .put_pending_order(&self.spec.id, pending.clone())
            .await
    }

    /// Returns the pending order's resource at the CA, or creates a new order.
    async fn open(&self, pending: &mut PendingOrder) -> Result<Replied<Remote>, Failure> {
        if let Some(url) = &pending.order {
            self.set_progress("reading the order");
            match self.session()?.order(url).await {
                Ok(order) => return Ok(order),
                Err(error) if is_gone(&error) => {
                    tracing::info!(
                        certificate = &*self.spec.id,
                        "the CA no longer has the order; creating a new one"
                    );
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }

        self.set_progress("ordering");
        self.check_current()?;
        let now = self.engine.now_or_failure()?;
        (pending.order, pending.created) = (None, now);
        self.engine
            .ordering(&self.spec.id, pending, &self.ca.account, now)
            .await?;

        let order = self.create_order().await?;
        self.engine.witness(order.date);
        (pending.order, pending.created) = (
            Some(order.value.url.clone()),
            self.engine.now().unwrap_or(now),
        );
        self.put_pending_order(pending).await?;
        Ok(order)
    }

    async fn create_order(&self) -> Result<Replied<Remote>, Failure> {
        let identifiers: Vec<Identifier> = self.spec.names.iter().map(identifier).collect();
        let mut replaces = self.replaces();
        let mut registered = false;

        loop {
            let profile = self.acme.profile.as_deref();
            match self
                .session()?
                .new_order(&identifiers, profile, replaces.as_deref())
                .await
            {
                Ok(order) => return Ok(order),
                Err(error) if error.is(UNKNOWN_ACCOUNT) && !registered => {
                    registered = true;
                    self.register_again().await?;
                }
                Err(error) if is_about_account(&error) && !registered => {
                    registered = true;
                    self.look_up().await?;
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
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// Returns the ID of the certificate that the new one replaces (RFC 9773 section 5). Orders
    /// that name it are exempt from rate limits.
    fn replaces(&self) -> Option<String> {
        let stored = self.engine.stored(&self.spec.id)?;
        let now = self.engine.now()?;
        let same =
            stored.directory == self.acme.directory && stored.not_after > now && !stored.revoked;
        let shared = stored.names.iter().any(|name| self.names().contains(name));
        (same && shared && !stored.ari.is_empty()).then_some(stored.ari)
    }

    async fn fetch_order(&self, url: &str) -> Result<Replied<Remote>, Failure> {
        self.session()?
            .order(url)
            .await
            .map_err(|error| self.failed(&error))
    }

    async fn finalize(
        &self,
        pending: &PendingOrder,
        order: &Remote,
    ) -> Result<Replied<Remote>, Failure> {
        let csr = STANDARD.decode(&pending.csr).map_err(|_bad| {
            Failure::new(Class::Content, "the stored certificate request is damaged")
        })?;
        match self.session()?.finalize(order, &csr).await {
            Ok(order) => Ok(order),
            Err(error) if error.is("orderNotReady") => self.fetch_order(&order.url).await,
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Returns the reason why an order became invalid, in the CA's words.
    async fn invalid_order(&self, order: &Remote) -> Failure {
        // The authorization may have failed in an attempt that ended before it was recorded.
        for url in &order.authorizations {
            let authorization = match self.session() {
                Ok(session) => session.authorization(url).await,
                Err(failure) => return failure,
            };

            if let Ok(Replied { value, .. }) = authorization
                && value.status == Status::Invalid
            {
                return self.refused(&value, None).await;
            }
        }

        match &order.error {
            Some(problem) => {
                let failure = classify::of_problem(problem, None, None);
                // For an order, `unauthorized` refers to its names, not to the account.
                let class = if failure.class == Class::Account {
                    Class::Validation
                } else {
                    failure.class
                };
                Failure { class, ..failure }
            }
            None => Failure::new(
                Class::Validation,
                "the CA declared the order invalid without giving a reason",
            ),
        }
    }

    // === Certificate ===

    async fn download(
        &self,
        pending: &PendingOrder,
        url: &str,
    ) -> Result<(String, Certificate), Failure> {
        let first = self
            .session()?
            .certificate(url)
            .await
            .map_err(|error| self.failed(&error))?;

        let mut chain = first.value.pem;

        if let Some(preferred) = &self.acme.preferred_chain
            && !has_issuer(&chain, preferred)
        {
            for other in &first.value.alternates {
                match self.session()?.certificate(other).await {
                    Ok(other) if has_issuer(&other.value.pem, preferred) => {
                        chain = other.value.pem;
                        break;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::info!(
                            certificate = &*self.spec.id,
                            %error,
                            "an alternate chain could not be downloaded"
                        );
                    }
                }
            }

            if !has_issuer(&chain, preferred) {
                let message = format!(
                    "the CA offers no chain from the issuer {preferred}; its default chain is used"
                );
                self.engine
                    .notify(&self.spec.id, NoticeReason::PreferredChainMissing, message);
            }
        }
        let now = self.engine.now_or_failure()?;

        let certificate = keys::check(self.spec, &chain, &pending.key, now);
        if certificate.is_err() {
            // The certificate is unusable, but the CA has issued and counted it.
            self.engine.spend(&self.ca.account, |budget| {
                budget.issued(&pending.names, now);
            });
        }
        Ok((chain, certificate?))
    }

    /// Stores certificate and key in one write, which also removes the pending order.
    async fn store_certificate(
        &self,
        pending: &PendingOrder,
        chain: String,
        certificate: &Certificate,
    ) -> Result<(), Failure> {
        let now = self.engine.now_or_failure()?;
        let before = self.engine.stored(&self.spec.id);
        let previous = before.and_then(|stored| stored.into_previous(&pending.names));

        let stored = StoredCertificate {
            ari: certificate
                .certified()
                .cert
                .first()
                .and_then(|leaf| ari_id(leaf))
                .unwrap_or_default(),
            chain,
            key: pending.key.clone(),
            names: pending.names.clone(),
            issuer: pending.issuer.clone(),
            directory: self.acme.directory.clone(),
            not_before: certificate.not_before().0,
            not_after: certificate.not_after().0,
            stored: now,
            print: pending.print,
            revoked: false,
            adopted: false,
            unwanted: None,
            previous,
        };

        let names = self.names();
        self.engine
            .issued(&self.spec.id, stored, Some((&self.ca.account, &names)), now)
            .await
    }

    /// Converts an error into a failure, and passes the CA's time on to the clock.
    pub(crate) fn failed(&self, error: &ClientError) -> Failure {
        self.engine.witness(error.date);
        classify::failure(error)
    }
}

fn identifier(name: &CertificateName) -> Identifier {
    match name {
        CertificateName::Ip(address) => Identifier::Ip(*address),
        dns => Identifier::Dns(dns.to_string()),
    }
}

/// Returns true if a certificate of the chain was issued by this common name.
fn has_issuer(chain: &str, common_name: &str) -> bool {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    use x509_parser::prelude::{FromDer, X509Certificate};
    CertificateDer::pem_slice_iter(chain.as_bytes())
        .flatten()
        .any(|der| {
            X509Certificate::from_der(&der).is_ok_and(|(_, certificate)| {
                certificate
                    .issuer()
                    .iter_common_name()
                    .any(|name| name.as_str() == Ok(common_name))
            })
        })
}

/// Returns true if the CA has no such order, or says that it belongs to another account.
fn is_gone(error: &ClientError) -> bool {
    error.problem().is_some_and(|problem| {
        matches!(problem.status, 403 | 404 | 410)
            || matches!(&*problem.kind, "malformed" | UNKNOWN_ACCOUNT)
    })
}

/// Returns true for CAs that report an unknown account as `malformed`.
fn is_about_account(error: &ClientError) -> bool {
    error.is("malformed")
        && error
            .problem()
            .is_some_and(|problem| problem.detail.to_lowercase().contains("account"))
}

/// Returns true if the CA rejected the request itself, rather than its sender or its timing.
pub(crate) fn is_verdict(error: &ClientError) -> bool {
    match &error.kind {
        ErrorKind::Problem(problem) => {
            (400..500).contains(&problem.status) && !error.is("rateLimited")
        }
        ErrorKind::Transport(_) | ErrorKind::Nonsense { .. } | ErrorKind::NotOffered(_) => false,
    }
}
