//! Collectors for values that other modules hold: the data plane's counters, summed over the cores,
//! certificates, and the kinds that the cluster does not give.

mod certificates;

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{collector::Collector, encoding::DescriptorEncoder};

use crate::{
    controller::CountedIngresses,
    k8s::Unread,
    objects::Kind,
    proxy::{
        Shared,
        counters::{Count, Counters, LATENCY_BUCKETS, PortCounters, REFUSALS, UPSTREAM_ERRORS},
    },
    telemetry::families::{self, Label},
};

pub(crate) use certificates::{AsCertManager, Certificates};

/// Classes of status, in the order of [`Counters::requests`].
const CODES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Collects the counters of all cores.
#[derive(Debug)]
pub(crate) struct DataPlane(pub(crate) Arc<Shared>);

impl Collector for DataPlane {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let cores = self.0.counters();
        let sum = |counter: &dyn Fn(&Counters) -> &Count| -> u64 {
            cores.iter().map(|core| counter(core).value()).sum()
        };

        // Requests and their bodies.
        let requests = CODES.into_iter().enumerate().map(|(index, code)| {
            let value = sum(&|core| &core.requests[index]);
            (one("code", code), value)
        });
        families::REQUESTS.write_counter(encoder, requests)?;

        let bounds = LATENCY_BUCKETS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds
            .enumerate()
            .map(|(index, bound)| (bound, sum(&|core| &core.latency[index])))
            .collect();

        // From zero on: the sum of no core at all would be -0.0.
        let total = cores
            .iter()
            .fold(0.0, |sum, core| sum + seconds(&core.latency_nanos));
        families::REQUEST_DURATION.write_histogram(encoder, total, &buckets)?;

        let canceled = sum(&|core| &core.client_gone);
        families::REQUESTS_CANCELED.write_counter(encoder, alone(canceled))?;
        let refused = REFUSALS.into_iter().enumerate().map(|(index, code)| {
            let value = sum(&|core| &core.refused[index]);
            (one("code", &code.to_string()), value)
        });
        families::REQUESTS_REFUSED.write_counter(encoder, refused)?;
        let copies = [
            ("sent", sum(&|core| &core.copies_sent)),
            ("dropped", sum(&|core| &core.copies_dropped)),
            ("failed", sum(&|core| &core.copies_failed)),
        ];
        let copies = copies.map(|(outcome, value)| (one("outcome", outcome), value));
        families::COPIES.write_counter(encoder, copies)?;
        let spooled = [
            ("whole", sum(&|core| &core.bodies_spooled)),
            ("refused", sum(&|core| &core.bodies_not_spooled)),
        ];
        let spooled = spooled.map(|(outcome, value)| (one("outcome", outcome), value));
        families::SPOOLED_BODIES.write_counter(encoder, spooled)?;
        let spooled = i64::try_from(self.0.spooled_bytes()).unwrap_or(i64::MAX);
        families::SPOOL.write_gauge(encoder, alone(spooled))?;
        let checks = [
            ("passed", sum(&|core| &core.checks_passed)),
            ("failed", sum(&|core| &core.checks_failed)),
        ];
        let checks = checks.map(|(outcome, value)| (one("outcome", outcome), value));
        families::HEALTH_CHECKS.write_counter(encoder, checks)?;
        let down = i64::try_from(self.0.down().len()).unwrap_or(i64::MAX);
        families::ENDPOINTS_DOWN.write_gauge(encoder, alone(down))?;
        let budget = i64::try_from(self.0.memory.budget()).unwrap_or(i64::MAX);
        families::MEMORY_BUDGET.write_gauge(encoder, alone(budget))?;
        families::MEMORY_SHED.write_counter(encoder, alone(self.0.memory.shed()))?;
        families::REQUEST_BODY.write_counter(encoder, alone(sum(&|core| &core.bytes_in)))?;
        families::RESPONSE_BODY.write_counter(encoder, alone(sum(&|core| &core.bytes_out)))?;

        // Connections of clients.
        families::UPGRADES.write_counter(encoder, alone(sum(&|core| &core.upgrades)))?;
        let rejected = [
            ("limit", sum(&|core| &core.connections_refused)),
            ("address", sum(&|core| &core.connections_forbidden)),
            ("handshake", sum(&|core| &core.bad_connections)),
            ("flood", sum(&|core| &core.floods)),
        ];
        let rejected = rejected.map(|(reason, value)| (one("reason", reason), value));
        families::CONNECTIONS_REJECTED.write_counter(encoder, rejected)?;

