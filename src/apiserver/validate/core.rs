//! Checks of Secret, ConfigMap and Service.

use std::collections::HashSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{
    names,
    problems::{Problems, immutable, list, pairs, text},
};
use crate::{tls::Certificate, util::time::UnixSeconds};

/// The size limit of the data of a Secret or ConfigMap, in bytes.
const MAX_DATA: usize = 1 << 20;

pub(super) fn secret(object: &Value, problems: &mut Problems) {
    let mut size = 0;
    for (key, value) in pairs(object, "/data") {
        problems.all(format!("data[{key}]"), key, names::data_key(key));
        let padding = value
            .bytes()
            .rev()
            .take_while(|byte| *byte == b'=')
            .count()
            .min(2);
        size += (value.len() / 4 * 3).saturating_sub(padding);
    }

    if size > MAX_DATA {
        problems.too_long("data", MAX_DATA);
    }

    // Each type has its required keys.
    let mut require = |keys: &[&str]| {
        for key in keys.iter().filter(|key| object["data"][**key].is_null()) {
            problems.required(format!("data[{key}]"), "");
        }
    };
    match text(object, "/type") {
        "kubernetes.io/tls" => require(&["tls.crt", "tls.key"]),
        "kubernetes.io/ssh-auth" => require(&["ssh-privatekey"]),
        "kubernetes.io/dockerconfigjson" => require(&[".dockerconfigjson"]),
        "kubernetes.io/dockercfg" => require(&[".dockercfg"]),
        "kubernetes.io/basic-auth" => {
            let data = &object["data"];
            if data["username"].is_null() && data["password"].is_null() {
                require(&["username", "password"]);
            }
        }
        _ => {}
    }

    for key in [".dockerconfigjson", ".dockercfg"] {
        let named = text(object, "/type").ends_with(key.trim_start_matches('.'));
        if let Some(value) = object["data"][key].as_str().filter(|_| named) {
            let bytes = STANDARD.decode(value).unwrap_or_default();
            if let Err(error) = serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes) {
                problems.invalid(format!("data[{key}]"), "<secret contents redacted>", error);
            }
        }
    }
}

pub(super) fn secret_update(new: &Value, old: &Value, problems: &mut Problems) {
    immutable(new, old, "type", problems);
    immutable_data(new, old, &["data"], problems);
}

/// Refuses changes of the data of an object once `immutable` is set.
pub(super) fn immutable_data(new: &Value, old: &Value, members: &[&str], problems: &mut Problems) {
    const WHY: &str = "field is immutable when `immutable` is set";
    if old["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        problems.forbidden("immutable", WHY);
    }
    for member in members
        .iter()
        .filter(|member| new[**member] != old[**member])
    {
        problems.forbidden(member, WHY);
    }
}

/// Returns the problems of a Secret's certificate. Such a Secret is accepted, but not served.
pub(super) fn secret_warnings(object: &Value) -> Vec<String> {
    if text(object, "/type") != "kubernetes.io/tls" {
        return Vec::new();
    }
    let data = |key: &str| {
        STANDARD
            .decode(object["data"][key].as_str().unwrap_or_default())
            .unwrap_or_default()
    };

    let (chain, key) = (data("tls.crt"), data("tls.key"));
    if !chain.windows(11).any(|window| window == b"-----BEGIN ") {
        return vec!["tls: failed to find any PEM data in certificate input".to_owned()];
    }
    match Certificate::from_pem(&chain, &key) {
        Err(error) => vec![format!("tls: {error}")],
        Ok(certificate) if certificate.not_after() < UnixSeconds::now() => {
            vec!["tls: the certificate has expired".to_owned()]
        }
        Ok(_) => Vec::new(),
    }
}

pub(super) fn config_map(object: &Value, problems: &mut Problems) {
    let mut size = 0;
    for member in ["data", "binaryData"] {
        for (key, value) in pairs(object, &format!("/{member}")) {
            problems.all(format!("{member}[{key}]"), key, names::data_key(key));
            size += value.len();
        }
    }

    for (key, _value) in
        pairs(object, "/data").filter(|(key, _)| !object["binaryData"][*key].is_null())
    {
        problems.invalid(
            format!("data[{key}]"),
            key,
            "duplicate of key present in binaryData",
        );
    }

    if size > MAX_DATA {
        problems.too_long("", MAX_DATA);
    }
}

