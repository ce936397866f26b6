//! The live process as `status` and `explain` show it.

use std::{
    collections::HashMap,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::{
    certificates::Owners,
    control::{classes::Note, endpoint_health::Health, publish::Live, role::Role},
};
use crate::{
    acme::{self, report::Report},
    admin::{
        BackendReport, CandidateReport, CertsReport, ExplainReport, FindingReport, HostReport,
        Inspect, LeaderReport, Operation, StatusReport, Unhealthy, UnreadReport, WantReport,
    },
    k8s::Unread,
    proxy::Shared,
    routing::{Action, Authority, Backend, HostPattern, Route, path},
    util::{hex, sync::lock},
};

/// Everything that `status` and `explain` look at.
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
        let served = self.acme.served().borrow().clone();
        let owners = lock(&self.owners);
        let want = |issuance: Report| {
            let about = owners
                .get(issuance.name.as_str())
                .map(Vec::as_slice)
                .unwrap_or_default();
            let pair = served.certificates.get(&issuance.name);
            let leaf = pair.and_then(|pair| pair.live.certified().cert.first());
            WantReport {
                wanted_by: about
                    .iter()
                    .map(|one| format!("{}/{}", one.key.namespace, one.key.name))
                    .collect(),
                served: pair.map_or_else(|| "local CA".to_owned(), |pair| pair.issuer.to_string()),
                fingerprint: leaf.map(|leaf| fingerprint(leaf)).unwrap_or_default(),
                issuance,
            }
        };
        CertsReport {
            clock: self.acme.clock_state().to_owned(),
            wanted: self.acme.report().into_iter().map(want).collect(),
            hosts: lock(&self.live).certificates.clone(),
        }
    }

    fn operate(
        &self,
        operation: Operation,
    ) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> {
        let engine = self.acme.clone();
        Box::pin(async move {
            let done = match operation {
                Operation::Renew(name) => engine
                    .renew(&name)
                    .await
                    .map(|id| format!("{id} is renewed now")),
                Operation::Revoke(name, reason) => engine
                    .revoke(&name, reason)
                    .await
                    .map(|id| format!("{id} is revoked; another one is got now")),
                Operation::ChangeKey(name) => {
                    let wants = engine.wants();
                    let mut issuers = wants.iter().flat_map(|want| &want.issuers);
                    let Some(issuer) = issuers.find(|issuer| *issuer.name == *name) else {
                        return Err(format!("no certificate is wanted of an issuer {name}"));
                    };
                    engine
                        .change_key(issuer)
                        .await
                        .map(|()| format!("the account at {name} has another key"))
                }
            };
            done.map_err(|error| error.to_string())
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
        let mut backends: HashMap<String, &Arc<Backend>> = HashMap::new();
        let routes = table.hosts().flat_map(|routes| {
            routes
                .rules()
                .iter()
                .map(|(_, route)| route)
                .chain(routes.fallback())
        });
        for route in routes.chain(table.default_route()) {
            if let Action::Forward(backend) = &route.action {
                backends.insert(backend.id.to_string(), backend);
            }
        }
        let health = Health::new(&self.shared);
        let mut backends: Vec<BackendReport> = backends
            .into_iter()
            .map(|(id, backend)| BackendReport {
                id,
                protocol: backend.protocol.to_string(),
                endpoints: health.of(backend),
            })
            .collect();
        backends.sort_by(|a, b| a.id.cmp(&b.id));
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
            unread: self
                .unread
                .list()
                .into_iter()
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
            backends,
            certificates: live.certificates.clone(),
            findings: live.findings.clone(),
            other_classes: live.other_classes.clone(),
        }
    }

    fn explain(&self, url: &str) -> Result<ExplainReport, String> {
        let (secure, rest) = match url.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some((scheme, _)) => return Err(format!("{scheme:?} is not one of http, https")),
            None => (false, url),
        };
        let (authority, target) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let authority =
            Authority::parse(authority.as_bytes()).map_err(|error| error.to_string())?;
        let target = target.split(['?', '#']).next().unwrap_or("/");
        let path = path::normalize(target).map_err(|error| error.to_string())?;
        let table = self.shared.table.load();
        let candidates = table.explain(Some(&authority.host), &path);
        let tls = table
            .host(Some(&authority.host))
            .is_some_and(|routes| routes.has_tls());
        let mut report = ExplainReport {
            host: authority.host.to_string(),
            path: path.to_string(),
            outcome: "404: no rule takes it".to_owned(),
            ..ExplainReport::default()
        };
        for candidate in &candidates {
            let origin = &candidate.route.origin;
            report.candidates.push(CandidateReport {
                host: candidate
                    .pattern
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                path: candidate
                    .path
                    .map(|path| format!("{} {}", path.path_type(), path.as_str()))
                    .unwrap_or_default(),
                ingress: format!("{}/{}", origin.namespace, origin.name),
                field: origin.field.to_string(),
                matches: candidate.matches,
                wins: candidate.wins,
            });
            if !candidate.wins {
                continue;
            }
            let redirects = candidate.route.redirect(tls).is_some();
            report.outcome = match &candidate.route.action {
                _ if redirects && !secure => "308 to https".to_owned(),
                Action::Refuse(refusal) => format!("503: {}", refusal.reason()),
                Action::Forward(backend) => {
                    report.endpoints = Health::new(&self.shared).of(backend);
                    match report.endpoints.len() {
                        0 => format!("503: {} has no endpoints", backend.id),
                        _ => format!("forwarded to {} ({})", backend.id, backend.protocol),
                    }
                }
            };
        }
        let live = lock(&self.live);
        if let Some(winner) = candidates.iter().find(|candidate| candidate.wins) {
            report.findings = live
                .findings
                .iter()
                .filter(|finding| concerns(finding, winner.route))
                .cloned()
                .collect();
        }
        let covers = |pattern: &str| {
            HostPattern::parse(pattern).is_ok_and(|pattern| pattern.matches(&authority.host))
        };
        let exact = live
            .certificates
            .iter()
            .find(|one| one.host == *authority.host);
        report.certificate = exact
            .or_else(|| live.certificates.iter().find(|one| covers(&one.host)))
            .cloned();
        Ok(report)
    }
}

/// Returns whether a finding is about a rule or the Service behind it.
fn concerns(finding: &FindingReport, route: &Route) -> bool {
    let origin = &route.origin;
    let of_rule = finding.object == format!("Ingress {}/{}", origin.namespace, origin.name)
        && finding.field.starts_with(&*origin.field);
    let of_service = |backend: &Backend| {
        finding.object == format!("Service {}/{}", backend.id.namespace, backend.id.service)
    };
    of_rule || matches!(&route.action, Action::Forward(backend) if of_service(backend))
}

/// SHA-256 in hexadecimal.
fn fingerprint(certificate: &[u8]) -> String {
    hex::encode(ring::digest::digest(&ring::digest::SHA256, certificate).as_ref())
}
