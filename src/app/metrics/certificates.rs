//! What the certificate engine does, as metrics: of our own, and under the names of cert-manager
//! for dashboards that have those.

use std::{fmt, sync::Arc};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use super::gauges;
use crate::{
    acme::{Engine, report::Report},
    util::time::UnixSeconds,
};

/// Asks the engine at each scrape.
#[derive(Debug)]
pub(crate) struct Certificates(pub(crate) Arc<Engine>);

/// The same in cert-manager's words; registered without a prefix.
#[derive(Debug)]
pub(crate) struct AsCertManager(pub(crate) Arc<Engine>);

/// States that a report can have.
const STATES: [&str; 6] = [
    "valid",
    "obtaining",
    "waiting",
    "expired",
    "blocked",
    "clock",
];

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reports = self.0.report();
        let about = |report: &Report| {
            vec![
                ("name", report.name.clone()),
                ("issuer", report.issuer.clone()),
            ]
        };
        let moments: [(&str, &str, fn(&Report) -> Option<i64>); 3] = [
            (
                "issued_not_before_seconds",
                "Begin of validity, seconds since 1970",
                |report| moment(&report.not_before),
            ),
            (
                "issued_not_after_seconds",
                "End of validity, seconds since 1970",
                |report| moment(&report.not_after),
            ),
            (
                "next_attempt_seconds",
                "When the next attempt is, seconds since 1970",
                |report| report.next.as_deref().and_then(moment),
            ),
        ];
        for (name, help, of) in moments {
            let values = reports
                .iter()
                .filter_map(|report| Some((about(report), of(report)?)));
            gauges(&mut encoder, &format!("certificate_{name}"), help, values)?;
        }
        let states = reports.iter().flat_map(|report| {
            STATES.iter().map(|state| {
                let labels = vec![
                    ("name", report.name.clone()),
                    ("state", (*state).to_owned()),
                ];
                (labels, i64::from(report.state == *state))
            })
        });
        gauges(
            &mut encoder,
            "certificate_state",
            "1 for the state that a certificate is in",
            states,
        )?;
        let failures = reports.iter().filter_map(|report| {
            let problem = report.problem.as_ref()?;
            Some((about(report), i64::from(problem.attempts)))
        });
        gauges(
            &mut encoder,
            "certificate_failures_in_a_row",
            "Failed attempts since the last good one",
            failures,
        )?;
        let left = reports.iter().filter_map(|report| {
            let left = report.budget.as_ref()?.failures_left;
            Some((about(report), i64::try_from(left).unwrap_or(i64::MAX)))
        });
        gauges(
            &mut encoder,
            "certificate_failures_left",
            "Failed validations left within this hour",
            left,
        )?;
        let trusted = i64::from(self.0.clock_state() == "trusted");
        gauges(
            &mut encoder,
            "clock_trusted",
            "1 while the clock of this device can be trusted",
            [(Vec::new(), trusted)],
        )
    }
}

impl Collector for AsCertManager {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let reports = self.0.report();
        let about = |report: &Report| {
            let (namespace, name) = report.name.split_once('/').unwrap_or_default();
            vec![
                ("name", name.to_owned()),
                ("namespace", namespace.to_owned()),
                ("issuer_name", report.issuer.clone()),
                ("issuer_kind", "ClusterIssuer".to_owned()),
                ("issuer_group", "cert-manager.io".to_owned()),
            ]
        };
        let moments: [(&str, &str, fn(&Report) -> Option<i64>); 3] = [
            ("not_before", "Begin of validity", |report| {
                moment(&report.not_before)
            }),
            ("expiration", "End of validity", |report| {
                moment(&report.not_after)
            }),
            ("renewal", "When it is renewed", |report| {
                report.next.as_deref().and_then(moment)
            }),
        ];
        for (name, help, of) in moments {
            let values = reports
                .iter()
                .filter_map(|report| Some((about(report), of(report)?)));
            gauges(
                &mut encoder,
                &format!("certmanager_certificate_{name}_timestamp_seconds"),
                help,
                values,
            )?;
        }
        let ready = reports.iter().flat_map(|report| {
            let is_ready = report.state == "valid";
            ["True", "False", "Unknown"].map(|condition| {
                let holds = match condition {
                    "True" => is_ready,
                    "False" => !is_ready,
                    _ => false,
                };
                let mut labels = about(report);
                labels.push(("condition", condition.to_owned()));
                (labels, i64::from(holds))
            })
        });
        gauges(
            &mut encoder,
            "certmanager_certificate_ready_status",
            "Whether it is ready",
            ready,
        )
    }
}

/// Parses RFC 3339 into seconds since 1970; `None` for an empty text.
fn moment(text: &str) -> Option<i64> {
    let time: UnixSeconds = text.parse().ok()?;
    Some(time.0)
}