pub(super) fn service(object: &Value, problems: &mut Problems) {
    const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    let spec = &object["spec"];
    let kind = text(spec, "/type");
    let (ports, headless) = (list(spec, "/ports"), text(spec, "/clusterIP") == "None");

    if !TYPES.contains(&kind) {
        problems.unsupported("spec.type", kind, &TYPES);
    }
    if ports.is_empty() && !headless && kind != "ExternalName" {
        problems.required("spec.ports", "");
    }

    // The name may end with a dot.
    if kind == "ExternalName" {
        let name = text(spec, "/externalName");
        let bare = name.strip_suffix('.').unwrap_or(name);
        if bare.is_empty() {
            problems.required("spec.externalName", "");
        } else {
            problems.all("spec.externalName", name, names::subdomain(bare));
        }
    }
    service_ports(ports, problems);
    for (key, value) in pairs(spec, "/selector") {
        problems.all("spec.selector", key, names::qualified(key));
        problems.all("spec.selector", value, names::label_value(value));
    }

    session_affinity(spec, problems);
    policies(spec, problems);
    load_balancer(spec, kind, problems);
    addresses(spec, kind, problems);
}

fn service_ports(ports: &[Value], problems: &mut Problems) {
    let (mut seen_names, mut seen_ports) = (HashSet::new(), HashSet::new());
    for (number, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{number}]");
        let name = text(port, "/name");
        if name.is_empty() && ports.len() > 1 {
            problems.required(format!("{field}.name"), "");
        } else if !name.is_empty() {
            problems.all(format!("{field}.name"), name, names::label(name));
            if !seen_names.insert(name) {
                problems.duplicate(format!("{field}.name"), name);
            }
        }

        let number = port["port"].as_i64().unwrap_or(0);
        if let Some(why) = names::port_number(number) {
            problems.invalid(format!("{field}.port"), number, why);
        }

        let protocol = text(port, "/protocol");
        if !["TCP", "UDP", "SCTP"].contains(&protocol) {
            problems.unsupported(
                format!("{field}.protocol"),
                protocol,
                &["SCTP", "TCP", "UDP"],
            );
        }
        match &port["targetPort"] {
            Value::Number(target) => {
                if let Some(why) = names::port_number(target.as_i64().unwrap_or(0)) {
                    problems.invalid(format!("{field}.targetPort"), target.clone(), why);
                }
            }
            Value::String(target) => problems.all(
                format!("{field}.targetPort"),
                target,
                names::port_name(target),
            ),
            _ => {}
        }

        if let Some(application) = port["appProtocol"].as_str() {
            problems.all(
                format!("{field}.appProtocol"),
                application,
                names::qualified(application),
            );
        }
        if !seen_ports.insert((number, protocol)) {
            problems.duplicate(&field, port.clone());
        }
    }
}

fn session_affinity(spec: &Value, problems: &mut Problems) {
    if !["None", "ClientIP"].contains(&text(spec, "/sessionAffinity")) {
        problems.unsupported(
            "spec.sessionAffinity",
            text(spec, "/sessionAffinity"),
            &["ClientIP", "None"],
        );
    }
    if let Some(timeout) = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].as_i64()
        && !(1..=86_400).contains(&timeout)
    {
        let field = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
        problems.invalid(field, timeout, "must be greater than 0 and less than 86400");
    }
}

/// Checks the members that have one of a few values.
fn policies(spec: &Value, problems: &mut Problems) {
    let words: [(&str, &[&str]); 3] = [
        ("externalTrafficPolicy", &["Cluster", "Local"]),
        ("internalTrafficPolicy", &["Cluster", "Local"]),
        (
            "ipFamilyPolicy",
            &["PreferDualStack", "RequireDualStack", "SingleStack"],
        ),
    ];

    for (member, known) in words {
        if let Some(word) = spec[member].as_str().filter(|word| !known.contains(word)) {
            problems.unsupported(format!("spec.{member}"), word, known);
        }
    }

    for (number, family) in list(spec, "/ipFamilies")
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
    {
        if !["IPv4", "IPv6"].contains(&family) {
            problems.unsupported(
                format!("spec.ipFamilies[{number}]"),
                family,
                &["IPv4", "IPv6"],
            );
        }
    }
}

