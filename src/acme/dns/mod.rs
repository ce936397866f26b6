//! The DNS side of certificates: publishes and removes the record of a DNS-01 challenge (RFC 8555
//! section 8.4), checks that it is visible to the CA, handles dns-persist-01, and looks up names
//! for advice.

mod caa;
mod cloudflare;
mod command;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod lookup;
mod persist;
mod rfc2136;
mod secret;
mod webhook;
mod wire;

use std::{fmt, time::Duration};

use hickory_proto::rr::Name;
use tokio::time::timeout;

pub use caa::{Caa, caa_allows};
pub use cloudflare::CloudflareSettings;
pub use command::CommandSettings;
pub use error::DnsError;
pub use lookup::{Advice, Lookup, Propagation, advice, visible};
pub use persist::{PersistPolicy, persist_record, persisted};
pub use rfc2136::{Rfc2136Settings, TsigKey};
pub use secret::Secret;
pub use webhook::WebhookSettings;

use crate::acme::ca::http::{Clock, Http};
use cloudflare::Cloudflare;
use command::Command;
use error::Failure;
use rfc2136::Rfc2136;
use webhook::Webhook;

/// The time limit for publishing or removing a record.
const LIMIT: Duration = Duration::from_secs(30);
/// The TTL of published records in seconds: the shortest that every provider accepts.
const TTL: u32 = 60;
/// The largest number of CNAMEs that are followed in a row.
const HOPS: usize = 8;

/// A TXT record with one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TxtRecord {
    /// The full name, such as `_acme-challenge.example.org`; a dot at the end is allowed.
    pub fqdn: String,
    /// The text. For DNS-01 the base64url digest of the key authorization.
    pub value: String,
}

impl TxtRecord {
    /// Creates the record of a DNS-01 challenge for a name, with or without `*.` in front.
    pub fn challenge(name: &str, value: &str) -> Self {
        let name = name.strip_prefix("*.").unwrap_or(name);
        Self {
            fqdn: format!("_acme-challenge.{name}"),
            value: value.to_owned(),
        }
    }

    /// Parses the name, after checking that name and value need no escaping in any message or
    /// command line.
    fn name(&self) -> Result<Name, Failure> {
        let name = parse_name(&self.fqdn)?;
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if self.value.is_empty() || self.value.len() > 255 || !self.value.bytes().all(plain) {
            return Err(Failure::permanent(
                "the value is not 1 to 255 plain characters",
            ));
        }
        Ok(name)
    }
}

/// The settings of a DNS provider.
#[derive(Clone, Debug)]
pub enum ProviderSettings {
    /// DNS UPDATE to a server (RFC 2136).
    Rfc2136(Rfc2136Settings),
    /// Cloudflare's API.
    Cloudflare(CloudflareSettings),
    /// A web service.
    Webhook(WebhookSettings),
    /// A program.
    Command(CommandSettings),
}

impl ProviderSettings {
    /// Returns the settings with secrets read again from their files.
    fn refreshed(mut self) -> Result<Self, secret::SecretError> {
        match &mut self {
            Self::Rfc2136(settings) => settings
                .key
                .iter_mut()
                .try_for_each(|key| key.secret.refresh())?,
            Self::Cloudflare(settings) => settings.token.refresh()?,
            Self::Webhook(settings) => {
                settings
                    .login
                    .iter_mut()
                    .try_for_each(|(_user, password)| password.refresh())?;
            }
            Self::Command(_) => {}
        }
        Ok(self)
    }
}

/// The services that providers use.
#[derive(Clone)]
pub struct ProviderContext {
    /// The resolvers for CNAMEs and for the records themselves.
    pub lookup: Lookup,
    /// True to publish records at the target of a CNAME (delegation). Must be false where a
    /// wildcard CNAME unrelated to challenges covers the record's name.
    pub follow_cname: bool,
    /// The client for web services.
    pub http: Http,
    /// The clock for signatures.
    pub time: Clock,
}

/// Publishes and removes TXT records.
#[derive(Clone)]
pub struct Provider {
    settings: ProviderSettings,
    context: ProviderContext,
    /// The backend as it was first made. Its secrets may be out of date.
    backend: Backend,
}

#[derive(Clone)]
enum Backend {
    Rfc2136(Rfc2136),
    Cloudflare(Cloudflare),
    Webhook(Webhook),
    Command(Command),
}

