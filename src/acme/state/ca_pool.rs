//! Clients of CAs, and the sessions of our accounts there.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustls::pki_types::CertificateDer;

use super::time_source::TimeSource;
use crate::{
    acme::{
        ca::{Client, Session, jws::AccountKey},
        issuer::{AcmeIssuer, Issuer},
        plan::{Class, Failure},
    },
    http_client::{Http, HttpSettings, Proxy},
    util::sync::lock,
};

/// The CAs by account.
pub(crate) struct CaPool {
    time: Arc<TimeSource>,
    /// The time limit for one response of a CA.
    response_timeout: Duration,
    cas: Mutex<HashMap<String, Arc<Ca>>>,
}

/// A CA and our account there.
pub(crate) struct Ca {
    /// The key of the account's record.
    pub(crate) account: String,
    pub(crate) client: Client,
    /// The extra roots that the client trusts.
    roots: Vec<CertificateDer<'static>>,
    session: Mutex<Option<Session>>,
    /// Locked while the account is registered, found or replaced, because several attempts may
    /// run at once.
    pub(crate) registering: tokio::sync::Mutex<()>,
}

impl CaPool {
    pub(crate) fn new(time: Arc<TimeSource>, response_timeout: Duration) -> Self {
        Self {
            time,
            response_timeout,
            cas: Mutex::default(),
        }
    }

    /// Returns the CA of an issuer with our account there, and the settings of the issuer.
    ///
    /// # Errors
    /// The issuer is not an ACME CA, or a mistake in its configuration prevents its use.
    pub(crate) fn get<'i>(&self, issuer: &'i Issuer) -> Result<(Arc<Ca>, &'i AcmeIssuer), Failure> {
        let config = |error: &dyn fmt::Display| Failure::new(Class::Config, error.to_string());
        let (name, acme) = (&issuer.name, issuer.acme());
        let acme = acme.ok_or_else(|| config(&format_args!("issuer {name} is not an ACME CA")))?;
        if let Some(problem) = &acme.problem {
            return Err(config(&format_args!("issuer {name}: {problem}")));
        }
        let account = issuer.account_id().unwrap_or_default();

        // Changed roots need a new client.
        let known = lock(&self.cas).get(&account).cloned();
        if let Some(ca) = known.filter(|ca| ca.roots == acme.roots) {
            return Ok((ca, acme));
        }

        let proxy = Proxy::from_environment().map_err(|error| config(&error))?;

        let usual = HttpSettings::new(self.time.for_verification());
        let settings = HttpSettings {
            extra_roots: acme.roots.clone(),
            proxy,
            total_timeout: self.response_timeout,
            connect_timeout: usual.connect_timeout.min(self.response_timeout),
            ..usual
        };
        let http = Http::new(settings).map_err(|error| config(&error))?;
        let client = Client::new(http, &acme.directory).map_err(|error| config(&error))?;

        let ca = Arc::new(Ca {
            account: account.clone(),
            client,
            roots: acme.roots.clone(),
            session: Mutex::default(),
            registering: tokio::sync::Mutex::default(),
        });
        lock(&self.cas).insert(account, ca.clone());
        Ok((ca, acme))
    }

    /// Drops the client and the session of an account that was replaced.
    pub(crate) fn forget(&self, account: &str) {
        lock(&self.cas).remove(account);
    }
}

impl Ca {
    /// Opens a session for the account.
    pub(crate) fn enter(&self, key: Arc<AccountKey>, url: &str) -> Session {
        let session = self.client.session(key, url);
        *lock(&self.session) = Some(session.clone());
        session
    }

    /// Returns the session of the account.
    ///
    /// # Errors
    /// No account is registered yet.
    pub(crate) fn session(&self) -> Result<Session, Failure> {
        let session = lock(&self.session).clone();
        session.ok_or_else(|| Failure::new(Class::Account, "no account is registered yet"))
    }
}
