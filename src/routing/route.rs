//! A route: what is done with a request that matched, and where the rule came from.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::{
    Action, Backend, ErrorPages, Mirror, Policy, Refusal, RequestCounts, RequestStep, ResponseStep,
    Steps,
};

/// The object and field of a rule, shown in `explain`, logs and metrics.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
    /// Field of the object (`spec.rules[0].http.paths[1]`).
    pub field: Box<str>,
    /// The requests to the rules of the object; `None` if they are not counted.
    pub requests: Option<Arc<RequestCounts>>,
    /// The place of the rule among those of its host, if its object says: the greater one comes
    /// first, beside the lengths of the others ([`Rule::rank`](super::Rule::rank)).
    pub priority: Option<i32>,
}

impl Origin {
    /// Reports whether both rules came from the same object.
    pub fn is_of_same_object(&self, other: &Self) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

/// The treatment of the requests that a rule matches. Immutable, shared between generations of the
/// table.
#[derive(Clone, Debug)]
pub struct Route {
    /// The rule it came from.
    pub origin: Origin,
    /// Steps around the action; `None` for none. Most routes share one list.
    pub steps: Option<Arc<Steps>>,
    /// The treatment of its requests.
    pub action: Action,
    /// The terms on which they are forwarded; `None` for the settings of the data plane.
    pub policy: Option<Arc<Policy>>,
}

impl Route {
    /// Creates a route without steps and policy.
    pub fn new(origin: Origin, action: Action) -> Self {
        Self {
            origin,
            steps: None,
            action,
            policy: None,
        }
    }

    /// Creates a route that refuses every request at once, without a redirect.
    pub fn refused(origin: Origin, refusal: Refusal) -> Self {
        Self::new(origin, Action::Refuse(refusal))
    }

    /// Returns the backends that its requests may lead to: those of its action, those of
    /// servers that check logins, that of pages in place of errors, and that of copies.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        let steps = self.steps.iter().flat_map(|steps| &steps.request);
        let of_steps = steps.filter_map(|step| match step {
            RequestStep::ExternalAuth(auth) => auth.to.backend(),
            RequestStep::Errors(pages) => Some(&pages.backend.0),
            _ => None,
        });
        let of_errors = self.error_pages().map(|pages| &pages.backend.0);
        let of_copies = self.mirror().map(|mirror| &mirror.backend.0);
        let beside = of_steps.chain(of_errors).chain(of_copies);
        self.action.backends().chain(beside)
    }

    /// Returns the server that gets copies of its requests, if there is one.
    pub fn mirror(&self) -> Option<&Arc<Mirror>> {
        self.steps.as_ref()?.mirror.as_ref()
    }

    /// Returns the pages in place of errors, if there are any.
    pub fn error_pages(&self) -> Option<&ErrorPages> {
        self.steps.as_ref()?.errors.as_deref()
    }

    /// Returns the status of the redirect to HTTPS that plain HTTP gets; `tls` is true if the host
    /// has TLS. Its port depends on how the client came.
    pub fn redirect(&self, tls: bool) -> Option<StatusCode> {
        let steps = &self.steps.as_ref()?.request;
        steps.iter().find_map(|step| match step {
            RequestStep::HttpsRedirect { status, always, .. } => {
                (*always || tls).then_some(*status)
            }
            _ => None,
        })
    }

    /// Returns the `Strict-Transport-Security` of responses over TLS; `tls` is true if the host has
    /// TLS.
    pub fn hsts(&self, tls: bool) -> Option<&HeaderValue> {
        let steps = &self.steps.as_ref()?.response;
        steps.iter().find_map(|step| match step {
            ResponseStep::Hsts { value, always } => (*always || tls).then_some(value),
            _ => None,
        })
    }
}
