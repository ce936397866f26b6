//! Outcomes of the annotations of each object, for those who take over manifests from another
//! Ingress controller.

use serde::Serialize;
use serde_json::Value;

use crate::{
    controller::{Finding, Index, Reason, peers::difference},
    objects::Kind,
};

/// The annotations of an object.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectAnnotations {
    /// The object.
    pub object: String,
    /// Its annotations of Ingress controllers, by name.
    pub annotations: Vec<AnnotationReport>,
}

impl ObjectAnnotations {
    /// Returns the number of annotations with an outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        let all = self.annotations.iter();
        all.filter(|one| one.outcome == outcome).count()
    }
}

/// An annotation with its outcome.
#[derive(Clone, Debug, Serialize)]
pub struct AnnotationReport {
    /// Its name.
    pub name: Box<str>,
    /// Its outcome.
    pub outcome: Outcome,
    /// The difference from the controller that it comes from; empty for nothing, or if a finding
    /// explains it.
    pub difference: &'static str,
}

/// The outcome of an annotation. The later one counts if several hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Outcome {
    /// It does what it does with the controller that it comes from.
    Honoured,
    /// It does that with a difference.
    Different,
    /// It does nothing.
    WithoutEffect,
    /// The paths return 503 because of it.
    Closed,
}

/// An object with annotations of Ingress controllers.
#[derive(Debug)]
pub(super) struct Annotated {
    kind: Kind,
    namespace: Box<str>,
    name: Box<str>,
    annotations: Vec<AnnotationReport>,
}

impl Annotated {
    /// Reads the annotations of an Ingress or a Service; `None` if it has none of those.
    pub(super) fn read(kind: Kind, object: &Value) -> Option<Self> {
        if !matches!(kind, Kind::Ingress | Kind::Service) {
            return None;
        }

        let metadata = &object["metadata"];
        let text = |key: &str| metadata[key].as_str().unwrap_or_default().into();
        let report = |name: &String| {
            let difference = difference(name)?;
            Some(AnnotationReport {
                name: name.as_str().into(),
                outcome: match difference {
                    "" => Outcome::Honoured,
                    _ => Outcome::Different,
                },
                difference,
            })
        };
        let annotations: Vec<AnnotationReport> = metadata["annotations"]
            .as_object()?
            .keys()
            .filter_map(report)
            .collect();

        (!annotations.is_empty()).then(|| Self {
            kind,
            namespace: text("namespace"),
            name: text("name"),
            annotations,
        })
    }

    /// Takes in a finding about the object.
    pub(super) fn add(&mut self, finding: &Finding) {
        let outcome = match finding.reason {
            _ if finding.closes() => Outcome::Closed,
            Reason::InvalidAnnotation
            | Reason::UnknownAnnotation
            | Reason::UnsupportedAnnotation
            | Reason::UnsupportedGuard
            | Reason::UnusedCanary => Outcome::WithoutEffect,
            _ => Outcome::Different,
        };

        let annotation = self.annotations.iter_mut().find(|one| {
            let field = finding.field.strip_prefix("metadata.annotations[");
            field.and_then(|rest| rest.strip_suffix(']')) == Some(&one.name)
        });
        if let Some(annotation) = annotation
            && outcome > annotation.outcome
        {
            (annotation.outcome, annotation.difference) = (outcome, "");
        }
    }

    /// Reports whether gatelet serves the object, or what leads to it.
    pub(super) fn is_served(&self, index: &Index) -> bool {
        match self.kind {
            Kind::Ingress => index.serves(&self.namespace, &self.name),
            _ => index.leads_to(&self.namespace, &self.name),
        }
    }

    /// Returns the report of the object with this name.
    pub(super) fn report(self, object: String) -> ObjectAnnotations {
        ObjectAnnotations {
            object,
            annotations: self.annotations,
        }
    }
}
