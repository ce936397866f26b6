//! Publishes and removes records through a provider.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hickory_proto::rr::Name;
use tokio::{sync::Semaphore, time::timeout};

use super::{
    DnsError, Lookup, ProviderSettings, TokenApi, TxtRecord,
    acme_dns::AcmeDns,
    cloudflare::Cloudflare,
    cname::{self, Chain},
    command::Command,
    desec::DeSec,
    digitalocean::DigitalOcean,
    duckdns::DuckDns,
    error::Failure,
    gandi::Gandi,
    hetzner::Hetzner,
    ovh::Ovh,
    porkbun::Porkbun,
    record::Action,
    rfc2136::Rfc2136,
    route53::Route53,
    service::Service,
    webhook::Webhook,
};
use crate::http_client::{Clock, Http};

/// The time limit for publishing or removing a record.
const LIMIT: Duration = Duration::from_secs(30);

/// The advice about a hook that replaces values.
const REPLACES: &str = "let `present` add a TXT value beside the others of its name, and \
    `cleanup` remove only its own; until then, the names are proved one after the other";

/// The services that providers use.
#[derive(Clone)]
pub struct ProviderContext {
    /// The resolvers for CNAMEs and for the records themselves.
    pub lookup: Lookup,
    /// True to publish records at the target of a CNAME (delegation), unless the CNAME comes from a
    /// wildcard.
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
    /// The service as it was first made. Its secrets may be out of date.
    service: Arc<dyn Service>,
    /// The turn of one change at a time: most APIs replace a record set as a whole.
    turn: Arc<Semaphore>,
    /// True if the service was seen to replace values instead of adding to them.
    replaces: Arc<AtomicBool>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Provider({} {})",
            self.settings.kind(),
            self.service.at()
        )
    }
}

impl Provider {
    /// Creates a provider without connecting to anything.
    ///
    /// # Errors
    /// Invalid settings: an unknown or weak algorithm, a key that is not base64, or a URL without a
    /// host.
    pub fn new(settings: ProviderSettings, context: ProviderContext) -> Result<Self, DnsError> {
        let service = connect(&settings, &context).map_err(|failure| {
            let at = match &settings {
                ProviderSettings::Rfc2136(settings) => settings.server.to_string(),
                _ => "settings".to_owned(),
            };
            DnsError::new(settings.kind(), &at, None, failure)
        })?;
        Ok(Self {
            settings,
            context,
            service,
            turn: Arc::new(Semaphore::new(1)),
            replaces: Arc::default(),
        })
    }

    /// Returns the resolvers for its records.
    pub fn lookup(&self) -> &Lookup {
        &self.context.lookup
    }

    /// Returns true if a record keeps only one value, so that names which share a record are proved
    /// one after the other.
    pub fn keeps_one_value(&self) -> bool {
        self.settings.keeps_one_value() || self.replaces.load(Ordering::Relaxed)
    }

    /// Returns true if the service is a program or web service of the operator.
    pub fn is_hook(&self) -> bool {
        self.settings.is_hook()
    }

    /// Notes that the newest value of a record took the place of the one before. Returns the
    /// problem, in a sentence, and what to change.
    pub fn note_replacement(&self, fqdn: &str) -> (String, &'static str) {
        self.replaces.store(true, Ordering::Relaxed);
        let problem = format!(
            "{} {} replaces the values of {fqdn} instead of adding to them: the newest is visible, \
             the one before it is gone",
            self.settings.kind(),
            self.service.at()
        );
        (problem, REPLACES)
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
        let _turn = self.turn.acquire().await;
        let done = Box::pin(timeout(LIMIT, self.change(action, record))).await;
        let done = done.unwrap_or_else(|_| {
            Err(Failure::new(format!(
                "no result within {} s",
                LIMIT.as_secs()
            )))
        });
        done.map_err(|failure| {
            let (kind, at) = (self.settings.kind(), self.service.at());
            DnsError::new(kind, &at, Some(record.fqdn.clone()), failure)
        })
    }

    /// Creates the service with the current secrets.
    async fn current_service(&self) -> Result<Arc<dyn Service>, Failure> {
        let settings = self.settings.clone();
        let refreshed = tokio::task::spawn_blocking(move || settings.refreshed())
            .await
            .map_err(Failure::new)?;
        connect(&refreshed.map_err(Failure::new)?, &self.context)
    }

    async fn change(&self, action: Action, record: &TxtRecord) -> Result<(), Failure> {
        let service = self.current_service().await?;
        let chain = self.target(&*service, record.name()?).await?;
        let changed = service.change(action, &chain.name, &record.value).await;
        changed.map_err(|failure| match &chain.note {
            Some(note) => failure.noting(note),
            None => failure,
        })
    }

    /// Returns the name to publish at, after following CNAMEs.
    async fn target(&self, service: &dyn Service, name: Name) -> Result<Chain, Failure> {
        if !self.context.follow_cname {
            return Ok(Chain::new(name));
        }
        // Ask the server that gets the update first: it may not be public.
        let own = service.follow(name).await?;
        if own.known {
            return Ok(own);
        }
        let public = cname::follow(&self.context.lookup, own.name).await?;
        let note = public.note.or(own.note);
        Ok(Chain { note, ..public })
    }
}

/// Creates the service of a provider without connecting to it.
fn connect(
    settings: &ProviderSettings,
    context: &ProviderContext,
) -> Result<Arc<dyn Service>, Failure> {
    let http = &context.http;

    Ok(match settings {
        ProviderSettings::Rfc2136(settings) => {
            Arc::new(Rfc2136::new(settings, context.time.clone())?)
        }
        ProviderSettings::Cloudflare(settings) => Arc::new(Cloudflare::new(settings, http)?),
        ProviderSettings::Token(settings) => match settings.api {
            TokenApi::DeSec => Arc::new(DeSec::new(settings, http)?),
            TokenApi::DigitalOcean => Arc::new(DigitalOcean::new(settings, http)?),
            TokenApi::DuckDns => Arc::new(DuckDns::new(settings, http, &context.lookup)?),
            TokenApi::Gandi => Arc::new(Gandi::new(settings, http)?),
            TokenApi::Hetzner => Arc::new(Hetzner::new(settings, http)?),
        },
        ProviderSettings::Ovh(settings) => Arc::new(Ovh::new(settings, http)?),
        ProviderSettings::Porkbun(settings) => Arc::new(Porkbun::new(settings, http)?),
        ProviderSettings::Route53(settings) => {
            Arc::new(Route53::new(settings, http, context.time.clone())?)
        }
        ProviderSettings::AcmeDns(settings) => {
            let (lookup, follow) = (&context.lookup, context.follow_cname);
            Arc::new(AcmeDns::new(settings, http, lookup, follow)?)
        }
        ProviderSettings::Webhook(settings) => Arc::new(Webhook::new(settings, http)?),
        ProviderSettings::Command(settings) => Arc::new(Command::new(settings.clone())),
    })
}
