//! The view of the ports of layer 4 for `status` and `explain`.

use std::net::IpAddr;

use crate::{
    admin::{ExplainReport, PortReport, UrlError},
    app::control::{endpoint_health::Health, publish::Live},
    proxy::Shared,
    routing::{Host, Port, PortRoute},
};

/// Returns the reports of all ports, in order: one for each destination.
pub(super) fn reports(shared: &Shared, live: &Live) -> Vec<PortReport> {
    let health = Health::new(shared);
    let table = shared.ports.load();
    let routes = table.iter().flat_map(|(port, open)| {
        let routes = open.routes();
        routes.map(move |(host, route)| (port, host, route))
    });
    routes
        .map(|(port, host, route)| PortReport {
            port: match host {
                Some(host) => format!("{port} {host}"),
                None => port.to_string(),
            },
            object: object(route),
            backend: route.backend.id().to_string(),
            state: state(live, port),
            endpoints: health.of(&route.backend),
        })
        .collect()
}

/// Explains a connection to a port. `target` is what follows the scheme: a host, which is the name
/// in the ClientHello where names decide, and the number.
pub(super) fn explain(
    shared: &Shared,
    live: &Live,
    is_udp: bool,
    target: &str,
    from: Option<IpAddr>,
) -> Result<ExplainReport, UrlError> {
    let (host, number) = target.rsplit_once(':').unwrap_or(("", target));
    let number = number.trim_end_matches('/').parse();
    let number = number.map_err(|_bad| UrlError::Port(target.to_owned()))?;
    let port = if is_udp {
        Port::udp(number)
    } else {
        Port::tcp(number)
    };

    let mut report = ExplainReport {
        host: port.to_string(),
        outcome: "no object asks for this port".to_owned(),
        ..ExplainReport::default()
    };
    let Some(open) = shared.ports.load().find(port).cloned() else {
        return Ok(report);
    };
    let host = Host::parse(host).ok();
    let Some(route) = open.find(host.as_ref()) else {
        let name = host.map_or_else(|| "no name".to_owned(), |host| format!("the name {host}"));
        report.outcome = format!("connections with {name} are reset: no object asks for them");
        return Ok(report);
    };

    let (object, backend) = (object(route), &route.backend);
    report.endpoints = Health::new(shared).of(backend);
    let is_refused = from.is_some_and(|from| !route.lets_in(from));
    report.outcome = match (&*state(live, port), report.endpoints.len()) {
        ("open", _) if is_refused => "closed: this client may not come in".to_owned(),
        ("open", 0) if is_udp => format!("lost: {} has no endpoints", backend.id()),
        ("open", 0) => format!("connections are reset: {} has no endpoints", backend.id()),
        ("open", _) => format!(
            "passed to {} ({}{}), for {object}",
            backend.id(),
            backend.protocol(),
            limits(route)
        ),
        (closed, _) => closed.to_owned(),
    };
    let findings = live.findings.iter();
    let concerned = findings.filter(|finding| finding.object == object);
    report.findings = concerned.cloned().collect();
    Ok(report)
}

/// Names who may come in, and the terms of a client.
fn limits(route: &PortRoute) -> String {
    let mut text = String::new();
    if route.ends_tls.is_some() {
        text += ", TLS of clients ends here";
    }
    for access in &route.accesses {
        text += &format!(", by the address of the client: {}", access.from);
    }
    let most = route.limits.as_ref().and_then(|one| one.limits.in_flight);
    if let Some(most) = most {
        text += &format!(", at most {most} connections of each client");
    }
    let most = route.total.as_ref().and_then(|one| one.limits.in_flight);
    if let Some(most) = most {
        text += &format!(", at most {most} connections of all");
    }
    if route.sticky {
        text += ", one endpoint for each client";
    }
    text
}

fn state(live: &Live, port: Port) -> String {
    let why = live.closed_ports.get(&port);
    why.map_or_else(|| "open".to_owned(), |why| format!("not open: {why}"))
}

fn object(route: &PortRoute) -> String {
    let origin = &route.origin;
    format!("{} {}/{}", route.kind, origin.namespace, origin.name)
}
