//! One certificate from one CA: account, order, validation, finalization, download. Every step is
//! in the store before the next needs it, and every step begins by reading what the CA has, so that
//! this can stop anywhere and go on later.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::time::{Instant, sleep};

use super::{
    accounts::account_key,
    ca::{
        ClientError, ErrorKind, Identifier, Order as Remote, Replied, Session, Status, ari_id,
        jws::{AccountKey, ExternalAccount},
    },
    classify,
    engine::{Ca, Engine, Timing},
    failure::{Class, Failure},
    issuer::{AcmeIssuer, Issuer},
    keys,
    notice::NoticeReason,
    record::{Account, PendingOrder, StoredCertificate},
    spec::CertificateSpec,
};
use crate::{pki::CertificateName, tls::Certificate};

/// An order is as good as gone after this many seconds (Let's Encrypt keeps it for eight hours).
pub(super) const ORDER_LIFE: i64 = 7 * 3_600;
/// The longest pause between two looks at something that the CA works on, without a word from it.
pub(super) const LONGEST_LOOK: Duration = Duration::from_secs(10);

/// The CA does not know who asks.
const UNKNOWN_ACCOUNT: &str = "accountDoesNotExist";

/// An attempt to get one certificate.
pub(super) struct Attempt<'a> {
    pub(super) engine: &'a Engine,
    pub(super) want: &'a CertificateSpec,
    pub(super) issuer: &'a Issuer,
    pub(super) acme: &'a AcmeIssuer,
    pub(super) ca: &'a Ca,
    /// Challenge types that failed before.
    pub(super) failed: Vec<String>,
}

/// Waits between looks: what the CA asks for, else a little longer each time, until the deadline.
pub(super) struct Poller {
    pause: Duration,
    least: Duration,
    deadline: Instant,
}

impl Poller {
    pub(super) fn new(pace: &Timing) -> Self {
        Self {
            pause: pace.poll_interval,
            least: pace.poll_interval,
            deadline: Instant::now() + pace.poll_timeout,
        }
    }

    /// Waits for the next look; `false` when patience is at its end.
    pub(super) async fn next(&mut self, asked: Option<Duration>) -> bool {
        // `Retry-After: 0` is no wish to be asked without end.
        let pause = asked.map_or(self.pause, |asked| asked.max(self.least));
        if Instant::now() + pause > self.deadline {
            return false;
        }
        sleep(pause).await;
        self.pause = (self.pause * 2).min(LONGEST_LOOK);
        true
    }
}

