//! Gandi's LiveDNS API, version 5.

use http::{Method, header};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use super::{
    TokenSettings,
    error::Failure,
    web::{Refusal, Web, unless_missing},
    zone::{Place, Value, ZoneApi, quoted, with},
};
use crate::http_client::Http;

const BASE: &str = "https://api.gandi.net/v5/livedns";
/// The shortest TTL in seconds that Gandi allows.
const TTL: u32 = 300;

pub(super) struct Gandi(Web);

#[derive(Deserialize)]
struct RecordSet {
    rrset_values: Vec<String>,
}

impl Gandi {
    pub(super) fn new(settings: &TokenSettings, http: &Http) -> Result<Self, Failure> {
        let web = Web::new(settings.base.as_deref(), BASE, http)?;
        let web = web.authorized(header::AUTHORIZATION, "Bearer ", &settings.token)?;
        Ok(Self(web))
    }

    async fn set(&self, at: &Place, values: &[String]) -> Result<(), Refusal> {
        let set = json!({ "rrset_ttl": TTL, "rrset_values": values });
        let _: IgnoredAny = self.0.call(Method::PUT, &path(at), Some(set)).await?;
        Ok(())
    }
}

impl ZoneApi for Gandi {
    fn web(&self) -> &Web {
        &self.0
    }

    async fn zone(&self, name: &str) -> Result<Option<String>, Refusal> {
        let has = self.0.has(&format!("/domains/{name}")).await?;
        Ok(has.then(|| name.to_owned()))
    }

    async fn values(&self, at: &Place) -> Result<Vec<Value>, Refusal> {
        let found = self.0.call::<RecordSet>(Method::GET, &path(at), None).await;
        let values = unless_missing(found)?.map_or_else(Vec::new, |found| found.rrset_values);
        Ok(values.into_iter().map(Value::new).collect())
    }

    async fn add(&self, at: &Place, value: &str, others: &[Value]) -> Result<(), Refusal> {
        self.set(at, &with(others, &quoted(value))).await
    }

    async fn remove(&self, at: &Place, _gone: &[Value], others: &[Value]) -> Result<(), Refusal> {
        if others.is_empty() {
            let deleted = self
                .0
                .call::<IgnoredAny>(Method::DELETE, &path(at), None)
                .await;
            return unless_missing(deleted).map(|_| ());
        }
        let kept: Vec<String> = others.iter().map(|value| value.raw.clone()).collect();
        self.set(at, &kept).await
    }
}

fn path(at: &Place) -> String {
    format!("/domains/{}/records/{}/TXT", at.zone, at.label())
}
