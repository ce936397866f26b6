//! OVH's API, version 1, with signed requests.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ring::digest;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::json;

use super::{
    Secret,
    error::Failure,
    record::TTL,
    web::{Refusal, Web, sensitive, unless_missing},
    zone::{Place, Value, ZoneApi, quoted},
};
use crate::{http_client::Http, util::hex};

const BASE: &str = "https://eu.api.ovh.com/1.0";
/// The largest number of records of one name that are read, one request each.
const RECORDS: usize = 20;

/// The settings for OVH.
#[derive(Clone, Debug)]
pub struct OvhSettings {
    /// The application key, which is no secret.
    pub application_key: String,
    /// The application secret.
    pub application_secret: Secret,
    /// The consumer key.
    pub consumer_key: Secret,
    /// The base URL, if it is not that of Europe.
    pub base: Option<String>,
}

pub(super) struct Ovh {
    web: Web,
    settings: OvhSettings,
}

#[derive(Deserialize)]
struct Record {
    target: String,
}

impl Ovh {
    pub(super) fn new(settings: &OvhSettings, http: &Http) -> Result<Self, Failure> {
        let web = Web::new(settings.base.as_deref(), BASE, http)?;
        let web = web
            .authorized(
                HeaderName::from_static("x-ovh-consumer"),
                "",
                &settings.consumer_key,
            )?
            .hiding(&settings.application_secret);
        Ok(Self {
            web,
            settings: settings.clone(),
        })
    }

    /// Sends a request that is signed with the time of the API, because ours may be wrong.
    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<T, Refusal> {
        let time: u64 = self.web.call(Method::GET, "/auth/time", None).await?;
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let signature = signature(
            &self.settings,
            &format!("{method}+{}+{body}+{time}", self.web.url(path)),
        );

        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert(
            "x-ovh-application",
            sensitive(&self.settings.application_key)?,
        );
        headers.insert("x-ovh-timestamp", HeaderValue::from(time));
        headers.insert("x-ovh-signature", sensitive(&signature)?);
        self.web.call_with(method, path, headers, body).await
    }
}

/// Returns the signature of a request, of which the text has all but the keys.
fn signature(settings: &OvhSettings, request: &str) -> String {
    let (secret, consumer) = (&settings.application_secret, &settings.consumer_key);
    let text = format!("{}+{}+{request}", secret.expose(), consumer.expose());
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    format!("$1${}", hex::encode(hash.as_ref()))
}

impl ZoneApi for Ovh {
    fn web(&self) -> &Web {
        &self.web
    }

    /// Lists the NS records, which the rights to one zone (`/domain/zone/NAME/*`) allow.
    async fn zone(&self, name: &str) -> Result<Option<String>, Refusal> {
        let path = format!("/domain/zone/{name}/record?fieldType=NS");
        let found = self.call::<Vec<u64>>(Method::GET, &path, None).await;
        Ok(unless_missing(found)?.map(|_| name.to_owned()))
    }

    async fn values(&self, at: &Place) -> Result<Vec<Value>, Refusal> {
        let query = format!("fieldType=TXT&subDomain={}", at.relative());
        let path = format!("/domain/zone/{}/record?{query}", at.zone);
        let ids: Vec<u64> = self.call(Method::GET, &path, None).await?;

        let mut values = Vec::new();
        for id in ids.into_iter().take(RECORDS) {
            let path = format!("/domain/zone/{}/record/{id}", at.zone);
            let found = self.call::<Record>(Method::GET, &path, None).await;
            let found = unless_missing(found)?;
            values.extend(found.map(|record| Value::with_id(id.to_string(), record.target)));
        }
        Ok(values)
    }

    async fn add(&self, at: &Place, value: &str, _others: &[Value]) -> Result<(), Refusal> {
        let record = json!({
            "fieldType": "TXT",
            "subDomain": at.relative(),
            "target": quoted(value),
            "ttl": TTL,
        });
        let path = format!("/domain/zone/{}/record", at.zone);
        self.call::<IgnoredAny>(Method::POST, &path, Some(record))
            .await?;
        Ok(())
    }

    async fn remove(&self, at: &Place, gone: &[Value], _others: &[Value]) -> Result<(), Refusal> {
        for value in gone {
            let path = format!("/domain/zone/{}/record/{}", at.zone, value.id);
            let deleted = self.call::<IgnoredAny>(Method::DELETE, &path, None).await;
            unless_missing(deleted)?;
        }
        Ok(())
    }

    /// The name servers see no change before this.
    async fn finish(&self, at: &Place) -> Result<(), Refusal> {
        let path = format!("/domain/zone/{}/refresh", at.zone);
        self.call::<IgnoredAny>(Method::POST, &path, None).await?;
        Ok(())
    }
}
