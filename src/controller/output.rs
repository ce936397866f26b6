//! What the compiler is told beside the objects, and what it returns.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use crate::{
    objects::{EventType, Key, ObjectRef, StatusPatch},
    pki::CertificateTerms,
    routing::{Backend, EndpointSet, HostPattern, RoutingTable},
};

/// Settings of the whole controller.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `spec.controller` of the IngressClasses that are ours.
    pub controller: Box<str>,
    /// Names of further classes to serve, with or without an IngressClass.
    pub classes: Vec<Box<str>>,
    /// Serve Ingresses that name no class at all, even where no class is marked as default.
    pub classless: bool,
    /// The objects come from the mini cluster, which has no Pods: nothing fills the endpoints of a
    /// Service with a selector.
    pub standalone: bool,
    /// `namespace/name:port` that takes every request no rule matches; `None` answers 404.
    pub default_backend: Option<Box<str>>,
    /// Redirect plain HTTP to HTTPS for hosts under `spec.tls` unless the object says otherwise.
    pub ssl_redirect: bool,
    /// `Strict-Transport-Security` for hosts under `spec.tls`; `None` sends none.
    pub hsts: Option<Box<str>>,
    /// The name of this node: endpoints of slices annotated `gatelet.dev/connect: loopback` whose
    /// `nodeName` is this one are dialled on loopback. Empty: none are.
    pub node: Box<str>,
    /// The addresses written into `status.loadBalancer` of the Ingresses served here. Empty: not
    /// known yet, and no status is asked for.
    pub addresses: Vec<IpAddr>,
    /// The names of the issuers that there are: those for all namespaces, and with `namespace/`
    /// before those for one.
    pub issuers: BTreeSet<Box<str>>,
    /// Who issues for hosts under `spec.tls` of Ingresses that do not say; `None`: nobody.
    pub default_issuer: Option<Box<str>>,
    /// Applies to guards that are not supported, unless the object decides.
    pub unsupported_guards: UnsupportedGuards,
}

/// The treatment of paths with an unsupported guard: an annotation that restricts who may come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnsupportedGuards {
    /// They return 503.
    #[default]
    Refuse,
    /// They are served without the guard.
    Ignore,
}

/// Where the certificate of a host comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// A Secret of type `kubernetes.io/tls`: its PEM as stored. Shared between the hosts that use
    /// it.
    Secret {
        /// The Secret.
        key: Key,
        /// Its `resourceVersion`: unchanged means the same certificate.
        version: Box<str>,
        /// `tls.crt`, PEM.
        chain: Arc<[u8]>,
        /// `tls.key`, PEM.
        private_key: Secretive,
    },
    /// No usable Secret: the local CA answers until there is one.
    Local,
}

/// Bytes that never show in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secretive(pub Arc<[u8]>);

impl std::fmt::Debug for Secretive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// A host that wants TLS, and what it is served with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsHost {
    /// The host or wildcard under `spec.tls[].hosts`, or under a rule of an Ingress with `tls` that
    /// lists no hosts. Where there is no host there either it is [`HostPattern::Any`]: the
    /// certificate for those that ask for no known host.
    pub pattern: HostPattern,
    /// Where its certificate comes from.
    pub source: CertificateSource,
    /// The Ingress that asked first.
    pub wanted_by: ObjectRef,
    /// The Secret that was asked for (`spec.tls[].secretName`), whether it is usable or not.
    pub secret_name: Option<Box<str>>,
    /// [`DesiredCertificate::id`] of the certificate that is asked for and covers it.
    pub wish: Option<Arc<str>>,
}

/// A certificate that Ingresses ask for. For one that somebody else's Secret is there for, nothing
/// is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredCertificate {
    /// `namespace/secret`, or `namespace/~` and the first host where no Secret is named.
    pub id: Arc<str>,
    /// The Ingresses that ask, oldest first.
    pub about: Vec<ObjectRef>,
    /// Their namespace.
    pub namespace: Arc<str>,
    /// The Secret that it is to be in.
    pub secret: Option<Arc<str>>,
    /// Hosts, wildcards and addresses that it is to be for: sorted, each once, 1 to 100.
    pub hosts: Vec<Box<str>>,
    /// Who may issue it, in the order of preference, as the namespace calls them: each is in
    /// [`Settings::issuers`], with or without the namespace before it. Not empty.
    pub issuers: Vec<Box<str>>,
    /// Settings that override those of the issuer.
    pub terms: CertificateTerms,
    /// What our Secret of that name holds already, and the name of the issuer noted on it.
    pub existing: Option<(CertificateSource, Option<Box<str>>)>,
}

/// New endpoints for a backend that is in the table already.
#[derive(Clone, Debug)]
pub struct EndpointUpdate {
    /// The backend, shared with the table.
    pub backend: Arc<Backend>,
    /// Its endpoints now.
    pub endpoints: EndpointSet,
}

/// Something the owner of an object should know. Findings are data: they never stop a compile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    /// The object concerned.
    pub about: ObjectRef,
    /// Warning for what takes a rule down or weakens it, Normal for what is merely worth knowing.
    pub severity: EventType,
    /// CamelCase, stable (`UnknownService`, `InvalidPath`, `HostTaken`, ...). Listed in
    /// `docs/findings.md`.
    pub reason: &'static str,
    /// The field concerned (`spec.rules[0].http.paths[0].path`); empty for the whole object.
    pub field: Box<str>,
    /// One sentence naming the cause.
    pub message: Box<str>,
}

/// Summary of a class that is not served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherClass {
    /// Name of the class: `spec.ingressClassName`, else the annotation
    /// `kubernetes.io/ingress.class`. Empty for those without any.
    pub class: Box<str>,
    /// Number of its Ingresses.
    pub ingresses: usize,
    /// Number of those with annotations that would close their paths if the class were served.
    pub guarded: usize,
    /// Those annotations with the number of Ingresses, the most frequent first, 16 at most.
    pub guards: Vec<(Box<str>, usize)>,
}

/// What a compile returns. Parts that did not change since the last compile are `None` or empty.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The new table, if any rule changed.
    pub table: Option<Arc<RoutingTable>>,
    /// Endpoints to store into their backends' cells (apply these before publishing the table).
    pub endpoints: Vec<EndpointUpdate>,
    /// All hosts with TLS, if any of them or their Secrets changed.
    pub certificates: Option<Vec<TlsHost>>,
    /// All certificates that are asked for, sorted by id, if any of them changed.
    pub wanted: Option<Vec<DesiredCertificate>>,
    /// Statuses to write.
    pub statuses: Vec<StatusPatch>,
    /// All findings that hold now, if they changed.
    pub findings: Option<Vec<Finding>>,
    /// The classes with Ingresses that are not served here, if they changed; see
    /// [`Index::other_classes`].
    ///
    /// [`Index::other_classes`]: super::Index::other_classes
    pub other_classes: Option<Vec<OtherClass>>,
}
