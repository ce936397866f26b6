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
        ["leader".to_owned(), leader(&report["leader"])],
        ["ready".to_owned(), text(&report["ready"])],
        ["note".to_owned(), text(&report["note"])],
        [
            "uptime".to_owned(),
            format!("{} s", text(&report["uptime_seconds"])),
        ],
        ["store".to_owned(), text(&report["store"])],
        ["http".to_owned(), list("http")],
        ["https".to_owned(), list("https")],
        ["api".to_owned(), text(&report["api"])],
    ];
    let optional = |key: &str| ["leader", "note"].contains(&key);
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .filter(|[key, value]| !optional(key) || !value.is_empty())
        .map(Vec::from)
        .collect();
    out.push_str(&table(&[], &rows));
    let unread: Vec<Vec<String>> = array(&report["unread"])
        .map(|one| vec![text(&one["kind"]), text(&one["why"])])
        .collect();
    section(
        &mut out,
        "Not read from the cluster",
        &["KIND", "WHY"],
        &unread,
    );
    let hosts: Vec<Vec<String>> = array(&report["hosts"])
        .map(|host| vec![text(&host["host"]), text(&host["rules"])])
        .collect();
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
            let cells = [&backend["id"], &backend["protocol"]]
                .into_iter()
                .map(text)
                .chain(endpoint_row(endpoint));
            backends.push(cells.collect());
        }
    }
    section(
        &mut out,
        "Backends",
        &[&["BACKEND", "PROTOCOL"], ENDPOINT_COLUMNS].concat(),
        &backends,
    );
    section(
        &mut out,
        "Certificates",
        CERTIFICATE_COLUMNS,
        &certificate_rows(&report["certificates"]),
    );
    section(&mut out, "Findings", FINDING_COLUMNS, &finding_rows(report));
    let classes: Vec<Vec<String>> = array(&report["other_classes"]).map(class_row).collect();
    section(
        &mut out,
        "Ingresses of other classes: not served (docs/migrating.md)",
        CLASS_COLUMNS,
        &classes,
    );
    out
}

/// A class that is not served, with the annotations that would close paths.
fn class_row(one: &Value) -> Vec<String> {
    let class = match text(&one["class"]) {
        none if none.is_empty() => "(none)".to_owned(),
        class => class,
    };
    let guards: Vec<String> = array(&one["guards"])
        .map(|guard| {
            format!(
                "{} ({})",
                text(&guard["annotation"]),
                text(&guard["ingresses"])
            )
        })
        .collect();
    vec![
        class,
        text(&one["ingresses"]),
        text(&one["guarded"]),
        guards.join(", "),
    ]
}

/// Empty where there can be no other replica.
fn leader(report: &Value) -> String {
    match (report["leads"].as_bool(), text(&report["holder"])) {
        (None, _) => String::new(),
        (Some(true), holder) if holder.is_empty() => {
            "this one: there is no Lease to agree by".to_owned()
        }
        (Some(true), holder) => format!("{holder} (this one)"),
        (Some(false), holder) if holder.is_empty() => "not known".to_owned(),
        (Some(false), holder) => holder,
    }
}

pub(super) fn certs(report: &Value) -> String {
    let rows: Vec<Vec<String>> = array(&report["wanted"])
        .map(|one| {
            let next = match (text(&one["doing"]), text(&one["next"])) {
                (doing, _) if !doing.is_empty() => doing,
                (_, next) => next,
            };
            let problem = match [
                text(&one["problem"]["message"]),
                text(&one["problem"]["advice"]),
            ] {
                [problem, _] if problem.is_empty() => text(&one["why"]),
                [problem, advice] if advice.is_empty() => problem,
                [problem, advice] => format!("{problem}; {advice}"),
            };
            let [name, state, served, until] =
                ["name", "state", "served", "not_after"].map(|key| text(&one[key]));
            vec![name, state, served, until, next, problem]
        })
        .collect();
    let mut out = String::new();
    let clock = text(&report["clock"]);
    if clock != "trusted" {
        let _ = writeln!(out, "The clock of this device is {clock}");
    }
    if !rows.is_empty() {
        out += &table(
            &[
                "NAME",
                "STATE",
                "SERVED",
                "VALID UNTIL",
                "NEXT",
                "WHY, OR WHAT WENT WRONG",
            ],
            &rows,
        );
    }
    section(
        &mut out,
        "Hosts",
        CERTIFICATE_COLUMNS,
        &certificate_rows(&report["hosts"]),
    );
    out
}

