//! Requests to the web API of a provider.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::{Secret, error::Failure};
use crate::http_client::{Http, Reply};

/// The largest number of times that one request is sent, and the longest wait in between. A longer
/// one is left to the caller.
const TRIES: usize = 3;
const PATIENCE: u64 = 10;
/// The largest number of characters of a response that a message repeats.
const SHOWN: usize = 300;

/// An API at one base URL, with the headers that authorize its requests.
#[derive(Clone)]
pub(super) struct Web {
    base: String,
    place: String,
    headers: HeaderMap,
    /// The secrets, which no message repeats.
    hidden: Vec<String>,
    http: Http,
}

/// A response that is not a success, or none.
#[derive(Debug)]
pub(super) struct Refusal {
    status: Option<StatusCode>,
    failure: Failure,
}

impl Web {
    /// Creates a client for an API without connecting to it.
    pub(super) fn new(base: Option<&str>, usual: &str, http: &Http) -> Result<Self, Failure> {
        let base = base.unwrap_or(usual).trim_end_matches('/').to_owned();
        Ok(Self {
            place: place(&url(&base)?),
            base,
            headers: HeaderMap::new(),
            hidden: Vec::new(),
            http: http.clone(),
        })
    }

    /// Adds a secret, after a prefix, to every request.
    pub(super) fn authorized(
        mut self,
        name: HeaderName,
        prefix: &str,
        secret: &Secret,
    ) -> Result<Self, Failure> {
        let value = sensitive(&format!("{prefix}{}", secret.expose()))?;
        self.headers.insert(name, value);
        Ok(self.hiding(secret))
    }

    /// Keeps a secret out of messages.
    pub(super) fn hiding(mut self, secret: &Secret) -> Self {
        self.hidden.push(secret.expose().to_owned());
        self
    }

    /// Returns scheme and host for messages.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Returns the URL of a path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Returns true if the API has something at a path.
    pub(super) async fn has(&self, path: &str) -> Result<bool, Refusal> {
        let found = self.call::<IgnoredAny>(Method::GET, path, None).await;
        Ok(unless_missing(found)?.is_some())
    }

    /// Sends JSON, if there is any, and parses the JSON of a successful response. An empty response
    /// counts as `null`.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<T, Refusal> {
        let reply = self.send_json(&method, path, body).await?;
        self.parsed(&method, path, &reply)
    }

    /// Sends a request with more headers and parses the JSON as [`Self::call`] does.
    pub(super) async fn call_with<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: String,
    ) -> Result<T, Refusal> {
        let reply = self.send(&method, path, headers, body).await?;
        self.parsed(&method, path, &reply)
    }

    fn parsed<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        reply: &Reply,
    ) -> Result<T, Refusal> {
        let text: &[u8] = match &reply.body[..] {
            [] => b"null",
            body => body,
        };
        serde_json::from_slice(text).map_err(|_| {
            let reason = self.reason(method, path, reply);
            let failure = Failure::new(format!("{reason} (it is not the expected JSON)"));
            Refusal {
                status: Some(reply.status),
                failure,
            }
        })
    }

    /// Sends JSON, if there is any, as [`Self::send`] does.
    pub(super) async fn send_json(
        &self,
        method: &Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Reply, Refusal> {
        let mut headers = HeaderMap::new();
        if body.is_some() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.send(method, path, headers, body).await
    }

    /// Sends a request until the response is not one that asks to wait, a few times at most.
    /// Returns the response if it is a success.
    pub(super) async fn send(
        &self,
        method: &Method,
        path: &str,
        headers: HeaderMap,
        body: String,
    ) -> Result<Reply, Refusal> {
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() = url(&self.url(path)).map_err(Refusal::from)?;
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().extend(headers);

        let mut tries = 1;
        loop {
            let reply = self.http.send(request.clone()).await;
            let reply = reply.map_err(|error| Refusal::from(Failure::new(error)))?;
            if reply.status.is_success() {
                return Ok(reply);
            }

            let wait = wait(&reply);
            if let Some(wait) = wait.filter(|wait| *wait <= PATIENCE && tries < TRIES) {
                tries += 1;
                tokio::time::sleep(Duration::from_secs(wait)).await;
                continue;
            }

            let failure = Failure::new(self.reason(method, path, &reply));
            return Err(Refusal {
                status: Some(reply.status),
                failure: failure.retry_after(wait),
            });
        }
    }

    /// Returns the failure of a response that reports an error with a good status.
    pub(super) fn failed(&self, method: &Method, path: &str, reply: &Reply) -> Failure {
        Failure::new(self.reason(method, path, reply))
    }

    /// Returns the request, without a query, and the response in the words of the API.
    fn reason(&self, method: &Method, path: &str, reply: &Reply) -> String {
        let path = path.split('?').next().unwrap_or_default();
        let mut words = words(&reply.body);
        for secret in self.hidden.iter().filter(|secret| !secret.is_empty()) {
            words = words.replace(secret.as_str(), "<hidden>");
        }
        if let Some((end, _)) = words.char_indices().nth(SHOWN) {
            words.truncate(end);
            words.push_str("...");
        }
        format!("{method} {path}: {}: {words}", reply.status)
    }
}

