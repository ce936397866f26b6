//! Checks of names, keys and addresses (k8s.io/apimachinery/pkg/util/validation). Each function
//! returns the problems, in the words of a real API server.

use std::net::{IpAddr, Ipv4Addr};

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

fn regex_error(what: &str, regex: &str, examples: &[&str]) -> String {
    let examples = examples
        .iter()
        .map(|example| format!("'{example}'"))
        .collect::<Vec<_>>()
        .join(",  or ");
    format!("{what} (e.g. {examples}, regex used for validation is '{regex}')")
}

fn too_long(limit: usize) -> String {
    format!("must be no more than {limit} characters")
}

fn is_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
}

/// Checks an RFC 1123 label: the name of a Service or Namespace.
pub(super) fn label(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push(too_long(63));
    }
    if !is_label(text) {
        if text.contains('.') && text.split('.').all(is_label) {
            wrong.push("must not contain dots".to_owned());
        } else {
            let what = "a lowercase RFC 1123 label must consist of \
                        lower case alphanumeric characters or '-', and must \
                        start and end with an alphanumeric character";
            wrong.push(regex_error(what, LABEL, &["my-name", "123-abc"]));
        }
    }
    wrong
}

/// Checks an RFC 1123 subdomain: the name of most objects, or a host.
pub(super) fn subdomain(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 253 {
        wrong.push(too_long(253));
    }
    if !text.split('.').all(is_label) {
        let what = "a lowercase RFC 1123 subdomain must consist of \
                    lower case alphanumeric characters, '-' or '.', and \
                    must start and end with an alphanumeric character";
        wrong.push(regex_error(
            what,
            &format!("{LABEL}(\\.{LABEL})*"),
            &["example.com"],
        ));
    }
    wrong
}

/// Checks a wildcard host: `*.` and a subdomain.
pub(super) fn wildcard(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 253 {
        wrong.push(too_long(253));
    }
    if !text
        .strip_prefix("*.")
        .is_some_and(|rest| rest.split('.').all(is_label))
    {
        let what = "a wildcard DNS-1123 subdomain must start with '*.', \
                    followed by a valid DNS subdomain, which must \
                    consist of lower case alphanumeric characters, '-' or '.' \
                    and end with an alphanumeric character";
        wrong.push(regex_error(
            what,
            &format!("\\*\\.{LABEL}(\\.{LABEL})*"),
            &["*.example.com"],
        ));
    }
    wrong
}

fn is_qualified_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Checks `[prefix/]name`: the key of a label or annotation.
pub(super) fn qualified(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let (prefix, name) = match text.split('/').collect::<Vec<_>>()[..] {
        [name] => (None, name),
        [prefix, name] => (Some(prefix), name),
        _ => {
            let what = "a qualified name must consist of alphanumeric characters, \
                        '-', '_' or '.', and must start and \
                        end with an alphanumeric character";
            let error = regex_error(what, QUALIFIED, &["MyName", "my.name", "123-abc"]);
            return vec![format!(
                "{error} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };

    match prefix {
        Some("") => wrong.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => wrong.extend(
            subdomain(prefix)
                .into_iter()
                .map(|why| format!("prefix part {why}")),
        ),
        None => {}
    }

    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        wrong.push(format!("name part {}", too_long(63)));
    }

    if !is_qualified_name(name) {
        let what = "name part must consist of alphanumeric characters, '-', '_' or '.', \
                    and must start and end with an alphanumeric character";
        wrong.push(regex_error(
            what,
            QUALIFIED,
            &["MyName", "my.name", "123-abc"],
        ));
    }
    wrong
}

/// Checks the value of a label.
pub(super) fn label_value(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 63 {
        wrong.push(too_long(63));
    }
    if !text.is_empty() && !is_qualified_name(text) {
        let what = "a valid label must be an empty string or consist of alphanumeric characters, \
                    '-', '_' or '.', and must start and end with an alphanumeric character";
        let regex = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?";
        wrong.push(regex_error(what, regex, &["MyValue", "my_value", "12345"]));
    }
    wrong
}

/// Checks a name that may be any part of a path: that of a role or a binding.
pub(super) fn path_segment(text: &str) -> Vec<String> {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }

    ["/", "%"]
        .into_iter()
        .filter(|illegal| text.contains(illegal))
        .map(|illegal| format!("may not contain '{illegal}'"))
        .collect()
}

/// Checks a key of the data of a Secret or ConfigMap.
pub(super) fn data_key(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if text.len() > 253 {
        wrong.push(too_long(253));
    }

    if text.is_empty()
        || !text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        let what = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        let examples = "'key.name',  or 'KEY_NAME',  or 'key-name'";
        wrong.push(format!(
            "{what} (e.g. {examples}, regex used for validation is '[-._a-zA-Z0-9]+')"
        ));
    } else if text == "." || text == ".." {
        wrong.push(format!("must not be '{text}'"));
    } else if text.starts_with("..") {
        wrong.push("must not start with '..'".to_owned());
    }
    wrong
}

/// Checks the name of a port: an IANA service name.
pub(super) fn port_name(text: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';

    if text.len() > 15 {
        wrong.push(too_long(15));
    }
    if text.is_empty() || !text.bytes().all(known) {
        wrong.push(
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned(),
        );
    }
    if !text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        wrong.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        wrong.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        wrong.push("must not begin or end with a hyphen".to_owned());
    }
    wrong
}

/// Checks the number of a port.
pub(super) fn port_number(number: i64) -> Option<&'static str> {
    (!(1..=65_535).contains(&number)).then_some("must be between 1 and 65535, inclusive")
}

/// Parses an IP address, or returns its problem (pkg/util/validation/ip.go with
/// `StrictIPCIDRValidation`).
pub(super) fn ip(text: &str) -> Result<IpAddr, &'static str> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            Err("must not be an IPv4-mapped IPv6 address")
        }
        Ok(ip) => Ok(ip),
        Err(_) if sloppy_ip(text).is_some() => Err("must not have leading 0s"),
        Err(_) => Err("must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    }
}

/// Returns true for an address, `/`, and the length of a prefix.
pub(super) fn is_cidr(text: &str) -> bool {
    let Some((address, length)) = text.trim().split_once('/') else {
        return false;
    };
    match address.parse::<IpAddr>() {
        Ok(ip) => length
            .parse::<u8>()
            .is_ok_and(|length| length <= if ip.is_ipv4() { 32 } else { 128 }),
        Err(_) => false,
    }
}

/// Parses an IP address as old versions of Go do: the numbers of an IPv4 address may have leading
/// zeros, and an IPv4-mapped IPv6 address is an IPv4 address.
pub(super) fn sloppy_ip(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(ip.to_canonical());
    }

    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts
            .next()
            .filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *octet = part.parse().ok()?;
    }
    parts
        .next()
        .is_none()
        .then(|| Ipv4Addr::from(octets).into())
}
