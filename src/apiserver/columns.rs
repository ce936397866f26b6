//! The columns and cells of `kubectl get` for each kind, as a real API server prints them
//! (pkg/printers/internalversion/printers.go).

use serde_json::Value;

/// A column of a Table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// `string` or `integer`.
    pub(crate) kind: &'static str,
    /// `name` for the column of the name, otherwise empty.
    pub(crate) format: &'static str,
    /// True for a column that only `-o wide` shows.
    pub(crate) wide: bool,
}

const fn text(name: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        wide: false,
    }
}

const fn wide(name: &'static str) -> Column {
    Column {
        wide: true,
        ..text(name)
    }
}

const NAME: Column = Column {
    format: "name",
    ..text("Name")
};
const AGE: Column = text("Age");

pub(crate) const NAME_AGE: &[Column] = &[NAME, AGE];
/// The columns of Role and ClusterRole.
pub(crate) const ROLE: &[Column] = &[
    NAME,
    Column {
        kind: "date",
        ..text("Created At")
    },
];
/// The columns of RoleBinding and ClusterRoleBinding.
pub(crate) const BINDING: &[Column] = &[
    NAME,
    text("Role"),
    AGE,
    wide("Users"),
    wide("Groups"),
    wide("ServiceAccounts"),
];
pub(crate) const NAMESPACE: &[Column] = &[NAME, text("Status"), AGE];
pub(crate) const CONFIG_MAP: &[Column] = &[
    NAME,
    Column {
        kind: "integer",
        ..text("Data")
    },
    AGE,
];
pub(crate) const SECRET: &[Column] = &[
    NAME,
    text("Type"),
    Column {
        kind: "integer",
        ..text("Data")
    },
    AGE,
];
pub(crate) const SERVICE: &[Column] = &[
    NAME,
    text("Type"),
    text("Cluster-IP"),
    text("External-IP"),
    text("Port(s)"),
    AGE,
    wide("Selector"),
];
pub(crate) const ENDPOINTS: &[Column] = &[NAME, text("Endpoints"), AGE];
pub(crate) const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    text("AddressType"),
    text("Ports"),
    text("Endpoints"),
    AGE,
];
pub(crate) const INGRESS_CLASS: &[Column] = &[NAME, text("Controller"), text("Parameters"), AGE];
pub(crate) const INGRESS: &[Column] = &[
    NAME,
    text("Class"),
    text("Hosts"),
    text("Address"),
    text("Ports"),
    AGE,
];
pub(crate) const EVENT: &[Column] = &[
    text("Last Seen"),
    text("Type"),
    text("Reason"),
    text("Object"),
    wide("Subobject"),
    wide("Source"),
    text("Message"),
    wide("First Seen"),
    Column {
        kind: "integer",
        ..wide("Count")
    },
    Column {
        format: "name",
        ..wide("Name")
    },
];
pub(crate) const NODE: &[Column] = &[
    NAME,
    text("Status"),
    text("Roles"),
    AGE,
    text("Version"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];

pub(crate) const LEASE: &[Column] = &[NAME, text("Holder"), AGE];

pub(crate) fn name_age(object: &Value, now: i64) -> Vec<Value> {
    vec![name(object), age(object, now)]
}

pub(crate) fn role(object: &Value, _now: i64) -> Vec<Value> {
    let created = string(object, "/metadata/creationTimestamp");
    vec![name(object), created.into()]
}

pub(crate) fn binding(object: &Value, now: i64) -> Vec<Value> {
    let subjects = |kind: &str| -> Value {
        let of_kind = list(object, "/subjects")
            .iter()
            .filter(|subject| subject["kind"] == kind);
        let names: Vec<String> = of_kind
            .map(|subject| match kind {
                "ServiceAccount" => {
                    let namespace = string(subject, "/namespace");
                    format!("{namespace}/{}", string(subject, "/name"))
                }
                _ => string(subject, "/name").to_owned(),
            })
            .collect();
        names.join(", ").into()
    };

    let role = &object["roleRef"];
    vec![
        name(object),
        format!("{}/{}", string(role, "/kind"), string(role, "/name")).into(),
        age(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

pub(crate) fn namespace(object: &Value, now: i64) -> Vec<Value> {
    vec![
        name(object),
        string(object, "/status/phase").into(),
        age(object, now),
    ]
}

pub(crate) fn config_map(object: &Value, now: i64) -> Vec<Value> {
    vec![
        name(object),
        (members(object, "data") + members(object, "binaryData")).into(),
        age(object, now),
    ]
}

pub(crate) fn secret(object: &Value, now: i64) -> Vec<Value> {
    vec![
        name(object),
        string(object, "/type").into(),
        members(object, "data").into(),
        age(object, now),
    ]
}

pub(crate) fn service(object: &Value, now: i64) -> Vec<Value> {
    let cluster_ip = string(object, "/spec/clusterIP");
    let ports: Vec<String> = list(object, "/spec/ports")
        .iter()
        .map(|port| {
            let (number, node) = (
                port["port"].as_i64().unwrap_or(0),
                port["nodePort"].as_i64().unwrap_or(0),
            );
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            if node > 0 {
                format!("{number}:{node}/{protocol}")
            } else {
                format!("{number}/{protocol}")
            }
        })
        .collect();

    vec![
        name(object),
        string(object, "/spec/type").into(),
        or_none(cluster_ip.to_owned()),
        external_ip(object),
        or_none(ports.join(",")),
        age(object, now),
        or_none(pairs(&object["spec"]["selector"])),
    ]
}

fn external_ip(service: &Value) -> Value {
    let mut addresses: Vec<&str> = Vec::new();
    match string(service, "/spec/type") {
        "ExternalName" => return string(service, "/spec/externalName").into(),
        "LoadBalancer" => addresses = balancer_addresses(service),
        _ => {}
    }

    addresses.extend(
        list(service, "/spec/externalIPs")
            .iter()
            .filter_map(Value::as_str),
    );

    match (addresses.is_empty(), string(service, "/spec/type")) {
        (true, "LoadBalancer") => "<pending>".into(),
        _ => or_none(addresses.join(",")),
    }
}

pub(crate) fn endpoints(object: &Value, now: i64) -> Vec<Value> {
    let mut pairs = Vec::new();
    for subset in list(object, "/subsets") {
        let addresses = || {
            list(subset, "/addresses")
                .iter()
                .filter_map(|address| address["ip"].as_str())
        };
        match list(subset, "/ports") {
            [] => pairs.extend(addresses().map(str::to_owned)),
            ports => {
                for port in ports {
                    pairs.extend(
                        addresses().map(|ip| host_port(ip, port["port"].as_i64().unwrap_or(0))),
                    );
                }
            }
        }
    }

    let shown = match (list(object, "/subsets").is_empty(), pairs.is_empty()) {
        (true, _) => "<none>".to_owned(),
        // There are only addresses that are not ready: a real API server prints nothing.
        (false, true) => String::new(),
        (false, false) => first_three(pairs),
    };
    vec![name(object), shown.into(), age(object, now)]
}

/// Returns `address:port`, with brackets around IPv6.
fn host_port(ip: &str, port: i64) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

pub(crate) fn endpoint_slice(object: &Value, now: i64) -> Vec<Value> {
    let ports = list(object, "/ports").iter().map(|port| {
        match (port["port"].as_i64(), port["name"].as_str()) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => "*".to_owned(),
        }
    });

    let addresses = list(object, "/endpoints")
        .iter()
        .flat_map(|endpoint| endpoint["addresses"].as_array().into_iter().flatten())
        .filter_map(|address| address.as_str().map(str::to_owned));

    vec![
        name(object),
        string(object, "/addressType").into(),
        first_three(ports.collect()).into(),
        first_three(addresses.collect()).into(),
        age(object, now),
    ]
}

pub(crate) fn ingress_class(object: &Value, now: i64) -> Vec<Value> {
    let parameters = &object["spec"]["parameters"];
    let parameters = match (parameters["kind"].as_str(), parameters["apiGroup"].as_str()) {
        (Some(kind), Some(group)) => format!("{kind}.{group}/{}", string(parameters, "/name")),
        (Some(kind), None) => format!("{kind}/{}", string(parameters, "/name")),
        (None, _) => String::new(),
    };

    vec![
        name(object),
        string(object, "/spec/controller").into(),
        or_none(parameters),
        age(object, now),
    ]
}

pub(crate) fn ingress(object: &Value, now: i64) -> Vec<Value> {
    let rules = list(object, "/spec/rules");
    let mut hosts: Vec<&str> = Vec::new();
    let mut more = false;
    for rule in rules {
        more |= hosts.len() == 3;
        if let (false, Some(host)) = (more, rule["host"].as_str().filter(|host| !host.is_empty())) {
            hosts.push(host);
        }
    }

    // kubectl shows at most three hosts.
    let hosts = match (hosts.is_empty(), more) {
        (true, _) => "*".to_owned(),
        (false, true) => format!("{} + {} more...", hosts.join(","), rules.len() - 3),
        (false, false) => hosts.join(","),
    };

    let mut addresses = balancer_addresses(object);
    addresses.sort_unstable();
    addresses.dedup();

    vec![
        name(object),
        or_none(string(object, "/spec/ingressClassName").to_owned()),
        hosts.into(),
        addresses.join(",").into(),
        if list(object, "/spec/tls").is_empty() {
            "80"
        } else {
            "80, 443"
        }
        .into(),
        age(object, now),
    ]
}

pub(crate) fn event(object: &Value, now: i64) -> Vec<Value> {
    let time = |paths: &[&str]| {
        let first = paths
            .iter()
            .map(|path| string(object, path))
            .find(|time| !time.is_empty());
        since(first.unwrap_or_default(), now)
    };

    let about = &object["involvedObject"];
    let component = match (
        string(object, "/source/component"),
        string(object, "/reportingComponent"),
    ) {
        ("", reporting) => reporting,
        (component, _) => component,
    };
    let host = match (
        string(object, "/source/host"),
        string(object, "/reportingInstance"),
    ) {
        ("", instance) => instance,
        (host, _) => host,
    };

    let source = if host.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {host}")
    };

    let count = object
        .pointer("/series/count")
        .or_else(|| object.get("count"))
        .and_then(Value::as_i64);

    vec![
        time(&[
            "/series/lastObservedTime",
            "/lastTimestamp",
            "/firstTimestamp",
            "/eventTime",
        ]),
        string(object, "/type").into(),
        string(object, "/reason").into(),
        format!(
            "{}/{}",
            string(about, "/kind").to_lowercase(),
            string(about, "/name")
        )
        .into(),
        string(about, "/fieldPath").into(),
        source.into(),
        string(object, "/message").trim().into(),
        time(&["/firstTimestamp", "/eventTime"]),
        count.filter(|count| *count > 0).unwrap_or(1).into(),
        name(object),
    ]
}

pub(crate) fn lease(object: &Value, now: i64) -> Vec<Value> {
    vec![
        name(object),
        string(object, "/spec/holderIdentity").into(),
        age(object, now),
    ]
}

pub(crate) fn node(object: &Value, now: i64) -> Vec<Value> {
    const ROLE: &str = "node-role.kubernetes.io/";
    let ready = list(object, "/status/conditions")
        .iter()
        .find(|condition| condition["type"] == "Ready");
    let status = match ready.map(|condition| string(condition, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };

    // The roles are the suffixes of these labels.
    let labels = object["metadata"]["labels"].as_object();
    let roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(label, _value)| label.strip_prefix(ROLE))
        .collect();

    let address = |kind: &str| {
        let found = list(object, "/status/addresses")
            .iter()
            .find(|address| address["type"] == kind);
        or_none(
            found
                .map(|address| string(address, "/address").to_owned())
                .unwrap_or_default(),
        )
    };

    let info = |field: &str| string(&object["status"]["nodeInfo"], field).to_owned();
    let or_unknown = |text: String| {
        if text.is_empty() {
            "<unknown>".to_owned()
        } else {
            text
        }
    };

    vec![
        name(object),
        status.into(),
        or_none(roles.join(",")),
        age(object, now),
        info("/kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        or_unknown(info("/osImage")).into(),
        or_unknown(info("/kernelVersion")).into(),
        or_unknown(info("/containerRuntimeVersion")).into(),
    ]
}

fn name(object: &Value) -> Value {
    string(object, "/metadata/name").into()
}

fn age(object: &Value, now: i64) -> Value {
    since(string(object, "/metadata/creationTimestamp"), now)
}

/// Returns the time from `time` (RFC 3339) until `now` (Unix time).
fn since(time: &str, now: i64) -> Value {
    let then = time.parse::<jiff::Timestamp>();
    then.map_or_else(
        |_unset| "<unknown>".to_owned(),
        |then| duration(now.saturating_sub(then.as_second())),
    )
    .into()
}

/// Formats a duration in one or two units, fewer for longer ones
/// (k8s.io/apimachinery/pkg/util/duration HumanDuration).
pub(crate) fn duration(seconds: i64) -> String {
    let two = |big: i64, unit: char, small: i64, sub: char| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{sub}"),
    };

    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);

    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(years, 'y', days % 365, 'd'),
        252_288_000.. => format!("{years}y"),
    }
}

fn balancer_addresses(object: &Value) -> Vec<&str> {
    list(object, "/status/loadBalancer/ingress")
        .iter()
        .filter_map(|ingress| {
            ingress["ip"]
                .as_str()
                .or_else(|| ingress["hostname"].as_str())
        })
        .collect()
}

/// Joins the first three texts, and counts the others.
fn first_three(all: Vec<String>) -> String {
    match all.len() {
        0 => "<unset>".to_owned(),
        1..=3 => all.join(","),
        more => format!("{} + {} more...", all[..3].join(","), more - 3),
    }
}

fn pairs(map: &Value) -> String {
    let pairs = map.as_object().into_iter().flatten();
    pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect::<Vec<_>>()
        .join(",")
}

fn or_none(text: String) -> Value {
    if text.is_empty() {
        "<none>".into()
    } else {
        text.into()
    }
}

fn string<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn list<'v>(object: &'v Value, pointer: &str) -> &'v [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn members(object: &Value, field: &str) -> usize {
    object[field].as_object().map_or(0, serde_json::Map::len)
}
