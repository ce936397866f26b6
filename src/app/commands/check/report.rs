//! The report of a check.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::annotated::ObjectAnnotations;
use crate::{
    admin::{FindingReport, OtherClassReport, Severity},
    controller::Reason,
};

/// The result of a check.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckReport {
    /// Number of objects that were checked.
    pub objects: usize,
    /// Number of objects of other kinds.
    pub others: usize,
    /// Findings, sorted by object and field.
    pub findings: Vec<CheckFinding>,
    /// Objects with annotations of Ingress controllers, and what becomes of each annotation.
    pub annotations: Vec<ObjectAnnotations>,
    /// Kinds of other programs that route, guard or certify, and are not served.
    pub not_served: Vec<KindReport>,
    /// Classes of Ingresses that are not served.
    pub other_classes: Vec<OtherClassReport>,
    /// Other kinds.
    pub other_kinds: Vec<KindReport>,
    /// Files without an object.
    pub without_objects: Vec<String>,
}

/// A finding with the position of its object.
#[derive(Clone, Debug, Serialize)]
pub struct CheckFinding {
    /// `Warning` or `Normal`.
    pub severity: Severity,
    /// The object, or the document if it holds none.
    pub object: String,
    /// The reason.
    pub reason: CheckReason,
    /// The field concerned; empty for the whole object.
    pub field: String,
    /// One sentence.
    pub message: String,
    /// File and line of the document; empty if the finding is not about a single one.
    pub place: String,
}

impl CheckFinding {
    /// Creates a finding from the report of one.
    pub(super) fn of(report: FindingReport, reason: CheckReason, place: String) -> Self {
        Self {
            severity: report.severity,
            object: report.object,
            reason,
            field: report.field,
            message: report.message,
            place,
        }
    }
}

/// The reason of a finding. `docs/findings.md` lists them for users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckReason {
    /// A reason of the compiler.
    Compiler(Reason),
    /// The API server would refuse the object.
    Invalid,
    /// Kubernetes has removed the version of the object.
    OldVersion,
    /// The file is a template.
    Template,
    /// A field does not exist.
    UnknownField,
    /// A document is not an object.
    Unreadable,
}

impl CheckReason {
    /// The reasons that the compiler does not have.
    #[cfg(test)]
    pub(super) const OWN: [Self; 5] = [
        Self::Invalid,
        Self::OldVersion,
        Self::Template,
        Self::UnknownField,
        Self::Unreadable,
    ];

    /// Returns the name that reports use. It is stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Compiler(reason) => reason.as_str(),
            Self::Invalid => "Invalid",
            Self::OldVersion => "OldVersion",
            Self::Template => "Template",
            Self::UnknownField => "UnknownField",
            Self::Unreadable => "Unreadable",
        }
    }
}

impl Serialize for CheckReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The objects of a kind that is not checked.
#[derive(Clone, Debug, Serialize)]
pub struct KindReport {
    /// The kind.
    pub kind: String,
    /// The program that it belongs to (`Traefik`), if that routes, guards or certifies; else empty.
    pub part_of: &'static str,
    /// Number of objects.
    pub count: usize,
    /// `namespace/name` of each, sorted.
    pub names: Vec<String>,
}

impl CheckReport {
    /// Returns whether any finding is a warning.
    pub fn has_warnings(&self) -> bool {
        self.findings
            .iter()
            .any(|one| one.severity == Severity::Warning)
    }

    /// Adds the kinds that were not checked, the most frequent first.
    pub(super) fn add_unchecked(
        &mut self,
        kinds: BTreeMap<(Option<&'static str>, String), Vec<String>>,
    ) {
        for ((part_of, kind), mut names) in kinds {
            names.sort();
            let list = if part_of.is_some() {
                &mut self.not_served
            } else {
                &mut self.other_kinds
            };
            list.push(KindReport {
                kind,
                part_of: part_of.unwrap_or_default(),
                count: names.len(),
                names,
            });
        }

        for list in [&mut self.not_served, &mut self.other_kinds] {
            list.sort_by_key(|one| std::cmp::Reverse(one.count));
        }
    }
}