impl Refusal {
    /// Returns true if what was asked for does not exist.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.status, Some(StatusCode::NOT_FOUND | StatusCode::GONE))
    }

    /// Returns true for this status.
    pub(super) fn is(&self, status: StatusCode) -> bool {
        self.status == Some(status)
    }

    /// Counts as a denial of the right to one zone: the next one is tried.
    pub(super) fn of_the_zone(self) -> Self {
        Self {
            status: Some(StatusCode::FORBIDDEN),
            ..self
        }
    }

    /// Returns true if the API's words contain one of these.
    pub(super) fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.failure.says(word))
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            status: None,
            failure,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.failure
    }
}

/// Returns `None` instead of an error for what does not exist.
pub(super) fn unless_missing<T>(result: Result<T, Refusal>) -> Result<Option<T>, Refusal> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(refusal) if refusal.is_missing() => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// Returns the seconds after which a response lets us try again.
fn wait(reply: &Reply) -> Option<u64> {
    if !matches!(
        reply.status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::LOCKED
    ) {
        return None;
    }
    Some(reply.retry_after().map_or(1, |wait| wait.as_secs()))
}

/// Returns the words that a response has for an error, or all of it.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body).into_owned();
    let Ok(json) = serde_json::from_slice::<Value>(body) else {
        let parts = ["Message", "Code"].map(|tag| elements(&text, tag).next());
        return match parts {
            [Some(message), Some(code)] => format!("{message} ({code})"),
            _ => text,
        };
    };

    let listed = json.get("errors").and_then(Value::as_array);
    let numbered = listed.into_iter().flatten().filter_map(|error| {
        let (message, code) = (error.get("message")?.as_str()?, error.get("code")?);
        Some(format!("{message} ({code})"))
    });
    let numbered: Vec<String> = numbered.collect();
    if !numbered.is_empty() {
        return numbered.join(", ");
    }

    let at = json.get("error").filter(|error| error.is_object());
    let at = at.unwrap_or(&json);
    let keys = ["message", "detail", "error", "code", "errorCode", "cause"];
    let found = keys.iter().filter_map(|key| at.get(key)?.as_str());
    match found.collect::<Vec<_>>() {
        found if found.is_empty() => text,
        found => found.join(", "),
    }
}

/// Returns the texts of the XML elements with a name, with entities as they are.
pub(super) fn elements<'a>(xml: &'a str, tag: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(open.as_str())?;
        let (inner, after) = after.split_once(close.as_str())?;
        rest = after;
        Some(inner)
    })
}

pub(super) fn url(text: &str) -> Result<Uri, Failure> {
    let wrong = || Failure::new("the URL is not an http or https URL with a host");
    let url: Uri = text.parse().map_err(|_| wrong())?;
    match (url.scheme_str(), url.authority()) {
        (Some("http" | "https"), Some(authority)) if !authority.as_str().contains('@') => Ok(url),
        _ => Err(wrong()),
    }
}

pub(super) fn sensitive(value: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Failure::new("the secret has characters that HTTP does not allow"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Returns the ID of a zone from the settings.
pub(super) fn zone_id(id: Option<&str>) -> Result<Option<String>, Failure> {
    match id {
        Some(id) if !is_id(id) => Err(Failure::new(
            "the zone ID has characters other than letters and digits",
        )),
        id => Ok(id.map(str::to_owned)),
    }
}

/// Returns true for IDs that need no escaping in a path.
pub(super) fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Formats a URL without the parts that may be secret.
pub(super) fn place(url: &Uri) -> String {
    format!(
        "{}://{}",
        url.scheme_str().unwrap_or_default(),
        url.authority().map_or("", |host| host.as_str())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_repeats_the_words_of_the_api() {
        for (body, expected) in [
            (r#"{"detail":"Invalid token."}"#, "Invalid token."),
            (
                r#"{"error":{"code":"locked","message":"zone is locked","details":null}}"#,
                "zone is locked, locked",
            ),
            (
                r#"{"id":"unauthorized","message":"Unable to authenticate you"}"#,
                "Unable to authenticate you",
            ),
            (r#"{"error":"forbidden"}"#, "forbidden"),
            (
                r#"{"errors":[{"code":9109,"message":"Invalid access token"}],"result":null}"#,
                "Invalid access token (9109)",
            ),
            (r#"[{"ttl":["too low"]}]"#, r#"[{"ttl":["too low"]}]"#),
            (
                "<E><Code>NoSuchHostedZone</Code><Message>None here</Message></E>",
                "None here (NoSuchHostedZone)",
            ),
            ("<h1>Bad gateway</h1>", "<h1>Bad gateway</h1>"),
        ] {
            assert_eq!(words(body.as_bytes()), expected);
        }
    }
}
