//! Reports as tables for people.

use std::fmt::Write;

use serde_json::Value;

use crate::app::Written;

pub(super) fn status(report: &Value) -> String {
    let mut out = String::new();
    let list = |key: &str| strings(&report[key]).join(" ");
    let rows = [
        ["version".to_owned(), text(&report["version"])],
        ["node".to_owned(), text(&report["node"])],
        ["source".to_owned(), text(&report["source"])],
        ["ready".to_owned(), text(&report["ready"])],
        ["uptime".to_owned(), format!("{} s", text(&report["uptime_seconds"]))],
        ["store".to_owned(), text(&report["store"])],
        ["http".to_owned(), list("http")],
        ["https".to_owned(), list("https")],
        ["api".to_owned(), text(&report["api"])],
    ];
    out.push_str(&table(&[], &rows.map(|row| row.to_vec())));
    let unread: Vec<Vec<String>> =
        array(&report["unread"]).map(|one| vec![text(&one["kind"]), text(&one["why"])]).collect();
    section(&mut out, "Not read from the cluster", &["KIND", "WHY"], &unread);
    let hosts: Vec<Vec<String>> =
        array(&report["hosts"]).map(|host| vec![text(&host["host"]), text(&host["rules"])]).collect();
    section(&mut out, "Hosts", &["HOST", "RULES"], &hosts);
    let mut backends = Vec::new();
    for backend in array(&report["backends"]) {
        let endpoints: Vec<&Value> = array(&backend["endpoints"]).collect();
        if endpoints.is_empty() {
            backends.push(vec![
                text(&backend["id"]),
                text(&backend["protocol"]),
                "-".to_owned(),
                "no endpoints: 503".to_owned(),
            ]);
        }
        for endpoint in endpoints {
            let cells = [&backend["id"], &backend["protocol"]].into_iter().map(text).chain(endpoint_row(endpoint));
            backends.push(cells.collect());
        }
    }
    section(&mut out, "Backends", &[&["BACKEND", "PROTOCOL"], ENDPOINT_COLUMNS].concat(), &backends);
    section(&mut out, "Certificates", CERTIFICATE_COLUMNS, &certificate_rows(&report["certificates"]));
    section(&mut out, "Findings", FINDING_COLUMNS, &finding_rows(report));
    out
}

pub(super) fn certificates(certificates: &Value) -> String {
    table(CERTIFICATE_COLUMNS, &certificate_rows(certificates))
}

pub(super) fn explain(report: &Value) -> String {
    let mut out = format!("{}{}: {}\n", text(&report["host"]), text(&report["path"]), text(&report["outcome"]));
    let rows: Vec<Vec<String>> = array(&report["candidates"])
        .map(|one| {
            let verdict = match (one["wins"].as_bool(), one["matches"].as_bool()) {
                (Some(true), _) => "wins",
                (_, Some(true)) => "matches, comes later",
                _ => "does not match",
            };
            let or = |value: &Value, empty: &str| match text(value) {
                text if text.is_empty() => empty.to_owned(),
                text => text,
            };
            vec![
                or(&one["host"], "(default)"),
                or(&one["path"], "(default backend)"),
                text(&one["ingress"]),
                text(&one["field"]),
                verdict.to_owned(),
            ]
        })
        .collect();
    section(&mut out, "Rules in order", &["HOST", "PATH", "INGRESS", "FIELD", "VERDICT"], &rows);
    let endpoints: Vec<Vec<String>> = array(&report["endpoints"]).map(endpoint_row).collect();
    section(&mut out, "Endpoints", ENDPOINT_COLUMNS, &endpoints);
    if report["certificate"].is_object() {
        section(&mut out, "Certificate", CERTIFICATE_COLUMNS, &[certificate_row(&report["certificate"])]);
    }
    out
}

pub(super) fn settings(settings: &Value) -> String {
    let value = |one: &Value| if one.is_null() { "-".to_owned() } else { one.to_string() };
    let rows: Vec<Vec<String>> =
        array(settings).map(|one| vec![text(&one["key"]), value(&one["value"]), text(&one["from"])]).collect();
    table(&["KEY", "VALUE", "FROM"], &rows)
}

pub(super) fn written(written: &[Written]) -> String {
    written.iter().map(|one| format!("{} {}\n", one.object, one.done)).collect()
}

pub(super) fn check(report: &Value) -> String {
    let mut out = table(FINDING_COLUMNS, &finding_rows(report));
    let count = array(&report["findings"]).filter(|finding| finding["severity"] == "Warning").count();
    // Writing into a string cannot fail.
    let _ = writeln!(out, "{} objects checked, {count} warnings", text(&report["objects"]));
    out
}

const CERTIFICATE_COLUMNS: &[&str] = &["HOST", "SERVED FROM", "NOT AFTER", "ISSUER", "WANTED BY"];
const ENDPOINT_COLUMNS: &[&str] = &["ENDPOINT", "HEALTH", "REQUESTS", "FAILED CONNECTS"];
const FINDING_COLUMNS: &[&str] = &["SEVERITY", "OBJECT", "REASON", "FIELD", "MESSAGE"];

fn certificate_rows(certificates: &Value) -> Vec<Vec<String>> {
    array(certificates).map(certificate_row).collect()
}

fn certificate_row(one: &Value) -> Vec<String> {
    ["host", "source", "not_after", "issuer", "wanted_by"].map(|key| text(&one[key])).to_vec()
}

fn endpoint_row(one: &Value) -> Vec<String> {
    ["address", "health", "requests", "failures"].map(|key| text(&one[key])).to_vec()
}

fn finding_rows(report: &Value) -> Vec<Vec<String>> {
    let row = |one: &Value| ["severity", "object", "reason", "field", "message"].map(|key| text(&one[key])).to_vec();
    array(&report["findings"]).map(row).collect()
}

fn section(out: &mut String, title: &str, columns: &[&str], rows: &[Vec<String>]) {
    if !rows.is_empty() {
        let _ = write!(out, "\n{title}\n{}", table(columns, rows));
    }
}

/// Columns as wide as their widest cell; nothing at all without rows.
fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
    let lines: Vec<&Vec<String>> =
        (!columns.is_empty() && !rows.is_empty()).then_some(&header).into_iter().chain(rows).collect();
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let mut out = String::new();
    for line in &lines {
        let mut text = String::new();
        for (column, cell) in line.iter().enumerate() {
            let _ = write!(text, "{cell:<width$}  ", width = width(column).unwrap_or(0));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn strings(value: &Value) -> Vec<String> {
    array(value).map(text).collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
