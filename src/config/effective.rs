//! The configuration as it is in effect: every key, its value, and where the value comes from.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Value, json};
use toml::de::{DeTable, DeValue};

use super::{
    Balance, Config, Listen, LogFormat, Mode, TlsVersion, UnknownSni, UnsupportedGuards,
    issuers::is_secret,
};
use crate::util::units::{Size, Span};

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// The key, with its section: `proxy.max_headers`.
    pub key: Cow<'static, str>,
    /// The value as the file spells it; null where none is set.
    pub value: Value,
    /// Where it comes from.
    pub from: Origin,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The file, at a line counted from 1.
    File(PathBuf, usize),
    /// A flag or a variable, by its name.
    Typed(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::Typed(name) => f.write_str(name),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Config {
    /// Every key but those of [`issuers`], in the order of the reference file. `lines` are the keys
    /// that the file sets, with their lines; `typed` names the flag or variable that sets a key.
    pub(super) fn settings(
        &self,
        file: &Path,
        lines: &BTreeMap<String, usize>,
        typed: &dyn Fn(&str) -> Option<String>,
    ) -> Vec<Setting> {
        let setting = |(key, value): (&'static str, Value)| Setting {
            key: key.into(),
            value,
            from: match (typed(key), lines.get(key)) {
                (Some(name), _) => Origin::Typed(name),
                (None, Some(line)) => Origin::File(file.to_owned(), *line),
                (None, None) => Origin::Default,
            },
        };
        self.values().into_iter().map(setting).collect()
    }

    fn values(&self) -> Vec<(&'static str, Value)> {
        let (tls, log, proxy) = (&self.tls, &self.log, &self.proxy);
        let span = |duration| json!(Span(duration).to_string());
        let listen =
            |listen: Option<Listen>| listen.map_or(Value::Null, |listen| json!(listen.to_string()));
        vec![
            ("state", json!(self.state)),
            ("http", listen(self.http)),
            ("https", listen(self.https)),
            ("api", listen(Some(self.api))),
            ("admin", listen(Some(self.admin))),
            (
                "mode",
                json!(match self.mode {
                    Mode::Auto => "auto",
                    Mode::Kubernetes => "kubernetes",
                    Mode::Standalone => "standalone",
                }),
            ),
            ("kubeconfig", json!(self.kubeconfig)),
            ("workers", json!(self.workers)),
            ("node", json!(self.node)),
            ("address", json!(self.address)),
            ("namespace", json!(self.namespace)),
            ("controller", json!(self.controller)),
            ("classes", json!(self.classes)),
            ("classless", json!(self.classless)),
            ("default_backend", json!(self.default_backend)),
            ("ssl_redirect", json!(self.ssl_redirect)),
            ("hsts", json!(self.hsts)),
            (
                "unsupported_guards",
                json!(match self.unsupported_guards {
                    UnsupportedGuards::Refuse => "refuse",
                    UnsupportedGuards::Ignore => "ignore",
                }),
            ),
            ("cert_manager_metrics", json!(self.cert_manager_metrics)),
            ("publish", json!(self.publish)),
            ("default_issuer", json!(self.default_issuer)),
            ("grace", span(self.grace)),
            ("store.seal_key_file", json!(self.store.seal_key_file)),
            (
                "store.old_seal_key_files",
                json!(self.store.old_seal_key_files),
            ),
            (
                "tls.min_version",
                json!(match tls.min_version {
                    TlsVersion::Tls12 => "1.2",
                    TlsVersion::Tls13 => "1.3",
                }),
            ),
            (
                "tls.unknown_sni",
                json!(match tls.unknown_sni {
                    UnknownSni::DefaultCertificate => "default-certificate",
                    UnknownSni::Refuse => "refuse",
                }),
            ),
            ("log.level", json!(log.level)),
            (
                "log.format",
                json!(match log.format {
                    LogFormat::Text => "text",
                    LogFormat::Json => "json",
                }),
            ),
            ("log.access", json!(log.access)),
            (
                "proxy.trusted_proxies",
                json!(texts(&proxy.trusted_proxies)),
            ),
            (
                "proxy.external_https_port",
                json!(proxy.external_https_port),
            ),
            (
                "proxy.proxy_protocol_from",
                json!(texts(&proxy.proxy_protocol_from)),
            ),
            (
                "proxy.client_header_timeout",
                span(proxy.client_header_timeout),
            ),
            ("proxy.client_idle_timeout", span(proxy.client_idle_timeout)),
            ("proxy.handshake_timeout", span(proxy.handshake_timeout)),
            ("proxy.connect_timeout", span(proxy.connect_timeout)),
            (
                "proxy.response_header_timeout",
                span(proxy.response_header_timeout),
            ),
            ("proxy.stream_idle_timeout", span(proxy.stream_idle_timeout)),
            (
                "proxy.upstream_idle_timeout",
                span(proxy.upstream_idle_timeout),
            ),
            (
                "proxy.request_timeout",
                proxy.request_timeout.map_or(Value::Null, span),
            ),
            (
                "proxy.max_header_bytes",
                json!(Size(proxy.max_header_bytes).to_string()),
            ),
            ("proxy.max_headers", json!(proxy.max_headers)),
            (
                "proxy.max_body_bytes",
                json!(proxy.max_body_bytes.map(|size| Size(size).to_string())),
            ),
            ("proxy.max_connections", json!(proxy.max_connections)),
            (
                "proxy.max_connections_per_client",
                json!(proxy.max_connections_per_client),
            ),
            ("proxy.max_streams", json!(proxy.max_streams)),
            (
                "proxy.max_idle_per_endpoint",
                json!(proxy.max_idle_per_endpoint),
            ),
            ("proxy.max_attempts", json!(proxy.max_attempts)),
            ("proxy.eject_after", json!(proxy.eject_after)),
            ("proxy.eject_for", span(proxy.eject_for)),
            (
                "proxy.balance",
                json!(match proxy.balance {
                    Balance::RoundRobin => "round-robin",
                    Balance::LeastRequest => "least-request",
                }),
            ),
            ("proxy.verify_backends", json!(proxy.verify_backends)),
            ("proxy.local_names", json!(proxy.local_names)),
        ]
    }
}

/// The keys that a file sets, with their sections, and their lines, counted from 1. The text is
/// TOML.
pub(super) fn lines(text: &str) -> BTreeMap<String, usize> {
    let leaves = leaves(text).into_iter();
    leaves.map(|leaf| (leaf.key, leaf.line)).collect()
}

/// The line of a key, or of what is nearest to it where it is missing.
pub(super) fn place(text: &str, field: &str) -> Option<usize> {
    let leaves = leaves(text);
    let mut near = field;
    loop {
        let below = |key: &str| {
            key.strip_prefix(near)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        if let Some(line) = leaves
            .iter()
            .filter(|leaf| below(&leaf.key))
            .map(|leaf| leaf.line)
            .min()
        {
            return Some(line);
        }
        near = &near[..near.rfind(['.', '['])?];
    }
}

/// What a file says of issuers, key by key, in its order. Only the file can.
pub(super) fn issuers(file: &Path, text: &str) -> Vec<Setting> {
    let leaves = leaves(text)
        .into_iter()
        .filter(|leaf| leaf.key.starts_with("issuers["));
    let setting = |Leaf { key, line, value }| {
        let hidden = key.rsplit('.').next().is_some_and(is_secret);
        let value = if hidden { json!("<hidden>") } else { value };
        Setting {
            key: key.into(),
            value,
            from: Origin::File(file.to_owned(), line),
        }
    };
    leaves.map(setting).collect()
}

/// A key that is set, with its line and value.
struct Leaf {
    key: String,
    line: usize,
    value: Value,
}

/// All of a file's keys, in its order. Tables, and tables in a list, are only the keys in them.
fn leaves(text: &str) -> Vec<Leaf> {
    let mut found = Vec::new();
    if let Ok(root) = DeTable::parse(text) {
        descend(root.get_ref(), "", text, &mut found);
    }
    found.sort_by_key(|leaf| leaf.line);
    found
}

fn descend(table: &DeTable<'_>, above: &str, text: &str, found: &mut Vec<Leaf>) {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        let path = format!("{above}{}", key.get_ref());
        match value.get_ref() {
            DeValue::Table(inner) => descend(inner, &format!("{path}."), text, found),
            DeValue::Array(list)
                if !list.is_empty() && list.iter().all(|one| one.get_ref().is_table()) =>
            {
                for (index, one) in list.iter().enumerate() {
                    if let DeValue::Table(inner) = one.get_ref() {
                        descend(inner, &format!("{path}[{index}]."), text, found);
                    }
                }
            }
            other => {
                let line = text[..key.span().start.min(text.len())]
                    .matches('\n')
                    .count()
                    + 1;
                found.push(Leaf {
                    key: path,
                    line,
                    value: value_of(other),
                });
            }
        }
    }
}

/// A value that is no table, as JSON.
fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => json!(text),
        DeValue::Boolean(value) => json!(value),
        DeValue::Array(list) => list.iter().map(|one| value_of(one.get_ref())).collect(),
        DeValue::Integer(number) => json!(number.to_string()),
        DeValue::Float(number) => json!(number.to_string()),
        DeValue::Datetime(time) => json!(time.to_string()),
        DeValue::Table(_) => Value::Null,
    }
}

fn texts<T: ToString>(list: &[T]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}
