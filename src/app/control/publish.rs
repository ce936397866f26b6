//! Publishes compiled output: endpoints, then certificates, then the table.

use std::sync::{Arc, Mutex};

use super::parsed::Parsed;
use crate::{
    acme::engine::active::{ActiveCertificates, Source},
    admin::{CertificateReport, FindingReport, GuardReport, OtherClassReport, Severity},
    app::certificates::IssuersError,
    controller::{CertificateSource, Finding, OtherClass, Output, Reason, TlsHost},
    objects::EventType,
    proxy::Shared,
    telemetry::Metrics,
    tls::{Certificate, Resolver, SniMap},
    util::sync::lock,
};

/// The reports of the last publication, for inspection.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) certificates: Vec<CertificateReport>,
    pub(crate) findings: Vec<FindingReport>,
    pub(crate) other_classes: Vec<OtherClassReport>,
}

/// Publishes outputs.
pub(crate) struct Publisher {
    pub(crate) shared: Arc<Shared>,
    resolver: Arc<Resolver>,
    metrics: Arc<Metrics>,
    live: Arc<Mutex<Live>>,
    /// The hosts with TLS as of the last compile.
    hosts: Vec<TlsHost>,
    parsed: Arc<Parsed>,
    /// Reports on the issuers of the configuration file, which are no objects.
    issuers: Vec<FindingReport>,
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
            issuers: Vec::new(),
        }
    }

    /// Replaces the mistakes of the configuration file's issuers, and logs them. The next findings
    /// include them.
    pub(crate) fn set_issuers(&mut self, problems: &[IssuersError]) {
        for error in problems {
            let (issuer, reason) = (&error.issuer, Reason::InvalidIssuer.as_str());
            let (field, message) = (&error.problem.field, &error.problem.message);
            tracing::warn!(issuer, reason, field, message, "finding");
        }
        self.issuers = problems.iter().map(issuer_report).collect();
    }

    /// Publishes an output. `active` are the certificates of the certificate engine.
    pub(crate) fn publish(&mut self, output: &mut Output, active: &ActiveCertificates) {
        for update in &output.endpoints {
            update.backend.set_endpoints(update.endpoints.clone());
        }

        // Certificates before routes, so that a redirect to HTTPS finds its certificate.
        if let Some(hosts) = output.certificates.take() {
            self.hosts = hosts;
            self.certificates(active);
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

    /// Publishes the certificates for the hosts of the last compile.
    pub(crate) fn certificates(&self, active: &ActiveCertificates) {
        let mut map = SniMap::default();
        let mut reports = Vec::with_capacity(self.hosts.len());
        self.metrics.certificates.clear();
        for host in &self.hosts {
            reports.push(self.certificate(host, active, &mut map));
        }
        self.resolver.swap(map);
        lock(&self.live).certificates = reports;
    }

    /// Chooses the certificate of a host: of the engine, else of its Secret, else of the local CA.
    fn certificate(
        &self,
        host: &TlsHost,
        active: &ActiveCertificates,
        map: &mut SniMap,
    ) -> CertificateReport {
        let ingress = &host.ingress.key;
        let mut report = CertificateReport {
            host: host.pattern.to_string(),
            source: "local CA".to_owned(),
            ingress: format!("{}/{}", ingress.namespace, ingress.name),
            ..CertificateReport::default()
        };

        let id = host.certificate.as_deref();
        let pair = id.and_then(|id| active.certificates.get(id));
        if let Some(pair) = pair
            && let Some((source, certificate)) = pair.choose(&host.pattern)
        {
            map.insert(&host.pattern, certificate);
            report.source = match source {
                Source::Live => pair.issuer.to_string(),
                Source::Previous => format!("{} (the certificate before the newest)", pair.issuer),
            };
            self.complete(&mut report, certificate);
            return report;
        }

        if let CertificateSource::Secret {
            key,
            chain,
            private_key,
            ..
        } = &host.source
            && let Ok(certificate) = self.parsed.get(chain, &private_key.0)
        {
            map.insert(&host.pattern, &certificate);
            report.source = format!("{}/{}", key.namespace, key.name);
            self.complete(&mut report, &certificate);
            return report;
        }

        map.insert_local(&host.pattern);
        report
    }

    /// Adds the content of the certificate to the report, and to the metrics.
    fn complete(&self, report: &mut CertificateReport, certificate: &Certificate) {
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
        let mut reports = Vec::with_capacity(findings.len());
        let reported = findings.iter().map(report);
        for report in reported.chain(self.issuers.iter().cloned()) {
            let labels = vec![("reason".to_owned(), report.reason.clone())];
            self.metrics.findings.get_or_create(&labels).inc();
            reports.push(report);
        }
        lock(&self.live).findings = reports;
    }
}

/// Returns the report of a finding.
pub(crate) fn report(finding: &Finding) -> FindingReport {
    FindingReport {
        severity: match finding.severity {
            EventType::Normal => Severity::Normal,
            EventType::Warning => Severity::Warning,
        },
        object: finding.about.key.to_string(),
        reason: finding.reason.to_string(),
        field: finding.field.to_string(),
        message: finding.message.to_string(),
    }
}

/// Returns the report of a mistake in an issuer of the configuration file.
pub(crate) fn issuer_report(error: &IssuersError) -> FindingReport {
    FindingReport {
        severity: Severity::Warning,
        object: format!("Issuer {}", error.issuer),
        reason: Reason::InvalidIssuer.to_string(),
        field: error.problem.field.clone(),
        message: error.problem.message.clone(),
    }
}

/// Returns the report of a class that is not served.
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