/// Checks the members that only a Service of type LoadBalancer has.
fn load_balancer(spec: &Value, kind: &str, problems: &mut Problems) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let ranges = list(spec, "/loadBalancerSourceRanges");
    if !ranges.is_empty() && kind != "LoadBalancer" {
        problems.forbidden("spec.LoadBalancerSourceRanges", ONLY);
    } else {
        for (number, range) in ranges.iter().filter_map(Value::as_str).enumerate() {
            if !names::is_cidr(range) {
                let why = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
                problems.invalid(
                    format!("spec.LoadBalancerSourceRanges[{number}]"),
                    range,
                    why,
                );
            }
        }
    }

    match spec["loadBalancerClass"].as_str() {
        Some(_) if kind != "LoadBalancer" => problems.forbidden("spec.loadBalancerClass", ONLY),
        Some(class) => problems.all("spec.loadBalancerClass", class, names::qualified(class)),
        None => {}
    }
}

/// Checks the cluster addresses and the external addresses.
fn addresses(spec: &Value, kind: &str, problems: &mut Problems) {
    for (number, address) in list(spec, "/clusterIPs")
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
    {
        if kind == "ExternalName" {
            problems.forbidden(
                format!("spec.clusterIPs[{number}]"),
                "may not be set when `type` is 'ExternalName'",
            );
        } else if address != "None"
            && let Err(why) = names::ip(address)
        {
            problems.invalid(format!("spec.clusterIPs[{number}]"), address, why);
        }
    }

    let (first, listed) = (text(spec, "/clusterIP"), text(spec, "/clusterIPs/0"));
    if first != listed && kind != "ExternalName" {
        problems.invalid(
            "spec.clusterIPs",
            spec["clusterIPs"].clone(),
            "first value must match `clusterIP`",
        );
    }

    for (number, address) in list(spec, "/externalIPs")
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
    {
        if let Err(why) = names::ip(address) {
            problems.invalid(format!("spec.externalIPs[{number}]"), address, why);
        }
    }
}

pub(super) fn service_update(new: &Value, old: &Value, problems: &mut Problems) {
    let fixed = |spec: &Value| spec["type"] != "ExternalName";
    let (new, old) = (&new["spec"], &old["spec"]);
    let first = new["clusterIPs"][0].as_str();
    // An invalid address has a problem of its own.
    let address =
        first.is_none_or(|first| matches!(first, "" | "None") || names::ip(first).is_ok());
    if fixed(new) && fixed(old) && address && new["clusterIPs"][0] != old["clusterIPs"][0] {
        problems.invalid(
            "spec.clusterIPs[0]",
            new["clusterIPs"].clone(),
            "may not change once set",
        );
    }
}

/// Refuses a changed status of a Service that its type cannot have.
pub(super) fn service_status(new: &Value, old: &Value, problems: &mut Problems) {
    let addresses = list(new, "/status/loadBalancer/ingress");
    let balanced = text(new, "/spec/type") == "LoadBalancer";
    if new["status"] != old["status"] && !addresses.is_empty() && !balanced {
        let why = "may only be used when `spec.type` is 'LoadBalancer'";
        problems.forbidden("status.loadBalancer.ingress", why);
    }
}

/// Checks a Lease (pkg/apis/coordination/validation).
pub(super) fn lease(object: &Value, problems: &mut Problems) {
    let number = |member: &str| object["spec"][member].as_i64();
    if let Some(seconds) = number("leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        let field = "spec.leaseDurationSeconds";
        problems.invalid(field, seconds, "must be greater than 0");
    }
    if let Some(count) = number("leaseTransitions").filter(|count| *count < 0) {
        let why = "must be greater than or equal to 0";
        problems.invalid("spec.leaseTransitions", count, why);
    }
}