impl Attempt<'_> {
    /// Gets the certificate and keeps it.
    pub(super) async fn run(&self) -> Result<(), Failure> {
        match self.once().await {
            // A CA that was set up anew in between knows nothing of the account: its key is
            // registered again, once.
            Err(failure) if failure.class == Class::Account => {
                self.register_again().await?;
                self.once().await
            }
            other => other,
        }
    }

    async fn once(&self) -> Result<(), Failure> {
        self.account().await?;
        let mut job = self.job().await?;
        let mut order = self.open(&mut job).await?;
        let mut looks = Poller::new(self.engine.pace());
        loop {
            self.still_wanted()?;
            let asked = order.retry_after;
            match &order.value.status {
                Status::Pending => {
                    self.doing("validating");
                    self.prove(&mut job, &order.value).await?;
                    order = self.look(&order.value.url).await?;
                    if order.value.status == Status::Pending && !looks.next(order.retry_after).await
                    {
                        return Err(self.too_slow("the order stays pending", order.retry_after));
                    }
                }
                Status::Ready => {
                    self.doing("finalizing");
                    order = self.finalize(&job, &order.value).await?;
                    if order.value.status == Status::Ready && !looks.next(order.retry_after).await {
                        return Err(self.too_slow("the order stays ready", order.retry_after));
                    }
                }
                Status::Valid => {
                    self.doing("downloading");
                    let Some(url) = &order.value.certificate else {
                        return Err(Failure::new(
                            Class::Transport,
                            "the CA says valid, but not where the certificate is",
                        ));
                    };
                    let (chain, certificate) = self.download(&job, url).await?;
                    return self.keep(&job, chain, &certificate).await;
                }
                Status::Invalid => {
                    // The next attempt begins with another order.
                    job.order = None;
                    self.put_job(&job).await?;
                    return Err(self.verdict(&order.value).await);
                }
                _ => {
                    self.doing("waiting for the CA");
                    if !looks.next(asked).await {
                        return Err(
                            self.too_slow("the CA does not come to an end with the order", asked)
                        );
                    }
                    order = self.look(&order.value.url).await?;
                }
            }
        }
    }

    /// Who speaks for the account.
    pub(super) fn session(&self) -> Result<Session, Failure> {
        self.ca
            .session()
            .ok_or_else(|| Failure::new(Class::Account, "there is no account yet"))
    }

    pub(super) fn doing(&self, what: &str) {
        self.engine.doing(&self.want.id, what);
    }

    /// The names, as texts.
    fn names(&self) -> Vec<String> {
        self.want.names.iter().map(ToString::to_string).collect()
    }

    /// A wish that was changed or taken back while its order was on the way is not followed to its
    /// end.
    pub(super) fn still_wanted(&self) -> Result<(), Failure> {
        if self.engine.is_wanted(self.want, self.issuer) {
            return Ok(());
        }
        Err(Failure::new(
            Class::Changed,
            "the wish was changed or taken back",
        ))
    }

    /// The CA takes its time, or asks for more than is spent on waiting here: the order is looked
    /// at again later.
    pub(super) fn too_slow(&self, what: &str, asked: Option<Duration>) -> Failure {
        let retry_after = asked.and_then(|asked| i64::try_from(asked.as_secs()).ok());
        Failure {
            retry_after,
            ..Failure::new(Class::Transport, format!("{what}: looked at again later"))
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
            // Somebody asked for a renewal: whoever has looked at new terms of service agrees to
            // them with that.
            if self.engine.is_forced(&self.want.id) {
                return self.register(account, None).await;
            }
            if account.contacts == *contacts {
                return Ok(());
            }
            self.doing("telling the CA the contacts");
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

    /// Registers the key, or finds the account that has it already. A binding is for an account
    /// that is made: CAs accept some only once.
    async fn register(
        &self,
        mut account: Account,
        binding: Option<&ExternalAccount>,
    ) -> Result<(), Failure> {
        self.doing("registering the account");
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
            // With a binding it is the binding that a CA refuses in these words.
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
        self.speak_for(account, key, made.value.url).await
    }

    async fn speak_for(
        &self,
        mut account: Account,
        key: Arc<AccountKey>,
        url: String,
    ) -> Result<(), Failure> {
        self.ca.enter(key, &url);
        account.url = Some(url);
        self.engine.put_account(&self.ca.account, account).await
    }

    /// The CA says of our account that it is wrong: it may be another one by now, which the key
    /// finds.
    async fn look_up(&self) -> Result<(), Failure> {
        let account = self.engine.account(&self.ca.account, self.acme).await?;
        let key = Arc::new(account_key(&account)?);
        match self.ca.client.new_account(&key, &[], None, true).await {
            Ok(found) => self.speak_for(account, key, found.value.url).await,
            Err(error) if error.is(UNKNOWN_ACCOUNT) => self.register_again().await,
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// The CA does not know the account: the same key is registered again.
    async fn register_again(&self) -> Result<(), Failure> {
        tracing::warn!(
            issuer = &*self.issuer.name,
            "the CA does not know the account: registering its key again"
        );
        let account = self.engine.account(&self.ca.account, self.acme).await?;
        self.register(account, self.acme.eab.as_ref()).await
    }

    // === Order ===

    /// The job that is on its way if it is still the right one, else a new one, which is stored
    /// before it is ordered.
    async fn job(&self) -> Result<PendingOrder, Failure> {
        let print = self.want.fingerprint(self.issuer);
        let names = self.names();
        let now = self.engine.now_or_failure()?;
        if let Some(mut job) = self.engine.job(&self.want.id)
            && (job.print, &*job.issuer) == (print, &*self.issuer.name)
            && job.names == names
        {
            if (now - job.created).abs() > ORDER_LIFE {
                job.order = None;
            }
            return Ok(job);
        }
        let before = self.engine.held(&self.want.id);
        let key_type = self.want.key_type(self.issuer);
        let (key, csr) =
            keys::request(self.want, key_type, before.as_ref().map(|held| &*held.key))?;
        let issuer = self.issuer.name.to_string();
        Ok(PendingOrder {
            issuer,
            names,
            key,
            csr,
            order: None,
            created: now,
            print,
            dns: Vec::new(),
            counted: Vec::new(),
        })
    }

    pub(super) async fn put_job(&self, job: &PendingOrder) -> Result<(), Failure> {
        self.engine.put_job(&self.want.id, job.clone()).await
    }

    /// The order of the job as the CA has it, or a new one.
    async fn open(&self, job: &mut PendingOrder) -> Result<Replied<Remote>, Failure> {
        if let Some(url) = &job.order {
            self.doing("looking at the order");
            match self.session()?.order(url).await {
                Ok(order) => return Ok(order),
                Err(error) if is_gone(&error) => {
                    tracing::info!(want = &*self.want.id, "the order is gone");
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
        self.doing("ordering");
        self.still_wanted()?;
        let now = self.engine.now_or_failure()?;
        (job.order, job.created) = (None, now);
        self.engine
            .ordering(&self.want.id, job, &self.ca.account, now)
            .await?;
        let order = self.order_anew().await?;
        self.engine.witness(order.date);
        (job.order, job.created) = (
            Some(order.value.url.clone()),
            self.engine.now().unwrap_or(now),
        );
        self.put_job(job).await?;
        Ok(order)
    }

    async fn order_anew(&self) -> Result<Replied<Remote>, Failure> {
        let identifiers: Vec<Identifier> = self.want.names.iter().map(identifier).collect();
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
                // A predecessor that the CA does not accept must never stop a renewal.
                Err(error) if replaces.is_some() && is_verdict(&error) => {
                    tracing::info!(want = &*self.want.id, %error, "ordering again without naming the predecessor");
                    replaces = None;
                }
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// The certificate that the new one replaces (RFC 9773 section 5): an order that names it is
    /// exempt from limits.
    fn replaces(&self) -> Option<String> {
        let held = self.engine.held(&self.want.id)?;
        let now = self.engine.now()?;
        let same = held.directory == self.acme.directory && held.not_after > now && !held.revoked;
        let shared = held.names.iter().any(|name| self.names().contains(name));
        (same && shared && !held.ari.is_empty()).then_some(held.ari)
    }

    async fn look(&self, url: &str) -> Result<Replied<Remote>, Failure> {
        self.session()?
            .order(url)
            .await
            .map_err(|error| self.failed(&error))
    }

    async fn finalize(
        &self,
        job: &PendingOrder,
        order: &Remote,
    ) -> Result<Replied<Remote>, Failure> {
        let csr = STANDARD
            .decode(&job.csr)
            .map_err(|_bad| Failure::new(Class::Content, "the stored request is damaged"))?;
        match self.session()?.finalize(order, &csr).await {
            Ok(order) => Ok(order),
            Err(error) if error.is("orderNotReady") => self.look(&order.url).await,
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Why an order became invalid, in the CA's words.
    async fn verdict(&self, order: &Remote) -> Failure {
        // It may be that of an attempt that broke off before it could be noted.
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
                // About an order, `unauthorized` is about its names.
                let class = if failure.class == Class::Account {
                    Class::Validation
                } else {
                    failure.class
                };
                Failure { class, ..failure }
            }
            None => Failure::new(
                Class::Validation,
                "the CA calls the order invalid and does not say why",
            ),
        }
    }

    // === Certificate ===

    async fn download(
        &self,
        job: &PendingOrder,
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
                        tracing::info!(want = &*self.want.id, %error, "another chain cannot be had");
                    }
                }
            }
            if !has_issuer(&chain, preferred) {
                let message = format!(
                    "the CA offers no chain with the issuer {preferred}: its usual one is served"
                );
                self.engine
                    .tell(&self.want.id, NoticeReason::PreferredChainMissing, message);
            }
        }
        let now = self.engine.now_or_failure()?;
        let certificate = keys::check(self.want, &chain, &job.key, now);
        if certificate.is_err() {
            // Of no use, but issued.
            self.engine
                .spend(&self.ca.account, |budget| budget.issued(&job.names, now));
        }
        Ok((chain, certificate?))
    }

    /// Stores certificate and key in one write, together with what they end.
    async fn keep(
        &self,
        job: &PendingOrder,
        chain: String,
        certificate: &Certificate,
    ) -> Result<(), Failure> {
        let now = self.engine.now_or_failure()?;
        let before = self.engine.held(&self.want.id);
        let previous = before.and_then(|held| held.into_previous(&job.names));
        let held = StoredCertificate {
            ari: certificate
                .certified()
                .cert
                .first()
                .and_then(|leaf| ari_id(leaf))
                .unwrap_or_default(),
            chain,
            key: job.key.clone(),
            names: job.names.clone(),
            issuer: job.issuer.clone(),
            directory: self.acme.directory.clone(),
            not_before: certificate.not_before().0,
            not_after: certificate.not_after().0,
            stored: now,
            print: job.print,
            revoked: false,
            unwanted: None,
            previous,
        };
        let names = self.names();
        self.engine
            .issued(&self.want.id, held, Some((&self.ca.account, &names)), now)
            .await
    }

    /// The failure behind an error, with what it says about the CA noted.
    pub(super) fn failed(&self, error: &ClientError) -> Failure {
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

/// Whether one of the issuers in a chain has this common name.
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

/// Whether the CA has no such order, or says that it is another account's, which comes to the same.
fn is_gone(error: &ClientError) -> bool {
    error.problem().is_some_and(|problem| {
        matches!(problem.status, 403 | 404 | 410)
            || matches!(&*problem.kind, "malformed" | UNKNOWN_ACCOUNT)
    })
}

/// Whether the CA does not know the account, in words that RFC 8555 has for something else.
fn is_about_account(error: &ClientError) -> bool {
    error.is("malformed")
        && error
            .problem()
            .is_some_and(|problem| problem.detail.to_lowercase().contains("account"))
}

/// Whether the CA has judged the request itself, and not its sender or the moment.
pub(super) fn is_verdict(error: &ClientError) -> bool {
    match &error.kind {
        ErrorKind::Problem(problem) => {
            (400..500).contains(&problem.status) && !error.is("rateLimited")
        }
        ErrorKind::Transport(_) | ErrorKind::Nonsense { .. } | ErrorKind::NotOffered(_) => false,
    }
}
