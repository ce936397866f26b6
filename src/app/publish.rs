//! Compiled output made live: endpoints, then the table, then certificates.

use std::sync::{Arc, Mutex};

use super::parsed::Parsed;
use crate::{
    acme::active::{ActiveCertificates, Source},
    admin::{CertificateReport, FindingReport, GuardReport, OtherClassReport},
    controller::{CertificateSource, Finding, OtherClass, Output, TlsHost},
    objects::EventType,
    proxy::Shared,
    telemetry::Metrics,
    tls::{Certificate, Resolver, SniMap},
    util::sync::lock,
};

/// What was made live last, for inspection.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) certificates: Vec<CertificateReport>,
    pub(crate) findings: Vec<FindingReport>,
    pub(crate) other_classes: Vec<OtherClassReport>,
}

/// Makes outputs live.
pub(crate) struct Publisher {
    pub(crate) shared: Arc<Shared>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) live: Arc<Mutex<Live>>,
    /// The hosts with TLS as of the last compile.
    hosts: Vec<TlsHost>,
    parsed: Arc<Parsed>,
}

impl Publisher {
    pub(crate) fn new(
        shared: Arc<Shared>,
        resolver: Arc<Resolver>,
        metrics: Arc<Metrics>,
        live: Arc<Mutex<Live>>,
        parsed: Arc<Parsed>,
    ) -> Self {
        Self {
            shared,
            resolver,
            metrics,
            live,
            hosts: Vec::new(),
            parsed,
        }
    }

    /// Makes an output live, and keeps its certificates; `served` is what the certificate engine
    /// holds.
    pub(crate) fn publish(&mut self, output: &mut Output, served: &ActiveCertificates) {
        for update in &output.endpoints {
            update.backend.set_endpoints(update.endpoints.clone());
        }
        // Certificates before routes: a redirect to HTTPS must find its certificate there.
        if let Some(hosts) = output.certificates.take() {
            self.hosts = hosts;
            self.certificates(served);
        }
        if let Some(table) = &output.table {
            self.metrics
                .hosts
                .set(i64::try_from(table.hosts().count()).unwrap_or(i64::MAX));
            self.metrics.generations.inc();
            self.shared.table.store(table.clone());
        }
        if let Some(findings) = &output.findings {
            self.findings(findings);
        }
        if let Some(classes) = &output.other_classes {
            let reports = classes.iter().map(class_report).collect();
            lock(&self.live).other_classes = reports;
        }
        self.parsed.sweep();
    }

    /// Makes other certificates live for the same hosts.
    pub(crate) fn certificates(&self, served: &ActiveCertificates) {
        let mut map = SniMap::default();
        let mut reports = Vec::with_capacity(self.hosts.len());
        self.metrics.certificates.clear();
        for host in &self.hosts {
            let mut report = CertificateReport {
                host: host.pattern.to_string(),
                source: "local CA".to_owned(),
                wanted_by: format!("{}/{}", host.ingress.key.namespace, host.ingress.key.name),
                ..CertificateReport::default()
            };
            let pair = host
                .certificate
                .as_ref()
                .and_then(|id| served.certificates.get(&**id));
            if let Some((source, certificate)) = pair.and_then(|pair| pair.choose(&host.pattern)) {
                map.insert(&host.pattern, certificate);
                let issuer = pair.map(|pair| &*pair.issuer).unwrap_or_default();
                report.source = match source {
                    Source::Live => issuer.to_owned(),
                    Source::Previous => format!("{issuer} (the certificate before the newest)"),
                };
                self.describe(&mut report, certificate);
                reports.push(report);
                continue;
            }
            let certificate = match &host.source {
                CertificateSource::Local => None,
                CertificateSource::Secret {
                    key,
                    chain,
                    private_key,
                    ..
                } => self
                    .parsed
                    .get(chain, &private_key.0)
                    .ok()
                    .map(|certificate| (key, certificate)),
            };
            match certificate {
                Some((key, certificate)) => {
                    map.insert(&host.pattern, &certificate);
                    report.source = format!("{}/{}", key.namespace, key.name);
                    self.describe(&mut report, &certificate);
                }
                None => map.insert_local(&host.pattern),
            }
            reports.push(report);
        }
        self.resolver.swap(map);
        lock(&self.live).certificates = reports;
    }

    /// Completes the report on a host with what is served for it, and counts it.
    fn describe(&self, report: &mut CertificateReport, certificate: &Certificate) {
        report.issuer = certificate.issuer().to_owned();
        report.not_after = certificate.not_after().to_string();
        let labels = vec![
            ("host".to_owned(), report.host.clone()),
            ("source".to_owned(), report.source.clone()),
        ];
        self.metrics
            .certificates
            .get_or_create(&labels)
            .set(certificate.not_after().0);
    }

    fn findings(&self, findings: &[Finding]) {
        self.metrics.findings.clear();
        let mut reports = Vec::new();
        for finding in findings {
            self.metrics
                .findings
                .get_or_create(&vec![("reason".to_owned(), finding.reason.to_string())])
                .inc();
            reports.push(report(finding));
        }
        lock(&self.live).findings = reports;
    }
}

/// A finding for people and tools.
pub(crate) fn report(finding: &Finding) -> FindingReport {
    FindingReport {
        severity: match finding.severity {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
        .to_owned(),
        object: finding.about.key.to_string(),
        reason: finding.reason.to_string(),
        field: finding.field.to_string(),
        message: finding.message.to_string(),
    }
}

/// Reports a class that is not served.
pub(crate) fn class_report(class: &OtherClass) -> OtherClassReport {
    let guards = class.guards.iter();
    OtherClassReport {
        class: class.class.to_string(),
        ingresses: class.ingresses,
        guarded: class.guarded,
        guards: guards
            .map(|(name, count)| GuardReport {
                annotation: name.to_string(),
                ingresses: *count,
            })
            .collect(),
    }
}
