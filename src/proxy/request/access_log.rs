//! The access log: one line per request, written when its response is complete. It goes through
//! `tracing` (target `access`), to the same place as the other logs.

use std::{net::SocketAddr, time::Instant};

use http::{Method, Version};

use super::{fields::FieldName, message::RequestHead};
use crate::proxy::conn::ConnInfo;

/// The log entry of one request, written when it is dropped.
#[derive(Debug)]
pub(crate) struct Record {
    began: Instant,
    client: SocketAddr,
    method: Method,
    version: Version,
    host: String,
    path: String,
    agent: String,
    referer: String,
    /// Log this request only if it fails: sampling did not select it.
    pub(crate) errors_only: bool,
    /// Log it in no case: its rule says so.
    pub(crate) is_unlogged: bool,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) broken: bool,
    pub(crate) reason: Option<&'static str>,
    pub(crate) route: Option<String>,
    pub(crate) backend: Option<String>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) request_id: String,
}

impl Record {
    pub(crate) fn new(conn: &ConnInfo, head: &RequestHead) -> Self {
        let field = |id| text(head.fields.get(id).unwrap_or_default());
        let path = match head.query() {
            Some(query) => format!("{}?{query}", head.path()),
            None => head.path().to_owned(),
        };
        let host = head
            .authority()
            .or_else(|| head.fields.get(FieldName::Host));

        let mut record = Self::of_refused(conn);
        record.method = head.method.clone();
        record.version = head.version;
        record.host = text(host.unwrap_or_default());
        record.path = path;
        record.agent = field(FieldName::UserAgent);
        record.referer = field(FieldName::Referer);
        record
    }

    /// Creates the entry of a request whose head is refused, so that nothing is known of it.
    pub(crate) fn of_refused(conn: &ConnInfo) -> Self {
        Self {
            began: Instant::now(),
            client: conn.client,
            method: Method::default(),
            version: Version::HTTP_11,
            host: String::new(),
            path: String::new(),
            agent: String::new(),
            referer: String::new(),
            errors_only: false,
            is_unlogged: false,
            status: 0,
            bytes: 0,
            broken: false,
            reason: None,
            route: None,
            backend: None,
            endpoint: None,
            request_id: String::new(),
        }
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

impl Drop for Record {
    fn drop(&mut self) {
        // nginx's status for a client that closed the connection before the response.
        if self.status == 0 {
            self.status = 499;
        }
        let is_sound = self.status < 500 && !self.broken;
        if self.is_unlogged || self.errors_only && is_sound {
            return;
        }

        tracing::info!(
            target: "access",
            client = %self.client.ip(),
            method = %self.method,
            host = self.host,
            path = self.path,
            protocol = %version(self.version),
            status = self.status,
            bytes = self.bytes,
            ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            broken = self.broken,
            route = self.route.as_deref().unwrap_or_default(),
            backend = self.backend.as_deref().unwrap_or_default(),
            endpoint = self.endpoint.map(tracing::field::display),
            reason = self.reason.unwrap_or_default(),
            request_id = self.request_id,
            agent = self.agent,
            referer = self.referer,
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
