//! The settings of every DNS provider.

use super::{
    Secret, cloudflare::CloudflareSettings, command::CommandSettings, rfc2136::Rfc2136Settings,
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
}

impl ProviderSettings {
    /// Returns the name of the provider in the configuration.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Rfc2136(_) => "rfc2136",
            Self::Cloudflare(_) => "cloudflare",
            Self::Token(settings) => settings.api.name(),
            Self::Webhook(_) => "webhook",
            Self::Command(_) => "command",
        }
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
        }
    }
}
