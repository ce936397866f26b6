//! The DNS side of certificates: publishing the record of a DNS-01 challenge (RFC 8555 8.4) and
//! removing it, watching for it as the CA will, dns-persist-01, and what DNS says of a name before
//! a CA is asked.

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
pub use lookup::{Advice, Ask, Lookup, advice, visible};
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

/// How long publishing or removing a record may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The lifetime of a published record in caches, in seconds: the shortest that every provider
/// takes.
const TTL: u32 = 60;
/// CNAMEs that are followed one after the other.
const HOPS: usize = 8;

/// A TXT record with one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TxtRecord {
    /// Its full name, such as `_acme-challenge.example.org`; a dot at the end is allowed.
    pub fqdn: String,
    /// Its text. For DNS-01 the base64url digest of the key authorization.
    pub value: String,
}

impl TxtRecord {
    /// The record of a DNS-01 challenge for a name, with or without `*.` in front.
    pub fn challenge(name: &str, value: &str) -> Self {
        let name = name.strip_prefix("*.").unwrap_or(name);
        Self {
            fqdn: format!("_acme-challenge.{name}"),
            value: value.to_owned(),
        }
    }

    /// The name, when both parts can go into every kind of message and command line as they are.
    fn name(&self) -> Result<Name, Failure> {
        let name = parse_name(&self.fqdn)?;
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if self.value.is_empty() || self.value.len() > 255 || !self.value.bytes().all(plain) {
            return Err(Failure::permanent(
                "the value is not one of 1 to 255 plain characters",
            ));
        }
        Ok(name)
    }
}

/// Which way records are published.
#[derive(Clone, Debug)]
pub enum ProviderSettings {
    /// DNS UPDATE to a server.
    Rfc2136(Rfc2136Settings),
    /// Cloudflare's API.
    Cloudflare(CloudflareSettings),
    /// A web service.
    Webhook(WebhookSettings),
    /// A program.
    Command(CommandSettings),
}

impl ProviderSettings {
    /// The same with what the files of secrets hold now.
    fn refreshed(mut self) -> Result<Self, String> {
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

/// What providers need of the rest.
#[derive(Clone)]
pub struct ProviderContext {
    /// Where CNAMEs and the records themselves are looked up.
    pub lookup: Lookup,
    /// Whether a CNAME at the record's name says where the record belongs (delegation). It does not
    /// when it comes from a wildcard record that has nothing to do with challenges.
    pub follow_cname: bool,
    /// For web services.
    pub http: Http,
    /// For signatures.
    pub time: Clock,
}

/// Publishes and removes TXT records.
#[derive(Clone)]
pub struct Provider {
    settings: ProviderSettings,
    context: ProviderContext,
    /// As it was made first. Its secrets may be others by now.
    way: Way,
}

#[derive(Clone)]
enum Way {
    Rfc2136(Rfc2136),
    Cloudflare(Cloudflare),
    Webhook(Webhook),
    Command(Command),
}

impl Way {
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
    /// Makes one; nobody is asked yet.
    ///
    /// # Errors
    /// Settings that cannot be right: an unknown or weak algorithm, a key that is not base64, a URL
    /// without host.
    pub fn new(settings: ProviderSettings, context: ProviderContext) -> Result<Self, DnsError> {
        let way = Way::new(&settings, &context).map_err(|failure| {
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
            way,
        })
    }

    /// Where its records are looked up.
    pub fn lookup(&self) -> &Lookup {
        &self.context.lookup
    }

    /// Publishes a value beside those that its name has already. Once it is there, doing it again
    /// changes nothing. Takes at most 30 s.
    ///
    /// # Errors
    /// Nobody answers, or refuses.
    pub async fn present(&self, record: &TxtRecord) -> Result<(), DnsError> {
        self.run(Action::Present, record).await
    }

    /// Removes this one value of the name. No error when it is not there. Takes at most 30 s.
    ///
    /// # Errors
    /// Nobody answers, or refuses.
    pub async fn remove(&self, record: &TxtRecord) -> Result<(), DnsError> {
        self.run(Action::Cleanup, record).await
    }

    async fn run(&self, action: Action, record: &TxtRecord) -> Result<(), DnsError> {
        let done = Box::pin(timeout(LIMIT, self.change(action, record))).await;
        let done = done.unwrap_or_else(|_| {
            Err(Failure::passing(format!(
                "not done within {} s",
                LIMIT.as_secs()
            )))
        });
        done.map_err(|failure| {
            DnsError::new(self.kind(), &self.at(), Some(record.fqdn.clone()), failure)
        })
    }

    /// The way with secrets as they are at this moment.
    async fn way_now(&self) -> Result<Way, Failure> {
        let settings = self.settings.clone();
        let refreshed = tokio::task::spawn_blocking(move || settings.refreshed())
            .await
            .map_err(Failure::passing)?;
        Way::new(&refreshed.map_err(Failure::passing)?, &self.context)
    }

    async fn change(&self, action: Action, record: &TxtRecord) -> Result<(), Failure> {
        let way = self.way_now().await?;
        let name = self.target(&way, record.name()?).await?;
        let value = &record.value;
        match &way {
            Way::Rfc2136(server) => server.change(action, &name, value).await,
            Way::Cloudflare(api) => {
                api.change(action, name.to_ascii().trim_end_matches('.'), value)
                    .await
            }
            Way::Webhook(service) => service.change(action, &name.to_ascii(), value).await,
            Way::Command(program) => program.change(action, &name.to_ascii(), value).await,
        }
    }

    /// Where the record belongs once CNAMEs are followed.
    async fn target(&self, way: &Way, name: Name) -> Result<Name, Failure> {
        if !self.context.follow_cname {
            return Ok(name);
        }
        let name = match way {
            // The server that gets the update knows best, and may not be public.
            Way::Rfc2136(server) => match server.canonical(&name).await? {
                (name, true) => return Ok(name),
                (name, false) => name,
            },
            _ => name,
        };
        self.context.lookup.canonical(name).await
    }

    fn kind(&self) -> &'static str {
        match &self.way {
            Way::Rfc2136(_) => "rfc2136",
            Way::Cloudflare(_) => "cloudflare",
            Way::Webhook(_) => "webhook",
            Way::Command(_) => "command",
        }
    }

    fn at(&self) -> String {
        match &self.way {
            Way::Rfc2136(server) => server.at(),
            Way::Cloudflare(api) => api.at(),
            Way::Webhook(service) => service.at(),
            Way::Command(program) => program.at(),
        }
    }
}

/// A full name of letters, digits, `-` and `_`.
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
