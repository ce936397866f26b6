//! Reads the parameters of IngressClasses: ConfigMaps with defaults of annotations for the
//! Ingresses of a class.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Finding, Reason,
    annotations::{self, CLASS_PREFIXES, GlobalAnnotation},
    config_maps::{self, NO},
    facts::{ClassFact, ConfigMapFact},
    globals::ClassSettings,
    objects::{Name, Objects},
    peers::{self, Meaning, On},
};
use crate::{
    objects::{EventType, Texts},
    routing::Refusal,
};

/// Reads the parameters of all classes that are ours.
pub(super) fn read(objects: &Objects) -> BTreeMap<Arc<str>, ClassSettings> {
    let classes = objects.classes.iter();
    let ours = classes.filter(|(name, fact)| fact.ours || objects.settings.has_class(name));
    ours.map(|(name, fact)| (name.clone(), of_class(objects, name, fact)))
        .collect()
}

fn of_class(objects: &Objects, class: &Arc<str>, fact: &ClassFact) -> ClassSettings {
    let Some(parameters) = &fact.parameters else {
        return ClassSettings::default();
    };
    if !parameters.api_group.is_empty() || *parameters.kind != *"ConfigMap" {
        let message = format!(
            "its parameters are a {} {}, which gatelet does not read: they have no effect",
            parameters.kind, parameters.name
        );
        return ClassSettings {
            findings: vec![Finding {
                about: fact.about.clone(),
                severity: EventType::Warning,
                reason: Reason::UnsupportedSetting,
                field: "spec.parameters".into(),
                message: message.into(),
            }],
            ..ClassSettings::default()
        };
    }

    let namespace = match &parameters.namespace {
        Some(namespace) => Arc::from(&**namespace),
        None => objects.settings.namespace.clone(),
    };
    let map: Name = (namespace, Arc::from(&*parameters.name));
    let Some(found) = objects.config_maps.get(&map) else {
        return missing(objects, class, fact, map);
    };

    let mut reader = Reader {
        objects,
        class,
        fact: found,
        out: ClassSettings {
            map: Some(map),
            ..ClassSettings::default()
        },
    };
    for (key, value) in &found.data {
        reader.key(key, value.trim());
    }
    reader.out
}

/// Returns the settings of a class whose ConfigMap does not exist. One that is not followed yet may
/// exist: until then the class stays as it is.
fn missing(objects: &Objects, class: &Arc<str>, fact: &ClassFact, map: Name) -> ClassSettings {
    let known = objects.known_maps.as_ref();
    if known.is_some_and(|known| !known.contains(&map)) {
        let before = objects.class_settings.get(class).cloned();
        let closed = || ClassSettings {
            closed: Some((
                Reason::ConfigMapNotFound,
                Refusal::InvalidGuard,
                String::new(),
            )),
            ..ClassSettings::default()
        };
        return ClassSettings {
            map: Some(map),
            waits: true,
            ..before.unwrap_or_else(closed)
        };
    }

    let message = format!(
        "the ConfigMap {}/{} that the parameters of IngressClass {class} name does not exist, or \
         is not shown: the paths return 503",
        map.0, map.1
    );
    ClassSettings {
        map: Some(map),
        closed: Some((
            Reason::ConfigMapNotFound,
            Refusal::InvalidGuard,
            message.clone(),
        )),
        findings: vec![Finding {
            about: fact.about.clone(),
            severity: EventType::Warning,
            reason: Reason::ConfigMapNotFound,
            field: "spec.parameters".into(),
            message: message.into(),
        }],
        ..ClassSettings::default()
    }
}

struct Reader<'a> {
    objects: &'a Objects,
    class: &'a str,
    fact: &'a ConfigMapFact,
    out: ClassSettings,
}

