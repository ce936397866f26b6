//! `[issuers.dns]` as the file writes it: the keys of every provider side by side. Each provider
//! has keys of its own, and refuses those of the others.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use super::{
    issuer_keys::{Hidden, needed, one_of, wrong},
    issuers::{Dns, DnsProvider, IssuerProblem, Propagation, TokenApi, TsigAlgorithm, TsigKey},
};

/// The names of the providers, and the keys that each has.
const PROVIDERS: &[(Provider, &str, &[&str])] = &[
    (Provider::Rfc2136, "rfc2136", &["server", "zone", "key"]),
    (Provider::AcmeDns, "acme-dns", &["url", "accounts_file"]),
    (
        Provider::Cloudflare,
        "cloudflare",
        &["token_file", "zone_id", "base"],
    ),
    (Provider::DeSec, "desec", &["token_file", "base"]),
    (
        Provider::DigitalOcean,
        "digitalocean",
        &["token_file", "base"],
    ),
    (Provider::DuckDns, "duckdns", &["token_file", "base"]),
    (Provider::Gandi, "gandi", &["token_file", "base"]),
    (Provider::Hetzner, "hetzner", &["token_file", "base"]),
    (
        Provider::Ovh,
        "ovh",
        &[
            "application_key",
            "secret_key_file",
            "consumer_key_file",
            "base",
        ],
    ),
    (
        Provider::Porkbun,
        "porkbun",
        &["api_key_file", "secret_key_file", "base"],
    ),
    (
        Provider::Route53,
        "route53",
        &["access_key_id", "secret_key_file", "zone_id", "base"],
    ),
    (
        Provider::Webhook,
        "webhook",
        &["url", "user", "password_file"],
    ),
    (Provider::Command, "command", &["program", "arguments"]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Provider {
    Rfc2136,
    #[serde(rename = "acme-dns")]
    AcmeDns,
    Cloudflare,
    DeSec,
    DigitalOcean,
    DuckDns,
    Gandi,
    Hetzner,
    Ovh,
    Porkbun,
    Route53,
    Webhook,
    Command,
}

/// Declares the table, and a function that lists the keys of providers that are set.
macro_rules! table {
    ($($key:ident: $type:ty,)*) => {
        /// The table, in which every key is optional.
        #[derive(Debug, Default, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(super) struct DnsTable {
            provider: Option<Provider>,
            resolvers: Option<Vec<SocketAddr>>,
            propagation: Option<Propagation>,
            follow_cname: Option<bool>,
            $($key: Option<$type>,)*
        }

        impl DnsTable {
            fn set(&self) -> Vec<&'static str> {
                let keys = [$((stringify!($key), self.$key.is_some()),)*];
                keys.into_iter().filter(|(_, set)| *set).map(|(key, _)| key).collect()
            }
        }
    };
}

