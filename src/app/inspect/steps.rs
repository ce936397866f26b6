//! The steps of a route for `explain`: each with its effect on one request.

use std::{net::IpAddr, sync::Arc};

use http::{
    HeaderName, HeaderValue, Method,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};

use super::head::AskedHead;
use crate::{
    admin::StepReport,
    routing::{
        Access, AddressVerdict, AuthFailure, ClientLimits, Conditional, Cors, Entry, ErrorPages,
        ExternalAuth, Head, Login, PathEdit, RequestParts, RequestStep, RequestUrl, ResponseStep,
        Rewrite, Rewritten, Route, SentUrl, Test, Then, UrlRedirect, Variables, path,
    },
};

/// A request that is explained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// Method and fields.
    pub(super) head: &'a AskedHead<'a>,
    /// The normalised path.
    pub(super) path: &'a str,
    /// The query, without `?`.
    pub(super) query: Option<&'a str>,
    pub(super) host: &'a str,
    /// Host and port as they are written.
    pub(super) authority: &'a str,
    pub(super) is_https: bool,
    /// True if the host has TLS.
    pub(super) tls: bool,
    /// The address of the client, if it is known.
    pub(super) from: Option<IpAddr>,
}

/// Returns the steps up to the one that responds, and the outcome if one does.
pub(super) fn reports(route: &Route, asked: Asked<'_>) -> (Vec<StepReport>, Option<String>) {
    let mut reports = Vec::new();
    // The path for the backend, as the steps so far left it.
    let mut path = path::matched(asked.path).into_owned();
    let steps = route.steps.iter().flat_map(|steps| &steps.request);
    for step in steps {
        let (report, outcome) = match step {
            RequestStep::OnlyPlain if asked.is_https => {
                let outcome = "421: TLS of this host ends at its backend".to_owned();
                (report("TLS passthrough", "", &outcome), Some(outcome))
            }
            RequestStep::OnlyPlain => continue,
            RequestStep::HttpsRedirect {
                status,
                port,
                always,
            } => {
                if asked.is_https || !(*always || asked.tls) {
                    continue;
                }
                let port = port.map(|port| format!(", port {port}"));
                let port = port.unwrap_or_default();
                let outcome = format!("{} to https{port}", status.as_u16());
                (report("redirect to HTTPS", "", &outcome), Some(outcome))
            }
            RequestStep::Preflight(cors) => preflight(cors, asked),
            RequestStep::Limit(limits) => (limit(limits, asked.from), None),
            RequestStep::Conditional(one) => conditional(one, asked),
            RequestStep::Access(access) => entry(access, asked.from),
            RequestStep::ExternalAuth(auth) => (external(auth, asked.from), None),
            RequestStep::Elsewhere(to) => {
                if to.of_root && asked.path != "/" {
                    continue;
                }
                let outcome = format!("{} redirect", to.status.as_u16());
                (report("redirect", &to.from, &outcome), Some(outcome))
            }
            RequestStep::Host(host) => {
                let value = String::from_utf8_lossy(host.value.as_bytes());
                (
                    report("host", &host.from, &format!("the backend gets {value}")),
                    None,
                )
            }
            RequestStep::CircuitBreaker(terms) => {
                let status = terms.status.as_u16();
                let effect = format!("{status} while too many requests fail");
                (report("circuit breaker", &terms.from, &effect), None)
            }
            RequestStep::CertificateFields(fields) => {
                let effect = "the backend gets fields about the certificate of the client";
                (report("field", &fields.from, effect), None)
            }
            RequestStep::Errors(pages) => (error_pages(pages), None),
            RequestStep::EncodedCharacters(terms) => {
                let found = terms.find(&path);
                let outcome = found.map(|one| format!("400: the path has an encoded {one:?}"));
                let effect = outcome.as_deref().unwrap_or("none for this path");
                (report("encoded characters", &terms.from, effect), outcome)
            }
            RequestStep::GrpcWeb(terms) => {
                let effect = "requests of gRPC-Web become those of gRPC";
                (report("gRPC-Web", &terms.from, effect), None)
            }
            RequestStep::Rewrite(to) => rewritten(to, asked),
            RequestStep::EditPath(to) => edited(to, &mut path),
            RequestStep::RedirectUrl(to) => match redirected(to, asked, &path) {
                Some(redirected) => redirected,
                None => continue,
            },
            RequestStep::OriginPreflight(terms) => {
                let is_there = |name| asked.field(name).is_some();
                let asks = is_there(&ACCESS_CONTROL_REQUEST_METHOD) && is_there(&ORIGIN);
                let is_one = asks && asked.head.method() == Method::OPTIONS;
                let outcome = is_one.then(|| "200: a preflight request".to_owned());
                let effect = outcome.as_deref();
                let effect = effect.unwrap_or("preflight requests: 200; the fields of CORS");
                (
                    report("pages of other origins", &terms.from, effect),
                    outcome,
                )
            }
            RequestStep::RemoveField(field) => {
                let effect = format!("the backend gets no {}", field.name);
                (report("field", &field.from, &effect), None)
            }
            RequestStep::SetText(field) => {
                let value = asked.text(&field.value);
                let effect = format!("the backend gets {}: {value}", field.name);
                (report("field", &field.from, &effect), None)
            }
            RequestStep::SetField(field) | RequestStep::AddField(field) => {
                let (name, value) = (field.name.as_str(), field.value.as_bytes());
                let value = String::from_utf8_lossy(value);
                let effect = format!("the backend gets {name}: {value}");
                (report("field", &field.from, &effect), None)
            }
        };
        reports.push(report);
        if outcome.is_some() {
            return (reports, outcome);
        }
    }
    if let Some(errors) = route.error_pages() {
        reports.push(error_pages(errors));
    }
    if let Some(mirror) = route.mirror() {
        let body = if mirror.has_body {
            ""
        } else {
            " without its body"
        };
        let effect = format!("{} gets a copy{body}", mirror.url);
        reports.push(report("copy", &mirror.from, &effect));
    }
    let responses = route.steps.iter().flat_map(|steps| &steps.response);
    reports.extend(responses.filter_map(|step| on_response(step, asked)));
    (reports, None)
}

