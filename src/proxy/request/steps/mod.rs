//! Takes the steps of a route on a request, in their order. Each file has the steps of one kind.

mod access;
mod cors;
mod elsewhere;
mod https;
mod limits;
mod response;
mod rewrite;

use std::rc::Rc;

use super::{
    access_log::Record,
    check::Target,
    error::{Error, Kind},
    handle::Response,
    headers::{self, Changes},
    message::RequestHead,
    outside::{Outside, Scheme},
};
use crate::{
    limit::Place,
    proxy::{
        conn::ConnInfo,
        worker::{ClientKey, Worker},
    },
    routing::{RequestStep, RequestUrl, ResponseStep, Steps},
};

/// A request on its way through the steps.
pub(super) struct Passing<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) conn: &'a Rc<ConnInfo>,
    pub(super) head: &'a RequestHead,
    pub(super) target: &'a Target<'a>,
    /// The normalised path.
    pub(super) path: &'a str,
    pub(super) outside: Outside,
    /// True over TLS to us, or to the trusted proxy in front of us.
    pub(super) secure: bool,
    /// True if the host has TLS.
    pub(super) tls: bool,
    /// `Upgrade` to pass on.
    pub(super) upgrade: Option<Vec<u8>>,
    pub(super) request_id: &'a [u8],
    pub(super) changes: Changes,
    /// The path and query for the backend, if they are not those of the request.
    pub(super) rewritten: Option<Box<Rewritten>>,
    /// Its place among the requests of its client in flight.
    pub(super) place: Option<Box<Place<ClientKey>>>,
}

/// A path and query in place of those of the request.
pub(super) struct Rewritten {
    pub(super) path: String,
    pub(super) query: Option<String>,
}

impl Passing<'_> {
    /// Returns the address of the client; `None` if it is not known.
    pub(super) fn client(&self) -> Option<std::net::IpAddr> {
        let trusted = &self.worker.settings.trusted_proxies;
        headers::client_address(&self.head.fields, self.conn, trusted)
    }

    /// Returns the URL of the request as its client sees it.
    ///
    /// # Errors
    /// 400 if the request has no host.
    pub(super) fn url(&self) -> Result<RequestUrl<'_>, Error> {
        let no_host = || Error::client(Kind::BadRequest("no Host"));
        self.target.authority.as_ref().ok_or_else(no_host)?;
        Ok(self.any_url())
    }

    /// Returns the URL of the request as its client sees it. The host is empty if the request has
    /// none.
    pub(super) fn any_url(&self) -> RequestUrl<'_> {
        url(self.target, self.outside)
    }
}

/// Returns the URL of a request as its client sees it. The host is empty if the request has none.
fn url<'a>(target: &'a Target<'_>, outside: Outside) -> RequestUrl<'a> {
    let authority = target.authority.as_ref();
    RequestUrl {
        https: outside.scheme == Scheme::Https,
        host: authority.map_or("", |authority| &authority.host),
        port: outside.port,
        https_port: outside.https_port,
        path: target.path,
        query: target.query,
    }
}

/// Takes the steps. Returns the response of the first that has one.
pub(super) async fn take(
    request: &mut Passing<'_>,
    steps: &Steps,
    mut record: Option<&mut Record>,
) -> Result<Option<Response>, Error> {
    for step in &steps.request {
        let response = match step {
            // A client that shares a connection among hosts makes a new one for this host
            // (RFC 9110 section 15.5.20).
            RequestStep::OnlyPlain if request.conn.tls.is_some() => {
                return Err(Error::client(Kind::Misdirected));
            }
            RequestStep::OnlyPlain => None,
            RequestStep::HttpsRedirect { status, always } => {
                https::redirect(request, *status, *always)?
            }
            RequestStep::Preflight(terms) => cors::preflight(request, terms),
            RequestStep::Limit(limits) => {
                limits::admit(request, limits)?;
                None
            }
            RequestStep::Access(access) => {
                access::enter(request, access, record.as_deref_mut()).await?
            }
            RequestStep::Elsewhere(to) => elsewhere::redirect(request, to)?,
            RequestStep::Host { value, .. } => {
                request.changes.host = Some(value.clone());
                None
            }
            RequestStep::Rewrite(to) => rewrite::rewrite(request, to)?,
            RequestStep::SetField(field) => {
                request.changes.set.push(field.clone());
                None
            }
        };
        if response.is_some() {
            return Ok(response);
        }
    }
    Ok(None)
}

/// Takes the steps on the response to a request, other than HSTS.
pub(super) fn finish(
    steps: &Steps,
    head: &RequestHead,
    (target, outside): (&Target<'_>, Outside),
    response: &mut Response,
) {
    for step in &steps.response {
        match step {
            ResponseStep::Cors(terms) => cors::set(terms, head, &mut response.head.fields),
            ResponseStep::Cookies(change) => {
                response::cookies(change, &mut response.head.fields);
            }
            ResponseStep::Location(change) => {
                // Without a host there is no origin to lead to.
                if target.authority.is_some() {
                    let url = url(target, outside);
                    response::location(change, url, &mut response.head.fields);
                }
            }
            ResponseStep::SetField(field) => {
                let fields = &mut response.head.fields;
                fields.set(field.name.as_str(), field.value.as_bytes());
            }
            ResponseStep::Hsts { .. } => {}
        }
    }
}
