//! The offline check: runs the compiler over files and reports its findings.

mod annotated;
mod kinds;
mod report;
mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use rustls::pki_types::UnixTime;
use serde_json::{Value, json};

use self::{annotated::Annotated, kinds::Sort, source::Source};
use crate::{
    admin::Severity,
    apiserver::{
        defaults,
        schema::{self, ContentType},
        validate,
    },
    app::{
        certificates::issuers::Issuers,
        control::{
            parsed::{self, Parsed},
            publish,
        },
        settings,
    },
    config::{Config, Mode},
    controller::{Finding, Index, Message, Missing, Reason},
    http_client::Clock,
    objects::{
        Event, Kind, RawObject,
        documents::{Content, Document, Place},
    },
    routing::HostPattern,
};

pub use annotated::{ObjectAnnotations, Outcome};
pub use report::{CheckFinding, CheckReason, CheckReport, KindReport};
pub use source::ReadError;

/// The name of our IngressClass.
const OWN_CLASS: &str = "gatelet";
/// The namespace of gatelet itself, if the settings name none.
const NAMESPACE: &str = "gatelet";

/// Checks files, folders (their `*.yaml`, `*.yml`, `*.json`) and standard input (`-`) as one set of
/// objects.
///
/// Issuers come from the configuration, from the objects and from what is built in. `classes` are
/// served like our own. Without a configuration every setting has its default, and Ingresses
/// without a class are served.
pub fn check(
    paths: &[PathBuf],
    config: Option<&Config>,
    classes: &[String],
) -> Result<CheckReport, ReadError> {
    let sources = Source::find(paths)?;
    let mut check = Check::new(config, classes);
    for source in &sources {
        check.source(source)?;
    }
    Ok(check.finish())
}

/// The state of a check.
struct Check {
    index: Index,
    issuers: Issuers,
    report: CheckReport,
    /// The position of each object, by its name in findings.
    places: HashMap<String, Place>,
    /// Namespaces of which the files hold Services, Secrets or objects of Traefik.
    held: HashSet<(Kind, String)>,
    /// The objects with annotations of Ingress controllers, by their names in findings.
    annotated: BTreeMap<String, Annotated>,
    /// Names of the objects that are not checked, by program and kind.
    unchecked: BTreeMap<(Option<&'static str>, String), Vec<String>>,
}

impl Check {
    fn new(config: Option<&Config>, classes: &[String]) -> Self {
        let time: Clock = Arc::new(UnixTime::now);
        let defaults = Config {
            classless: true,
            ..Config::default()
        };

        let mut config = config.unwrap_or(&defaults).clone();
        config.classes.extend_from_slice(classes);
        let issuers = Issuers::load(&config, time);

        // Without `mode` nothing tells a cluster from the mini cluster. Then Ingresses without a
        // class are served, as in the mini cluster, and selectors find Pods, as in a cluster: both
        // avoid false alarms.
        let is_cluster = config.mode == Mode::Kubernetes
            || (config.mode == Mode::Auto && config.kubeconfig.is_some());
        let is_mini = config.mode == Mode::Standalone;
        let own_ports = settings::own_ports(&config, &[], &[]);
        let namespace = config.namespace.as_deref().unwrap_or(NAMESPACE);
        let settings =
            settings::controller(&config, is_mini, Vec::new(), &issuers, own_ports, namespace);

        let parsed = Parsed::default();
        let inspect = move |chain: &[u8], key: &[u8], pattern: &HostPattern| {
            parsed.inspect(chain, key, pattern)
        };
        let mut check = Self {
            index: Index::new(settings, Box::new(inspect))
                .reading_authorities(Box::new(parsed::authorities)),
            issuers,
            report: CheckReport::default(),
            places: HashMap::new(),
            held: HashSet::new(),
            annotated: BTreeMap::new(),
            unchecked: BTreeMap::new(),
        };
        check.add_own_class(&config.controller, !is_cluster);

        check
    }

    /// Adds the IngressClass that gatelet's manifest and its mini cluster have.
    fn add_own_class(&mut self, controller: &str, is_default: bool) {
        let body = json!({
            "metadata": {
                "name": OWN_CLASS,
                "annotations": {
                    "ingressclass.kubernetes.io/is-default-class": is_default.to_string(),
                },
            },
            "spec": { "controller": controller },
        });
        if let Ok(class) = RawObject::parse(Kind::IngressClass, Bytes::from(body.to_string())) {
            self.index.apply(Event::Apply(Arc::new(class)));
        }
    }

