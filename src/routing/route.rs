//! A route: what is done with a request that matched, and where the rule came from.

use std::sync::Arc;

use http::{HeaderValue, StatusCode};

use super::{Action, Policy, Refusal, RequestStep, ResponseStep, Steps};

/// The object and field of a rule, shown in `explain`, logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
    /// Field of the object (`spec.rules[0].http.paths[1]`).
    pub field: Box<str>,
}

impl Origin {
    /// Reports whether both rules came from the same object.
    pub fn is_of_same_object(&self, other: &Self) -> bool {
        (&self.namespace, &self.name) == (&other.namespace, &other.name)
    }
}

/// The treatment of the requests that a rule matches. Immutable, shared between generations of the
/// table.
#[derive(Debug)]
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

    /// Returns the status of the redirect to HTTPS that plain HTTP gets; `tls` is true if the host
    /// has TLS. Its port depends on how the client came.
    pub fn redirect(&self, tls: bool) -> Option<StatusCode> {
        let steps = &self.steps.as_ref()?.request;
        steps.iter().find_map(|step| match step {
            RequestStep::HttpsRedirect { status, always } => (*always || tls).then_some(*status),
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
