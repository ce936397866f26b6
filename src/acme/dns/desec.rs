//! deSEC's API, version 1.

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

const BASE: &str = "https://desec.io/api/v1";
/// The TTL in seconds that every domain allows; most refuse a shorter one.
const TTL: u32 = 3600;

pub(super) struct DeSec(Web);

#[derive(Deserialize)]
struct RecordSet {
    records: Vec<String>,
}

impl DeSec {
    pub(super) fn new(settings: &TokenSettings, http: &Http) -> Result<Self, Failure> {
        let web = Web::new(settings.base.as_deref(), BASE, http)?;
        let web = web.authorized(header::AUTHORIZATION, "Token ", &settings.token)?;
        Ok(Self(web))
    }

    /// Sets all values of a record set. Without values it is deleted. Both may be repeated.
    async fn set(&self, at: &Place, records: &[String]) -> Result<(), Refusal> {
        let set = json!([{
            "subname": at.relative(),
            "type": "TXT",
            "ttl": TTL,
            "records": records,
        }]);
        let path = format!("/domains/{}/rrsets/", at.zone);
        let _: IgnoredAny = self.0.call(Method::PATCH, &path, Some(set)).await?;
        Ok(())
    }
}

impl ZoneApi for DeSec {
    fn web(&self) -> &Web {
        &self.0
    }

    async fn zone(&self, name: &str) -> Result<Option<String>, Refusal> {
        let has = self.0.has(&format!("/domains/{name}/")).await?;
        Ok(has.then(|| name.to_owned()))
    }

    async fn values(&self, at: &Place) -> Result<Vec<Value>, Refusal> {
        let path = format!("/domains/{}/rrsets/{}/TXT/", at.zone, at.label());
        let found = self.0.call::<RecordSet>(Method::GET, &path, None).await;
        let records = unless_missing(found)?.map_or_else(Vec::new, |found| found.records);
        Ok(records.into_iter().map(Value::new).collect())
    }

    async fn add(&self, at: &Place, value: &str, others: &[Value]) -> Result<(), Refusal> {
        self.set(at, &with(others, &quoted(value))).await
    }

    async fn remove(&self, at: &Place, _gone: &[Value], others: &[Value]) -> Result<(), Refusal> {
        let kept: Vec<String> = others.iter().map(|value| value.raw.clone()).collect();
        self.set(at, &kept).await
    }
}
