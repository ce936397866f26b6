use std::{collections::BTreeSet, fmt::Write};

use super::*;

/// Returns the name as a scrape shows it.
fn name(family: &MetricFamily, prefix: &str) -> String {
    let unit = family
        .unit()
        .map_or_else(String::new, |unit| format!("_{}", unit.as_str()));
    let suffix = match family.kind {
        MetricType::Counter => "_total",
        MetricType::Info => "_info",
        _ => "",
    };
    format!("{prefix}{}{unit}{suffix}", family.name)
}

/// Returns the table of `docs/metrics.md`.
fn table(families: &[MetricFamily], prefix: &str) -> String {
    let mut table = "| name | type | unit | labels | meaning |\n|---|---|---|---|---|\n".to_owned();
    for family in families {
        let labels = family
            .labels
            .iter()
            .map(|(label, values)| format!("`{label}`: {values}"))
            .collect::<Vec<_>>()
            .join("; ");

        let labels = if labels.is_empty() { "–" } else { &labels };
        let unit = family.unit();
        let unit = unit.as_ref().map_or("–", Unit::as_str);

        writeln!(
            table,
            "| `{}` | {} | {unit} | {labels} | {}. |",
            name(family, prefix),
            family.kind.as_str(),
            family.help
        )
        .expect("memory");
    }
    table
}

#[test]
fn the_page_of_metrics_prints_the_families() {
    let text = include_str!("../../../docs/metrics.md");
    for table in [
        table(FAMILIES, "gatelet_"),
        table(CERT_MANAGER_FAMILIES, ""),
    ] {
        assert!(
            text.contains(&table),
            "docs/metrics.md lacks this:\n{table}"
        );
    }
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    let mut seen = BTreeSet::new();
    for family in FAMILIES.iter().chain(CERT_MANAGER_FAMILIES) {
        let name = family.name;
        assert!(seen.insert(name), "{name} is there twice");
        let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
        assert!(name.chars().all(is_plain), "{name}");

        // The unit and the suffix of the type are added, never part of the name.
        for suffix in ["_total", "_info", "_seconds", "_bytes", "_count", "_sum"] {
            assert!(!name.ends_with(suffix), "{name}");
        }
        let is_time = ["timestamp", "duration"]
            .iter()
            .any(|part| name.ends_with(part));
        assert_eq!(
            is_time,
            matches!(family.unit, Some(BaseUnit::Seconds)),
            "{name}"
        );
        assert!(!family.help.ends_with('.'), "{name}");
    }
}
