//! DigitalOcean's API, version 2.

use http::{Method, header};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use super::{
    TokenSettings,
    error::Failure,
    record::TTL,
    web::{Refusal, Web, unless_missing},
    zone::{Place, Value, ZoneApi},
};
use crate::http_client::Http;

const BASE: &str = "https://api.digitalocean.com/v2";

pub(super) struct DigitalOcean(Web);

#[derive(Deserialize)]
struct Records {
    domain_records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    id: u64,
    data: String,
}

impl DigitalOcean {
    pub(super) fn new(settings: &TokenSettings, http: &Http) -> Result<Self, Failure> {
        let web = Web::new(settings.base.as_deref(), BASE, http)?;
        let web = web.authorized(header::AUTHORIZATION, "Bearer ", &settings.token)?;
        Ok(Self(web))
    }
}

impl ZoneApi for DigitalOcean {
    fn web(&self) -> &Web {
        &self.0
    }

    async fn zone(&self, name: &str) -> Result<Option<String>, Refusal> {
        let has = self.0.has(&format!("/domains/{name}")).await?;
        Ok(has.then(|| name.to_owned()))
    }

    async fn values(&self, at: &Place) -> Result<Vec<Value>, Refusal> {
        let query = format!("type=TXT&name={}&per_page=200", at.name);
        let path = format!("/domains/{}/records?{query}", at.zone);
        let found: Records = self.0.call(Method::GET, &path, None).await?;
        let values = found.domain_records.into_iter();
        Ok(values
            .map(|record| Value::with_id(record.id.to_string(), record.data))
            .collect())
    }

    async fn add(&self, at: &Place, value: &str, _others: &[Value]) -> Result<(), Refusal> {
        let record = json!({ "type": "TXT", "name": at.label(), "data": value, "ttl": TTL });
        let path = format!("/domains/{}/records", at.zone);
        let _: IgnoredAny = self.0.call(Method::POST, &path, Some(record)).await?;
        Ok(())
    }

    async fn remove(&self, at: &Place, gone: &[Value], _others: &[Value]) -> Result<(), Refusal> {
        for value in gone {
            let path = format!("/domains/{}/records/{}", at.zone, value.id);
            let deleted = self.0.call::<IgnoredAny>(Method::DELETE, &path, None).await;
            unless_missing(deleted)?;
        }
        Ok(())
    }
}
