//! The view of the live process for `status`, `explain` and `certs`.

mod canary;
mod client_certificates;
mod head;
mod passthrough;
mod ports;
mod sessions;
mod steps;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use self::{head::AskedHead, steps::Asked};
use super::{
    certificates::Owners,
    control::{classes::Note, endpoint_health::Health, publish::Live, role::Role},
};
use crate::{
    acme::{self, engine::report::Report, issuer::Issuer},
    admin::{
        BackendReport, CandidateReport, CertificateReport, CertsReport, ExplainReport,
        ExplainRequest, FindingReport, HostReport, Inspect, IssuanceReport, LeaderReport,
        Operation, OperationError, Severity, StatusReport, Unhealthy, UnreadReport, UrlError,
    },
    k8s::Unread,
    manifests,
    objects::ObjectRef,
    proxy::Shared,
    routing::{
        Action, Authority, Backend, Canary, Candidate, HostPattern, Route, RoutingTable, path,
    },
    util::sync::lock,
};

/// The parts of the process that are inspected.
pub(crate) struct Inspector {
    pub(crate) acme: Arc<acme::Engine>,
    pub(crate) owners: Owners,
    pub(crate) shared: Arc<Shared>,
    pub(crate) live: Arc<Mutex<Live>>,
    pub(crate) ready: Arc<AtomicBool>,
    pub(crate) started: Instant,
    pub(crate) node: String,
    pub(crate) source: String,
    pub(crate) unread: Unread,
    /// Findings about the manifests folder, which only the mini cluster has.
    pub(crate) manifests: Option<manifests::Findings>,
    pub(crate) note: Note,
    pub(crate) role: Role,
    pub(crate) store: String,
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) https: Vec<SocketAddr>,
    pub(crate) api: Option<SocketAddr>,
}

impl Inspect for Inspector {
    fn readiness(&self) -> Result<(), Unhealthy> {
        let stalled = self.shared.stalled();
        if !stalled.is_empty() {
            let cores: Vec<String> = stalled.iter().map(ToString::to_string).collect();
            return Err(Unhealthy::Stalled(cores.join(", ")));
        }
        if !self.ready.load(Ordering::Acquire) {
            return Err(Unhealthy::Starting);
        }
        Ok(())
    }

    fn note(&self) -> String {
        lock(&self.note).clone()
    }

    fn certs(&self) -> CertsReport {
        let hosts = lock(&self.live).certificates.clone();
        let owners = lock(&self.owners);
        let report = |issuance: Report| {
            let owners = owners.get(issuance.name.as_str());
            issuance_report(
                issuance,
                owners.map(Vec::as_slice).unwrap_or_default(),
                &hosts,
            )
        };
        let certificates = self.acme.report().into_iter().map(report).collect();
        CertsReport {
            clock: self.acme.clock_state().to_owned(),
            certificates,
            hosts,
        }
    }

    fn operate(
        &self,
        operation: Operation,
    ) -> Pin<Box<dyn Future<Output = Result<String, OperationError>> + Send>> {
        let engine = self.acme.clone();

        Box::pin(async move {
            match operation {
                Operation::Renew(name) => Ok(engine.renew(&name).await?),
                Operation::Revoke(name, reason) => {
                    let id = engine.revoke(&name, reason).await?;
                    Ok(format!(
                        "{id} is revoked; a new certificate is being ordered"
                    ))
                }
                Operation::ChangeKey(name) => {
                    let issuer = issuer(&engine, &name)?;
                    engine.change_key(&issuer).await?;
                    Ok(format!("the account at {name} has a new key"))
                }
                Operation::NewAccount(name) => {
                    let issuer = issuer(&engine, &name)?;
                    engine.new_account(&issuer).await?;
                    Ok(format!("{name} has a new account"))
                }
            }
        })
    }

