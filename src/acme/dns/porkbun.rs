//! Porkbun's API, version 3. Every request is a POST with both keys in its body.

use http::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    Secret,
    error::Failure,
    web::{Refusal, Web, unless_missing},
    zone::{Place, Value, ZoneApi},
};
use crate::http_client::Http;

const BASE: &str = "https://api.porkbun.com/api/json/v3";
/// The shortest TTL in seconds that Porkbun allows. It is a text in this API.
const TTL: &str = "600";

/// The settings for Porkbun.
#[derive(Clone, Debug)]
pub struct PorkbunSettings {
    /// The API key (`pk1_...`).
    pub api_key: Secret,
    /// The secret API key (`sk1_...`).
    pub secret_key: Secret,
    /// The base URL, if it is not Porkbun's own.
    pub base: Option<String>,
}

pub(super) struct Porkbun {
    web: Web,
    settings: PorkbunSettings,
}

/// The envelope of every response.
#[derive(Deserialize)]
struct Envelope<T> {
    status: String,
    #[serde(default)]
    message: String,
    #[serde(flatten)]
    content: T,
}

#[derive(Deserialize)]
struct Nothing {}

#[derive(Deserialize)]
struct Records {
    #[serde(default)]
    records: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    id: String,
    content: String,
}

impl Porkbun {
    pub(super) fn new(settings: &PorkbunSettings, http: &Http) -> Result<Self, Failure> {
        let web = Web::new(settings.base.as_deref(), BASE, http)?;
        Ok(Self {
            web: web.hiding(&settings.api_key).hiding(&settings.secret_key),
            settings: settings.clone(),
        })
    }

    async fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        mut body: serde_json::Value,
    ) -> Result<T, Refusal> {
        body["apikey"] = self.settings.api_key.expose().into();
        body["secretapikey"] = self.settings.secret_key.expose().into();
        let reply: Envelope<T> = self.web.call(Method::POST, path, Some(body)).await?;
        match reply.status.as_str() {
            "SUCCESS" => Ok(reply.content),
            status => {
                let reason = format!("POST {path}: {status}: {}", reply.message);
                Err(Failure::new(reason).into())
            }
        }
    }
}

impl ZoneApi for Porkbun {
    fn web(&self) -> &Web {
        &self.web
    }

    /// The API responds 400 both for a domain of another account and for wrong keys. Only the
    /// words differ, so the last of them are those to show.
    async fn zone(&self, name: &str) -> Result<Option<String>, Refusal> {
        let path = format!("/dns/retrieveByNameType/{name}/NS");
        match self.call::<Nothing>(&path, json!({})).await {
            Ok(Nothing {}) => Ok(Some(name.to_owned())),
            Err(refusal) if refusal.is(StatusCode::BAD_REQUEST) => Err(refusal.of_the_zone()),
            Err(refusal) => Err(refusal),
        }
    }

    async fn values(&self, at: &Place) -> Result<Vec<Value>, Refusal> {
        let path = format!("/dns/retrieveByNameType/{}/TXT/{}", at.zone, at.relative());
        let found: Records = self.call(&path, json!({})).await?;
        let values = found.records.into_iter();
        Ok(values
            .map(|record| Value::with_id(record.id, record.content))
            .collect())
    }

    async fn add(&self, at: &Place, value: &str, _others: &[Value]) -> Result<(), Refusal> {
        let record = json!({
            "name": at.relative(),
            "type": "TXT",
            "content": value,
            "ttl": TTL,
        });
        let path = format!("/dns/create/{}", at.zone);
        self.call::<Nothing>(&path, record).await.map(|_| ())
    }

    async fn remove(&self, at: &Place, gone: &[Value], _others: &[Value]) -> Result<(), Refusal> {
        for value in gone {
            if !value.id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                let reason = "the API returned a record with an invalid ID";
                return Err(Failure::new(reason).into());
            }
            let path = format!("/dns/delete/{}/{}", at.zone, value.id);
            unless_missing(self.call::<Nothing>(&path, json!({})).await)?;
        }
        Ok(())
    }
}