    fn source(&mut self, source: &Source) -> Result<(), ReadError> {
        let documents = source.documents()?;
        let (mut has_objects, mut has_template) = (false, false);

        for document in documents {
            match &document.content {
                Content::Template => has_template = true,
                Content::Broken(_) => has_objects = true,
                Content::Value(value) => has_objects |= kinds::sort(value) != Sort::Data,
            }
            has_template |= self.document(document);
        }

        if has_template {
            let severity = if source.named {
                Severity::Warning
            } else {
                Severity::Normal
            };
            let message = "it looks like a Helm template and is not checked: render it with \
                           `helm template`, and check the result, for example with \
                           `gatelet check -`";
            self.report.findings.push(CheckFinding {
                severity,
                object: source.name().to_string(),
                reason: CheckReason::Template,
                field: String::new(),
                message: message.to_owned(),
                place: String::new(),
            });
        } else if !has_objects {
            self.report.without_objects.push(source.name().to_string());
        }

        Ok(())
    }

    /// Takes in a document. Returns whether it is a template: quoted, one can be YAML.
    fn document(&mut self, Document { place, content }: Document) -> bool {
        let unreadable = |message: String| CheckFinding {
            severity: Severity::Warning,
            object: format!("{}, document {}", place.file, place.document),
            reason: CheckReason::Unreadable,
            field: String::new(),
            message,
            place: place.to_string(),
        };

        let value = match content {
            Content::Template => return true,
            Content::Broken(why) => {
                self.report.findings.push(unreadable(why));
                return false;
            }
            Content::Value(value) => value,
        };

        match kinds::sort(&value) {
            Sort::Data => {}
            Sort::Wrong(why) => self.report.findings.push(unreadable(why.to_owned())),
            Sort::Object(kind) => {
                let spec = value.get("spec").map(Value::to_string).unwrap_or_default();
                if spec.contains("{{") && !matches!(kind, Kind::ConfigMap | Kind::Secret) {
                    return true;
                }
                self.object(kind, value, place);
            }
            Sort::Old(kind) => {
                let version = value["apiVersion"].as_str().unwrap_or_default();
                let message = kinds::advice(kind, version);
                let object = format!("{} {}", kind.name(), name(kind.namespaced(), &value));
                self.places.insert(object.clone(), place);
                self.warn(object, CheckReason::OldVersion, "apiVersion", message);
            }
            Sort::Other { kind, part_of } => {
                self.report.others += 1;
                let name = name(true, &value);
                self.unchecked
                    .entry((part_of, kind))
                    .or_default()
                    .push(name);
            }
        }

        false
    }

    /// Validates an object as the API does, and passes it to the compiler and the issuers.
    fn object(&mut self, kind: Kind, mut value: Value, place: Place) {
        self.report.objects += 1;
        if kind.namespaced() && value["metadata"]["namespace"].is_null() {
            value["metadata"]["namespace"] = "default".into();
        }
        let object = format!("{} {}", kind.name(), name(kind.namespaced(), &value));
        self.places.insert(object.clone(), place);

        if matches!(kind, Kind::Service | Kind::Secret) || kind.is_optional() {
            let namespace = value["metadata"]["namespace"].as_str().unwrap_or_default();
            self.held.insert((kind, namespace.to_owned()));
        }

        if let Some(annotated) = Annotated::read(kind, &value) {
            self.annotated.insert(object.clone(), annotated);
        }

        let undecodable = CheckReason::Compiler(Reason::Undecodable);
        let decoded = match schema::decode(kind, ContentType::Json, value.to_string().as_bytes()) {
            Ok(decoded) => decoded,
            Err(error) => {
                return self.warn(object, undecodable, error.field(), error.to_string());
            }
        };

        for problem in decoded.problems {
            let (field, text) = (problem.field(), problem.to_string());
            self.warn(object.clone(), CheckReason::UnknownField, field, text);
        }

        let mut value = decoded.value;
        defaults::apply(kind, &mut value);
        defaults::allocate(kind, &mut value);
        let problems = validate::create(kind, &value);
        let refused = !problems.is_empty();
        for problem in problems {
            let reason = CheckReason::Invalid;
            self.warn(object.clone(), reason, &problem.field, problem.message);
        }

        // The rules of a refused Ingress have findings already. Other kinds are kept, or they would
        // seem to be missing.
        if refused && kind == Kind::Ingress {
            return;
        }

        match RawObject::parse(kind, Bytes::from(value.to_string())) {
            Ok(raw) => {
                let event = Event::Apply(Arc::new(raw));
                self.issuers.apply(&event);
                self.index.apply(event);
            }
            Err(error) => self.warn(object, undecodable, &error.field, error.why.to_string()),
        }
    }

