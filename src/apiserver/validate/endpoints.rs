//! Checks of Endpoints and EndpointSlice, and of the addresses in them.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    names,
    problems::{Problems, list, text},
};

/// The limit of the endpoints of an EndpointSlice.
const MAX_ENDPOINTS: usize = 1000;

/// The limit of the ports of an EndpointSlice.
const MAX_PORTS: usize = 20_000;

/// The limit of the addresses of an endpoint.
const MAX_ADDRESSES: usize = 100;

/// Checks `v1` Endpoints (pkg/apis/core/validation `ValidateEndpoints`).
pub(super) fn endpoints(object: &Value, problems: &mut Problems) {
    for (number, subset) in list(object, "/subsets").iter().enumerate() {
        let field = format!("subsets[{number}]");
        let (ready, others) = (
            list(subset, "/addresses"),
            list(subset, "/notReadyAddresses"),
        );
        if ready.is_empty() && others.is_empty() {
            problems.required(&field, "must specify `addresses` or `notReadyAddresses`");
        }

        for (member, addresses) in [("addresses", ready), ("notReadyAddresses", others)] {
            for (at, one) in addresses.iter().enumerate() {
                endpoint_address(one, &format!("{field}.{member}[{at}]"), problems);
            }
        }

        let ports = list(subset, "/ports");
        for (at, port) in ports.iter().enumerate() {
            endpoint_port(
                port,
                ports.len() > 1,
                &format!("{field}.ports[{at}]"),
                problems,
            );
        }
    }
}

fn endpoint_address(address: &Value, field: &str, problems: &mut Problems) {
    let ip = text(address, "/ip");
    let at = format!("{field}.ip");
    if let Err(why) = names::ip(ip) {
        problems.invalid(&at, ip, why);
    }

    let hostname = text(address, "/hostname");
    if !hostname.is_empty() {
        problems.all(
            format!("{field}.hostname"),
            hostname,
            names::label(hostname),
        );
    }
    if let Some(node) = address["nodeName"].as_str() {
        problems.all(format!("{field}.nodeName"), node, names::subdomain(node));
    }

    match names::sloppy_ip(ip) {
        Some(parsed) => reachable(parsed, ip, &at, problems),
        None => problems.invalid(&at, ip, "must be a valid IP address"),
    }
}

/// Checks a port of Endpoints. `named` is true if it needs a name, because there are several.
fn endpoint_port(port: &Value, named: bool, field: &str, problems: &mut Problems) {
    let name = text(port, "/name");
    if name.is_empty() && named {
        problems.required(format!("{field}.name"), "");
    } else if !name.is_empty() {
        problems.all(format!("{field}.name"), name, names::label(name));
    }
    let number = port["port"].as_i64().unwrap_or(0);
    if let Some(why) = names::port_number(number) {
        problems.invalid(format!("{field}.port"), number, why);
    }
    protocol(port, field, problems);
}

/// Checks the members that the ports of both kinds have.
fn protocol(port: &Value, field: &str, problems: &mut Problems) {
    let protocol = text(port, "/protocol");
    if !["TCP", "UDP", "SCTP"].contains(&protocol) {
        problems.unsupported(
            format!("{field}.protocol"),
            protocol,
            &["SCTP", "TCP", "UDP"],
        );
    }
    if let Some(application) = port["appProtocol"].as_str() {
        problems.all(
            format!("{field}.appProtocol"),
            application,
            names::qualified(application),
        );
    }
}

/// Returns the texts of `Warning` headers about addresses that are not in their canonical form.
pub(super) fn warnings(object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for (number, subset) in list(object, "/subsets").iter().enumerate() {
        for member in ["addresses", "notReadyAddresses"] {
            for (at, address) in list(subset, &format!("/{member}")).iter().enumerate() {
                let ip = text(address, "/ip");
                let field = format!("subsets[{number}].{member}[{at}].ip");
                found.extend(canonical(ip).map(|canonical| {
                    format!(
                        "{field}: IPv6 address \"{ip}\" should be in RFC 5952 canonical format \
                         (\"{canonical}\")"
                    )
                }));
            }
        }
    }
    found
}