table! {
    server: SocketAddr,
    zone: String,
    key: KeyTable,
    token_file: PathBuf,
    zone_id: String,
    application_key: String,
    consumer_key_file: PathBuf,
    api_key_file: PathBuf,
    access_key_id: String,
    secret_key_file: PathBuf,
    accounts_file: PathBuf,
    base: String,
    url: String,
    user: String,
    password_file: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyTable {
    name: Option<String>,
    algorithm: Option<TsigAlgorithm>,
    secret: Option<Hidden>,
    secret_file: Option<PathBuf>,
}

impl DnsTable {
    /// Checks the keys and makes the settings of them.
    pub(super) fn strict(self) -> Result<Dns, IssuerProblem> {
        let Some(provider) = self.provider else {
            let names: Vec<String> = PROVIDERS.iter().map(|row| format!("{:?}", row.1)).collect();
            let message = format!("it is needed: one of {}", names.join(", "));
            return Err(wrong("dns.provider", message));
        };
        let row = PROVIDERS.iter().find(|row| row.0 == provider);
        let (_, name, own) = row.expect("every provider has a row");

        if let Some(key) = self.set().into_iter().find(|key| !own.contains(key)) {
            let own = own.join(", ");
            let message = format!("the provider {name:?} has no such key, only {own}");
            return Err(wrong(&format!("dns.{key}"), message));
        }

        Ok(Dns {
            resolvers: self.resolvers.clone().unwrap_or_default(),
            propagation: self.propagation.unwrap_or_default(),
            follow_cname: self.follow_cname.unwrap_or(true),
            provider: self.provider(provider, &format!("the provider {name:?}"))?,
        })
    }

    fn provider(self, provider: Provider, whose: &str) -> Result<DnsProvider, IssuerProblem> {
        let base = self.base;
        let token = |api, token_file, base| {
            Ok(DnsProvider::Token {
                api,
                token_file: need("token_file", token_file, whose)?,
                base,
            })
        };

        Ok(match provider {
            Provider::Rfc2136 => DnsProvider::Rfc2136 {
                server: need("server", self.server, whose)?,
                zone: self.zone,
                key: self.key.map(KeyTable::strict).transpose()?,
            },
            Provider::AcmeDns => DnsProvider::AcmeDns {
                url: need("url", self.url, whose)?,
                accounts_file: need("accounts_file", self.accounts_file, whose)?,
            },
            Provider::Cloudflare => DnsProvider::Cloudflare {
                token_file: need("token_file", self.token_file, whose)?,
                zone_id: self.zone_id,
                base,
            },
            Provider::DeSec => token(TokenApi::DeSec, self.token_file, base)?,
            Provider::DigitalOcean => token(TokenApi::DigitalOcean, self.token_file, base)?,
            Provider::DuckDns => token(TokenApi::DuckDns, self.token_file, base)?,
            Provider::Gandi => token(TokenApi::Gandi, self.token_file, base)?,
            Provider::Hetzner => token(TokenApi::Hetzner, self.token_file, base)?,
            Provider::Ovh => DnsProvider::Ovh {
                application_key: need("application_key", self.application_key, whose)?,
                secret_key_file: need("secret_key_file", self.secret_key_file, whose)?,
                consumer_key_file: need("consumer_key_file", self.consumer_key_file, whose)?,
                base,
            },
            Provider::Porkbun => DnsProvider::Porkbun {
                api_key_file: need("api_key_file", self.api_key_file, whose)?,
                secret_key_file: need("secret_key_file", self.secret_key_file, whose)?,
                base,
            },
            Provider::Route53 => DnsProvider::Route53 {
                access_key_id: need("access_key_id", self.access_key_id, whose)?,
                secret_key_file: need("secret_key_file", self.secret_key_file, whose)?,
                zone_id: self.zone_id,
                base,
            },
            Provider::Webhook => DnsProvider::Webhook {
                url: need("url", self.url, whose)?,
                login: match (self.user, self.password_file) {
                    (Some(user), Some(password)) => Some((user, password)),
                    (None, None) => None,
                    (Some(_), None) => return Err(needed("dns.password_file", "`user`")),
                    (None, Some(_)) => return Err(needed("dns.user", "`password_file`")),
                },
            },
            Provider::Command => DnsProvider::Command {
                program: need("program", self.program, whose)?,
                arguments: self.arguments.unwrap_or_default(),
            },
        })
    }
}

impl KeyTable {
    fn strict(self) -> Result<TsigKey, IssuerProblem> {
        Ok(TsigKey {
            name: self.name.ok_or_else(|| needed("dns.key.name", "`key`"))?,
            algorithm: self.algorithm.unwrap_or_default(),
            secret: one_of(
                "dns.key.secret",
                "dns.key.secret_file",
                self.secret,
                self.secret_file,
            )?,
        })
    }
}

/// Returns the value of a key that the provider requires.
fn need<T>(key: &str, value: Option<T>, whose: &str) -> Result<T, IssuerProblem> {
    value.ok_or_else(|| needed(&format!("dns.{key}"), whose))
}