pub(super) fn certificate(one: &Value) -> String {
    let mut out = String::new();
    let mut line = |title: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(out, "{title:<14}{value}");
        }
    };
    let list = |value: &Value| array(value).map(text).collect::<Vec<_>>().join(", ");
    line("Name", text(&one["name"]));
    line("Hosts", list(&one["hosts"]));
    line("Wanted by", list(&one["wanted_by"]));
    line("State", text(&one["state"]));
    line("Doing", text(&one["doing"]));
    line("Served", text(&one["served"]));
    line("Fingerprint", text(&one["fingerprint"]));
    line("Issuer", text(&one["issuer"]));
    line("Valid from", text(&one["not_before"]));
    line("Valid until", text(&one["not_after"]));
    line("Next", text(&one["next"]));
    line("Why", text(&one["why"]));
    let problem = &one["problem"];
    if problem.is_object() {
        line(
            "Problem",
            format!(
                "{} ({}, {} in a row, last at {})",
                text(&problem["message"]),
                text(&problem["class"]),
                text(&problem["attempts"]),
                text(&problem["at"])
            ),
        );
        line("What helps", text(&problem["advice"]));
    }
    let window = &one["suggestion"];
    if window.is_object() {
        line(
            "CA suggests",
            format!("{} to {}", text(&window["start"]), text(&window["end"])),
        );
        line("Explained at", text(&window["explanation"]));
    }
    let budget = &one["budget"];
    if budget.is_object() {
        line(
            "Budget left",
            format!(
                "{} failed validations this hour, {} certificates this week",
                text(&budget["failures_left"]),
                text(&budget["certificates_left"])
            ),
        );
    }
    line("Order", text(&one["order"]));
    out
}

pub(super) fn explain(report: &Value) -> String {
    let mut out = format!(
        "{}{}: {}\n",
        text(&report["host"]),
        text(&report["path"]),
        text(&report["outcome"])
    );
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
    section(
        &mut out,
        "Rules in order",
        &["HOST", "PATH", "INGRESS", "FIELD", "VERDICT"],
        &rows,
    );
    let endpoints: Vec<Vec<String>> = array(&report["endpoints"]).map(endpoint_row).collect();
    section(&mut out, "Endpoints", ENDPOINT_COLUMNS, &endpoints);
    if report["certificate"].is_object() {
        section(
            &mut out,
            "Certificate",
            CERTIFICATE_COLUMNS,
            &[certificate_row(&report["certificate"])],
        );
    }
    section(&mut out, "Findings", FINDING_COLUMNS, &finding_rows(report));
    out
}

pub(super) fn settings(settings: &Value) -> String {
    let value = |one: &Value| {
        if one.is_null() {
            "-".to_owned()
        } else {
            one.to_string()
        }
    };
    let rows: Vec<Vec<String>> = array(settings)
        .map(|one| vec![text(&one["key"]), value(&one["value"]), text(&one["from"])])
        .collect();
    table(&["KEY", "VALUE", "FROM"], &rows)
}

pub(super) fn written(written: &[Written]) -> String {
    written
        .iter()
        .map(|one| format!("{} {}\n", one.object, one.done))
        .collect()
}

pub(super) fn check(report: &Value) -> String {
    let keys = ["severity", "place", "object", "reason", "field", "message"];
    let rows: Vec<Vec<String>> = array(&report["findings"])
        .map(|one| keys.map(|key| text(&one[key])).to_vec())
        .collect();
    let mut out = table(
        &["SEVERITY", "FILE", "OBJECT", "REASON", "FIELD", "MESSAGE"],
        &rows,
    );
    for line in passed_over(report) {
        out += &line;
        out.push('\n');
    }
    let count = array(&report["findings"])
        .filter(|finding| finding["severity"] == "Warning")
        .count();
    let objects = report["objects"].as_u64().unwrap_or_default();
    // Writing into a string cannot fail.
    let _ = writeln!(
        out,
        "{} checked, {}",
        counted(objects, "object"),
        counted(count as u64, "warning")
    );
    out
}

