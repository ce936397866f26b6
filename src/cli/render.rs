//! Formats reports as tables.

use std::fmt::Write;

use serde_json::Value;

use super::columns::{Row, rows_of, section, table};
use crate::{
    admin::{
        BackendReport, CandidateReport, CertificateReport, CertsReport, EndpointReport,
        ExplainReport, FindingReport, IssuanceReport, LeaderReport, OtherClassReport, PortReport,
        StatusReport, StepReport,
    },
    app::Written,
    util::time::UnixSeconds,
};

const CERTIFICATE_COLUMNS: &[&str] = &["HOST", "SERVED FROM", "NOT AFTER", "ISSUER", "INGRESS"];
const ENDPOINT_COLUMNS: &[&str] = &["ENDPOINT", "HEALTH", "REQUESTS", "FAILED CONNECTS"];
const CLASS_COLUMNS: &[&str] = &[
    "CLASS",
    "INGRESSES",
    "WITH GUARDS",
    "ANNOTATIONS THAT WOULD CLOSE PATHS",
];
const FINDING_COLUMNS: &[&str] = &["SEVERITY", "OBJECT", "REASON", "FIELD", "MESSAGE"];

/// Formats the output of `status` in lines of at most `width` characters.
pub(super) fn status(report: &StatusReport, width: Option<usize>) -> String {
    let leader = report.leader.as_ref().map(leader).unwrap_or_default();
    let rows = [
        ("version", report.version.clone()),
        ("node", report.node.clone()),
        ("source", report.source.clone()),
        ("leader", leader),
        ("ready", report.ready.to_string()),
        ("note", report.note.clone()),
        ("uptime", format!("{} s", report.uptime_seconds)),
        ("store", report.store.clone()),
        ("http", report.http.join(" ")),
        ("https", report.https.join(" ")),
        ("api", report.api.clone().unwrap_or_default()),
    ];

    // Most devices have neither, and an empty row would suggest that something is missing.
    let is_optional = |key: &str| ["leader", "note"].contains(&key);
    let rows: Vec<Row> = rows
        .into_iter()
        .filter(|(key, value)| !is_optional(key) || !value.is_empty())
        .map(|(key, value)| vec![key.to_owned(), value])
        .collect();
    let mut out = table(&[], &rows, width);

    let unread = report.unread.iter();
    let unread: Vec<Row> = unread
        .map(|one| vec![one.kind.clone(), one.why.clone()])
        .collect();
    section(
        &mut out,
        "Not read from the cluster",
        &["KIND", "WHY"],
        &unread,
        width,
    );

    let hosts = report.hosts.iter();
    let hosts: Vec<Row> = hosts
        .map(|host| vec![host.host.clone(), host.rules.to_string()])
        .collect();
    section(&mut out, "Hosts", &["HOST", "RULES"], &hosts, width);

    let backends: Vec<Row> = report.backends.iter().flat_map(backend_rows).collect();
    section(
        &mut out,
        "Backends",
        &[&["BACKEND", "PROTOCOL"], ENDPOINT_COLUMNS].concat(),
        &backends,
        width,
    );

    let ports: Vec<Row> = report.ports.iter().flat_map(port_rows).collect();
    section(
        &mut out,
        "Ports",
        &[&["PORT", "STATE", "BACKEND"], ENDPOINT_COLUMNS].concat(),
        &ports,
        width,
    );

    section(
        &mut out,
        "Certificates",
        CERTIFICATE_COLUMNS,
        &rows_of(&report.certificates, certificate_row),
        width,
    );
    section(
        &mut out,
        "Findings",
        FINDING_COLUMNS,
        &rows_of(&report.findings, finding_row),
        width,
    );
    section(
        &mut out,
        "Ingresses of other classes: not served (docs/migrating.md)",
        CLASS_COLUMNS,
        &rows_of(&report.other_classes, class_row),
        width,
    );

    out
}

fn leader(report: &LeaderReport) -> String {
    match (report.leads, &*report.holder) {
        (true, "") => "this replica: there is no Lease".to_owned(),
        (true, holder) => format!("{holder} (this replica)"),
        (false, "") => "unknown".to_owned(),
        (false, holder) => holder.to_owned(),
    }
}

