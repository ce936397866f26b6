//! Chooses the backend of a request, and the session by which its client stays at one endpoint.

use std::{sync::Arc, time::SystemTime};

use super::{
    error::Error,
    fields::{FieldName, Fields},
    handle::refused,
    steps::Passing,
};
use crate::{
    proxy::upstream::session::{Session, Ticket},
    routing::{
        Backend, Canary, EndpointSet, LoadBalancing, RequestParts, Route, SameSite, Split,
        Stickiness, StickyCookie, StickyHash, canary::cookie_value, misreads_none,
    },
};

/// The choice for a request.
pub(super) struct Chosen<'r> {
    pub(super) backend: &'r Arc<Backend>,
    /// Boxed: most requests have none.
    pub(super) session: Option<Box<Session<'r>>>,
    /// The choice of an endpoint, if it is not that of the route; `Some(None)` for the settings.
    pub(super) balancing: Option<Option<LoadBalancing>>,
}

impl<'r> Chosen<'r> {
    /// Returns a choice without a session.
    pub(super) fn only(backend: &'r Arc<Backend>) -> Self {
        Self {
            backend,
            session: None,
            balancing: None,
        }
    }
}

/// Chooses for a request of a route.
///
/// # Errors
/// If the request is in a part without a valid backend.
pub(super) fn choose<'r>(
    request: &Passing<'r>,
    route: &'r Route,
    split: &'r Split,
) -> Result<Chosen<'r>, Error> {
    let policy = route.policy.as_deref();
    let of_rule = policy.and_then(|policy| policy.stickiness.as_ref());
    let random = || request.worker.random();

    let Some(canary) = split.canary() else {
        let backend = split.choose(request.head, random).map_err(refused)?;
        return Ok(Chosen {
            backend,
            session: of_rule.map(|stickiness| session(request, backend, stickiness)),
            balancing: None,
        });
    };

    let backend = match bound(request, canary, of_rule, split) {
        Some(backend) => backend,
        None => split.choose(request.head, random).map_err(refused)?,
    };
    let is_canary = Arc::ptr_eq(backend, &canary.backend);
    let own = canary.stickiness.as_ref().filter(|_| is_canary);
    let stickiness = own.map_or(of_rule, Option::as_ref);
    Ok(Chosen {
        backend,
        session: stickiness.map(|stickiness| session(request, backend, stickiness)),
        balancing: is_canary.then_some(canary.balancing),
    })
}

/// Returns the backend that the cookie of a request keeps it at: the main one or the canary.
fn bound<'r>(
    request: &Passing<'_>,
    canary: &'r Canary,
    stickiness: Option<&Stickiness>,
    split: &'r Split,
) -> Option<&'r Arc<Backend>> {
    let Some(Stickiness::Cookie(terms)) = stickiness.filter(|_| canary.stickiness.is_none()) else {
        return None;
    };
    let ticket = ticket(request, terms)?;
    let secret = &request.worker.shared.sessions;
    let is_of = |backend: &&Arc<Backend>| match &**backend.endpoints() {
        EndpointSet::Addresses(list) => ticket.is_of(secret, terms, backend.id(), list),
        EndpointSet::Empty | EndpointSet::Name { .. } => false,
    };
    let mut backends = split.main_backends().chain([&canary.backend]);
    backends.find(is_of)
}

fn session<'r>(
    request: &Passing<'r>,
    backend: &'r Arc<Backend>,
    stickiness: &'r Stickiness,
) -> Box<Session<'r>> {
    let secret = &request.worker.shared.sessions;
    Box::new(match stickiness {
        Stickiness::Cookie(terms) => {
            Session::of_cookie(backend.id(), secret, terms, ticket(request, terms))
        }
        Stickiness::Hash(hash) => {
            let text = text(request, hash);
            Session::of_text(backend.id(), secret, &text, hash.subset)
        }
    })
}

fn ticket(request: &Passing<'_>, terms: &StickyCookie) -> Option<Ticket> {
    Ticket::parse(cookie_value(request.head, &terms.name)?)
}

/// Returns the text by which a request is spread.
fn text(request: &Passing<'_>, hash: &StickyHash) -> Vec<u8> {
    let client = request.client();
    let client = client.unwrap_or_else(|| request.conn.client.ip());
    hash.text.of(RequestParts {
        head: request.head,
        url: request.any_url(),
        path: request.path,
        address: &client.to_canonical().to_string(),
        authority: request.target.host,
    })
}

/// Gives the client the cookie that its session has issued.
pub(super) fn issue(session: &Session<'_>, secure: bool, asked: &Fields, fields: &mut Fields) {
    let Some((terms, ticket)) = session.issued() else {
        return;
    };
    let mut cookie = format!("{}={}{}", terms.name, ticket.text(), terms.attributes);
    if let Some(expires) = terms.expires {
        let at = SystemTime::now() + expires;
        cookie += &format!("; Expires={}", httpdate::fmt_http_date(at));
    }
    if terms.secure.unwrap_or(secure) {
        cookie += "; Secure";
    }

    let misreads = || {
        let user_agent = asked.get(FieldName::UserAgent).unwrap_or_default();
        misreads_none(&String::from_utf8_lossy(user_agent))
    };
    if let Some(same_site) = terms.same_site {
        let is_left_out = same_site == SameSite::None && terms.is_none_conditional && misreads();
        if !is_left_out {
            cookie += &format!("; SameSite={}", same_site.as_str());
        }
    }

    fields.push(b"set-cookie", cookie.as_bytes());
}