    fn warn(&mut self, object: String, reason: CheckReason, field: &str, message: String) {
        self.report.findings.push(CheckFinding {
            severity: Severity::Warning,
            place: self.place(&object),
            object,
            reason,
            field: field.to_owned(),
            message,
        });
    }

    fn place(&self, object: &str) -> String {
        self.places
            .get(object)
            .map(ToString::to_string)
            .unwrap_or_default()
    }

    /// Compiles the objects and completes the report.
    fn finish(mut self) -> CheckReport {
        self.index.set_issuers(self.issuers.names());
        self.index.set_aliases(self.issuers.aliases());
        let compiled = self.index.compile().findings.unwrap_or_default();

        for finding in &compiled {
            let about = finding.about.key.to_string();
            if let Some(annotated) = self.annotated.get_mut(&about) {
                annotated.add(finding);
            }
        }
        let annotated = std::mem::take(&mut self.annotated).into_iter();
        self.report.annotations = annotated
            .filter(|(_, one)| one.is_served(&self.index))
            .map(|(object, one)| one.report(object))
            .collect();

        for finding in compiled.iter().chain(&self.issuers.findings()) {
            let finding = self.placed(finding);
            self.report.findings.push(finding);
        }
        for problem in self.issuers.problems() {
            let report = publish::issuer_report(&problem);
            let reason = CheckReason::Compiler(Reason::InvalidIssuer);
            let finding = CheckFinding::of(report, reason, String::new());
            self.report.findings.push(finding);
        }

        let by = |one: &CheckFinding| (one.object.clone(), one.field.clone());
        self.report.findings.sort_by_cached_key(by);
        self.report.add_unchecked(self.unchecked);
        self.report.other_classes = self
            .index
            .other_classes()
            .iter()
            .map(publish::class_report)
            .collect();
        self.report
    }

    /// Returns a finding of the compiler with its place. A missing Service (or Secret) is a note if
    /// the files hold none of its namespace, and an object of Traefik if they hold none at all: a
    /// cluster can have it.
    fn placed(&self, finding: &Finding) -> CheckFinding {
        let mut report = publish::report(finding);
        let namespace = finding.about.key.namespace.to_string();
        if let Message::Missing(missing) = &finding.message
            && !self.held.contains(&(missing.kind, namespace))
        {
            report.severity = Severity::Normal;
            report.message = not_in_files(missing);
        }

        // Their namespaces are not known: names in annotations are joined with them.
        let unknown = match finding.reason {
            Reason::UnknownMiddleware => Some(Kind::Middleware),
            Reason::UnknownServersTransport => Some(Kind::ServersTransport),
            _ => None,
        };
        let is_held = |kind: &Kind| self.held.iter().any(|(held, _)| held == kind);
        if let Some(kind) = unknown.filter(|kind| !is_held(kind)) {
            let kind = kind.name();
            report.severity = Severity::Normal;
            report.message += &format!(", unless the cluster has it: these files have no {kind}");
        }

        let (reason, place) = (
            CheckReason::Compiler(finding.reason),
            self.place(&report.object),
        );
        CheckFinding::of(report, reason, place)
    }
}

fn not_in_files(Missing { kind, name, effect }: &Missing) -> String {
    let kind = kind.name();
    format!("{kind} {name} is not in these files. Unless the cluster has it: {effect}")
}

/// Formats namespace and name of an object as findings do.
fn name(namespaced: bool, value: &Value) -> String {
    let text = |key: &str| value["metadata"][key].as_str().unwrap_or_default();
    match (namespaced, text("namespace")) {
        (false, _) => text("name").to_owned(),
        (true, "") => format!("default/{}", text("name")),
        (true, namespace) => format!("{namespace}/{}", text("name")),
    }
}
