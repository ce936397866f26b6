//! Logging set-up, the audit log and the metrics registry.

mod audit;
pub mod families;
mod lines;
mod settings;

use std::{io::IsTerminal, sync::Mutex};

use prometheus_client::{
    collector::Collector,
    encoding::text::{encode, encode_registry},
    metrics::{counter::Counter, family::Family, gauge::Gauge, info::Info},
    registry::Registry,
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, filter::Targets, fmt::writer::BoxMakeWriter, layer::SubscriberExt,
    util::SubscriberInitExt,
};

use lines::Lines;

use crate::util::sync::lock;
pub use audit::AuditLog;
pub use lines::flush;
pub use settings::{Format, Settings};

/// Starts logging to standard error. Libraries log warnings and errors only. The access log (target
/// `access`) always passes: it has a setting of its own.
pub fn start(settings: &Settings) {
    let level: LevelFilter = settings.level.parse().unwrap_or(LevelFilter::INFO);
    let libraries = level.min(LevelFilter::WARN);
    let targets = Targets::new()
        .with_default(libraries)
        .with_target("gatelet", level)
        .with_target("access", LevelFilter::INFO)
        // It logs each failed request; callers log the error that it returns once.
        .with_target("kube_client", LevelFilter::OFF);

    let writer = match Lines::start(std::io::stderr()) {
        Ok(lines) => BoxMakeWriter::new(lines),
        Err(_no_thread) => BoxMakeWriter::new(std::io::stderr),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);

    // The journal has its own timestamps.
    let journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let layer = match settings.format {
        Format::Json => lines.json().flatten_event(true).boxed(),
        Format::Text if journal => lines.without_time().with_ansi(false).boxed(),
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
    };

    // A second start in one process (tests) keeps the first.
    let _ = tracing_subscriber::registry()
        .with(layer.with_filter(targets))
        .try_init();
}

/// The metrics: those of the control side, and the collectors of other modules.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Families that go by the names of another program.
    plain: Mutex<Registry>,
    /// Findings that hold now, by reason.
    pub findings: Family<Vec<(String, String)>, Gauge>,
    /// End of validity of the certificate of each host, seconds since 1970.
    pub certificates: Family<Vec<(String, String)>, Gauge>,
    /// End of validity of the certificates in Secrets that gatelet does not renew.
    pub secrets: Family<Vec<(String, String)>, Gauge>,
    /// Host patterns in the routing table.
    pub hosts: Gauge,
    /// Routing tables published since the start.
    pub generations: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let findings = Family::default();
        let certificates = Family::default();
        let secrets = Family::default();
        let hosts = Gauge::default();
        let generations = Counter::default();
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);

        let mut registry = Registry::with_prefix(families::PREFIX);
        families::BUILD.register(&mut registry, build);
        families::HOSTS.register(&mut registry, hosts.clone());
        families::ROUTING_TABLES.register(&mut registry, generations.clone());
        families::FINDINGS.register(&mut registry, findings.clone());
        families::SERVED_NOT_AFTER.register(&mut registry, certificates.clone());
        families::SECRET_NOT_AFTER.register(&mut registry, secrets.clone());

        Self {
            registry: Mutex::new(registry),
            plain: Mutex::default(),
            findings,
            certificates,
            secrets,
            hosts,
            generations,
        }
    }
}

impl Metrics {
    /// Adds a collector that each scrape calls.
    pub fn collect(&self, collector: Box<dyn Collector>) {
        lock(&self.registry).register_collector(collector);
    }

    /// Adds a collector whose families have no prefix.
    pub fn collect_plain(&self, collector: Box<dyn Collector>) {
        lock(&self.plain).register_collector(collector);
    }

    /// Returns all metrics in the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = lock(&self.registry);
        let plain = lock(&self.plain);
        // Writing into a string cannot fail.
        let _ = encode_registry(&mut text, &plain).and_then(|()| encode(&mut text, &registry));
        text
    }
}
