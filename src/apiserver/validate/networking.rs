//! Checks of Ingress and IngressClass.

use std::net::IpAddr;

use serde_json::Value;

use super::{
    names,
    problems::{Problems, list, text},
};

const CLASS_ANNOTATION: &str = "/metadata/annotations/kubernetes.io~1ingress.class";

pub(super) fn ingress(object: &Value, problems: &mut Problems) {
    let spec = &object["spec"];
    let rules = list(spec, "/rules");
    if rules.is_empty() && spec["defaultBackend"].is_null() {
        let rules = spec.get("rules").cloned().unwrap_or_default();
        problems.invalid(
            "spec",
            rules,
            "either `defaultBackend` or `rules` must be specified",
        );
    }
    if !spec["defaultBackend"].is_null() {
        backend(&spec["defaultBackend"], "spec.defaultBackend", problems);
    }

    for (number, rule) in rules.iter().enumerate() {
        ingress_rule(rule, &format!("spec.rules[{number}]"), problems);
    }
    for (number, tls) in list(spec, "/tls").iter().enumerate() {
        ingress_tls(tls, &format!("spec.tls[{number}]"), problems);
    }

    let class = spec["ingressClassName"].as_str();
    if let Some(class) = class {
        problems.all("spec.ingressClassName", class, names::subdomain(class));
    }
    let annotated = object.pointer(CLASS_ANNOTATION).and_then(Value::as_str);
    if let (Some(class), Some(annotated)) = (class, annotated)
        && class != annotated
    {
        let why = "must match `ingressClassName` when both are specified";
        problems.invalid("annotations.kubernetes.io/ingress.class", annotated, why);
    }

    let addresses = list(object, "/status/loadBalancer/ingress");
    for (number, address) in addresses.iter().enumerate() {
        let field = format!("status.loadBalancer.ingress[{number}]");
        ingress_address(address, &field, problems);
    }
}

fn ingress_rule(rule: &Value, field: &str, problems: &mut Problems) {
    let name = text(rule, "/host");
    if !name.is_empty() {
        let field = format!("{field}.host");
        host(name, &field, problems);
        if name.parse::<IpAddr>().is_ok() {
            problems.invalid(field, name, "must be a DNS name, not an IP address");
        }
    }
    if rule["http"].is_null() {
        return;
    }

    let paths = list(rule, "/http/paths");
    if paths.is_empty() {
        problems.required(format!("{field}.http.paths"), "");
    }
    for (number, one) in paths.iter().enumerate() {
        path(one, &format!("{field}.http.paths[{number}]"), problems);
    }
}

fn ingress_tls(tls: &Value, field: &str, problems: &mut Problems) {
    for (at, name) in list(tls, "/hosts")
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
    {
        host(name, &format!("{field}.hosts[{at}]"), problems);
    }
    let secret = text(tls, "/secretName");
    if !secret.is_empty() {
        problems.all(
            format!("{field}.secretName"),
            secret,
            names::subdomain(secret),
        );
    }
}

/// Checks an address in the status of an Ingress.
fn ingress_address(address: &Value, field: &str, problems: &mut Problems) {
    let (ip, name) = (text(address, "/ip"), text(address, "/hostname"));
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        problems.invalid(
            format!("{field}.ip"),
            ip,
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        );
    }
    if !name.is_empty() {
        problems.all(format!("{field}.hostname"), name, names::subdomain(name));
        if name.parse::<IpAddr>().is_ok() {
            let why = "must be a DNS name, not an IP address";
            problems.invalid(format!("{field}.hostname"), name, why);
        }
    }
}

fn host(name: &str, field: &str, problems: &mut Problems) {
    let wrong = if name.contains('*') {
        names::wildcard(name)
    } else {
        names::subdomain(name)
    };
    problems.all(field, name, wrong);
}

fn path(path: &Value, field: &str, problems: &mut Problems) {
    let (kind, at) = (path["pathType"].as_str(), text(path, "/path"));

    match kind {
        None => {
            return problems.required(format!("{field}.pathType"), "pathType must be specified");
        }
        Some("Exact" | "Prefix") => exact_path(at, &format!("{field}.path"), problems),
        Some("ImplementationSpecific") => {
            if !at.is_empty() && !at.starts_with('/') {
                problems.invalid(format!("{field}.path"), at, "must be an absolute path");
            }
        }
        Some(other) => {
            problems.unsupported(
                format!("{field}.pathType"),
                other,
                &["Exact", "ImplementationSpecific", "Prefix"],
            );
        }
    }

    backend(&path["backend"], &format!("{field}.backend"), problems);
}

