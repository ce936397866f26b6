//! What is counted or known elsewhere, asked at each scrape: the data plane's counters, added up,
//! certificates, and what the cluster does not give.

mod certificates;

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

use crate::{
    k8s::Unread,
    objects::Kind,
    proxy::{
        Shared,
        counters::{LATENCY_BUCKETS, UPSTREAM_ERRORS},
    },
};

pub(crate) use certificates::{AsCertManager, Certificates};

/// Asks every core.
#[derive(Debug)]
pub(crate) struct DataPlane(pub(crate) Arc<Shared>);

impl Collector for DataPlane {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let cores = self.0.counters();
        let mut counter = |name: &str, help: &str, value: u64| -> fmt::Result {
            let counter = ConstCounter::new(value);
            let descriptor = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(descriptor)
        };
        for (index, class) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().enumerate() {
            let value = cores.iter().map(|core| core.requests[index].value()).sum();
            counter(
                &format!("requests_{class}"),
                "Requests answered with this class of status",
                value,
            )?;
        }
        let sum = |pick: fn(&crate::proxy::counters::Counters) -> u64| {
            cores.iter().map(|core| pick(core)).sum::<u64>()
        };
        counter(
            "retries",
            "Attempts beyond the first",
            sum(|core| core.retries.value()),
        )?;
        counter(
            "upstream_connects",
            "Upstream connections opened",
            sum(|core| core.connects.value()),
        )?;
        counter(
            "upstream_connect_failures",
            "Connections to endpoints that could not be made",
            sum(|core| core.connect_failures.value()),
        )?;
        counter(
            "ejections",
            "Endpoints passed over after failures in a row",
            sum(|core| core.ejections.value()),
        )?;
        counter(
            "upgrades",
            "Upgraded connections",
            sum(|core| core.upgrades.value()),
        )?;
        for (index, kind) in UPSTREAM_ERRORS.into_iter().enumerate() {
            let value = cores
                .iter()
                .map(|core| core.upstream_errors[index].value())
                .sum();
            counter(
                &format!("upstream_errors_{kind}"),
                "Requests that failed through the upstream's fault",
                value,
            )?;
        }
        counter(
            "clients_gone",
            "Requests whose client did not wait",
            sum(|core| core.client_gone.value()),
        )?;
        counter(
            "connections_refused",
            "Client connections over the limits",
            sum(|core| core.connections_refused.value()),
        )?;
        counter(
            "bad_connections",
            "Client connections without a good TLS handshake or PROXY protocol header",
            sum(|core| core.bad_connections.value()),
        )?;
        counter(
            "floods",
            "HTTP/2 connections ended for a flood of frames",
            sum(|core| core.floods.value()),
        )?;
        counter(
            "request_body_bytes",
            "Bytes of request bodies sent on",
            sum(|core| core.bytes_in.value()),
        )?;
        counter(
            "answer_body_bytes",
            "Bytes of upstreams' bodies passed on",
            sum(|core| core.bytes_out.value()),
        )?;
        let mut total = 0;
        for (index, bound) in LATENCY_BUCKETS.iter().enumerate() {
            total += cores
                .iter()
                .map(|core| core.latency[index].value())
                .sum::<u64>();
            let millis = bound * 1000.0;
            counter(
                &format!("requests_within_{millis}ms").replace('.', "_"),
                "Requests whose answer began within this time",
                total,
            )?;
        }

        let stalled = self.0.stalled().len();
        let stalled = [(Vec::new(), i64::try_from(stalled).unwrap_or(i64::MAX))];
        gauges(
            &mut encoder,
            "cores_stalled",
            "Cores of the data plane that hang",
            stalled,
        )
    }
}

/// The kinds that are followed in a cluster.
#[derive(Debug)]
pub(crate) struct Kinds(pub(crate) Unread);

impl Collector for Kinds {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let unread = self.0.list();
        let values = Kind::WATCHED.map(|kind| {
            (
                vec![("kind", kind.name().to_owned())],
                i64::from(unread.contains_key(&kind)),
            )
        });
        gauges(
            &mut encoder,
            "kind_unread",
            "1 while the cluster does not give this kind of object",
            values,
        )
    }
}

/// One family of gauges.
fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (Vec<(&'static str, String)>, i64)>,
) -> fmt::Result {
    let mut descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        ConstGauge::new(value).encode(descriptor.encode_family(&labels)?)?;
    }
    Ok(())
}