        // Ports of layer 4.
        let ports = |counter: &dyn Fn(&PortCounters) -> u64| {
            let tcp = cores.iter().map(|core| counter(&core.tcp)).sum();
            let udp = cores.iter().map(|core| counter(&core.udp)).sum();
            let tls = cores.iter().map(|core| counter(&core.tls)).sum();
            [
                (one("transport", "tcp"), tcp),
                (one("transport", "udp"), udp),
                (one("transport", "tls"), tls),
            ]
        };
        let begun = ports(&|one| one.begun.value());
        families::PORT_CONNECTIONS.write_counter(encoder, begun)?;
        let open = ports(&|one| one.begun.value().saturating_sub(one.ended.value()));
        let open = open.map(|(label, open)| (label, i64::try_from(open).unwrap_or(i64::MAX)));
        families::PORT_CONNECTIONS_OPEN.write_gauge(encoder, open)?;
        let failed = ports(&|one| one.failures.value());
        families::PORT_CONNECTIONS_FAILED.write_counter(encoder, failed)?;
        let mismatches = [
            ("missing", sum(&|core| &core.proxy_missing)),
            ("unexpected", sum(&|core| &core.proxy_unexpected)),
        ];
        let mismatches = mismatches.map(|(header, value)| (one("header", header), value));
        families::PORT_PROXY_MISMATCHES.write_counter(encoder, mismatches)?;
        let received = ports(&|one| one.received.value());
        families::PORT_RECEIVED.write_counter(encoder, received)?;
        families::PORT_SENT.write_counter(encoder, ports(&|one| one.sent.value()))?;

        // Connections to backends.
        let connects = sum(&|core| &core.connects);
        families::UPSTREAM_CONNECTIONS.write_counter(encoder, alone(connects))?;
        let failures = sum(&|core| &core.connect_failures);
        families::UPSTREAM_CONNECT_FAILURES.write_counter(encoder, alone(failures))?;
        families::UPSTREAM_RETRIES.write_counter(encoder, alone(sum(&|core| &core.retries)))?;

        let errors = UPSTREAM_ERRORS
            .into_iter()
            .enumerate()
            .map(|(index, reason)| {
                let value = sum(&|core| &core.upstream_errors[index]);
                (one("reason", reason), value)
            });
        families::UPSTREAM_ERRORS.write_counter(encoder, errors)?;
        families::UPSTREAM_EJECTIONS.write_counter(encoder, alone(sum(&|core| &core.ejections)))?;

        let stalled = i64::try_from(self.0.stalled().len()).unwrap_or(i64::MAX);
        families::CORES_STALLED.write_gauge(encoder, alone(stalled))
    }
}

/// Collects the requests of each Ingress.
#[derive(Debug)]
pub(crate) struct Ingresses(pub(crate) Arc<CountedIngresses>);

impl Collector for Ingresses {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.all();
        let labels = |namespace: &str, name: &str| {
            vec![
                ("namespace", namespace.to_owned()),
                ("ingress", name.to_owned()),
            ]
        };

        let requests = all.iter().flat_map(|((namespace, name), counts)| {
            CODES
                .into_iter()
                .zip(counts.by_class())
                .map(move |(code, count)| {
                    let mut labels = labels(namespace, name);
                    labels.push(("code", code.to_owned()));
                    (labels, count)
                })
        });
        // Most Ingresses have responses of two or three classes.
        let requests = requests.filter(|(_, count)| *count > 0);
        families::INGRESS_REQUESTS.write_counter(&mut encoder, requests)?;

        let times = all.iter().map(|((namespace, name), counts)| {
            (labels(namespace, name), counts.time().as_secs_f64())
        });
        families::INGRESS_REQUEST_DURATION.write_seconds(&mut encoder, times)
    }
}

/// Collects the kinds of objects that the cluster does not give.
#[derive(Debug)]
pub(crate) struct Kinds(pub(crate) Unread);

impl Collector for Kinds {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let unread = self.0.list();
        let samples = Kind::WATCHED.map(|kind| {
            let is_unread = i64::from(unread.contains_key(&kind));
            (one("kind", kind.name()), is_unread)
        });
        families::KIND_UNREAD.write_gauge(&mut encoder, samples)
    }
}

/// Returns the only sample of a family without labels.
fn alone<T>(value: T) -> [(Vec<Label>, T); 1] {
    [(Vec::new(), value)]
}

/// Returns a set of one label.
fn one(name: &'static str, value: &str) -> Vec<Label> {
    vec![(name, value.to_owned())]
}

/// Converts a counter of nanoseconds to seconds.
fn seconds(nanos: &Count) -> f64 {
    Duration::from_nanos(nanos.value()).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Metrics;

    #[test]
    fn the_data_plane_is_collected_as_open_metrics() {
        let metrics = Metrics::default();
        metrics.collect(Box::new(DataPlane(Arc::new(Shared::default()))));
        let text = metrics.text();

        for line in [
            "# TYPE gatelet_requests counter",
            "gatelet_requests_total{code=\"5xx\"} 0",
            "# TYPE gatelet_request_duration_seconds histogram",
            "# UNIT gatelet_request_duration_seconds seconds",
            "gatelet_request_duration_seconds_sum 0.0",
            "gatelet_request_duration_seconds_count 0",
            "gatelet_request_duration_seconds_bucket{le=\"0.0005\"} 0",
            "gatelet_request_duration_seconds_bucket{le=\"+Inf\"} 0",
            "gatelet_response_body_bytes_total 0",
            "gatelet_connections_rejected_total{reason=\"flood\"} 0",
            "gatelet_upstream_errors_total{reason=\"timeout\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
