//! The metric families: the one table that the code registers from and that `docs/metrics.md`
//! prints.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Metric, Registry, Unit},
};

/// Prefix of all families but those that go by the names of another program.
pub(super) const PREFIX: &str = "gatelet";

/// A metric family: its name, type, unit, labels and meaning.
#[derive(Clone, Copy, Debug)]
pub struct MetricFamily {
    /// Name without prefix, unit and the suffix that belongs to the type.
    name: &'static str,
    /// Type by OpenMetrics.
    kind: MetricType,
    /// Base unit, which the name ends with.
    unit: Option<BaseUnit>,
    /// Labels, each with its values.
    labels: &'static [(&'static str, &'static str)],
    /// Meaning, one sentence without a full stop.
    help: &'static str,
}

/// Base units of OpenMetrics, as far as they are used.
#[derive(Clone, Copy, Debug)]
enum BaseUnit {
    Seconds,
    Bytes,
}

/// A label with its value.
pub type Label = (&'static str, String);

macro_rules! families {
    ($(#[$doc:meta])* $list:ident: $($name:ident = $family:expr;)+) => {
        $(
            #[allow(missing_docs, reason = "the help text documents it")]
            pub const $name: MetricFamily = $family;
        )+

        $(#[$doc])*
        pub const $list: &[MetricFamily] = &[$($name),+];
    };
}

families! {
    /// All families of gatelet's own, in the order of `docs/metrics.md`.
    FAMILIES:
    REQUESTS = counter("requests", "Requests that got a response")
        .labelled(&[("code", "class of the status: `1xx` to `5xx`")]);
    REQUEST_DURATION = histogram(
        "request_duration",
        "Time from the head of a request to the head of its response",
    ).in_seconds();
    INGRESS_REQUESTS = counter("ingress_requests", "Requests to rules of an Ingress")
        .labelled(BY_INGRESS_AND_CODE);
    INGRESS_REQUEST_DURATION = counter(
        "ingress_request_duration",
        "Sum of the times from the head of a request to the head of its response, by Ingress",
    ).in_seconds().labelled(BY_INGRESS);
    REQUESTS_CANCELED = counter(
        "requests_canceled",
        "Requests whose client went away before the head of the response",
    );
    REQUESTS_REFUSED = counter(
        "requests_refused",
        "Requests refused because of the client, before they reached a backend (`docs/http.md`)",
    ).labelled(&[(
        "code",
        "status of the response: 400, 405, 408, 413, 414, 417, 421, 431, 505, 508",
    )]);
    COPIES = counter("copies", "Copies of requests for mirrors (`mirror-target`)").labelled(&[(
        "outcome",
        "`sent` (the mirror has responded), `dropped` (too many at once, or no whole body up to 64 \
         KiB), `failed` (no response)",
    )]);
    MEMORY_BUDGET = gauge(
        "memory_budget",
        "Memory that the process may take (`memory` in `gatelet.toml`)",
    ).in_bytes();
    MEMORY_SHED = counter(
        "memory_shed",
        "Connections and requests refused or ended because the memory budget was all but used up",
    );
    REQUEST_BODY = counter("request_body", "Bytes of request bodies sent to backends")
        .in_bytes();
    RESPONSE_BODY = counter("response_body", "Bytes of response bodies from backends")
        .in_bytes();
    UPGRADES = counter("upgrades", "Upgraded connections (WebSocket)");
    CONNECTIONS_REJECTED = counter(
        "connections_rejected",
        "Client connections closed by gatelet because of the client",
    ).labelled(&[(
        "reason",
        "`limit` (`max_connections` or `max_connections_per_client`), `address` \
         (layer 4: the client may not come in), `handshake` (no good TLS \
         handshake or PROXY protocol header), `flood` (of HTTP/2 frames)",
    )]);
    PORT_CONNECTIONS = counter(
        "port_connections",
        "Connections (UDP: sessions) of clients to ports of layer 4",
    )
        .labelled(TRANSPORT);
    PORT_CONNECTIONS_OPEN = gauge(
        "port_connections_open",
        "Connections (UDP: sessions) of clients to ports of layer 4 that are open",
    ).labelled(TRANSPORT);
    PORT_CONNECTIONS_FAILED = counter(
        "port_connections_failed",
        "Connections (UDP: sessions) to ports of layer 4 for which no endpoint could be reached",
    ).labelled(TRANSPORT);
    PORT_PROXY_MISMATCHES = counter(
        "port_proxy_mismatches",
        "Connections to ports of layer 4 whose clients use the PROXY protocol otherwise than \
         expected",
    ).labelled(&[(
        "header",
        "`missing` (reset), `unexpected` (passed to the endpoint)",
    )]);
    PORT_RECEIVED = counter("port_received", "Bytes from clients to ports of layer 4")
        .in_bytes()
        .labelled(TRANSPORT);
    PORT_SENT = counter("port_sent", "Bytes from ports of layer 4 to clients")
        .in_bytes()
        .labelled(TRANSPORT);
    UPSTREAM_CONNECTIONS = counter("upstream_connections", "Connections opened to endpoints");
    UPSTREAM_CONNECT_FAILURES = counter(
        "upstream_connect_failures",
        "Connections that endpoints refused or did not accept in time",
    );
    UPSTREAM_RETRIES = counter("upstream_retries", "Attempts beyond the first of a request");
    UPSTREAM_ERRORS = counter(
        "upstream_errors",
        "Requests that failed because of the backend",
    ).labelled(&[("reason", "`bad_gateway` (502), `unavailable` (503), `timeout` (504)")]);
    UPSTREAM_EJECTIONS = counter(
        "upstream_ejections",
        "Endpoints ejected after failures in a row",
    );
    SPOOLED_BODIES = counter(
        "spooled_bodies",
        "Request bodies for `proxy.spool_directory`, whole or refused by its bound or the disk",
    ).labelled(&[("outcome", "`whole`, `refused`")]);
    SPOOL = gauge("spool", "Bytes of request bodies in `proxy.spool_directory`").in_bytes();
    HEALTH_CHECKS = counter("health_checks", "Health checks of endpoints")
        .labelled(&[("outcome", "`passed`, `failed`")]);
    ENDPOINTS_DOWN = gauge("endpoints_down", "Endpoints that are down by their health checks");
    CORES_STALLED = gauge("cores_stalled", "Cores of the data plane that hang");
    HOSTS = gauge("hosts", "Host patterns in the routing table");
    ROUTING_TABLES = counter("routing_tables", "Routing tables published since the start");
    FINDINGS = gauge("findings", "Findings that hold now")
        .labelled(&[("reason", "reason of the finding (`docs/findings.md`)")]);
    KIND_UNREAD = gauge(
        "kind_unread",
        "1 while the cluster does not give objects of this kind",
    ).labelled(&[("kind", "kind of the objects")]);
    SERVED_NOT_AFTER = gauge(
        "served_certificate_not_after_timestamp",
        "End of validity of the certificate that a host is served with",
    )
    .in_seconds()
    .labelled(&[
        ("host", "host pattern"),
        ("source", "Secret (`namespace/name`) or issuer of the certificate"),
    ]);
    SECRET_NOT_AFTER = gauge(
        "secret_certificate_not_after_timestamp",
        "End of validity of a certificate that gatelet does not renew, in a Secret of an Ingress",
    )
    .in_seconds()
    .labelled(&[("secret", "Secret (`namespace/name`)")]);
    CERTIFICATE_STATE = gauge("certificate_state", "1 for the state that a certificate is in")
        .labelled(&[
            ("name", CERTIFICATE),
            ("state", "`valid`, `obtaining`, `waiting`, `expired`, `revoked`, `blocked`, `clock`"),
        ]);
    CERTIFICATE_NOT_BEFORE = gauge(
        "certificate_not_before_timestamp",
        "Start of validity of a certificate",
    ).in_seconds().labelled(BY_ISSUER);
    CERTIFICATE_NOT_AFTER = gauge(
        "certificate_not_after_timestamp",
        "End of validity of a certificate",
    ).in_seconds().labelled(BY_ISSUER);
    CERTIFICATE_NEXT_ATTEMPT = gauge(
        "certificate_next_attempt_timestamp",
        "Time of the next attempt to obtain or renew a certificate",
    ).in_seconds().labelled(BY_ISSUER);
    CERTIFICATE_CONSECUTIVE_FAILURES = gauge(
        "certificate_consecutive_failures",
        "Failed attempts since the last successful one",
    ).labelled(BY_ISSUER);
    CERTIFICATE_FAILURES_LEFT = gauge(
        "certificate_failures_left",
        "Failed validations that gatelet still allows itself within this hour",
    ).labelled(BY_ISSUER);
    CLOCK_TRUSTED = gauge("clock_trusted", "1 while the clock of this device is trusted");
    BUILD = info("build", "Version of this process")
        .labelled(&[("version", "version of gatelet")]);
}

families! {
    /// Families by the names of cert-manager, without a prefix.
    CERT_MANAGER_FAMILIES:
    CERT_MANAGER_NOT_BEFORE = gauge(
        "certmanager_certificate_not_before_timestamp",
        "Start of validity of a certificate",
    ).in_seconds().labelled(BY_CERT_MANAGER);
    CERT_MANAGER_EXPIRATION = gauge(
        "certmanager_certificate_expiration_timestamp",
        "End of validity of a certificate",
    ).in_seconds().labelled(BY_CERT_MANAGER);
    CERT_MANAGER_RENEWAL = gauge(
        "certmanager_certificate_renewal_timestamp",
        "Time of the next renewal of a certificate",
    ).in_seconds().labelled(BY_CERT_MANAGER);
    CERT_MANAGER_READY = gauge(
        "certmanager_certificate_ready_status",
        "1 for the condition that a certificate is in",
    ).labelled(BY_CONDITION);
}

const CERTIFICATE: &str = "certificate (`gatelet certs`)";
const TRANSPORT: &[(&str, &str)] = &[(
    "transport",
    "`tcp`, `udp`; `tls` if TLS is passed through by its name",
)];
const INGRESS: &str = "its name; empty for all Ingresses beyond the first 1,000 together";
const BY_INGRESS: &[(&str, &str)] = &[
    ("namespace", "namespace of the Ingress"),
    ("ingress", INGRESS),
];
const BY_INGRESS_AND_CODE: &[(&str, &str)] = &[
    BY_INGRESS[0],
    BY_INGRESS[1],
    ("code", "class of the status: `1xx` to `5xx`"),
];
const BY_ISSUER: &[(&str, &str)] = &[("name", CERTIFICATE), ("issuer", "its issuer")];
const BY_CERT_MANAGER: &[(&str, &str)] = &[
    ("name", "name of the Secret"),
    ("namespace", "its namespace"),
    ("issuer_name", "issuer"),
    ("issuer_kind", "`ClusterIssuer`"),
    ("issuer_group", "`cert-manager.io`"),
];

const BY_CONDITION: &[(&str, &str)] = &[
    BY_CERT_MANAGER[0],
    BY_CERT_MANAGER[1],
    BY_CERT_MANAGER[2],
    BY_CERT_MANAGER[3],
    BY_CERT_MANAGER[4],
    ("condition", "`True`, `False`, `Unknown`"),
];

const fn counter(name: &'static str, help: &'static str) -> MetricFamily {
    MetricFamily::new(name, MetricType::Counter, help)
}

const fn gauge(name: &'static str, help: &'static str) -> MetricFamily {
    MetricFamily::new(name, MetricType::Gauge, help)
}

const fn histogram(name: &'static str, help: &'static str) -> MetricFamily {
    MetricFamily::new(name, MetricType::Histogram, help)
}

const fn info(name: &'static str, help: &'static str) -> MetricFamily {
    MetricFamily::new(name, MetricType::Info, help)
}

impl MetricFamily {
    const fn new(name: &'static str, kind: MetricType, help: &'static str) -> Self {
        Self {
            name,
            kind,
            unit: None,
            labels: &[],
            help,
        }
    }

    const fn in_seconds(self) -> Self {
        let unit = Some(BaseUnit::Seconds);
        Self { unit, ..self }
    }

    const fn in_bytes(self) -> Self {
        let unit = Some(BaseUnit::Bytes);
        Self { unit, ..self }
    }

    const fn labelled(self, labels: &'static [(&'static str, &'static str)]) -> Self {
        Self { labels, ..self }
    }

    fn unit(&self) -> Option<Unit> {
        self.unit.map(|unit| match unit {
            BaseUnit::Seconds => Unit::Seconds,
            BaseUnit::Bytes => Unit::Bytes,
        })
    }

    /// Registers a metric that is updated where its value changes.
    pub(super) fn register(&self, registry: &mut Registry, metric: impl Metric) {
        match self.unit() {
            Some(unit) => registry.register_with_unit(self.name, self.help, unit, metric),
            None => registry.register(self.name, self.help, metric),
        }
    }

    /// Writes a counter, one sample for each set of labels.
    pub fn write_counter(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = (Vec<Label>, u64)>,
    ) -> fmt::Result {
        let samples = samples.into_iter();
        self.write(
            encoder,
            samples.map(|(labels, value)| (labels, ConstCounter::new(value))),
        )
    }

    /// Writes a counter of seconds, one sample for each set of labels.
    pub fn write_seconds(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = (Vec<Label>, f64)>,
    ) -> fmt::Result {
        let samples = samples.into_iter();
        self.write(
            encoder,
            samples.map(|(labels, value)| (labels, ConstCounter::new(value))),
        )
    }

    /// Writes a gauge, one sample for each set of labels.
    pub fn write_gauge(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl IntoIterator<Item = (Vec<Label>, i64)>,
    ) -> fmt::Result {
        let samples = samples.into_iter();
        self.write(
            encoder,
            samples.map(|(labels, value)| (labels, ConstGauge::new(value))),
        )
    }

    /// Writes a histogram. A bucket is its upper bound with the number of values in it; the last
    /// bound is infinite.
    pub fn write_histogram(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        sum: f64,
        buckets: &[(f64, u64)],
    ) -> fmt::Result {
        let unit = self.unit();
        let help = self.sentence();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder
            .encode_descriptor(self.name, &help, unit.as_ref(), self.kind)?
            .encode_histogram::<NoLabelSet>(sum, count, buckets, None)
    }

    fn write<M: EncodeMetric>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        samples: impl Iterator<Item = (Vec<Label>, M)>,
    ) -> fmt::Result {
        let unit = self.unit();
        let help = self.sentence();
        let mut family = encoder.encode_descriptor(self.name, &help, unit.as_ref(), self.kind)?;

        for (labels, metric) in samples {
            let names = labels.iter().map(|(name, _)| name);
            debug_assert!(names.eq(self.labels.iter().map(|(name, _)| name)));
            debug_assert_eq!(metric.metric_type().as_str(), self.kind.as_str());
            if labels.is_empty() {
                return metric.encode(family);
            }
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// Returns the help text as the registry writes it for metrics that are registered.
    fn sentence(&self) -> String {
        format!("{}.", self.help)
    }
}

#[cfg(test)]
mod tests;
