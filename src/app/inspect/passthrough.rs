//! The view of a TLS connection to an HTTPS listener for `explain`: passed through by its name, or
//! ended here.

use std::net::{IpAddr, SocketAddr};

use crate::{
    admin::{CertificateReport, ExplainReport, UrlError},
    app::control::{endpoint_health::Health, publish::Live},
    proxy::Shared,
    routing::{Authority, Passthrough},
};

/// Explains a TLS connection. `target` is what follows the scheme: the server name, and the port of
/// the listener. `certificate` finds the one that is served for a host.
pub(super) fn explain(
    shared: &Shared,
    live: &Live,
    listeners: &[SocketAddr],
    target: &str,
    from: Option<IpAddr>,
    certificate: impl Fn(&str) -> Option<CertificateReport>,
) -> Result<ExplainReport, UrlError> {
    let authority = Authority::parse(target.trim_end_matches('/').as_bytes())?;
    let mut report = ExplainReport {
        host: authority.host.to_string(),
        ..ExplainReport::default()
    };
    let port = authority.port.unwrap_or(443);
    if !listeners.iter().any(|listener| listener.port() == port) {
        report.outcome = format!("no HTTPS listener has port {port}");
        return Ok(report);
    }

    let table = shared.table.load();
    let Some(passthrough) = table.passthrough(&authority.host) else {
        report.certificate = certificate(&authority.host);
        let ends = "TLS ends here: requests are matched by their host and path";
        let terms = table.host(Some(&authority.host));
        let terms = terms.and_then(|routes| routes.client_certificates());
        report.outcome = match terms.filter(|terms| terms.asks()) {
            None => ends.to_owned(),
            Some(terms) => format!(
                "{ends}. Clients are asked for a certificate: {}",
                terms.from
            ),
        };
        return Ok(report);
    };

    report.outcome = match &passthrough.target {
        Err(refusal) => format!("connections are reset: {}", refusal.reason()),
        Ok(_) if from.is_some_and(|from| !passthrough.lets_in(from)) => {
            "connections are reset: this client may not come in".to_owned()
        }
        Ok(route) => {
            let (id, origin) = (route.backend.id(), &route.origin);
            let object = format!("{} {}/{}", route.kind, origin.namespace, origin.name);
            report.endpoints = Health::new(shared).of(&route.backend);
            let findings = live.findings.iter();
            let concerned = findings.filter(|finding| finding.object == object);
            report.findings = concerned.cloned().collect();
            match report.endpoints.len() {
                0 => format!("connections are reset: {id} has no endpoints"),
                _ => format!(
                    "TLS is passed through to {id} ({limits}), for {object}",
                    limits = limits(passthrough)
                ),
            }
        }
    };
    Ok(report)
}

/// Names the clients that may come in.
fn limits(passthrough: &Passthrough) -> String {
    let from = passthrough.accesses.iter().map(|access| &*access.from);
    let from: Vec<&str> = from.collect();
    match from.len() {
        0 => "TCP".to_owned(),
        _ => format!("TCP, by the address of the client: {}", from.join(", ")),
    }
}
