//! Collectors for certificates: under names of gatelet's own, and under those of cert-manager for
//! dashboards that use them.

use std::{fmt, sync::Arc};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::alone;
use crate::{
    acme::{Engine, engine::report::Report},
    telemetry::families::{self, Label},
};

/// Collects the state of certificates from the engine.
#[derive(Debug)]
pub(crate) struct Certificates(pub(crate) Arc<Engine>);

/// Collects the same under cert-manager's names, registered without a prefix.
#[derive(Debug)]
pub(crate) struct AsCertManager(pub(crate) Arc<Engine>);

/// The states of a report.
const STATES: [&str; 7] = [
    "valid",
    "obtaining",
    "waiting",
    "expired",
    "revoked",
    "blocked",
    "clock",
];

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let reports = self.0.report();

        let states = reports.iter().flat_map(|report| {
            STATES.into_iter().map(|state| {
                let labels = vec![("name", report.name.clone()), ("state", state.to_owned())];
                (labels, i64::from(report.state == state))
            })
        });
        families::CERTIFICATE_STATE.write_gauge(encoder, states)?;

        let not_before = samples(&reports, by_issuer, not_before);
        families::CERTIFICATE_NOT_BEFORE.write_gauge(encoder, not_before)?;
        let not_after = samples(&reports, by_issuer, not_after);
        families::CERTIFICATE_NOT_AFTER.write_gauge(encoder, not_after)?;
        let next = samples(&reports, by_issuer, next_attempt);
        families::CERTIFICATE_NEXT_ATTEMPT.write_gauge(encoder, next)?;

        let failures = samples(&reports, by_issuer, |report| {
            let problem = report.problem.as_ref()?;
            Some(i64::from(problem.attempts))
        });
        families::CERTIFICATE_CONSECUTIVE_FAILURES.write_gauge(encoder, failures)?;
        let left = samples(&reports, by_issuer, |report| {
            let budget = report.budget.as_ref()?;
            Some(i64::try_from(budget.failures_left).unwrap_or(i64::MAX))
        });
        families::CERTIFICATE_FAILURES_LEFT.write_gauge(encoder, left)?;

        let trusted = i64::from(self.0.clock_state() == "trusted");
        families::CLOCK_TRUSTED.write_gauge(encoder, alone(trusted))
    }
}

impl Collector for AsCertManager {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let reports = self.0.report();

        let not_before = samples(&reports, by_cert_manager, not_before);
        families::CERT_MANAGER_NOT_BEFORE.write_gauge(encoder, not_before)?;
        let expiration = samples(&reports, by_cert_manager, not_after);
        families::CERT_MANAGER_EXPIRATION.write_gauge(encoder, expiration)?;
        let renewal = samples(&reports, by_cert_manager, next_attempt);
        families::CERT_MANAGER_RENEWAL.write_gauge(encoder, renewal)?;

        let ready = reports.iter().flat_map(|report| {
            let is_ready = report.state == "valid";
            let conditions = [("True", is_ready), ("False", !is_ready), ("Unknown", false)];
            conditions.map(|(condition, holds)| {
                let mut labels = by_cert_manager(report);
                labels.push(("condition", condition.to_owned()));
                (labels, i64::from(holds))
            })
        });
        families::CERT_MANAGER_READY.write_gauge(encoder, ready)
    }
}

/// Pairs the labels of each report with its value. Reports without the value have no sample.
fn samples(
    reports: &[Report],
    labels: fn(&Report) -> Vec<Label>,
    value: fn(&Report) -> Option<i64>,
) -> impl Iterator<Item = (Vec<Label>, i64)> {
    reports
        .iter()
        .filter_map(move |report| Some((labels(report), value(report)?)))
}

fn by_issuer(report: &Report) -> Vec<Label> {
    vec![
        ("name", report.name.clone()),
        ("issuer", report.issuer.clone()),
    ]
}

fn by_cert_manager(report: &Report) -> Vec<Label> {
    let (namespace, name) = report.name.split_once('/').unwrap_or_default();
    vec![
        ("name", name.to_owned()),
        ("namespace", namespace.to_owned()),
        ("issuer_name", report.issuer.clone()),
        ("issuer_kind", "ClusterIssuer".to_owned()),
        ("issuer_group", "cert-manager.io".to_owned()),
    ]
}

fn not_before(report: &Report) -> Option<i64> {
    report.not_before.map(|time| time.0)
}

fn not_after(report: &Report) -> Option<i64> {
    report.not_after.map(|time| time.0)
}

fn next_attempt(report: &Report) -> Option<i64> {
    report.next.map(|time| time.0)
}
