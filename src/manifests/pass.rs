//! One pass over the folder: reads the files that have changed, and applies their objects.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use serde_json::Value;

use super::{
    finding::{Finding, Reason},
    folder::{self, Fingerprint, ReadError, Scan},
};
use crate::{
    apiserver::{Applier, Refusal},
    objects::documents::{self, Content, Document},
    util::hash::sha256,
};

/// The most findings that a file, and the folder, have.
const MAX_OF_FILE: usize = 50;
const MAX_FINDINGS: usize = 1000;

/// The attempts at objects that were refused for a passing reason: a file may need the namespace
/// that a later one creates.
const ROUNDS: usize = 3;

/// The folder, and the state of its files as of the last pass.
pub(super) struct Pass {
    root: PathBuf,
    applier: Applier,
    files: BTreeMap<String, File>,
    /// The file that each object is in, by the path of the object.
    owners: HashMap<String, String>,
}

/// A file that was read.
#[derive(Debug)]
struct File {
    fingerprint: Fingerprint,
    /// The hash of its text; `None` if it could not be read.
    hash: Option<String>,
    findings: Vec<Finding>,
    /// True if it has to be tried again although it has not changed.
    is_open: bool,
}

/// The objects of a file, in the order in which they are applied.
type Objects = Vec<(usize, Value)>;

impl Pass {
    /// Begins with a folder that has not been read.
    pub(super) fn new(root: PathBuf, applier: Applier) -> Self {
        Self {
            root,
            applier,
            files: BTreeMap::new(),
            owners: HashMap::new(),
        }
    }

    /// Reads the files that have changed, except those in `busy`, and applies them. Returns the
    /// folders to watch, and all findings. `is_timed` is false if a change led to this pass.
    pub(super) async fn run(
        &mut self,
        busy: HashSet<PathBuf>,
        is_timed: bool,
    ) -> (Vec<PathBuf>, Vec<Finding>) {
        let root = self.root.clone();
        let Scan {
            files,
            folders,
            mut findings,
        } = blocking(move || folder::scan(&root))
            .await
            .unwrap_or_default();

        // Another file may have the object of one that is gone.
        self.files.retain(|name, _file| files.contains_key(name));
        let (owners, known) = (&mut self.owners, &self.files);
        owners.retain(|_object, owner| known.contains_key(owner));

        let mut due = Vec::new();
        for (name, fingerprint) in files {
            let is_busy = busy.contains(&self.root.join(&name));
            let known = self.files.get(&name);
            let is_same =
                known.is_some_and(|file| file.fingerprint == fingerprint && !file.is_open);

            if is_busy && is_timed {
                let message = "it is being written, and is read when its writer closes it";
                findings.push(Finding::of_file(&name, Reason::Skipped, message));
            }
            if !is_busy && !is_same {
                due.push((name, fingerprint));
            }
        }

        for _round in 0..ROUNDS {
            let mut progress = false;
            for (name, fingerprint) in &due {
                progress |= self.file(name, *fingerprint).await;
            }
            due.retain(|(name, _)| self.files.get(name).is_some_and(|file| file.is_open));
            if !progress || due.is_empty() {
                break;
            }
        }

        findings.extend(self.files.values().flat_map(|file| file.findings.clone()));
        if findings.len() > MAX_FINDINGS {
            let more = findings.len() - MAX_FINDINGS;
            findings.truncate(MAX_FINDINGS);
            let message = format!("there are {more} more findings");
            findings.push(Finding::of_file(".", Reason::Unreadable, message));
        }
        (folders, findings)
    }

    /// Reads and applies a file, unless it still has the same text. Returns true if an object was
    /// applied.
    async fn file(&mut self, name: &str, fingerprint: Fingerprint) -> bool {
        let path = self.root.join(name);
        let read = blocking(move || folder::read(&path)).await;
        let text = match read.unwrap_or(Err(ReadError::NotText)) {
            Ok(text) => text,
            Err(error) => {
                // A full table of descriptors, a file system that is away: they pass.
                let is_open = matches!(error, ReadError::Io(_));
                let finding = Finding::of_file(name, Reason::Unreadable, error.to_string());
                self.set(name, fingerprint, None, vec![finding], is_open);
                return false;
            }
        };

        let hash = sha256(text.as_bytes());
        if let Some(known) = self.files.get_mut(name)
            && known.hash.as_deref() == Some(&*hash)
            && !known.is_open
        {
            known.fingerprint = fingerprint;
            return false;
        }

        match objects(name, text.trim_start_matches('\u{feff}')) {
            Ok(objects) => {
                let (findings, is_open, applied) = self.apply(name, objects).await;
                self.set(name, fingerprint, Some(hash), findings, is_open);
                applied
            }
            Err(findings) => {
                self.set(name, fingerprint, Some(hash), findings, false);
                false
            }
        }
    }

