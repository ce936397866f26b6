//! Cloudflare's API, version 4.

use http::{Method, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, json};

use super::{
    Secret,
    error::Failure,
    record::TTL,
    web::{Refusal, Web, is_id, unless_missing, zone_id},
    zone::{Place, Value, ZoneApi, quoted},
};
use crate::http_client::Http;

const BASE: &str = "https://api.cloudflare.com/client/v4";
/// The codes of errors about a record that already exists.
const EXISTS: [&str; 2] = ["(81057)", "(81058)"];

/// The settings for Cloudflare.
#[derive(Clone, Debug)]
pub struct CloudflareSettings {
    /// An API token with the permissions Zone:Read and DNS:Edit.
    pub token: Secret,
    /// The zone's ID; without it, the zone is found by name. With it, the token only needs
    /// DNS:Edit.
    pub zone_id: Option<String>,
    /// The base URL, if it is not Cloudflare's own.
    pub base: Option<String>,
}

pub(super) struct Cloudflare {
    web: Web,
    zone_id: Option<String>,
}

/// The envelope of every response.
#[derive(Deserialize)]
struct Envelope<T> {
    result: T,
}

#[derive(Deserialize)]
struct Zone {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Record {
    id: String,
    content: String,
}

impl Cloudflare {
    pub(super) fn new(settings: &CloudflareSettings, http: &Http) -> Result<Self, Failure> {
        let web = Web::new(settings.base.as_deref(), BASE, http)?;
        Ok(Self {
            web: web.authorized(header::AUTHORIZATION, "Bearer ", &settings.token)?,
            zone_id: zone_id(settings.zone_id.as_deref())?,
        })
    }

    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Refusal> {
        let listed: Envelope<_> = self.web.call(Method::GET, path, None).await?;
        Ok(listed.result)
    }

    async fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<(), Refusal> {
        let _: Envelope<Map<_, _>> = self.web.call(method, path, body).await?;
        Ok(())
    }
}

impl ZoneApi for Cloudflare {
    fn web(&self) -> &Web {
        &self.web
    }

    async fn zone(&self, name: &str) -> Result<Option<String>, Refusal> {
        if let Some(id) = &self.zone_id {
            return Ok(Some(id.clone()));
        }
        let zones: Vec<Zone> = self.list(&format!("/zones?name={name}")).await?;
        let mut ours = zones
            .into_iter()
            .filter(|zone| zone.name.eq_ignore_ascii_case(name) && is_id(&zone.id));
        Ok(ours.next().map(|zone| zone.id))
    }

    async fn values(&self, at: &Place) -> Result<Vec<Value>, Refusal> {
        let query = format!("type=TXT&name={}&per_page=100", at.name);
        let records: Vec<Record> = self.list(&format!("{}?{query}", records(at))).await?;
        let values = records.into_iter();
        Ok(values
            .map(|record| Value::with_id(record.id, record.content))
            .collect())
    }

    async fn add(&self, at: &Place, value: &str, _others: &[Value]) -> Result<(), Refusal> {
        let record = json!({
            "type": "TXT",
            "name": at.name,
            "content": quoted(value),
            "ttl": TTL,
        });
        match self.change(Method::POST, &records(at), Some(record)).await {
            Err(refusal) if !refusal.says(&EXISTS) => Err(refusal),
            _ => Ok(()),
        }
    }

    async fn remove(&self, at: &Place, gone: &[Value], _others: &[Value]) -> Result<(), Refusal> {
        for Value { id, .. } in gone {
            if !is_id(id) {
                let reason = "the API returned a record with an invalid ID";
                return Err(Failure::new(reason).into());
            }
            let path = format!("{}/{id}", records(at));
            unless_missing(self.change(Method::DELETE, &path, None).await)?;
        }
        Ok(())
    }
}

fn records(at: &Place) -> String {
    format!("/zones/{}/dns_records", at.id)
}
