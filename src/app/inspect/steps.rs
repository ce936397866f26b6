//! The steps of a route for `explain`: each with its effect on one request.

use std::net::IpAddr;

use crate::{
    admin::StepReport,
    routing::{
        Access, ClientLimits, Entry, Login, RequestStep, RequestUrl, Rewrite, Rewritten, Route,
        path,
    },
};

/// A request that is explained.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// The normalised path.
    pub(super) path: &'a str,
    /// The query, without `?`.
    pub(super) query: Option<&'a str>,
    pub(super) host: &'a str,
    pub(super) is_https: bool,
    /// True if the host has TLS.
    pub(super) tls: bool,
    /// The address of the client, if it is known.
    pub(super) from: Option<IpAddr>,
}

/// Returns the steps up to the one that responds, and the outcome if one does.
pub(super) fn reports(route: &Route, asked: Asked<'_>) -> (Vec<StepReport>, Option<String>) {
    let mut reports = Vec::new();
    let steps = route.steps.iter().flat_map(|steps| &steps.request);
    for step in steps {
        let (report, outcome) = match step {
            RequestStep::OnlyPlain if asked.is_https => {
                let outcome = "421: TLS of this host ends at its backend".to_owned();
                (report("TLS passthrough", "", &outcome), Some(outcome))
            }
            RequestStep::OnlyPlain => continue,
            RequestStep::HttpsRedirect { status, always } => {
                if asked.is_https || !(*always || asked.tls) {
                    continue;
                }
                let outcome = format!("{} to https", status.as_u16());
                (report("redirect to HTTPS", "", &outcome), Some(outcome))
            }
            RequestStep::Preflight(cors) => {
                let effect = "OPTIONS of allowed origins: 204; the fields of CORS";
                (report("pages of other origins", &cors.from, effect), None)
            }
            RequestStep::Limit(limits) => (limit(limits, asked.from), None),
            RequestStep::Access(access) => entry(access, asked.from),
            RequestStep::Elsewhere(to) => {
                if to.of_root && asked.path != "/" {
                    continue;
                }
                let outcome = format!("{} redirect", to.status.as_u16());
                (report("redirect", &to.from, &outcome), Some(outcome))
            }
            RequestStep::Host { from, value } => {
                let value = String::from_utf8_lossy(value.as_bytes());
                (
                    report("host", from, &format!("the backend gets {value}")),
                    None,
                )
            }
            RequestStep::Rewrite(to) => rewritten(to, asked),
            RequestStep::SetField(field) => {
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
    (reports, None)
}

/// Explains the rewriting of a path.
fn rewritten(to: &Rewrite, asked: Asked<'_>) -> (StepReport, Option<String>) {
    let port = if asked.is_https { 443 } else { 80 };
    let url = RequestUrl {
        https: asked.is_https,
        host: asked.host,
        port,
        https_port: 443,
        path: asked.path,
        query: asked.query,
    };
    let (effect, outcome) = match to.apply(&path::matched(asked.path), url) {
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
                let outcome = "403: this client may not come in".to_owned();
                (outcome.clone(), Some(outcome))
            }
        },
    };
    (report("who may come in", &access.from, &effect), outcome)
}

fn report(step: &str, from: &str, effect: &str) -> StepReport {
    StepReport {
        step: step.to_owned(),
        from: from.to_owned(),
        effect: effect.to_owned(),
    }
}
