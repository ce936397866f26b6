//! What a running gatelet says of itself: the data behind `status`, `explain` and `certs`.

use serde::{Deserialize, Serialize};

use crate::acme::report::Report;

/// The state of everything.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct StatusReport {
    /// Version of the process.
    pub version: String,
    /// Name of the node.
    pub node: String,
    /// Where objects come from.
    pub source: String,
    /// Which replica leads; nothing where there can be no other.
    pub leader: Option<LeaderReport>,
    /// Kinds that the cluster does not give at the moment.
    pub unread: Vec<UnreadReport>,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Whether it serves.
    pub ready: bool,
    /// What an operator should know of the whole; empty where there is nothing.
    #[serde(default)]
    pub note: String,
    /// How the state is kept.
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

/// Which replica of a cluster leads.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct LeaderReport {
    /// `holderIdentity` of the Lease: the node, `_`, and an id of the process. Empty where that is
    /// nobody or not known.
    pub holder: String,
    /// Whether this replica leads.
    pub leads: bool,
}

/// A kind that cannot be read from the cluster.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct UnreadReport {
    /// Its name.
    pub kind: String,
    /// What the cluster said, or why there was no answer.
    pub why: String,
}

/// A host pattern.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct HostReport {
    /// Host, or `*.` and a suffix.
    pub host: String,
    /// How many rules it has.
    pub rules: usize,
}

/// A backend.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct BackendReport {
    /// `namespace/service:port`
    pub id: String,
    /// What is spoken to it: `HTTP/1.1`, `h2c`, `HTTP/1.1 over TLS` or `HTTP/2 over TLS`.
    pub protocol: String,
    /// Its endpoints.
    pub endpoints: Vec<EndpointReport>,
}

/// An endpoint.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct EndpointReport {
    /// Its address.
    pub address: String,
    /// `ok`, `not used yet`, or how it fails.
    pub health: String,
    /// Why no connection to it can be made; nothing since it answered last.
    pub failure: Option<String>,
    /// Requests sent to it since the start.
    pub requests: u64,
    /// Of these, not ended yet.
    pub in_flight: u64,
    /// Connects that it refused or did not accept in time.
    pub failures: u64,
}

/// A certificate.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct CertificateReport {
    /// The host it is served for.
    pub host: String,
    /// `namespace/name` of its Secret, or `local CA`.
    pub source: String,
    /// End of validity, RFC 3339; empty for certificates that are made when they are asked for.
    pub not_after: String,
    /// The issuer's name.
    pub issuer: String,
    /// The Ingress that wants it.
    pub wanted_by: String,
}

/// Everything about certificates.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CertsReport {
    /// How far the clock is trusted.
    pub clock: String,
    /// Certificates that gatelet itself gets and renews.
    pub wanted: Vec<WantReport>,
    /// Hosts with TLS and what they are served with, wherever it comes from.
    pub hosts: Vec<CertificateReport>,
}

/// A certificate that gatelet itself gets and renews.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WantReport {
    /// What the engine says of it.
    #[serde(flatten)]
    pub issuance: Report,
    /// The Ingresses that want it.
    pub wanted_by: Vec<String>,
    /// What its hosts are served with: the newest, the one before it, or one of the local CA.
    pub served: String,
    /// SHA-256 of the certificate that is served, in hexadecimal; empty for the local CA.
    pub fingerprint: String,
}

/// A finding.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct FindingReport {
    /// Warning or Normal.
    pub severity: String,
    /// The object.
    pub object: String,
    /// The reason, stable.
    pub reason: String,
    /// The field.
    pub field: String,
    /// One sentence.
    pub message: String,
}

/// What would happen to a request.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ExplainReport {
    /// The host as it is matched.
    pub host: String,
    /// The path as it is matched.
    pub path: String,
    /// Every rule that is looked at, in order.
    pub candidates: Vec<CandidateReport>,
    /// What is done, in one sentence.
    pub outcome: String,
    /// The backend's endpoints.
    pub endpoints: Vec<EndpointReport>,
    /// The certificate that a client gets for this host.
    pub certificate: Option<CertificateReport>,
    /// Findings about the rule that wins and about its Service.
    pub findings: Vec<FindingReport>,
}

/// A rule that is looked at.
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
    /// Whether it would take the request.
    pub matches: bool,
    /// Whether it does.
    pub wins: bool,
}