/// Returns the effect of a step on the response; `None` if it has none on that to this request.
fn on_response(step: &ResponseStep, asked: Asked<'_>) -> Option<StepReport> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Some(match step {
        ResponseStep::Hsts { always, .. } if !asked.is_https || !(*always || asked.tls) => {
            return None;
        }
        ResponseStep::Hsts { value, .. } => {
            let effect = format!("the client gets strict-transport-security: {}", text(value));
            report("field", "", &effect)
        }
        // The step on the request says it.
        ResponseStep::Cors(_) | ResponseStep::Origin(_) => return None,
        ResponseStep::Cookies(_) => report("cookies", "", "attributes of cookies change"),
        ResponseStep::Location(_) => report("redirects", "", "targets of redirects change"),
        ResponseStep::SetField(field) | ResponseStep::AddField(field) => {
            let effect = format!("the client gets {}: {}", field.name, text(&field.value));
            report("field", &field.from, &effect)
        }
        ResponseStep::RemoveField(name) => {
            report("field", "", &format!("the client gets no {name}"))
        }
        ResponseStep::Compress(terms) => {
            let effect = format!(
                "compressed ({}) for clients that take it",
                terms.coding.name()
            );
            report("compression", &terms.from, &effect)
        }
    })
}

impl Asked<'_> {
    /// Returns the first value of a field.
    fn field(&self, name: &HeaderName) -> Option<&[u8]> {
        self.head.values(name).next()
    }

    /// Returns the URL.
    fn url(&self) -> RequestUrl<'_> {
        RequestUrl {
            https: self.is_https,
            host: self.host,
            port: if self.is_https { 443 } else { 80 },
            https_port: 443,
            path: self.path,
            query: self.query,
        }
    }

    /// Fills in a text with variables. Without an address of the client that part is empty.
    fn text(&self, text: &Variables) -> String {
        let path = path::matched(self.path);
        let address = self.from.map(|from| from.to_string()).unwrap_or_default();
        let text = text.of(RequestParts {
            head: self.head,
            url: RequestUrl {
                path: &path,
                ..self.url()
            },
            path: &path,
            address: &address,
            authority: self.authority.as_bytes(),
        });
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Explains the response to OPTIONS of pages of other origins.
fn preflight(cors: &Cors, asked: Asked<'_>) -> (StepReport, Option<String>) {
    let origin = asked.field(&ORIGIN);
    let (is_allowed, responds) = (cors.allows(origin), cors.responds(origin));
    let is_one = asked.head.method() == Method::OPTIONS && responds;
    let outcome = is_one.then(|| "204: a preflight request".to_owned());

    let effect = match (&outcome, is_allowed) {
        (Some(outcome), _) => outcome,
        (None, true) if responds => "the fields of CORS; OPTIONS: 204",
        (None, true) => "the fields of CORS",
        (None, false) => "no fields of CORS: not an allowed origin",
    };
    (
        report("pages of other origins", &cors.from, effect),
        outcome,
    )
}

/// Explains pages in place of errors.
fn error_pages(errors: &ErrorPages) -> StepReport {
    let mut of = match errors.statuses.is_empty() {
        true => String::new(),
        false => format!("for {}", errors.statuses),
    };
    if errors.stands_in {
        of += if of.is_empty() { "" } else { " and " };
        of += "for a backend without endpoints";
    }
    let effect = format!("{} responds {of}", errors.backend.0.id());
    report("errors", &errors.from, &effect)
}

/// Explains a response to requests that meet a condition.
fn conditional(one: &Conditional, asked: Asked<'_>) -> (StepReport, Option<String>) {
    let outcome = match &one.then {
        Then::Refuse(status) => status.as_u16().to_string(),
        Then::Redirect(to) => format!("{} redirect", to.status.as_u16()),
        Then::Respond(own) => own.status.as_u16().to_string(),
    };
    let is_for = one.is_for(asked.path);
    let outcome = match &one.path {
        Some(path) => format!("{outcome} for paths {path}"),
        None => outcome,
    };
    let Some(condition) = &one.condition else {
        let effect = match is_for {
            true => outcome.clone(),
            false => format!("{outcome}: not this one"),
        };
        return (
            report("response", &one.from, &effect),
            is_for.then_some(outcome),
        );
    };

    let is = match (&condition.test, condition.is_negated) {
        (Test::Filled, _) => "is there".to_owned(),
        (Test::Is(other), false) => format!("is {other:?}"),
        (Test::Is(other), true) => format!("is not {other:?}"),
        (Test::Matches(_), false) => "matches".to_owned(),
        (Test::Matches(_), true) => "does not match".to_owned(),
    };
    let holds = is_for && condition.holds(asked.text(&condition.text).as_bytes());
    let so = if holds { "it does so" } else { "it does not" };
    let effect = format!("{outcome} if {} {is}: {so}", condition.text.as_str());
    (
        report("condition", &one.from, &effect),
        holds.then_some(outcome),
    )
}

/// Explains a change of the path.
fn edited(to: &PathEdit, path: &mut String) -> (StepReport, Option<String>) {
    let (effect, outcome) = match to.apply(path) {
        Ok(None) => ("the path stays as it is".to_owned(), None),
        Ok(Some(edited)) => {
            *path = edited.path;
            (format!("the backend gets {path}"), None)
        }
        Err(error) => {
            let outcome = format!("400: {error}");
            (outcome.clone(), Some(outcome))
        }
    };
    (report("path", &to.from, &effect), outcome)
}

/// Explains a redirect to another form of the URL; `None` if it has that form.
fn redirected(
    to: &UrlRedirect,
    asked: Asked<'_>,
    path: &str,
) -> Option<(StepReport, Option<String>)> {
    let url = SentUrl {
        https: asked.is_https,
        host: asked.host,
        path,
        query: asked.query,
    };
    let outcome = match to.target(url) {
        Ok(None) => return None,
        Ok(Some(target)) => {
            let status = to.status(asked.head.method()).as_u16();
            format!("{status} redirect to {target}")
        }
        Err(error) => format!("400: {error}"),
    };
    Some((report("redirect", &to.from, &outcome), Some(outcome)))
}

/// Explains the rewriting of a path.
fn rewritten(to: &Rewrite, asked: Asked<'_>) -> (StepReport, Option<String>) {
    let (effect, outcome) = match to.apply(&path::matched(asked.path), asked.url()) {
        Ok(Rewritten::Path { path, query }) => {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            (format!("the backend gets {path}{query}"), None)
        }
        Ok(Rewritten::Url(url)) => {
            let outcome = format!("302 redirect to {url}");
            (outcome.clone(), Some(outcome))
        }
        Err(error) => {
            let outcome = format!("400: {error}");
            (outcome.clone(), Some(outcome))
        }
    };
    (report("rewrite", &to.from, &effect), outcome)
}

/// Explains the limits of a client.
fn limit(limits: &ClientLimits, from: Option<IpAddr>) -> StepReport {
    let mut parts: Vec<String> = Vec::new();
    for rate in limits.limits.rates.iter().flatten() {
        let per_minute = 60_000 / rate.interval.as_millis().max(1);
        let burst = rate.burst;
        parts.push(format!(
            "{per_minute} requests a minute after {burst} at once"
        ));
    }
    if let Some(most) = limits.limits.in_flight {
        parts.push(format!("{most} in flight"));
    }
    let effect = match from {
        Some(from) if limits.exempt.contains(from) => "none for this client".to_owned(),
        _ if limits.is_shared => format!("at most {} from all clients", parts.join(", ")),
        _ => format!("at most {} from one client", parts.join(", ")),
    };
    report("limit", &limits.from, &effect)
}

/// Explains a decision about who may come in.
fn entry(access: &Access, from: Option<IpAddr>) -> (StepReport, Option<String>) {
    let has_lists = !access.denied.is_empty() || !access.allowed.is_empty();
    let needs = |login: &Login| {
        let users = login.users.len();
        format!("401 without the password of one of {users} users")
    };

    let (effect, outcome) = match (from, &access.login) {
        (None, Some(login)) if has_lists && access.satisfy_any => {
            let needs = needs(login);
            (
                format!("by the address of the client (--from), or {needs}"),
                None,
            )
        }
        (None, login) if has_lists => {
            let needs = login
                .as_ref()
                .map(|login| format!(", and {}", needs(login)));
            let needs = needs.unwrap_or_default();
            (
                format!("by the address of the client (--from){needs}"),
                None,
            )
        }
        _ => match access.entry(from) {
            Entry::Open => ("comes in".to_owned(), None),
            Entry::Login(login) => (needs(login), None),
            Entry::Closed => {
                let status = access.status.map_or(403, |status| status.as_u16());
                let outcome = format!("{status}: this client may not come in");
                (outcome.clone(), Some(outcome))
            }
        },
    };
    (report("who may come in", &access.from, &effect), outcome)
}

/// Explains a login that another server checks.
fn external(auth: &ExternalAuth, from: Option<IpAddr>) -> StepReport {
    let is_let_in =
        |access: &Arc<Access>| from.is_some() && access.judge(from) == AddressVerdict::Allowed;
    let effect = match &auth.or {
        Some(access) if is_let_in(access) => "comes in by its address".to_owned(),
        or => {
            let refused = match &auth.failure {
                AuthFailure::Own { sign_in: None } => "401, 403 or 500",
                AuthFailure::Own { sign_in: Some(_) } => "a redirect to the login, 403 or 500",
                AuthFailure::PassOn(_) => "the response of that server",
                AuthFailure::SignIn(_) => "a redirect to the login",
            };
            let or = or
                .as_ref()
                .map_or("", |_| ", or by its address or password");
            format!("comes in if {} returns 2xx{or}; else {refused}", auth.url)
        }
    };
    report("external login", &auth.from, &effect)
}

fn report(step: &str, from: &str, effect: &str) -> StepReport {
    StepReport {
        step: step.to_owned(),
        from: from.to_owned(),
        effect: effect.to_owned(),
    }
}
