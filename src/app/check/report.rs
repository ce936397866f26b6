//! What a check has to say.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::admin::FindingReport;

/// What the files come to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckReport {
    /// Objects of the kinds that are looked at.
    pub objects: usize,
    /// Objects of other kinds, passed over.
    pub others: usize,
    /// What is wrong or worth knowing.
    pub findings: Vec<CheckFinding>,
    /// Kinds that decide about routing or certificates with another program, and are not served.
    pub not_served: Vec<KindReport>,
    /// Ingresses of classes that are not served.
    pub other_classes: Vec<ClassReport>,
    /// Other kinds.
    pub other_kinds: Vec<KindReport>,
    /// Files without an object.
    pub without_objects: Vec<String>,
}

/// A finding, and where its object is.
#[derive(Clone, Debug, Serialize)]
pub struct CheckFinding {
    /// The finding.
    #[serde(flatten)]
    pub finding: FindingReport,
    /// File and line of the document; empty where it is about no single one.
    pub place: String,
}

/// Objects of a kind that is not looked at.
#[derive(Clone, Debug, Serialize)]
pub struct KindReport {
    /// The kind.
    pub kind: String,
    /// What it is part of (`Traefik`); empty where that is not known.
    pub part_of: &'static str,
    /// How many there are.
    pub count: usize,
    /// `namespace/name` of each, sorted.
    pub names: Vec<String>,
}

/// Ingresses of a class that is not served.
#[derive(Clone, Debug, Serialize)]
pub struct ClassReport {
    /// The class; empty for those that name none.
    pub class: String,
    /// How many Ingresses are of it.
    pub ingresses: usize,
    /// How many of them would have paths closed, if the class were served.
    pub guarded: usize,
    /// The annotations that would close them, with how many Ingresses have each.
    pub guards: Vec<(String, usize)>,
}

impl CheckReport {
    /// Whether anything takes a rule down or weakens it.
    pub fn has_warnings(&self) -> bool {
        self.findings.iter().any(|one| one.finding.severity == "Warning")
    }

    /// Takes in the kinds that were not looked at, the most frequent first.
    pub(super) fn passed_over(&mut self, kinds: BTreeMap<(Option<&'static str>, String), Vec<String>>) {
        for ((part_of, kind), mut names) in kinds {
            names.sort();
            let list = if part_of.is_some() { &mut self.not_served } else { &mut self.other_kinds };
            list.push(KindReport { kind, part_of: part_of.unwrap_or_default(), count: names.len(), names });
        }
        for list in [&mut self.not_served, &mut self.other_kinds] {
            list.sort_by_key(|one| std::cmp::Reverse(one.count));
        }
    }
}

pub(super) fn finding(severity: &str, object: String, reason: &str, field: &str, message: String) -> FindingReport {
    FindingReport { severity: severity.to_owned(), object, reason: reason.to_owned(), field: field.to_owned(), message }
}
