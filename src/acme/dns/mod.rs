//! The DNS side of certificates: publishes and removes the record of a DNS-01 challenge (RFC 8555
//! section 8.4), checks that it is visible to the CA, handles dns-persist-01, and looks up names
//! for advice.

mod acme_dns;
mod caa;
mod cloudflare;
mod cname;
mod command;
mod desec;
mod digitalocean;
mod duckdns;
mod error;
#[cfg(fuzzing)]
pub mod fuzz;
mod gandi;
mod hetzner;
mod lookup;
mod ovh;
mod persist;
mod porkbun;
mod provider;
mod record;
mod rfc2136;
mod route53;
mod secret;
mod service;
mod settings;
mod sigv4;
mod web;
mod webhook;
mod wire;
mod zone;

pub use acme_dns::AcmeDnsSettings;
pub use caa::{Caa, caa_allows};
pub use cloudflare::CloudflareSettings;
pub use command::CommandSettings;
pub use error::DnsError;
pub use lookup::{Advice, Lookup, Propagation, advice, visible};
pub use ovh::OvhSettings;
pub use persist::{PersistPolicy, persist_record, persisted};
pub use porkbun::PorkbunSettings;
pub use provider::{Provider, ProviderContext};
pub use record::TxtRecord;
pub use rfc2136::{Rfc2136Settings, TsigKey};
pub use route53::Route53Settings;
pub use secret::Secret;
pub use settings::{ProviderSettings, TokenApi, TokenSettings};
pub use webhook::WebhookSettings;
