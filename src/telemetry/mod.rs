//! Logging set-up and the metrics registry.

mod lines;
mod settings;

use std::{io::IsTerminal, sync::Mutex};

use prometheus_client::{
    collector::Collector,
    encoding::text::{encode, encode_registry},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, filter::Targets, fmt::writer::BoxMakeWriter, layer::SubscriberExt,
    util::SubscriberInitExt,
};

use lines::Lines;

use crate::util::sync::lock;
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
        // It logs each failed request, and returns the error that is told once.
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

/// The metrics of the control side, and whatever else is registered.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Metrics that go by the names of another program.
    plain: Mutex<Registry>,
    /// Findings that hold now, by reason.
    pub findings: Family<Vec<(String, String)>, Gauge>,
    /// End of validity of each certificate, seconds since 1970.
    pub certificates: Family<Vec<(String, String)>, Gauge>,
    /// Hosts in the routing table.
    pub hosts: Gauge,
    /// Tables made live since the start.
    pub generations: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("gatelet");
        let findings = Family::default();
        let certificates = Family::default();
        let (hosts, generations) = (Gauge::default(), Gauge::default());
        registry.register(
            "findings",
            "Findings that hold now, by reason",
            findings.clone(),
        );
        registry.register(
            "certificate_not_after_seconds",
            "End of validity, seconds since 1970",
            certificates.clone(),
        );
        registry.register("hosts", "Host patterns in the routing table", hosts.clone());
        registry.register(
            "table_generation",
            "Routing tables made live since the start",
            generations.clone(),
        );
        let build: Family<Vec<(String, String)>, Gauge> = Family::default();
        build
            .get_or_create(&vec![(
                "version".to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
            )])
            .set(1);
        registry.register("build", "Version of this process", build);
        Self {
            registry: Mutex::new(registry),
            plain: Mutex::default(),
            findings,
            certificates,
            hosts,
            generations,
        }
    }
}

impl Metrics {
    /// Adds a collector that is asked at each scrape.
    pub fn collect(&self, collector: Box<dyn Collector>) {
        lock(&self.registry).register_collector(collector);
    }

    /// Adds a collector whose names are used as they are.
    pub fn collect_plain(&self, collector: Box<dyn Collector>) {
        lock(&self.plain).register_collector(collector);
    }

    /// All metrics in the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = lock(&self.registry);
        let plain = lock(&self.plain);
        // Writing into a string cannot fail.
        let _ = encode_registry(&mut text, &plain).and_then(|()| encode(&mut text, &registry));
        text
    }
}