    fn status(&self) -> StatusReport {
        let table = self.shared.table.load();
        let mut hosts: Vec<HostReport> = table
            .hosts()
            .map(|routes| HostReport {
                host: routes.pattern().to_string(),
                rules: routes.rules().len(),
            })
            .collect();
        hosts.sort();

        let unread = self.unread.list().into_iter();
        let live = lock(&self.live);
        let text = |addresses: &[SocketAddr]| addresses.iter().map(ToString::to_string).collect();

        StatusReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.node.clone(),
            source: self.source.clone(),
            leader: self.role.holder.as_ref().map(|holder| LeaderReport {
                holder: holder.borrow().clone(),
                leads: *self.role.leads.borrow(),
            }),
            unread: unread
                .map(|(kind, why)| UnreadReport {
                    kind: kind.name().to_owned(),
                    why,
                })
                .collect(),
            uptime_seconds: self.started.elapsed().as_secs(),
            ready: self.readiness().is_ok(),
            note: self.note(),
            store: self.store.clone(),
            http: text(&self.http),
            https: text(&self.https),
            api: self.api.map(|addr| addr.to_string()),
            hosts,
            backends: backend_reports(&table, &Health::new(&self.shared)),
            ports: ports::reports(&self.shared, &live),
            certificates: live.certificates.clone(),
            findings: self.findings(&live),
            other_classes: live.other_classes.clone(),
        }
    }

    fn explain(&self, request: &ExplainRequest) -> Result<ExplainReport, UrlError> {
        let address = |text: &str| {
            let address = text.parse::<IpAddr>();
            address.map_err(|_bad| UrlError::Address(text.to_owned()))
        };
        let from = request.from.as_deref().map(address).transpose()?;
        let url = &*request.url;
        let (is_https, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme @ ("tcp" | "udp"), target)) => {
                let live = lock(&self.live);
                return ports::explain(&self.shared, &live, scheme == "udp", target, from);
            }
            Some(("tls", target)) => {
                let live = lock(&self.live);
                let certificate = |host: &str| certificate_of(&live.certificates, host).cloned();
                let (shared, https) = (&self.shared, &self.https);
                return passthrough::explain(shared, &live, https, target, from, certificate);
            }
            Some((scheme, _)) => return Err(UrlError::Scheme(scheme.to_owned())),
            None => (false, url),
        };

        let (written, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let authority = Authority::parse(written.as_bytes())?;
        let target = target.split('#').next().unwrap_or(target);
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let path = path::normalize(path)?;

        let table = self.shared.table.load();
        let head = AskedHead::new(query, request)?;
        let candidates = table.explain(Some(&authority.host), &path::matched(&path), &head);
        let mut report = ExplainReport {
            host: authority.host.to_string(),
            path: path.to_string(),
            candidates: candidates.iter().map(candidate_report).collect(),
            outcome: "404: no rule matches".to_owned(),
            ..ExplainReport::default()
        };

        let live = lock(&self.live);
        report.certificate = certificate_of(&live.certificates, &authority.host).cloned();
        let Some(winner) = candidates.iter().find(|candidate| candidate.wins) else {
            return Ok(report);
        };

        let route = winner.route;
        let findings = live.findings.iter();
        report.findings = findings
            .filter(|finding| concerns(finding, route))
            .cloned()
            .collect();

        let host = table.host(Some(&authority.host));
        let has_tls = host.is_some_and(|routes| routes.has_tls());
        let terms = host.and_then(|routes| routes.client_certificates());
        let asking = terms.map(|terms| client_certificates::step(terms, is_https));
        let asked = Asked {
            head: &head,
            path: &path,
            query,
            host: &authority.host,
            authority: written,
            is_https,
            tls: has_tls,
            from,
        };
        let (steps, early) = match asking {
            Some((step, Some(outcome))) => (vec![step], Some(outcome)),
            Some((step, None)) => {
                let (steps, early) = steps::reports(route, asked);
                ([vec![step], steps].concat(), early)
            }
            None => steps::reports(route, asked),
        };
        report.steps = steps;
        if let Some(outcome) = early {
            report.outcome = outcome;
            return Ok(report);
        }

        report.outcome = match &route.action {
            Action::Refuse(refusal) => {
                format!("{}: {}", refusal.status().as_u16(), refusal.reason())
            }
            Action::Redirect(redirect) => format!("{} redirect", redirect.status.as_u16()),
            Action::Forward(split) => {
                let health = Health::new(&self.shared);
                let (backends, step) = canary::choices(split, &head);
                report.steps.extend(step);
                report.steps.extend(sessions::step(route));
                report.steps.extend(sessions::groups(route));
                let outcomes = backends.into_iter().map(|backend| {
                    let endpoints = health.of(backend);
                    let outcome = match endpoints.len() {
                        0 => format!("503: {} has no endpoints", backend.id()),
                        _ => format!("forwarded to {} ({})", backend.id(), backend.protocol()),
                    };
                    report.endpoints.extend(endpoints);
                    outcome
                });
                outcomes.collect::<Vec<String>>().join(" or ")
            }
        };

        Ok(report)
    }
}

