//! DNS in Hetzner's Cloud API, version 1.

use http::{Method, header};
use serde::Deserialize;
use serde_json::json;

use super::{
    TokenSettings,
    error::Failure,
    record::TTL,
    web::{Refusal, Web, unless_missing},
    zone::{Place, Value, ZoneApi, quoted},
};
use crate::http_client::Http;

const BASE: &str = "https://api.hetzner.cloud/v1";

pub(super) struct Hetzner(Web);

#[derive(Deserialize)]
struct Found {
    zone: Zone,
}

#[derive(Deserialize)]
struct Zone {
    id: u64,
    name: String,
}

#[derive(Deserialize)]
struct Listed {
    rrset: RecordSet,
}

#[derive(Deserialize)]
struct RecordSet {
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    value: String,
}

#[derive(Deserialize)]
struct Started {
    action: Action,
}

/// A change, which may still be under way.
#[derive(Deserialize)]
struct Action {
    error: Option<ActionError>,
}

#[derive(Deserialize)]
struct ActionError {
    code: String,
    message: String,
}

impl Hetzner {
    pub(super) fn new(settings: &TokenSettings, http: &Http) -> Result<Self, Failure> {
        let web = Web::new(settings.base.as_deref(), BASE, http)?;
        let web = web.authorized(header::AUTHORIZATION, "Bearer ", &settings.token)?;
        Ok(Self(web))
    }

    async fn act(&self, path: &str, body: serde_json::Value) -> Result<(), Refusal> {
        let started: Started = self.0.call(Method::POST, path, Some(body)).await?;
        match started.action.error {
            Some(ActionError { code, message }) => {
                let reason = format!("POST {path}: {message}, {code}");
                Err(Failure::new(reason).into())
            }
            None => Ok(()),
        }
    }
}

impl ZoneApi for Hetzner {
    fn web(&self) -> &Web {
        &self.0
    }

    /// The API takes a name instead of an ID, so a name of digits could be another zone.
    async fn zone(&self, name: &str) -> Result<Option<String>, Refusal> {
        let path = format!("/zones/{name}");
        let found = unless_missing(self.0.call::<Found>(Method::GET, &path, None).await)?;
        let found = found.filter(|found| found.zone.name.eq_ignore_ascii_case(name));
        Ok(found.map(|found| found.zone.id.to_string()))
    }

    async fn values(&self, at: &Place) -> Result<Vec<Value>, Refusal> {
        let found = self.0.call::<Listed>(Method::GET, &path(at), None).await;
        let records = unless_missing(found)?.map_or_else(Vec::new, |found| found.rrset.records);
        let values = records.into_iter().map(|record| Value::new(record.value));
        Ok(values.collect())
    }

    async fn add(&self, at: &Place, value: &str, others: &[Value]) -> Result<(), Refusal> {
        let mut body = json!({ "records": [{ "value": quoted(value) }] });
        // A record set that exists keeps its TTL.
        if others.is_empty() {
            body["ttl"] = TTL.into();
        }
        self.act(&format!("{}/actions/add_records", path(at)), body)
            .await
    }

    async fn remove(&self, at: &Place, gone: &[Value], _others: &[Value]) -> Result<(), Refusal> {
        let gone = gone.iter().map(|value| json!({ "value": value.raw }));
        let body = json!({ "records": gone.collect::<Vec<_>>() });
        let path = format!("{}/actions/remove_records", path(at));
        unless_missing(self.act(&path, body).await).map(|_| ())
    }
}

fn path(at: &Place) -> String {
    format!("/zones/{}/rrsets/{}/TXT", at.id, at.label())
}