/// Formats the output of `certs list` in lines of at most `width` characters.
pub(super) fn certs(report: &CertsReport, width: Option<usize>) -> String {
    let mut out = String::new();
    if report.clock != "trusted" {
        // Writing into a string cannot fail.
        let _ = writeln!(out, "The clock of this device is {}", report.clock);
    }

    let rows = rows_of(&report.certificates, issuance_row);
    if !rows.is_empty() {
        let columns = [
            "NAME",
            "STATE",
            "SERVED",
            "VALID UNTIL",
            "NEXT",
            "REASON OR PROBLEM",
        ];
        out += &table(&columns, &rows, width);
    }

    section(
        &mut out,
        "Hosts",
        CERTIFICATE_COLUMNS,
        &rows_of(&report.hosts, certificate_row),
        width,
    );
    out
}

fn issuance_row(report: &IssuanceReport) -> Row {
    let issuance = &report.issuance;
    let next = issuance
        .doing
        .clone()
        .or_else(|| issuance.next.map(|next| next.to_string()));
    let problem = match &issuance.problem {
        None => issuance.why.clone(),
        Some(problem) if problem.advice.is_empty() => problem.message.clone(),
        Some(problem) => format!("{}; {}", problem.message, problem.advice),
    };
    vec![
        issuance.name.clone(),
        issuance.state.clone(),
        report.served.clone(),
        moment(issuance.not_after),
        next.unwrap_or_default(),
        problem,
    ]
}

/// Formats a moment; the text is empty if there is none.
fn moment(time: Option<UnixSeconds>) -> String {
    time.map(|time| time.to_string()).unwrap_or_default()
}

/// Formats the output of `certs show`.
pub(super) fn certificate(report: &IssuanceReport) -> String {
    let mut out = String::new();
    let mut line = |title: &str, value: &str| {
        if !value.is_empty() {
            // Writing into a string cannot fail.
            let _ = writeln!(out, "{title:<14}{value}");
        }
    };
    let issuance = &report.issuance;
    let optional = |value: &Option<String>| value.clone().unwrap_or_default();

    line("Name", &issuance.name);
    line("Hosts", &issuance.hosts.join(", "));
    line("Ingresses", &report.ingresses.join(", "));
    line("State", &issuance.state);
    line("Doing", &optional(&issuance.doing));
    line("Served", &report.served);
    line("Fingerprint", &report.fingerprint);
    line("Issuer", &issuance.issuer);
    line("Valid from", &moment(issuance.not_before));
    line("Valid until", &moment(issuance.not_after));
    line("Next", &moment(issuance.next));
    let is_repeated = issuance
        .problem
        .as_ref()
        .is_some_and(|problem| issuance.why.starts_with(&problem.message));
    if !is_repeated {
        line("Reason", &issuance.why);
    }

    if let Some(problem) = &issuance.problem {
        let class = text(&serde_json::to_value(problem.class).unwrap_or_default());
        let (message, attempts, at) = (&problem.message, problem.attempts, &problem.at);
        let problem_text = format!("{message} ({class}, {attempts} in a row, last at {at})");
        line("Problem", &problem_text);
        line("Advice", &problem.advice);
    }

    if let Some(window) = &issuance.suggestion {
        line(
            "CA suggests",
            &format!("{} to {}", window.start, window.end),
        );
        line("Explained at", &optional(&window.explanation));
    }

    if let Some(budget) = &issuance.budget {
        let mut left = format!("{} failed validations this hour", budget.failures_left);
        if let Some(certificates) = budget.certificates_left {
            // Writing into a string cannot fail.
            let _ = write!(left, ", {certificates} certificates this week");
        }
        line("Budget left", &left);
    }

    line("Order", &optional(&issuance.order));
    out
}

/// Formats the output of `explain`.
pub(super) fn explain(report: &ExplainReport) -> String {
    let mut out = format!("{}{}: {}\n", report.host, report.path, report.outcome);

    section(
        &mut out,
        "Rules in order",
        &["HOST", "PATH", "INGRESS", "FIELD", "RESULT"],
        &rows_of(&report.candidates, candidate_row),
        None,
    );
    section(
        &mut out,
        "Steps in order",
        &["STEP", "EFFECT", "FROM"],
        &rows_of(&report.steps, step_row),
        None,
    );
    section(
        &mut out,
        "Endpoints",
        ENDPOINT_COLUMNS,
        &rows_of(&report.endpoints, endpoint_row),
        None,
    );

    if let Some(certificate) = &report.certificate {
        section(
            &mut out,
            "Certificate",
            CERTIFICATE_COLUMNS,
            &[certificate_row(certificate)],
            None,
        );
    }

    section(
        &mut out,
        "Findings",
        FINDING_COLUMNS,
        &rows_of(&report.findings, finding_row),
        None,
    );
    out
}