impl Reader<'_> {
    fn key(&mut self, key: &str, value: &str) {
        let names = CLASS_PREFIXES.iter().map(|prefix| format!("{prefix}{key}"));
        let names: Vec<String> = match key.contains('/') {
            true => vec![key.to_owned()],
            false => names.collect(),
        };

        let is_implemented = |name: &&String| annotations::is_known(name);
        if let Some(name) = names.iter().find(is_implemented) {
            self.add(key, name, value);
            return;
        }
        let meanings = names.iter().map(|name| meaning(name, value));
        let known = meanings.filter(|meaning| *meaning != Meaning::Unknown);
        match known.into_iter().next() {
            Some(Meaning::Guard(what, _)) => self.guard(key, format!("it asks for {what}")),
            Some(Meaning::Canary | Meaning::HttpsOnly) => {
                self.guard(
                    key,
                    "it decides about requests, and is not supported".to_owned(),
                );
            }
            Some(Meaning::Unsupported(effect)) => self.note(key, effect.to_owned()),
            Some(Meaning::Detail(of)) => self.note(key, format!("it has no effect without {of}")),
            Some(Meaning::Nothing | Meaning::OnIngresses) => {}
            Some(Meaning::Unknown) | None => {
                let is_guard = peers::suggests_a_guard(key) && !NO.contains(&value);
                match is_guard {
                    true => {
                        self.guard(key, "it asks for a guard that is not supported".to_owned());
                    }
                    false => self.note(key, "it has no effect here".to_owned()),
                }
            }
        }
    }

    /// Adds the value of an annotation, if it is valid.
    fn add(&mut self, key: &str, name: &str, value: &str) {
        let entry = (name.into(), value.into());
        let mut values = annotations::read(std::slice::from_ref(&entry));
        if let Some((_, directive)) = values.snippet.unknown.take() {
            self.guard(key, format!("{directive} has no equivalent"));
            return;
        }

        let mut is_valid = true;
        for finding in &values.findings {
            match finding.reason {
                Reason::InvalidAnnotation if values.is_closed => {
                    self.close(key, finding.message.clone());
                    return;
                }
                Reason::InvalidAnnotation => {
                    is_valid = false;
                    self.report(key, EventType::Warning, finding.message.clone());
                }
                _ => self.report(key, EventType::Normal, finding.message.clone()),
            }
        }

        let (name, value) = entry;
        if is_valid {
            self.out.annotations.push(GlobalAnnotation {
                name,
                value,
                always: false,
            });
        }
    }

    /// Closes the paths because of a guard that is not supported, unless the settings ignore it.
    fn guard(&mut self, key: &str, message: String) {
        match config_maps::ignored(self.objects, &message) {
            Some(note) => self.note(key, note),
            None => self.close(key, message),
        }
    }

    fn close(&mut self, key: &str, message: String) {
        let (namespace, name) = (&self.fact.about.key.namespace, &self.fact.about.key.name);
        let message = message.trim_end_matches(annotations::CLOSED);
        let all = format!(
            "data[{key}] of ConfigMap {namespace}/{name}, the parameters of IngressClass {}: \
             {message}: the paths return 503",
            self.class
        );
        let closed = (Reason::UnsupportedGuard, Refusal::UnsupportedGuard, all);
        self.out.closed.get_or_insert(closed);

        let message = format!("{message}: the paths of all Ingresses of the class return 503");
        self.report(key, EventType::Warning, message);
    }

    fn note(&mut self, key: &str, message: String) {
        self.report(key, EventType::Normal, message);
    }

    fn report(&mut self, key: &str, severity: EventType, message: String) {
        let finding = config_maps::finding(self.fact, key, severity, message);
        self.out.findings.push(finding);
    }
}

/// Returns the meaning of an annotation that gatelet does not implement.
fn meaning(name: &str, value: &str) -> Meaning {
    let texts: Texts = [(name, value)].into_iter().collect();
    let found = peers::read(&texts, On::Ingress);
    found.first().map_or(Meaning::Nothing, |one| one.meaning)
}