impl Inspector {
    /// Returns the findings that hold: of objects, then of manifests.
    fn findings(&self, live: &Live) -> Vec<FindingReport> {
        let manifests = self.manifests.iter();
        let manifests = manifests.flat_map(|findings| findings.borrow().to_vec());
        let of_manifests = manifests.map(|finding| FindingReport {
            severity: match finding.reason.is_note() {
                true => Severity::Normal,
                false => Severity::Warning,
            },
            object: finding.place().to_string(),
            reason: finding.reason.as_str().to_owned(),
            field: finding.field,
            message: finding.message,
        });
        live.findings.iter().cloned().chain(of_manifests).collect()
    }
}

/// Finds an issuer of the specs by its name.
fn issuer(engine: &acme::Engine, name: &str) -> Result<Arc<Issuer>, OperationError> {
    let specs = engine.specs();
    let mut issuers = specs.iter().flat_map(|spec| &spec.issuers);
    let issuer = issuers.find(|issuer| *issuer.name == *name);
    issuer
        .cloned()
        .ok_or_else(|| OperationError::UnknownIssuer(name.to_owned()))
}

/// Returns the report of a certificate that gatelet orders, for the Ingresses in `owners`. `hosts`
/// are the reports of what is served.
fn issuance_report(
    issuance: Report,
    owners: &[ObjectRef],
    hosts: &[CertificateReport],
) -> IssuanceReport {
    let own: Vec<&CertificateReport> = hosts
        .iter()
        .filter(|host| host.certificate == issuance.name)
        .collect();
    let newest = own.iter().find(|host| host.kind == "issued");
    let shown = newest.or_else(|| own.first());

    // If another Ingress has the same hosts, theirs are served.
    let mut reports = own.clone();
    if own.is_empty() {
        let names = issuance.hosts.iter();
        reports.extend(names.filter_map(|name| certificate_of(hosts, name)));
    }

    IssuanceReport {
        ingresses: owners
            .iter()
            .map(|one| format!("{}/{}", one.key.namespace, one.key.name))
            .collect(),
        served: served(&issuance.name, &reports),
        fingerprint: shown
            .map(|host| host.fingerprint.clone())
            .unwrap_or_default(),
        issuance,
    }
}

/// Describes the certificates that the hosts of the certificate `name` are served with; names the
/// hosts if they differ.
fn served(name: &str, hosts: &[&CertificateReport]) -> String {
    let mut all: Vec<(String, Vec<&str>)> = Vec::new();
    for host in hosts {
        let secret = if host.kind == "secret" { "Secret " } else { "" };
        let revoked = if host.revoked { " (revoked)" } else { "" };
        let is_issued = matches!(&*host.kind, "issued" | "previous");
        let other = if is_issued && host.certificate != name {
            format!(" (certificate {})", host.certificate)
        } else {
            String::new()
        };
        let text = format!("{secret}{}{revoked}{other}", host.source);
        match all.iter_mut().find(|(known, _)| *known == text) {
            Some((_, hosts)) => hosts.push(&host.host),
            None => all.push((text, vec![&host.host])),
        }
    }

    match &all[..] {
        [] => "local CA".to_owned(),
        [(text, _)] => text.clone(),
        several => {
            let parts = several
                .iter()
                .map(|(text, hosts)| format!("{text} for {}", hosts.join(", ")));
            parts.collect::<Vec<String>>().join("; ")
        }
    }
}