fn step_row(report: &StepReport) -> Row {
    vec![
        report.step.clone(),
        report.effect.clone(),
        report.from.clone(),
    ]
}

fn candidate_row(report: &CandidateReport) -> Row {
    let result = match (report.wins, report.matches) {
        (true, _) => "wins",
        (false, true) => "matches, comes later",
        (false, false) => "does not match",
    };
    let or = |text: &str, empty: &str| if text.is_empty() { empty } else { text }.to_owned();
    vec![
        or(&report.host, "(default)"),
        or(&report.path, "(default backend)"),
        report.ingress.clone(),
        report.field.clone(),
        result.to_owned(),
    ]
}

/// Formats the output of `config print`.
pub(super) fn settings(settings: &Value) -> String {
    let value = |one: &Value| match one {
        Value::Null => "-".to_owned(),
        one => one.to_string(),
    };
    let rows: Vec<Row> = settings
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| vec![text(&one["key"]), value(&one["value"]), text(&one["from"])])
        .collect();
    table(&["KEY", "VALUE", "FROM"], &rows, None)
}

/// Formats the output of `expose`.
pub(super) fn written(written: &[Written]) -> String {
    let lines = written.iter();
    lines
        .map(|one| format!("{} {}\n", one.object, one.done))
        .collect()
}

/// Returns a row for a class that is not served, with the annotations that would close paths.
fn class_row(report: &OtherClassReport) -> Row {
    let class = match &*report.class {
        "" => "(none)",
        class => class,
    };
    let guards = report.guards.iter();
    let guards: Vec<String> = guards
        .map(|guard| format!("{} ({})", guard.annotation, guard.ingresses))
        .collect();
    vec![
        class.to_owned(),
        report.ingresses.to_string(),
        report.guarded.to_string(),
        guards.join(", "),
    ]
}

/// Returns a row for each endpoint of a backend, or one if there are none.
fn backend_rows(report: &BackendReport) -> Vec<Row> {
    let start = [report.id.clone(), report.protocol.clone()];
    if report.endpoints.is_empty() {
        let none = ["-".to_owned(), "no endpoints: 503".to_owned()];
        return vec![start.into_iter().chain(none).collect()];
    }
    let endpoints = report.endpoints.iter();
    endpoints
        .map(|endpoint| {
            start
                .iter()
                .cloned()
                .chain(endpoint_row(endpoint))
                .collect()
        })
        .collect()
}

fn port_rows(report: &PortReport) -> Vec<Row> {
    let start = [
        report.port.clone(),
        report.state.clone(),
        report.backend.clone(),
    ];
    let mut endpoints: Vec<Row> = report.endpoints.iter().map(endpoint_row).collect();
    if endpoints.is_empty() {
        endpoints.push(vec!["-".to_owned(), "no endpoints".to_owned()]);
    }
    endpoints
        .into_iter()
        .map(|endpoint| start.iter().cloned().chain(endpoint).collect())
        .collect()
}

fn certificate_row(report: &CertificateReport) -> Row {
    vec![
        report.host.clone(),
        report.source.clone(),
        report.not_after.clone(),
        report.issuer.clone(),
        report.ingress.clone(),
    ]
}

fn endpoint_row(report: &EndpointReport) -> Row {
    vec![
        report.address.clone(),
        report.health.clone(),
        report.requests.to_string(),
        report.failures.to_string(),
    ]
}

fn finding_row(report: &FindingReport) -> Row {
    vec![
        report.severity.name().to_owned(),
        report.object.clone(),
        report.reason.clone(),
        report.field.clone(),
        report.message.clone(),
    ]
}

/// Returns a JSON value as text, without the quotes of a string.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_of_the_ca_are_shown_once() {
        let blocked = json!({
            "name": "default/web-tls", "hosts": [], "state": "blocked", "issuer": "one",
            "not_before": "", "not_after": "", "why": "not like this; use another name",
            "problem": {
                "issuer": "one", "class": "config", "message": "not like this",
                "advice": "use another name", "attempts": 1,
                "at": "2026-11-01T00:00:00Z",
            },
            "ingresses": [], "served": "", "fingerprint": "",
        });
        let mut report: IssuanceReport = serde_json::from_value(blocked).expect("a report");
        let text = certificate(&report);
        for words in ["not like this", "use another name"] {
            assert_eq!(text.matches(words).count(), 1, "{text}");
        }

        report.issuance.why = "the time is not known".to_owned();
        assert!(certificate(&report).contains("the time is not known"));
    }
}