/// A number with its noun, in the plural where that is due.
fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

/// What a check has not looked at, in one line each.
fn passed_over(report: &Value) -> Vec<String> {
    let mut lines: Vec<String> = array(&report["other_classes"]).map(other_class).collect();

    let mut programs: Vec<&str> = array(&report["not_served"])
        .filter_map(|one| one["part_of"].as_str())
        .collect();
    programs.sort_unstable();
    programs.dedup();
    for program in programs {
        let kinds = array(&report["not_served"]).filter(|one| one["part_of"] == program);
        let kinds: Vec<String> = kinds
            .map(|one| {
                format!(
                    "{} {} ({})",
                    text(&one["count"]),
                    text(&one["kind"]),
                    some(&strings(&one["names"]))
                )
            })
            .collect();
        lines.push(format!("Not served, of {program}: {}", kinds.join(", ")));
    }

    let kinds = array(&report["other_kinds"])
        .map(|one| format!("{} {}", text(&one["count"]), text(&one["kind"])));
    let lists = [
        ("Other kinds", kinds.collect()),
        ("No objects in", strings(&report["without_objects"])),
    ];
    let lists = lists
        .into_iter()
        .filter(|(_, list): &(_, Vec<String>)| !list.is_empty());
    lines.extend(lists.map(|(title, list)| format!("{title}: {}", some(&list))));
    lines
}

/// The Ingresses of a class that is not served.
fn other_class(one: &Value) -> String {
    let count = one["ingresses"].as_u64().unwrap_or_default();
    let ingresses = if count == 1 {
        "1 Ingress".to_owned()
    } else {
        format!("{count} Ingresses")
    };
    let of = match text(&one["class"]) {
        none if none.is_empty() => "without a class".to_owned(),
        class => {
            format!("of class {class} (see docs/migrating.md, and `gatelet check --class {class}`)")
        }
    };
    let closed = match one["guarded"].as_u64().unwrap_or_default() {
        0 => String::new(),
        guarded => {
            let guards = array(&one["guards"]).map(|guard| text(&guard["annotation"]));
            let guards = some(&guards.collect::<Vec<_>>());
            format!(
                "; {guarded} of them would answer 503, because of guards that are not supported: {guards}"
            )
        }
    };
    format!("Not served: {ingresses} {of}{closed}")
}

/// As much of a list as is read.
fn some(list: &[String]) -> String {
    const SHOWN: usize = 8;
    match list.len().saturating_sub(SHOWN) {
        0 => list.join(", "),
        more => format!("{}, and {more} more", list[..SHOWN].join(", ")),
    }
}

const CERTIFICATE_COLUMNS: &[&str] = &["HOST", "SERVED FROM", "NOT AFTER", "ISSUER", "WANTED BY"];
const ENDPOINT_COLUMNS: &[&str] = &["ENDPOINT", "HEALTH", "REQUESTS", "FAILED CONNECTS"];
const CLASS_COLUMNS: &[&str] = &[
    "CLASS",
    "INGRESSES",
    "WITH GUARDS",
    "ANNOTATIONS THAT WOULD CLOSE PATHS",
];
const FINDING_COLUMNS: &[&str] = &["SEVERITY", "OBJECT", "REASON", "FIELD", "MESSAGE"];

fn certificate_rows(certificates: &Value) -> Vec<Vec<String>> {
    array(certificates).map(certificate_row).collect()
}

fn certificate_row(one: &Value) -> Vec<String> {
    ["host", "source", "not_after", "issuer", "wanted_by"]
        .map(|key| text(&one[key]))
        .to_vec()
}

fn endpoint_row(one: &Value) -> Vec<String> {
    ["address", "health", "requests", "failures"]
        .map(|key| text(&one[key]))
        .to_vec()
}

fn finding_rows(report: &Value) -> Vec<Vec<String>> {
    let row = |one: &Value| {
        ["severity", "object", "reason", "field", "message"]
            .map(|key| text(&one[key]))
            .to_vec()
    };
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
    let lines: Vec<&Vec<String>> = (!columns.is_empty() && !rows.is_empty())
        .then_some(&header)
        .into_iter()
        .chain(rows)
        .collect();
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
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