/// Returns the canonical form of an IPv6 address that has another form.
fn canonical(text: &str) -> Option<String> {
    let canonical = text
        .parse::<IpAddr>()
        .ok()
        .filter(IpAddr::is_ipv6)?
        .to_string();
    (canonical != text).then_some(canonical)
}

/// Checks `discovery.k8s.io/v1` EndpointSlice (pkg/apis/discovery/validation).
pub(super) fn endpoint_slice(object: &Value, problems: &mut Problems) {
    let kind = text(object, "/addressType");
    match kind {
        "IPv4" | "IPv6" | "FQDN" => {}
        "" => problems.required("addressType", ""),
        other => problems.unsupported("addressType", other, &["FQDN", "IPv4", "IPv6"]),
    }
    slice_ports(list(object, "/ports"), problems);

    let endpoints = list(object, "/endpoints");
    if endpoints.len() > MAX_ENDPOINTS {
        return problems.too_many("endpoints", endpoints.len(), MAX_ENDPOINTS);
    }
    for (number, endpoint) in endpoints.iter().enumerate() {
        slice_endpoint(kind, endpoint, &format!("endpoints[{number}]"), problems);
    }
}

fn slice_ports(ports: &[Value], problems: &mut Problems) {
    if ports.len() > MAX_PORTS {
        return problems.too_many("ports", ports.len(), MAX_PORTS);
    }
    let mut seen = Vec::new();
    for (number, port) in ports.iter().enumerate() {
        let (field, name) = (format!("ports[{number}]"), text(port, "/name"));
        if !name.is_empty() {
            problems.all(format!("{field}.name"), name, names::label(name));
        }
        if seen.contains(&name) {
            problems.duplicate(format!("{field}.name"), name);
        }
        seen.push(name);
        protocol(port, &field, problems);
    }
}

fn slice_endpoint(kind: &str, endpoint: &Value, field: &str, problems: &mut Problems) {
    let addresses = list(endpoint, "/addresses");
    let all = format!("{field}.addresses");
    match addresses.len() {
        0 => problems.required(&all, "must contain at least 1 address"),
        1..=MAX_ADDRESSES => {}
        many => problems.too_many(&all, many, MAX_ADDRESSES),
    }

    for (at, one) in addresses.iter().filter_map(Value::as_str).enumerate() {
        slice_address(kind, one, &format!("{all}[{at}]"), &all, problems);
    }

    if let Some(node) = endpoint["nodeName"].as_str() {
        problems.all(format!("{field}.nodeName"), node, names::subdomain(node));
    }
    if let Some(hostname) = endpoint["hostname"].as_str() {
        problems.all(
            format!("{field}.hostname"),
            hostname,
            names::label(hostname),
        );
    }
}

/// Checks the address at `field`; `all` is the field of the list that it is in.
fn slice_address(kind: &str, one: &str, field: &str, all: &str, problems: &mut Problems) {
    if kind == "FQDN" {
        let name = one.strip_suffix('.').unwrap_or(one);
        let wrong = names::subdomain(name);
        if wrong.is_empty() && !name.contains('.') {
            problems.invalid(
                field,
                one,
                "should be a domain with at least two segments separated by dots",
            );
        }
        return problems.all(field, one, wrong);
    }

    let ip = match names::ip(one) {
        Ok(ip) => ip,
        Err(why) => return problems.invalid(field, one, why),
    };
    match kind {
        "IPv4" if !ip.is_ipv4() => problems.invalid(all, one, "must be an IPv4 address"),
        "IPv6" if !ip.is_ipv6() => problems.invalid(all, one, "must be an IPv6 address"),
        _ => {}
    }
    reachable(ip, one, field, problems);
}

/// Refuses addresses that an endpoint cannot have (pkg/apis/core/validation `ValidateEndpointIP`).
fn reachable(ip: IpAddr, one: &str, field: &str, problems: &mut Problems) {
    let (link_local, multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (
            ip.is_unicast_link_local(),
            ip.segments()[0] & 0xff0f == 0xff02,
        ),
    };

    if ip.is_unspecified() {
        problems.invalid(field, one, format!("may not be unspecified ({one})"));
    }
    if ip.is_loopback() {
        problems.invalid(
            field,
            one,
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        );
    }
    if link_local {
        problems.invalid(
            field,
            one,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        );
    }
    if multicast {
        problems.invalid(
            field,
            one,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        );
    }
}
