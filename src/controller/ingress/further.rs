//! Further hosts of an Ingress: other names of its hosts, and names that lead to them.

use std::sync::Arc;

use http::StatusCode;

use super::{Compiler, FurtherHost, Reason, TlsEntry};
use crate::routing::{Action, Host, HostPattern, Origin, Redirect, Route};

impl Compiler<'_> {
    /// Adds the further hosts. A host that has rules of its own is left to them later.
    pub(super) fn further_hosts(&mut self) {
        let Some(first) = self.out.hosts.first().cloned() else {
            return;
        };

        if let Some((_, aliases)) = self.annotated.further.aliases.take() {
            for alias in aliases.into_iter().filter(|alias| *alias != first) {
                self.serve_over_tls(&alias);
                self.out.aliases.insert(alias, first.clone());
            }
        }

        if let Some((_, pattern)) = self.annotated.further.alias_expression.take() {
            let further = FurtherHost::As(first);
            self.out.host_expressions.push((pattern, further));
        }

        if let Some((from, host)) = self.annotated.further.redirected.take()
            && let Some(route) = self.redirect_to_first(&from)
        {
            self.serve_over_tls(&host);
            self.out.redirected.insert(host, route);
        }
        if let Some((from, pattern)) = self.annotated.further.redirected_expression.take()
            && let Some(route) = self.redirect_to_first(&from)
        {
            let further = FurtherHost::Redirected(route);
            self.out.host_expressions.push((pattern, further));
        }

        let Some(from) = self.annotated.further.www.take() else {
            return;
        };
        for host in self.out.hosts.clone() {
            let HostPattern::Exact(host) = host else {
                continue;
            };
            let other = match host.as_str().strip_prefix("www.") {
                Some(bare) => bare.to_owned(),
                None => format!("www.{}", host.as_str()),
            };
            if let Ok(other @ HostPattern::Exact(_)) = HostPattern::parse(&other) {
                let route = self.redirect_to(host, StatusCode::PERMANENT_REDIRECT, &from);
                self.serve_over_tls(&other);
                self.out.redirected.insert(other, route);
            }
        }
    }

    /// Returns the route that sends clients to the first host. `None` with a finding if no host is
    /// one that they can be sent to.
    fn redirect_to_first(&mut self, annotation: &str) -> Option<Arc<Route>> {
        let exact = self.out.hosts.iter().find_map(|host| match host {
            HostPattern::Exact(host) => Some(host.clone()),
            _ => None,
        });
        let Some(host) = exact else {
            let message = "no rule has a host that clients can be sent to".to_owned();
            let field = format!("metadata.annotations[{annotation}]");
            self.warn(Reason::InvalidAnnotation, field, message);
            return None;
        };

        let code = self.annotated.further.redirected_code;
        Some(self.redirect_to(host, code.unwrap_or(StatusCode::FOUND), annotation))
    }

    /// Returns the route that sends clients to a host, as they came otherwise.
    fn redirect_to(&self, host: Host, status: StatusCode, annotation: &str) -> Arc<Route> {
        let origin = Origin {
            namespace: self.name.0.clone(),
            name: self.name.1.clone(),
            field: format!("metadata.annotations[{annotation}]").into(),
            requests: self.requests.clone(),
            priority: None,
        };
        if let Some(refusal) = self.verdict.refusal {
            return Arc::new(Route::refused(origin, refusal));
        }
        let redirect = Redirect {
            status,
            https: None,
            host: Some(host),
            port: None,
            path: None,
            is_relative: false,
        };
        Arc::new(Route::new(origin, Action::Redirect(Box::new(redirect))))
    }

    /// Serves a host over TLS, with any certificate that fits.
    pub(super) fn serve_over_tls(&mut self, host: &HostPattern) {
        if !self.out.with_tls.contains(host) {
            self.push_tls(TlsEntry {
                pattern: host.clone(),
                listed: false,
                secret: None,
                usable: false,
                claim: None,
            });
        }
    }
}
