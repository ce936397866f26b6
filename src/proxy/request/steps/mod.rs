//! Takes the steps of a route on a request, in their order. Each file has the steps of one kind.

mod access;
mod auth_cookies;
mod certificates;
mod compress;
mod conditional;
mod cors;
mod digest;
mod elsewhere;
mod external_auth;
mod grpc_web;
mod https;
mod limits;
mod mirror;
mod origin;
mod response;
mod rewrite;
mod variables;

use std::{borrow::Cow, rc::Rc, sync::Arc};

pub(super) use self::{
    auth_cookies::AuthCookies, grpc_web::leave as to_grpc_web,
    https::redirect as redirect_to_https, mirror::copy,
};
use super::{
    access_log::Record,
    around::Around,
    check::Target,
    error::{Error, Kind},
    handle::Response,
    headers::{self, Changes},
    message::RequestHead,
    outside::{Outside, Scheme},
    terms::Terms,
};
use crate::{
    limit::Place,
    proxy::{
        conn::ConnInfo,
        upstream::message::Matched,
        worker::{ClientKey, Worker},
    },
    routing::{Backend, RequestStep, RequestUrl, ResponseStep, Route, Steps, path},
};

/// A request on its way through the steps.
pub(super) struct Passing<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) conn: &'a Rc<ConnInfo>,
    pub(super) head: &'a RequestHead,
    pub(super) route: &'a Route,
    pub(super) target: &'a Target<'a>,
    /// The normalised path.
    pub(super) path: &'a str,
    pub(super) outside: Outside,
    /// True over TLS to us, or to the trusted proxy in front of us.
    pub(super) secure: bool,
    /// True if the host has TLS.
    pub(super) tls: bool,
    /// True if its body is in Base64, and the backend gets it decoded.
    pub(super) is_base64: bool,
    /// `Upgrade` to pass on.
    pub(super) upgrade: Option<Vec<u8>>,
    pub(super) request_id: &'a [u8],
    pub(super) changes: Changes,
    /// The path and query for the backend, if they are not those of the request.
    pub(super) rewritten: Option<Box<Rewritten>>,
    /// Its place among the requests of its client in flight.
    pub(super) place: Option<Box<Place<ClientKey>>>,
    /// The steps so far that look at the response too; the last one does so first.
    pub(super) around: Vec<Around>,
    /// Cookies for its client, of servers that check logins.
    pub(super) cookies: AuthCookies,
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

    /// Returns the path, without empty elements, and the query for the backend, as the steps so far
    /// left them.
    pub(super) fn for_backend(&self) -> (Cow<'_, str>, Option<&str>) {
        match &self.rewritten {
            Some(rewritten) => ((&*rewritten.path).into(), rewritten.query.as_deref()),
            None => (path::matched(self.path), self.target.query),
        }
    }

    /// Returns a request beside this one, to another backend: for its own client, without a session
    /// and an upgrade.
    pub(super) fn beside<'m>(
        &'m self,
        backend: &'m Arc<Backend>,
        terms: Terms,
        (path, query): (&'m str, Option<&'m str>),
        changes: Changes,
    ) -> Matched<'m> {
        Matched {
            backend,
            terms,
            session: None,
            groups: None,
            host: self.target.host,
            outside: self.outside,
            path,
            query,
            upgrade: None,
            is_base64: false,
            request_id: self.request_id,
            loop_id: self.worker.shared.loop_id.as_bytes(),
            changes,
            copy: None,
        }
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
                let why = "TLS of this host ends at its backend: connect with its name";
                return Err(Error::client(Kind::Misdirected(why)));
            }
            RequestStep::OnlyPlain => None,
            RequestStep::HttpsRedirect {
                status,
                port,
                always,
            } => https::redirect(request, *status, *port, *always)?,
            RequestStep::Preflight(terms) => cors::preflight(request, terms),
            RequestStep::Limit(limits) => {
                limits::admit(request, limits)?;
                None
            }
            RequestStep::Conditional(one) => conditional::respond(request, one)?,
            RequestStep::Access(access) => {
                access::enter(request, access, record.as_deref_mut()).await?
            }
            RequestStep::ExternalAuth(auth) => {
                // Boxed: few routes have it, and every request would reserve the space for it.
                Box::pin(external_auth::enter(request, auth, record.as_deref_mut())).await?
            }
            RequestStep::Elsewhere(to) => elsewhere::redirect(request, to)?,
            RequestStep::Host(host) => {
                request.changes.host = Some(host.value.clone());
                None
            }
            RequestStep::CircuitBreaker(terms) => {
                limits::pass(request, terms)?;
                None
            }
            RequestStep::CertificateFields(wanted) => {
                certificates::tell(request, wanted);
                None
            }
            RequestStep::Errors(pages) => {
                request.around.push(Around::Pages(pages.clone()));
                None
            }
            RequestStep::EncodedCharacters(terms) => {
                let (path, _) = request.for_backend();
                if terms.find(&path).is_some() {
                    let why = "the path has an encoded character that the route refuses";
                    return Err(Error::client(Kind::BadRequest(why)));
                }
                None
            }
            RequestStep::GrpcWeb(terms) => grpc_web::enter(request, terms),
            RequestStep::Rewrite(to) => rewrite::rewrite(request, to)?,
            RequestStep::EditPath(to) => {
                rewrite::edit(request, to)?;
                None
            }
            RequestStep::RedirectUrl(to) => elsewhere::redirect_url(request, to)?,
            RequestStep::OriginPreflight(terms) => origin::preflight(request, terms),
            RequestStep::RemoveField(field) => {
                request.changes.remove(&field.name);
                None
            }
            RequestStep::SetField(field) => {
                request.changes.set(field.clone());
                None
            }
            RequestStep::AddField(field) => {
                request.changes.added.push(field.clone());
                None
            }
            RequestStep::SetText(field) => {
                let text = variables::fill(request, &field.value);
                request.changes.set_text(field, &text);
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
    for (at, step) in steps.response.iter().enumerate() {
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
            ResponseStep::AddField(field) => {
                let (name, value) = (field.name.as_str(), field.value.as_bytes());
                response.head.fields.push(name.as_bytes(), value);
            }
            ResponseStep::RemoveField(name) => {
                let is = |other: &[u8]| other.eq_ignore_ascii_case(name.as_str().as_bytes());
                response.head.fields.retain(|field| !is(field.name));
            }
            ResponseStep::Origin(terms) => origin::set(terms, head, &mut response.head.fields),
            ResponseStep::Compress(terms) => {
                compress::compress(terms, &steps.response[at + 1..], head, response);
            }
            ResponseStep::Hsts { .. } => {}
        }
    }
}
