//! Publishes compiled output: endpoints, then certificates, then the table.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::{
    choice::{Choice, Choices, Source},
    expiry,
    parsed::Parsed,
};
use crate::{
    acme::engine::active::ActiveCertificates,
    admin::{CertificateReport, FindingReport, GuardReport, OtherClassReport, Severity},
    app::certificates::IssuersError,
    controller::{Finding, OtherClass, Output, Reason, TlsHost},
    objects::{EventType, Key},
    proxy::Shared,
    routing::{Port, RoutingTable},
    telemetry::Metrics,
    tls::{Certificate, Server, SniMap},
    util::{hash::sha256, sync::lock, time::UnixSeconds},
};

/// The reports of the last publication, for inspection.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) certificates: Vec<CertificateReport>,
    pub(crate) findings: Vec<FindingReport>,
    pub(crate) other_classes: Vec<OtherClassReport>,
    /// The ports that cannot be opened, with the reasons.
    pub(crate) closed_ports: BTreeMap<Port, String>,
}

/// The certificate in the Secret of a host, and the choice for the host.
type Chosen = (Option<(Key, Arc<Certificate>)>, Option<Choice>);

/// The certificates that are served and not reported yet, for the hosts of the last compile; none
/// if they are as before.
#[derive(Debug, Default)]
pub(super) struct Served(Option<Vec<Chosen>>);

/// Publishes outputs.
pub(crate) struct Publisher {
    pub(crate) shared: Arc<Shared>,
    server: Arc<Server>,
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
        server: Arc<Server>,
        metrics: Arc<Metrics>,
        live: Arc<Mutex<Live>>,
        parsed: Arc<Parsed>,
    ) -> Self {
        Self {
            shared,
            server,
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

    /// Lets requests have the endpoints, certificates and table of an output. `active` are the
    /// certificates of the certificate engine. `now` is the time, if it is known.
    pub(super) fn serve(
        &mut self,
        output: &mut Output,
        active: &ActiveCertificates,
        now: Option<UnixSeconds>,
    ) -> Served {
        for update in &output.endpoints {
            update.backend.set_endpoints(update.endpoints.clone());
        }

        // Certificates before routes, so that a redirect to HTTPS finds its certificate.
        let served = output.certificates.take().map(|hosts| {
            self.hosts = hosts;
            self.choose(active, now)
        });

        if let Some(table) = &output.table {
            self.trust(table);
            self.shared.table.store(table.clone());
        }
        Served(served)
    }

    /// Shows the rest of an output to people.
    pub(super) fn report(&self, output: &Output, served: Served) {
        if let Some(chosen) = served.0 {
            self.report_certificates(&chosen);
        }
        if let Some(table) = &output.table {
            self.metrics
                .hosts
                .set(i64::try_from(table.hosts().count()).unwrap_or(i64::MAX));
            self.metrics.generations.inc();
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

    /// Lets the data plane verify certificates of clients with the authorities of the hosts in this
    /// table, and with those of the last one, which some requests still have.
    fn trust(&self, table: &RoutingTable) {
        let last = self.shared.table.load();
        let tables = [&**last, table].into_iter();
        let hosts = tables
            .filter(|table| table.has_client_certificates())
            .flat_map(RoutingTable::hosts);

        let terms = hosts.filter_map(|host| host.client_certificates());
        let asking = terms.filter(|terms| terms.asks());
        self.server
            .trust(asking.filter_map(|terms| terms.authorities.as_ref().ok()));
    }

    /// Publishes the certificates for the hosts of the last compile. `now` is the time, if it is
    /// known.
    pub(super) fn certificates(&self, active: &ActiveCertificates, now: Option<UnixSeconds>) {
        let chosen = self.choose(active, now);
        self.report_certificates(&chosen);
    }

    /// Chooses the certificates for the hosts of the last compile, and serves them.
    fn choose(&self, active: &ActiveCertificates, now: Option<UnixSeconds>) -> Vec<Chosen> {
        let hosts = self.hosts.iter();
        let secrets: Vec<Option<(Key, Arc<Certificate>)>> =
            hosts.map(|host| self.parsed.of_host(host)).collect();
        let all: Vec<(Key, Arc<Certificate>)> = secrets.iter().flatten().cloned().collect();
        let choices = Choices::new(active, &all, now);

        let mut map = SniMap::default();
        let mut chosen = Vec::with_capacity(self.hosts.len());
        for (host, secret) in self.hosts.iter().zip(secrets) {
            let choice = choices.choose(host, secret.as_ref());
            match &choice {
                Some(choice) => map.insert(&host.pattern, &choice.certificate),
                None => map.insert_local(&host.pattern),
            }
            chosen.push((secret, choice));
        }
        self.server.resolver().swap(map);
        chosen
    }

    /// Shows the certificates for the hosts of the last compile.
    fn report_certificates(&self, chosen: &[Chosen]) {
        let mut reports = Vec::with_capacity(self.hosts.len());
        self.metrics.certificates.clear();
        self.metrics.secrets.clear();
        for (host, (secret, choice)) in self.hosts.iter().zip(chosen) {
            if let Some(secret) = secret.as_ref().filter(|_| expiry::is_foreign(host)) {
                self.count_foreign(secret);
            }
            reports.push(self.certificate(host, choice.as_ref()));
        }
        lock(&self.live).certificates = reports;
    }

    /// Returns findings about certificates of Secrets that end soon.
    pub(crate) fn ending(&self, now: Option<UnixSeconds>) -> Vec<Finding> {
        expiry::findings(&self.hosts, &self.parsed, now)
    }

    /// Shows the end of a certificate that gatelet does not renew in the metrics.
    fn count_foreign(&self, (key, certificate): &(Key, Arc<Certificate>)) {
        let secret = format!("{}/{}", key.namespace, key.name);
        self.metrics
            .secrets
            .get_or_create(&vec![("secret".to_owned(), secret)])
            .set(certificate.not_after().0);
    }

    /// Returns the report of the certificate of a host, and counts it in the metrics.
    fn certificate(&self, host: &TlsHost, choice: Option<&Choice>) -> CertificateReport {
        let ingress = &host.ingress.key;
        let mut report = CertificateReport {
            host: host.pattern.to_string(),
            source: choice.map_or_else(|| "local CA".to_owned(), Choice::describe),
            ingress: format!("{}/{}", ingress.namespace, ingress.name),
            certificate: host.certificate.as_deref().unwrap_or_default().to_owned(),
            kind: choice.map_or("local-ca", kind).to_owned(),
            ..CertificateReport::default()
        };
        let Some(choice) = choice else {
            return report;
        };

        let certificate = &choice.certificate;
        let leaf = certificate.certified().cert.first();
        report.issuer = certificate.issuer().to_owned();
        report.not_after = certificate.not_after().to_string();
        report.revoked = choice.is_revoked;
        report.fingerprint = leaf.map(|leaf| sha256(leaf)).unwrap_or_default();

        let labels = vec![
            ("host".to_owned(), report.host.clone()),
            ("source".to_owned(), report.source.clone()),
        ];
        self.metrics
            .certificates
            .get_or_create(&labels)
            .set(certificate.not_after().0);
        report
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

fn kind(choice: &Choice) -> &'static str {
    match &choice.source {
        Source::Issued(_) => "issued",
        Source::Previous(_) => "previous",
        Source::Other(..) => "other",
        Source::Secret(_) => "secret",
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