impl Backend {
    fn new(settings: &ProviderSettings, context: &ProviderContext) -> Result<Self, Failure> {
        let http = || context.http.clone();
        Ok(match settings {
            ProviderSettings::Rfc2136(settings) => {
                Self::Rfc2136(Rfc2136::new(settings, context.time.clone())?)
            }
            ProviderSettings::Cloudflare(settings) => {
                Self::Cloudflare(Cloudflare::new(settings, http())?)
            }
            ProviderSettings::Webhook(settings) => Self::Webhook(Webhook::new(settings, http())?),
            ProviderSettings::Command(settings) => Self::Command(Command::new(settings.clone())),
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Present,
    Cleanup,
}

impl Action {
    fn as_str(self) -> &'static str {
        match self {
            Self::Present => "present",
            Self::Cleanup => "cleanup",
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({} {})", self.kind(), self.at())
    }
}

impl Provider {
    /// Creates a provider without connecting to anything.
    ///
    /// # Errors
    /// Invalid settings: an unknown or weak algorithm, a key that is not base64, or a URL without a
    /// host.
    pub fn new(settings: ProviderSettings, context: ProviderContext) -> Result<Self, DnsError> {
        let backend = Backend::new(&settings, &context).map_err(|failure| {
            let (kind, at) = match &settings {
                ProviderSettings::Rfc2136(settings) => ("rfc2136", settings.server.to_string()),
                ProviderSettings::Cloudflare(_) => ("cloudflare", "settings".to_owned()),
                ProviderSettings::Webhook(_) => ("webhook", "settings".to_owned()),
                ProviderSettings::Command(_) => ("command", String::new()),
            };
            DnsError::new(kind, &at, None, failure)
        })?;
        Ok(Self {
            settings,
            context,
            backend,
        })
    }

    /// Returns the resolvers for its records.
    pub fn lookup(&self) -> &Lookup {
        &self.context.lookup
    }

    /// Publishes a value beside the existing ones of the name. Repeating it changes nothing. Takes
    /// at most 30 s.
    ///
    /// # Errors
    /// The service does not respond, or refuses.
    pub async fn present(&self, record: &TxtRecord) -> Result<(), DnsError> {
        self.run(Action::Present, record).await
    }

    /// Removes one value of the name. It is no error if the value does not exist. Takes at most
    /// 30 s.
    ///
    /// # Errors
    /// The service does not respond, or refuses.
    pub async fn remove(&self, record: &TxtRecord) -> Result<(), DnsError> {
        self.run(Action::Cleanup, record).await
    }

    async fn run(&self, action: Action, record: &TxtRecord) -> Result<(), DnsError> {
        let done = Box::pin(timeout(LIMIT, self.change(action, record))).await;
        let done = done.unwrap_or_else(|_| {
            Err(Failure::passing(format!(
                "no result within {} s",
                LIMIT.as_secs()
            )))
        });
        done.map_err(|failure| {
            DnsError::new(self.kind(), &self.at(), Some(record.fqdn.clone()), failure)
        })
    }

    /// Creates the backend with the current secrets.
    async fn current_backend(&self) -> Result<Backend, Failure> {
        let settings = self.settings.clone();
        let refreshed = tokio::task::spawn_blocking(move || settings.refreshed())
            .await
            .map_err(Failure::passing)?;
        Backend::new(&refreshed.map_err(Failure::passing)?, &self.context)
    }

    async fn change(&self, action: Action, record: &TxtRecord) -> Result<(), Failure> {
        let backend = self.current_backend().await?;
        let name = self.target(&backend, record.name()?).await?;
        let value = &record.value;
        match &backend {
            Backend::Rfc2136(server) => server.change(action, &name, value).await,
            Backend::Cloudflare(api) => {
                api.change(action, name.to_ascii().trim_end_matches('.'), value)
                    .await
            }
            Backend::Webhook(service) => service.change(action, &name.to_ascii(), value).await,
            Backend::Command(program) => program.change(action, &name.to_ascii(), value).await,
        }
    }

    /// Returns the name to publish at, after following CNAMEs.
    async fn target(&self, backend: &Backend, name: Name) -> Result<Name, Failure> {
        if !self.context.follow_cname {
            return Ok(name);
        }
        let name = match backend {
            // Ask the server that gets the update first: it may not be public.
            Backend::Rfc2136(server) => match server.canonical(&name).await? {
                (name, true) => return Ok(name),
                (name, false) => name,
            },
            _ => name,
        };
        self.context.lookup.canonical(name).await
    }

    fn kind(&self) -> &'static str {
        match &self.backend {
            Backend::Rfc2136(_) => "rfc2136",
            Backend::Cloudflare(_) => "cloudflare",
            Backend::Webhook(_) => "webhook",
            Backend::Command(_) => "command",
        }
    }

    fn at(&self) -> String {
        match &self.backend {
            Backend::Rfc2136(server) => server.at(),
            Backend::Cloudflare(api) => api.at(),
            Backend::Webhook(service) => service.at(),
            Backend::Command(program) => program.at(),
        }
    }
}

/// Parses a full name of letters, digits, `-` and `_`.
fn parse_name(text: &str) -> Result<Name, Failure> {
    let wrong = || Failure::permanent(format!("{text:?} is not a DNS name"));
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if !text.bytes().all(plain) || text.starts_with('.') {
        return Err(wrong());
    }
    let mut name = Name::from_ascii(text).map_err(|_| wrong())?;
    if name.iter().len() == 0 {
        return Err(wrong());
    }
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests;