/// Returns the reports of all backends of a table, sorted.
fn backend_reports(table: &RoutingTable, health: &Health) -> Vec<BackendReport> {
    let routes = table.hosts().flat_map(|routes| {
        let rules = routes.rules().iter().map(|rule| &rule.route);
        rules.chain(routes.fallback())
    });

    // Several rules can name the same backend.
    let mut backends: BTreeMap<String, &Arc<Backend>> = BTreeMap::new();
    for route in routes.chain(table.default_route()) {
        for backend in route.action.backends() {
            backends.insert(backend.id().to_string(), backend);
        }
    }

    let backends = backends.into_iter();
    backends
        .map(|(id, backend)| BackendReport {
            id,
            protocol: backend.protocol().to_string(),
            endpoints: health.of(backend),
        })
        .collect()
}

fn candidate_report(candidate: &Candidate<'_>) -> CandidateReport {
    let origin = &candidate.route.origin;
    let pattern = candidate.pattern.map(ToString::to_string);
    let path = candidate.path;
    let mut path = path.map(|path| format!("{} {}", path.path_type(), path.as_str()));
    let headers = candidate.conditions.iter().flat_map(|one| &one.headers);
    let names: Vec<&str> = headers.map(|one| one.name.as_str()).collect();
    if let Some(path) = path.as_mut().filter(|_| !names.is_empty()) {
        *path += &format!(" with {}", names.join(", "));
    }
    CandidateReport {
        host: pattern.unwrap_or_default(),
        path: path.unwrap_or_default(),
        ingress: format!("{}/{}", origin.namespace, origin.name),
        field: origin.field.to_string(),
        matches: candidate.matches,
        wins: candidate.wins,
    }
}

/// Returns the certificate that a client is served for a host: of the host itself, else of a
/// wildcard.
fn certificate_of<'a>(
    certificates: &'a [CertificateReport],
    host: &str,
) -> Option<&'a CertificateReport> {
    let covers =
        |pattern: &str| HostPattern::parse(pattern).is_ok_and(|pattern| pattern.matches(host));
    let exact = certificates.iter().find(|one| one.host == host);
    exact.or_else(|| certificates.iter().find(|one| covers(&one.host)))
}

/// Returns whether a finding is about a rule or the Service behind it.
fn concerns(finding: &FindingReport, route: &Route) -> bool {
    let origin = &route.origin;
    let of_rule = finding.object == format!("Ingress {}/{}", origin.namespace, origin.name)
        && finding.field.starts_with(&*origin.field);
    let of_service = |backend: &Backend| {
        let id = backend.id();
        finding.object == format!("Service {}/{}", id.namespace, id.service)
    };
    let of_canary = |canary: &Canary| {
        let origin = &canary.origin;
        finding.object == format!("Ingress {}/{}", origin.namespace, origin.name)
    };
    let canary = match &route.action {
        Action::Forward(split) => split.canary(),
        _ => None,
    };
    of_rule
        || canary.is_some_and(of_canary)
        || route.action.backends().any(|backend| of_service(backend))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(host: &str, certificate: &str, kind: &str, source: &str) -> CertificateReport {
        CertificateReport {
            host: host.to_owned(),
            certificate: certificate.to_owned(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            ..CertificateReport::default()
        }
    }

    #[test]
    fn what_is_served_is_named_with_its_owner() {
        let a = report("a.example", "web/a", "issued", "lab");
        let b = report("b.example", "", "secret", "web/b");
        let local = report("c.example", "", "local-ca", "local CA");

        assert_eq!(served("web/a", &[&a]), "lab");
        assert_eq!(served("web/a2", &[&a]), "lab (certificate web/a)");
        assert_eq!(served("web/a2", &[&b]), "Secret web/b");
        assert_eq!(served("web/a2", &[&local]), "local CA");
        assert_eq!(served("web/a2", &[]), "local CA");
        assert_eq!(
            served("web/a", &[&a, &local]),
            "lab for a.example; local CA for c.example"
        );

        let revoked = CertificateReport { revoked: true, ..a };
        assert_eq!(served("web/a", &[&revoked]), "lab (revoked)");
    }

    #[test]
    fn a_host_that_another_ingress_serves_is_named_with_it() {
        let a = report("a.example", "web/a", "issued", "lab");
        let second = Report {
            name: "web/a2".to_owned(),
            hosts: vec!["a.example".to_owned()],
            ..Report::default()
        };
        let report = issuance_report(second, &[], &[a]);
        assert_eq!(report.served, "lab (certificate web/a)");
    }
}
