//! Formats the report of `check`.

use std::{collections::BTreeMap, fmt::Write};

use super::columns::{Row, rows_of, section, table};
use crate::{
    admin::{OtherClassReport, Severity},
    app::{CheckReport, KindReport, ObjectAnnotations, Outcome},
};

/// Formats the output of `check`.
pub(super) fn check(report: &CheckReport) -> String {
    let findings = report.findings.iter();
    let rows: Vec<Row> = findings
        .map(|finding| {
            vec![
                finding.severity.name().to_owned(),
                finding.place.clone(),
                finding.object.clone(),
                finding.reason.as_str().to_owned(),
                finding.field.clone(),
                finding.message.clone(),
            ]
        })
        .collect();

    let mut out = table(
        &["SEVERITY", "FILE", "OBJECT", "REASON", "FIELD", "MESSAGE"],
        &rows,
        None,
    );

    let objects = rows_of(&report.annotations, annotations_row);
    let columns = [
        "OBJECT",
        "ANNOTATIONS",
        "HONOURED",
        "DIFFERENT",
        "WITHOUT EFFECT",
        "CLOSED",
    ];
    section(
        &mut out,
        "Annotations of other controllers:",
        &columns,
        &objects,
        None,
    );
    let columns = ["ANNOTATION", "OBJECTS", "DIFFERENCE"];
    section(
        &mut out,
        "Different from the controller that has the annotation:",
        &columns,
        &differences(report),
        None,
    );
    if !objects.is_empty() {
        out.push('\n');
    }

    for line in unchecked(report) {
        out += &line;
        out.push('\n');
    }

    let warnings = report.findings.iter();
    let warnings = warnings
        .filter(|one| one.severity == Severity::Warning)
        .count();
    // Writing into a string cannot fail.
    let _ = writeln!(
        out,
        "{} checked, {}",
        counted(report.objects, "object"),
        counted(warnings, "warning")
    );
    out
}

/// Returns the row of an object with the number of its annotations by their outcomes.
fn annotations_row(report: &ObjectAnnotations) -> Row {
    let mut row = vec![report.object.clone(), report.annotations.len().to_string()];
    let outcomes = [
        Outcome::Honoured,
        Outcome::Different,
        Outcome::WithoutEffect,
        Outcome::Closed,
    ];
    row.extend(outcomes.map(|outcome| match report.count(outcome) {
        0 => "-".to_owned(),
        count => count.to_string(),
    }));
    row
}

/// Returns a row for each annotation that differs without a finding.
fn differences(report: &CheckReport) -> Vec<Row> {
    let mut different: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let annotations = report.annotations.iter().flat_map(|one| &one.annotations);
    for one in annotations.filter(|one| !one.difference.is_empty()) {
        *different.entry((&one.name, one.difference)).or_default() += 1;
    }

    let row = |((name, difference), count): ((&str, &str), usize)| {
        vec![name.to_owned(), count.to_string(), difference.to_owned()]
    };
    different.into_iter().map(row).collect()
}

/// Returns a number with its noun, in the plural unless it is 1.
fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// Lists what a check has not looked at, one line each.
fn unchecked(report: &CheckReport) -> Vec<String> {
    let mut lines: Vec<String> = report.other_classes.iter().map(other_class).collect();

    let mut programs: Vec<&str> = report.not_served.iter().map(|one| one.part_of).collect();
    programs.sort_unstable();
    programs.dedup();
    for program in programs {
        let kinds = report.not_served.iter();
        let kinds: Vec<String> = kinds
            .filter(|one| one.part_of == program)
            .map(|one| format!("{} {} ({})", one.count, one.kind, shortened(&one.names)))
            .collect();
        lines.push(format!("Not served, of {program}: {}", kinds.join(", ")));
    }

    let count = |one: &KindReport| format!("{} {}", one.count, one.kind);
    let other_kinds: Vec<String> = report.other_kinds.iter().map(count).collect();
    for (title, list) in [
        ("Other kinds", &other_kinds),
        ("No objects in", &report.without_objects),
    ] {
        if !list.is_empty() {
            lines.push(format!("{title}: {}", shortened(list)));
        }
    }

    lines
}

/// Describes the Ingresses of a class that is not served.
fn other_class(report: &OtherClassReport) -> String {
    let ingresses = match report.ingresses {
        1 => "1 Ingress".to_owned(),
        count => format!("{count} Ingresses"),
    };

    let class = match &*report.class {
        "" => "without a class".to_owned(),
        class => {
            format!("of class {class} (see docs/migrating.md, and `gatelet check --class {class}`)")
        }
    };

    let closed = match report.guarded {
        0 => String::new(),
        guarded => {
            let guards = report.guards.iter();
            let guards: Vec<String> = guards.map(|guard| guard.annotation.clone()).collect();
            let guards = shortened(&guards);
            format!(
                "; {guarded} of them would return 503, because of guards that are not supported: \
                 {guards}"
            )
        }
    };

    format!("Not served: {ingresses} {class}{closed}")
}

/// Joins the first items of a list, and counts the others.
fn shortened(list: &[String]) -> String {
    const SHOWN: usize = 8;
    match list.len().saturating_sub(SHOWN) {
        0 => list.join(", "),
        more => format!("{}, and {more} more", list[..SHOWN].join(", ")),
    }
}
