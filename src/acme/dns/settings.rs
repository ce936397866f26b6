//! The settings of every DNS provider.

use super::{
    Secret, acme_dns::AcmeDnsSettings, cloudflare::CloudflareSettings, command::CommandSettings,
    ovh::OvhSettings, porkbun::PorkbunSettings, rfc2136::Rfc2136Settings, route53::Route53Settings,
    secret::SecretError, webhook::WebhookSettings,
};

/// The settings of a DNS provider.
#[derive(Clone, Debug)]
pub enum ProviderSettings {
    /// DNS UPDATE to a server (RFC 2136).
    Rfc2136(Rfc2136Settings),
    /// Cloudflare's API.
    Cloudflare(CloudflareSettings),
    /// An API that needs a token and nothing else.
    Token(TokenSettings),
    /// OVH's API.
    Ovh(OvhSettings),
    /// Porkbun's API.
    Porkbun(PorkbunSettings),
    /// Route 53's API.
    Route53(Route53Settings),
    /// A server of the program acme-dns.
    AcmeDns(AcmeDnsSettings),
    /// A web service.
    Webhook(WebhookSettings),
    /// A program.
    Command(CommandSettings),
}

/// The settings of an API that needs a token and nothing else.
#[derive(Clone, Debug)]
pub struct TokenSettings {
    /// The API.
    pub api: TokenApi,
    /// The token.
    pub token: Secret,
    /// The base URL, if it is not the API's own.
    pub base: Option<String>,
}

/// The APIs that need a token and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenApi {
    /// deSEC.
    DeSec,
    /// DigitalOcean.
    DigitalOcean,
    /// DuckDNS.
    DuckDns,
    /// Gandi's LiveDNS.
    Gandi,
    /// Hetzner's Cloud API.
    Hetzner,
}

impl ProviderSettings {
    /// Returns the name of the provider in the configuration.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Rfc2136(_) => "rfc2136",
            Self::Cloudflare(_) => "cloudflare",
            Self::Token(settings) => settings.api.name(),
            Self::Ovh(_) => "ovh",
            Self::Porkbun(_) => "porkbun",
            Self::Route53(_) => "route53",
            Self::AcmeDns(_) => "acme-dns",
            Self::Webhook(_) => "webhook",
            Self::Command(_) => "command",
        }
    }

    /// Returns true if every record of the service has one value.
    pub(super) fn keeps_one_value(&self) -> bool {
        matches!(self, Self::Token(settings) if settings.api == TokenApi::DuckDns)
    }

    /// Returns true for a program or web service of the operator.
    pub(super) fn is_hook(&self) -> bool {
        matches!(self, Self::Webhook(_) | Self::Command(_))
    }

    /// Returns the settings with secrets read again from their files.
    pub(super) fn refreshed(mut self) -> Result<Self, SecretError> {
        for secret in self.secrets() {
            secret.refresh()?;
        }
        Ok(self)
    }

    fn secrets(&mut self) -> Vec<&mut Secret> {
        match self {
            Self::Rfc2136(settings) => settings.key.iter_mut().map(|key| &mut key.secret).collect(),
            Self::Cloudflare(settings) => vec![&mut settings.token],
            Self::Token(settings) => vec![&mut settings.token],
            Self::Ovh(settings) => {
                vec![&mut settings.application_secret, &mut settings.consumer_key]
            }
            Self::Porkbun(settings) => vec![&mut settings.api_key, &mut settings.secret_key],
            Self::Route53(settings) => vec![&mut settings.secret_key],
            Self::AcmeDns(settings) => vec![&mut settings.accounts],
            Self::Webhook(settings) => {
                let login = settings.login.iter_mut();
                login.map(|(_user, password)| password).collect()
            }
            Self::Command(_) => Vec::new(),
        }
    }
}

impl TokenApi {
    /// Returns the name of the API in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeSec => "desec",
            Self::DigitalOcean => "digitalocean",
            Self::DuckDns => "duckdns",
            Self::Gandi => "gandi",
            Self::Hetzner => "hetzner",
        }
    }
}
