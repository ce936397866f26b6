//! The offline check: the same compiler and findings, over files.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use rustls::pki_types::UnixTime;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{issuers::Issuers, parsed::Parsed, publish};
use crate::{
    acme::http::Clock,
    admin::FindingReport,
    apiserver::{
        defaults,
        schema::{self, ContentType},
        validate,
    },
    config::Config,
    controller::{Index, Settings, UnsupportedGuards},
    objects::{Event, Kind, RawObject},
    routing::HostPattern,
};

/// Files larger than this are not objects.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// What the files come to.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CheckReport {
    /// Objects of the kinds that are looked at.
    pub objects: usize,
    /// Documents of other kinds, passed over.
    pub others: usize,
    /// What is wrong or worth knowing.
    pub findings: Vec<FindingReport>,
}

/// Why files cannot be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file cannot be read.
    #[error("{}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is no YAML, or a document in it no object.
    #[error("{}: {message}", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// An issuer of the configuration is none.
    #[error("{0}")]
    Config(String),
}

impl CheckReport {
    /// Whether anything takes a rule down or weakens it.
    pub fn has_warnings(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == "Warning")
    }
}

/// Checks files and folders (their `*.yaml`, `*.yml`, `*.json`) as one set of objects. Issuers are those that are built in,
/// those of the configuration and those among the objects.
pub fn check(paths: &[PathBuf], config: Option<&Config>) -> Result<CheckReport, CheckError> {
    let time: Clock = Arc::new(UnixTime::now);
    let mut issuers = match config {
        Some(config) => Issuers::load(config, time).map_err(CheckError::Config)?,
        None => Issuers::new(time),
    };
    let settings = Settings {
        controller: "gatelet.dev/ingress-controller".into(),
        classes: Vec::new(),
        classless: true,
        standalone: false,
        default_backend: None,
        ssl_redirect: true,
        https_port: 443,
        hsts: None,
        node: "".into(),
        addresses: Vec::new(),
        issuers: issuers.names(),
        default_issuer: issuers.default().map(Into::into),
        unsupported_guards: UnsupportedGuards::default(),
    };
    let parsed = Parsed::default();
    let inspect = move |chain: &[u8], key: &[u8], pattern: &HostPattern| parsed.inspect(chain, key, pattern);
    let mut index = Index::new(settings, Box::new(inspect));
    let class = br#"{"metadata":{"name":"gatelet"},"spec":{"controller":"gatelet.dev/ingress-controller"}}"#;
    if let Ok(class) = RawObject::parse(Kind::IngressClass, Bytes::from_static(class)) {
        index.apply(Event::Apply(Arc::new(class)));
    }
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    let mut report = CheckReport::default();
    for path in files {
        let values = match documents(&path) {
            Err(CheckError::Parse { path, message }) => {
                report.findings.push(warning(path.display().to_string(), "Unreadable", "", message));
                continue;
            }
            other => other?,
        };
        for value in values {
            let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
            match Kind::find(text("apiVersion"), text("kind")) {
                Some(kind) => object(kind, value, (&mut index, &mut issuers), &mut report),
                None => report.others += 1,
            }
        }
    }
    index.set_issuers(issuers.names());
    let findings = index.compile().findings.unwrap_or_default();
    report.findings.extend(findings.iter().chain(&issuers.findings()).map(publish::report));
    report.findings.sort_by(|a, b| (&a.object, &a.field).cmp(&(&b.object, &b.field)));
    Ok(report)
}

/// Looks at one object as the API would before it takes it, and hands it to those who read it.
fn object(kind: Kind, mut value: Value, (index, issuers): (&mut Index, &mut Issuers), report: &mut CheckReport) {
    report.objects += 1;
    if kind.namespaced() && value["metadata"]["namespace"].is_null() {
        value["metadata"]["namespace"] = "default".into();
    }
    let text = |key: &str| value["metadata"][key].as_str().unwrap_or_default();
    let name = match text("namespace") {
        "" => format!("{} {}", kind.name(), text("name")),
        namespace => format!("{} {namespace}/{}", kind.name(), text("name")),
    };
    let decoded = match schema::decode(kind, ContentType::Json, value.to_string().as_bytes()) {
        Ok(decoded) => decoded,
        Err(error) => return report.findings.push(warning(name, "Undecodable", "", error.to_string())),
    };
    for problem in decoded.unknown {
        // As the real server words it: unknown field "spec.x".
        let field = problem.split('"').nth(1).unwrap_or_default().to_owned();
        report.findings.push(warning(name.clone(), "UnknownField", &field, problem));
    }
    let mut value = decoded.value;
    defaults::apply(kind, &mut value);
    let problems = validate::create(kind, &value);
    let refused = !problems.is_empty();
    for problem in problems {
        report.findings.push(warning(name.clone(), "Invalid", &problem.field, problem.message));
    }
    // What is wrong with the rules of a refused Ingress has been said; others must not seem to be missing.
    if refused && kind == Kind::Ingress {
        return;
    }
    match RawObject::parse(kind, Bytes::from(value.to_string())) {
        Ok(object) => {
            let event = Event::Apply(Arc::new(object));
            issuers.apply(&event);
            index.apply(event);
        }
        Err(error) => report.findings.push(warning(name, "Undecodable", "", error.to_string())),
    }
}

fn warning(object: String, reason: &str, field: &str, message: String) -> FindingReport {
    let (severity, reason, field) = ("Warning".to_owned(), reason.to_owned(), field.to_owned());
    FindingReport { severity, object, reason, field, message }
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), CheckError> {
    let failed = |source| CheckError::Read { path: path.to_owned(), source };
    if !fs::metadata(path).map_err(failed)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path).map_err(failed)?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        let known = entry.extension().is_some_and(|ext| ext == "yaml" || ext == "yml" || ext == "json");
        if entry.is_dir() || known {
            collect(&entry, files)?;
        }
    }
    Ok(())
}

/// The documents of a file; `List`s are taken apart.
fn documents(path: &Path) -> Result<Vec<Value>, CheckError> {
    let failed = |source| CheckError::Read { path: path.to_owned(), source };
    let wrong = |message: String| CheckError::Parse { path: path.to_owned(), message };
    if fs::metadata(path).map_err(failed)?.len() > MAX_FILE {
        return Err(wrong(format!("it is over {MAX_FILE} bytes")));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let values: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|error| wrong(error.to_string()))?;
    let mut out = Vec::new();
    for value in values {
        match value.get("items").and_then(Value::as_array) {
            Some(items) if value.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List")) => {
                out.extend(items.iter().cloned());
            }
            _ if value.is_null() => {}
            _ if value.get("metadata").is_none() || value.get("kind").is_none() => {
                return Err(wrong("a document has no kind or no metadata".to_owned()));
            }
            _ => out.push(value),
        }
    }
    Ok(out)
}