/// Checks the path of a rule whose type is `Exact` or `Prefix`.
fn exact_path(path: &str, field: &str, problems: &mut Problems) {
    if !path.starts_with('/') {
        problems.invalid(field, path, "must be an absolute path");
    }
    if path.is_empty() {
        return;
    }
    for within in ["//", "/./", "/../", "%2f", "%2F"] {
        if path.contains(within) {
            problems.invalid(field, path, format!("must not contain '{within}'"));
        }
    }
    for end in ["/..", "/."] {
        if path.ends_with(end) {
            problems.invalid(field, path, format!("cannot end with '{end}'"));
        }
    }
}

fn backend(backend: &Value, field: &str, problems: &mut Problems) {
    let (resource, service) = (!backend["resource"].is_null(), &backend["service"]);
    match (resource, service.is_null()) {
        (true, false) => {
            return problems.invalid(field, "", "cannot set both resource and service backends");
        }
        (false, true) => {
            return problems.invalid(field, "", "resource or service backend is required");
        }
        (true, true) => {
            if let Some(group) = backend["resource"]["apiGroup"].as_str() {
                problems.all(
                    format!("{field}.resource.apiGroup"),
                    group,
                    names::subdomain(group),
                );
            }
            for member in ["kind", "name"] {
                if text(&backend["resource"], &format!("/{member}")).is_empty() {
                    problems.required(format!("{field}.resource.{member}"), "");
                }
            }
            return;
        }
        (false, false) => {}
    }

    let name = text(service, "/name");
    if name.is_empty() {
        problems.required(format!("{field}.service.name"), "");
    } else {
        problems.all(format!("{field}.service.name"), name, names::label(name));
    }

    let (port_name, number) = (
        text(service, "/port/name"),
        service["port"]["number"].as_i64().unwrap_or(0),
    );
    match (port_name, number) {
        ("", 0) => problems.required(field, "port name or number is required"),
        ("", number) => {
            if let Some(why) = names::port_number(number) {
                problems.invalid(format!("{field}.service.port.number"), number, why);
            }
        }
        (name, 0) => problems.all(
            format!("{field}.service.port.name"),
            name,
            names::port_name(name),
        ),
        _ => problems.invalid(field, "", "cannot set both port name & port number"),
    }
}

pub(super) fn ingress_class(object: &Value, problems: &mut Problems) {
    let controller = text(object, "/spec/controller");
    if controller.len() > 250 {
        problems.too_long("spec.controller", 250);
    }
    if controller.is_empty() {
        problems.required("spec.controller", "");
    } else {
        let (domain, path) = controller.split_once('/').unwrap_or((controller, ""));
        if domain.is_empty() || path.is_empty() {
            let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
            problems.invalid("spec.controller", controller, why);
        } else {
            problems.all("spec.controller", domain, names::subdomain(domain));
        }
    }

    let parameters = &object["spec"]["parameters"];
    if parameters.is_null() {
        return;
    }
    if let Some(group) = parameters["apiGroup"].as_str() {
        problems.all("spec.parameters.apiGroup", group, names::subdomain(group));
    }
    for member in ["kind", "name"] {
        if text(parameters, &format!("/{member}")).is_empty() {
            problems.required(format!("spec.parameters.{member}"), "");
        }
    }

    match (
        text(parameters, "/scope"),
        parameters["namespace"].is_null(),
    ) {
        ("Namespace", true) => {
            problems.required(
                "spec.parameters.namespace",
                "`parameters.scope` is set to 'Namespace'",
            );
        }
        ("Cluster", false) => {
            problems.forbidden(
                "spec.parameters.namespace",
                "`parameters.scope` is set to 'Cluster'",
            );
        }
        ("Namespace", false) => {
            let namespace = text(parameters, "/namespace");
            problems.all(
                "spec.parameters.namespace",
                namespace,
                names::label(namespace),
            );
        }
        ("Cluster", true) => {}
        (other, _) => {
            problems.unsupported("spec.parameters.scope", other, &["Cluster", "Namespace"]);
        }
    }
}