    fn set(
        &mut self,
        name: &str,
        fingerprint: Fingerprint,
        hash: Option<String>,
        mut findings: Vec<Finding>,
        is_open: bool,
    ) {
        if findings.len() > MAX_OF_FILE {
            let more = findings.len() - MAX_OF_FILE;
            findings.truncate(MAX_OF_FILE);
            let message = format!("there are {more} more findings");
            findings.push(Finding::of_file(name, Reason::Invalid, message));
        }
        let file = File {
            fingerprint,
            hash,
            findings,
            is_open,
        };
        self.files.insert(name.to_owned(), file);
    }

    /// Applies the objects of a file. Returns the findings; true if the file has to be tried again;
    /// and true if an object was applied.
    async fn apply(&mut self, name: &str, objects: Objects) -> (Vec<Finding>, bool, bool) {
        let (mut findings, mut is_open, mut applied) = (Vec::new(), false, false);
        self.owners.retain(|_object, owner| owner != name);

        for (document, object) in objects {
            let finding = |reason, field: &str, message: &str| Finding {
                file: name.to_owned(),
                document: Some(document),
                object: describe(&object),
                reason,
                field: field.to_owned(),
                message: message.to_owned(),
            };

            // The API names the problem of an object without a path.
            let path = Applier::path(&object).unwrap_or_default();
            if let Some(owner) = self.owners.get(&path) {
                let message = match owner == name {
                    true => "the file has this object twice; the first counts".to_owned(),
                    false => format!("{owner} has this object too, and counts"),
                };
                // The other file may go.
                is_open |= owner != name;
                findings.push(finding(Reason::Duplicate, "", &message));
                continue;
            }
            if !path.is_empty() {
                self.owners.insert(path, name.to_owned());
            }

            match self.applier.apply(&object).await {
                Ok(warnings) => {
                    applied = true;
                    for warning in warnings {
                        tracing::info!(file = name, document, warning, "manifest");
                    }
                }
                Err(Refusal {
                    message,
                    causes,
                    is_passing,
                }) => {
                    is_open |= is_passing;

                    if causes.is_empty() {
                        findings.push(finding(Reason::Invalid, "", &message));
                    }
                    let causes = causes.iter();
                    findings.extend(
                        causes.map(|one| finding(Reason::Invalid, &one.field, &one.message)),
                    );
                }
            }
        }

        if applied {
            tracing::info!(file = name, failed = findings.len(), "manifest applied");
        }
        (findings, is_open, applied)
    }
}

/// Runs `work` where it may wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}

/// Returns the objects of a text: namespaces first, then others without a namespace. If one
/// document is broken, there are none: the file may be half written.
fn objects(name: &str, text: &str) -> Result<Objects, Vec<Finding>> {
    let file: Arc<str> = name.into();
    let (mut objects, mut findings) = (Vec::new(), Vec::new());

    for Document { place, content } in documents::parse(&file, text) {
        let message = match content {
            Content::Value(value) if is_object(&value) => {
                objects.push((place.document, value));
                continue;
            }
            Content::Value(_) => "it has no apiVersion, kind or metadata".to_owned(),
            Content::Broken(why) => why,
            Content::Template => "it is a template, which has to be rendered first".to_owned(),
        };

        findings.push(Finding {
            document: Some(place.document),
            ..Finding::of_file(name, Reason::Unreadable, message)
        });
    }
    if !findings.is_empty() {
        return Err(findings);
    }

    objects.sort_by_key(|(document, object)| {
        let is_namespace = object["kind"] == "Namespace";
        let is_namespaced = object["metadata"].get("namespace").is_some();
        (!is_namespace, is_namespaced, *document)
    });
    Ok(objects)
}

fn is_object(value: &Value) -> bool {
    value["apiVersion"].is_string() && value["kind"].is_string() && value["metadata"].is_object()
}

/// Returns kind, namespace and name of an object: `Ingress shop/web`.
fn describe(object: &Value) -> String {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    match (text("namespace"), text("name")) {
        ("", name) => format!("{kind} {name}"),
        (namespace, name) => format!("{kind} {namespace}/{name}"),
    }
}
