//! The access log: one line per request, written when its response is complete. It goes through
//! `tracing` (target `access`), to the same place as the other logs.

use std::{net::SocketAddr, time::Instant};

use http::{
    HeaderMap, HeaderValue, Method, Uri, Version,
    header::{REFERER, USER_AGENT},
};

use super::conn::ConnInfo;

/// The log entry of one request, written when it is dropped.
#[derive(Debug)]
pub(crate) struct Record {
    began: Instant,
    client: SocketAddr,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    agent: Option<HeaderValue>,
    referer: Option<HeaderValue>,
    /// Log this request only if it fails: sampling did not select it.
    pub(super) errors_only: bool,
    pub(super) status: u16,
    pub(super) bytes: u64,
    pub(super) broken: bool,
    pub(super) reason: Option<&'static str>,
    pub(super) route: Option<String>,
    pub(super) backend: Option<String>,
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) request_id: Option<HeaderValue>,
}

impl Record {
    pub(super) fn new(
        conn: &ConnInfo,
        method: &Method,
        uri: &Uri,
        version: Version,
        headers: &HeaderMap,
    ) -> Self {
        Self {
            began: Instant::now(),
            client: conn.client,
            method: method.clone(),
            uri: uri.clone(),
            version,
            host: headers.get(http::header::HOST).cloned(),
            agent: headers.get(USER_AGENT).cloned(),
            referer: headers.get(REFERER).cloned(),
            errors_only: false,
            status: 0,
            bytes: 0,
            broken: false,
            reason: None,
            route: None,
            backend: None,
            endpoint: None,
            request_id: None,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // nginx's status for a client that closed the connection before the response.
        if self.status == 0 {
            self.status = 499;
        }
        if self.errors_only && self.status < 500 && !self.broken {
            return;
        }

        let text = |value: &Option<HeaderValue>| {
            value
                .as_ref()
                .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
                .unwrap_or_default()
        };

        let host = self
            .uri
            .authority()
            .map_or_else(|| text(&self.host), ToString::to_string);

        tracing::info!(
            target: "access",
            client = %self.client.ip(),
            method = %self.method,
            host,
            path = self.uri.path_and_query().map_or("", |path| path.as_str()),
            protocol = %version(self.version),
            status = self.status,
            bytes = self.bytes,
            ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            broken = self.broken,
            route = self.route.as_deref().unwrap_or_default(),
            backend = self.backend.as_deref().unwrap_or_default(),
            endpoint = self.endpoint.map(tracing::field::display),
            reason = self.reason.unwrap_or_default(),
            request_id = text(&self.request_id),
            agent = text(&self.agent),
            referer = text(&self.referer),
        );
    }
}

/// Returns the name of a version as RFC 9112 and RFC 9113 spell it.
fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP",
    }
}
