//! Cloudflare's API, version 4.

use bytes::Bytes;
use hickory_proto::rr::Name;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use super::{
    Secret,
    error::Failure,
    record::{Action, TTL},
    service::{Service, Working},
    web::{by_status, place, sensitive, url},
};
use crate::acme::ca::http::Http;

const BASE: &str = "https://api.cloudflare.com/client/v4";
/// The error codes for a record that already exists.
const EXISTS: [u64; 2] = [81057, 81058];

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

#[derive(Clone)]
pub(super) struct Cloudflare {
    base: String,
    place: String,
    zone_id: Option<String>,
    authorization: HeaderValue,
    http: Http,
}

/// The envelope of every response.
#[derive(Deserialize)]
struct Envelope<T> {
    success: Option<bool>,
    #[serde(default = "Vec::new")]
    errors: Vec<Problem>,
    result: Option<T>,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Zone {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Found {
    id: String,
    content: String,
}

/// A response that is not a success.
struct Refusal {
    status: StatusCode,
    codes: Vec<u64>,
    failure: Failure,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            status: StatusCode::OK,
            codes: Vec::new(),
            failure,
        }
    }
}

impl Cloudflare {
    pub(super) fn new(settings: &CloudflareSettings, http: Http) -> Result<Self, Failure> {
        let base = settings
            .base
            .as_deref()
            .unwrap_or(BASE)
            .trim_end_matches('/')
            .to_owned();
        if settings.zone_id.as_deref().is_some_and(|id| !is_id(id)) {
            return Err(Failure::permanent(
                "the zone ID has characters other than letters and digits",
            ));
        }

        Ok(Self {
            place: place(&url(&base)?),
            base,
            zone_id: settings.zone_id.clone(),
            authorization: sensitive(&format!("Bearer {}", settings.token.expose()))?,
            http,
        })
    }

    /// Adds or deletes one value, unless there is nothing to do. `name` has no dot at its end.
    async fn edit(&self, action: Action, name: &str, value: &str) -> Result<(), Failure> {
        let zone = match &self.zone_id {
            Some(zone) => zone.clone(),
            None => self.find_zone(name).await?,
        };
        let records = format!("/zones/{zone}/dns_records");
        let list = format!("{records}?type=TXT&name={name}&per_page=100");
        let found: Vec<Found> = self
            .call(Method::GET, &list, None)
            .await
            .map_err(|refusal| refusal.failure)?;

        // Older records have no quotes around the value.
        let mut ours = found
            .into_iter()
            .filter(|found| found.content.trim_matches('"') == value);

        match action {
            Action::Present if ours.next().is_some() => Ok(()),
            Action::Present => {
                let record = json!({
                   "type": "TXT",
                   "name": name,
                   "content": format!("\"{value}\""),
                   "ttl": TTL,
                });
                match self
                    .call::<Found>(Method::POST, &records, Some(record.to_string()))
                    .await
                {
                    Err(refusal) if !refusal.codes.iter().any(|code| EXISTS.contains(code)) => {
                        Err(refusal.failure)
                    }
                    _ => Ok(()),
                }
            }
            Action::Cleanup => {
                for Found { id, .. } in ours {
                    if !is_id(&id) {
                        return Err(Failure::passing(
                            "the API returned a record with an invalid ID",
                        ));
                    }
                    match self
                        .call::<serde::de::IgnoredAny>(
                            Method::DELETE,
                            &format!("{records}/{id}"),
                            None,
                        )
                        .await
                    {
                        Err(refusal) if refusal.status != StatusCode::NOT_FOUND => {
                            return Err(refusal.failure);
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
        }
    }

    /// Returns the ID of the closest enclosing zone that the token can see.
    async fn find_zone(&self, name: &str) -> Result<String, Failure> {
        let mut at = name;
        while at.contains('.') {
            let path = format!("/zones?name={at}");
            let zones: Vec<Zone> = self
                .call(Method::GET, &path, None)
                .await
                .map_err(|refusal| refusal.failure)?;
            if let Some(zone) = zones
                .into_iter()
                .find(|zone| zone.name.eq_ignore_ascii_case(at) && is_id(&zone.id))
            {
                return Ok(zone.id);
            }
            at = at.split_once('.').map_or("", |(_, parent)| parent);
        }
        Err(Failure::permanent(format!(
            "the token gives access to no zone that contains {name}"
        )))
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<T, Refusal> {
        let request = Request::builder()
            .method(&method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, &self.authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body.unwrap_or_default()))
            .map_err(Failure::permanent)?;

        let reply = self.http.send(request).await.map_err(Failure::passing)?;
        let what = format!("{method} {}", path.split('?').next().unwrap_or_default());
        let envelope: Envelope<T> = serde_json::from_slice(&reply.body).map_err(|_| {
            // The response may be a proxy's error page, or come from another API.
            let text = String::from_utf8_lossy(&reply.body).into_owned();
            Refusal {
                status: reply.status,
                ..by_status(&reply, &format!("{what}: {}: {text}", reply.status)).into()
            }
        })?;

        match envelope.result {
            Some(result) if reply.status.is_success() && envelope.success != Some(false) => {
                Ok(result)
            }
            _ => {
                let problems: Vec<_> = envelope
                    .errors
                    .iter()
                    .map(|problem| format!("{} ({})", problem.message, problem.code))
                    .collect();
                let reason = format!("{what}: {}: {}", reply.status, problems.join(", "));
                let codes = envelope.errors.iter().map(|problem| problem.code).collect();
                Err(Refusal {
                    status: reply.status,
                    codes,
                    failure: by_status(&reply, &reason),
                })
            }
        }
    }
}

impl Service for Cloudflare {
    fn at(&self) -> String {
        self.place.clone()
    }

    fn change<'a>(&'a self, action: Action, name: &'a Name, value: &'a str) -> Working<'a, ()> {
        Box::pin(async move {
            let name = name.to_ascii();
            self.edit(action, name.trim_end_matches('.'), value).await
        })
    }
}

/// Returns true for IDs that need no escaping in a path.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}
