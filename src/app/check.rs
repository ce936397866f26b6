//! The offline check: the same compiler and findings, over files.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::publish;
use crate::{
    admin::FindingReport,
    controller::{Index, Settings},
    objects::{Event, Kind, RawObject},
    routing::HostPattern,
    tls::Certificate,
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
}

impl CheckReport {
    /// Whether anything takes a rule down or weakens it.
    pub fn has_warnings(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == "Warning")
    }
}

/// Checks files and folders (their `*.yaml`, `*.yml`, `*.json`) as one set of objects.
pub fn check(paths: &[PathBuf]) -> Result<CheckReport, CheckError> {
    let mut report = CheckReport::default();
    let settings = Settings {
        controller: "gatelet.dev/ingress-controller".into(),
        classless: true,
        default_backend: None,
        ssl_redirect: true,
        https_port: 443,
        hsts: None,
        node: "".into(),
        addresses: Vec::new(),
    };
    let mut index = Index::new(settings, Box::new(inspect));
    let class = br#"{"metadata":{"name":"gatelet"},"spec":{"controller":"gatelet.dev/ingress-controller"}}"#;
    if let Ok(class) = RawObject::parse(Kind::IngressClass, Bytes::from_static(class)) {
        index.apply(Event::Apply(Arc::new(class)));
    }
    let mut files = Vec::new();
    for path in paths {
        collect(path, &mut files)?;
    }
    for path in files {
        for value in documents(&path)? {
            let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
            let Some(kind) = Kind::find(text("apiVersion"), text("kind")) else {
                report.others += 1;
                continue;
            };
            let mut value = value;
            if kind.namespaced() && value["metadata"]["namespace"].is_null() {
                value["metadata"]["namespace"] = "default".into();
            }
            let parsed = RawObject::parse(kind, Bytes::from(value.to_string()));
            let object =
                parsed.map_err(|error| CheckError::Parse { path: path.clone(), message: error.to_string() })?;
            report.objects += 1;
            index.apply(Event::Apply(Arc::new(object)));
        }
    }
    let findings = index.compile().findings.unwrap_or_default();
    report.findings = findings.iter().map(publish::report).collect();
    report.findings.sort_by(|a, b| (&a.object, &a.field).cmp(&(&b.object, &b.field)));
    Ok(report)
}

/// What the compiler asks about a certificate.
pub(super) fn inspect(chain: &[u8], key: &[u8], pattern: &HostPattern) -> Result<(), String> {
    let certificate = Certificate::from_pem(chain, key).map_err(|error| error.to_string())?;
    if certificate.covers(pattern) {
        return Ok(());
    }
    Err(format!("mismatch: its certificate is for {}, not for {pattern}", certificate.names().join(", ")))
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
