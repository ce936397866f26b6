//! The reports of a running gatelet: the data behind `status`, `explain` and `certs`. The command
//! line reads them back.

use serde::{Deserialize, Serialize};

use crate::acme::engine::report::Report;

/// The state of everything.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StatusReport {
    /// Version of the process.
    pub version: String,
    /// Name of the node.
    pub node: String,
    /// The cluster that objects come from.
    pub source: String,
    /// The replica that leads; `None` for a mini cluster, which has no replicas.
    pub leader: Option<LeaderReport>,
    /// Kinds that cannot be read from the cluster at the moment.
    pub unread: Vec<UnreadReport>,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// True if it serves.
    pub ready: bool,
    /// A note for the operator; empty if there is none.
    #[serde(default)]
    pub note: String,
    /// Condition of the store.
    pub store: String,
    /// HTTP listeners.
    pub http: Vec<String>,
    /// HTTPS listeners.
    pub https: Vec<String>,
    /// Address of the mini cluster's API.
    pub api: Option<String>,
    /// Host patterns.
    pub hosts: Vec<HostReport>,
    /// Backends with their endpoints.
    pub backends: Vec<BackendReport>,
    /// Ports that are passed through.
    #[serde(default)]
    pub ports: Vec<PortReport>,
    /// Certificates.
    pub certificates: Vec<CertificateReport>,
    /// Findings that hold now.
    pub findings: Vec<FindingReport>,
    /// Classes that are not served.
    pub other_classes: Vec<OtherClassReport>,
}

/// A class that is not served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct OtherClassReport {
    /// Name of the class; empty for Ingresses without one.
    pub class: String,
    /// Number of its Ingresses.
    pub ingresses: usize,
    /// Number of those with annotations that would close their paths if the class were served.
    pub guarded: usize,
    /// Those annotations, the most frequent first.
    pub guards: Vec<GuardReport>,
}

/// An annotation that would close paths.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct GuardReport {
    /// Its name.
    pub annotation: String,
    /// Number of Ingresses of the class with it.
    pub ingresses: usize,
}

/// The replica of a cluster that leads.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LeaderReport {
    /// `holderIdentity` of the Lease: the node, `_`, and an id of the process. Empty if the Lease
    /// has no holder or cannot be read.
    pub holder: String,
    /// True if this replica leads.
    pub leads: bool,
}

/// A kind that cannot be read from the cluster.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct UnreadReport {
    /// Its name.
    pub kind: String,
    /// The error of the cluster or of the connection to it.
    pub why: String,
}

/// A host pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct HostReport {
    /// Host, or `*.` and a suffix.
    pub host: String,
    /// Number of its rules.
    pub rules: usize,
}

/// A backend.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct BackendReport {
    /// `namespace/service:port`
    pub id: String,
    /// The protocol of its connections: `HTTP/1.1`, `h2c`, `HTTP/1.1 over TLS` or `HTTP/2 over
    /// TLS`.
    pub protocol: String,
    /// Its endpoints.
    pub endpoints: Vec<EndpointReport>,
}

/// A port that is passed through.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct PortReport {
    /// Transport and number: `tcp/1883`.
    pub port: String,
    /// The object that asks for it: `Service namespace/name`.
    pub object: String,
    /// `namespace/service:port` of its backend.
    pub backend: String,
    /// `open`, or the reason why it is not.
    pub state: String,
    /// The backend's endpoints. Their requests are connections.
    pub endpoints: Vec<EndpointReport>,
}

/// An endpoint.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct EndpointReport {
    /// Its address.
    pub address: String,
    /// `ok`, `unused`, or the failure.
    pub health: String,
    /// The reason why connections to it fail; `None` since it responded last.
    pub failure: Option<String>,
    /// Requests sent to it since the start.
    pub requests: u64,
    /// Those of them that have not ended.
    pub in_flight: u64,
    /// Connections that it refused, or did not accept in time.
    pub failures: u64,
}

/// The certificate of a host.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CertificateReport {
    /// The host.
    pub host: String,
    /// `namespace/name` of its Secret, `local CA`, or the issuer.
    pub source: String,
    /// End of validity, RFC 3339; empty for the local CA, which issues on demand.
    pub not_after: String,
    /// Name of the issuer in the certificate.
    pub issuer: String,
    /// `namespace/name` of the Ingress with the host.
    pub ingress: String,
    /// Name of the certificate that gatelet orders for the host; empty if there is none.
    #[serde(default)]
    pub certificate: String,
    /// The kind of certificate that is served: `issued` (the newest one of `certificate`),
    /// `previous`, `other` (of another name), `secret`, or `local-ca`.
    #[serde(default)]
    pub kind: String,
    /// True if its issuer has revoked it.
    #[serde(default)]
    pub revoked: bool,
    /// SHA-256 of the certificate that is served, in hexadecimal; empty for the local CA.
    #[serde(default)]
    pub fingerprint: String,
}

/// Everything about certificates.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CertsReport {
    /// `trusted`, or the reason why the clock is not.
    pub clock: String,
    /// Certificates that gatelet orders and renews.
    pub certificates: Vec<IssuanceReport>,
    /// Hosts with TLS and their certificates from any source.
    pub hosts: Vec<CertificateReport>,
}

/// A certificate that gatelet orders and renews.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct IssuanceReport {
    /// The report of the certificate engine.
    #[serde(flatten)]
    pub issuance: Report,
    /// The Ingresses with its hosts.
    pub ingresses: Vec<String>,
    /// The certificates that its hosts are served: their issuer, or where else they come from.
    pub served: String,
    /// SHA-256 of the certificate that is served, in hexadecimal; empty for the local CA.
    pub fingerprint: String,
}

/// A finding.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct FindingReport {
    /// `Warning` or `Normal`.
    pub severity: Severity,
    /// The object.
    pub object: String,
    /// The reason, stable.
    pub reason: String,
    /// The field.
    pub field: String,
    /// One sentence.
    pub message: String,
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Severity {
    /// Merely worth knowing.
    #[default]
    Normal,
    /// Takes a rule down or weakens it.
    Warning,
}

impl Severity {
    /// Returns its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// The explanation of a request.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ExplainReport {
    /// The host as it is matched.
    pub host: String,
    /// The path as it is matched.
    pub path: String,
    /// The rules that are considered, in order.
    pub candidates: Vec<CandidateReport>,
    /// The steps of the rule that wins, up to the one that responds.
    pub steps: Vec<StepReport>,
    /// The outcome in one sentence.
    pub outcome: String,
    /// The backend's endpoints.
    pub endpoints: Vec<EndpointReport>,
    /// The certificate that a client is served for this host.
    pub certificate: Option<CertificateReport>,
    /// Findings about the rule that wins and about its Service.
    pub findings: Vec<FindingReport>,
}

/// A step that a request takes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StepReport {
    /// The kind of step.
    pub step: String,
    /// The annotations that it is made from; empty for none.
    pub from: String,
    /// The effect on the request.
    pub effect: String,
}

/// A rule that is considered.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CandidateReport {
    /// Host pattern; empty for the default of the table.
    pub host: String,
    /// Path type and path; empty for a default backend.
    pub path: String,
    /// `namespace/name` of the Ingress.
    pub ingress: String,
    /// The field of the rule.
    pub field: String,
    /// True if it matches the request.
    pub matches: bool,
    /// True if it takes the request.
    pub wins: bool,
}
