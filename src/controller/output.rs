//! The settings and outputs of the compiler.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{Arc, Weak},
};

use serde::{Deserialize, Serialize};

use super::Finding;
use crate::{
    objects::{Key, NamedConfigMaps, ObjectRef, PodLabels, StatusPatch},
    pki::CertificateTerms,
    routing::{Backend, EndpointSet, HostPattern, PortTable, RoutingTable},
    util::{port_range::PortRange, secretive::Secretive},
};

/// Settings of the whole controller.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `spec.controller` of the IngressClasses that are ours.
    pub controller: Box<str>,
    /// The namespace of gatelet itself, where parameters of IngressClasses are that name no other.
    pub namespace: Arc<str>,
    /// Names of further classes to serve, with or without an IngressClass.
    pub classes: Vec<Box<str>>,
    /// Serve Ingresses that name no class at all, even where no class is marked as default.
    pub classless: bool,
    /// The objects come from the mini cluster, which has no Pods: nothing fills the endpoints of a
    /// Service with a selector.
    pub standalone: bool,
    /// `namespace/name:port` that takes every request no rule matches; `None` returns 404.
    pub default_backend: Option<Box<str>>,
    /// Redirect plain HTTP to HTTPS for hosts under `spec.tls` unless the object says otherwise.
    pub ssl_redirect: bool,
    /// `Strict-Transport-Security` for hosts under `spec.tls`; `None` sends none.
    pub hsts: Option<Box<str>>,
    /// The name of this node: endpoints of slices annotated `gatelet.dev/connect: loopback` whose
    /// `nodeName` is this one are dialled on loopback. Empty: none are.
    pub node: Box<str>,
    /// The addresses written into `status.loadBalancer` of the Ingresses served here. Empty: not
    /// known yet, and no status is written.
    pub addresses: Vec<IpAddr>,
    /// The names of the issuers that exist. Those for one namespace have `namespace/` before the
    /// name.
    pub issuers: BTreeSet<Box<str>>,
    /// The main names of issuers by their other names.
    pub aliases: BTreeMap<Box<str>, Box<str>>,
    /// The issuer for hosts under `spec.tls` of Ingresses that name none; `None` asks for no
    /// certificate.
    pub default_issuer: Option<Box<str>>,
    /// The ports of gatelet's own listeners, which no object can have, with what listens there.
    pub own_ports: BTreeMap<u16, &'static str>,
    /// Namespace and name of the ConfigMap that maps TCP ports to Services.
    pub tcp_services: Option<(Arc<str>, Arc<str>)>,
    /// The same for UDP ports.
    pub udp_services: Option<(Arc<str>, Arc<str>)>,
    /// Namespace and name of the ConfigMap with the settings of ingress-nginx.
    pub nginx_configmap: Option<(Arc<str>, Arc<str>)>,
    /// The ports that objects may open; empty for none.
    pub open_ports: Vec<PortRange>,
    /// Applies to guards that are not supported, unless the object decides.
    pub unsupported_guards: UnsupportedGuards,
}

impl Settings {
    /// Returns true if a ConfigMap maps ports to Services.
    pub(super) fn is_port_map(&self, name: &(Arc<str>, Arc<str>)) -> bool {
        self.port_maps().any(|map| map == name)
    }

    /// Returns the ConfigMaps that map ports to Services.
    pub(super) fn port_maps(&self) -> impl Iterator<Item = &(Arc<str>, Arc<str>)> {
        self.tcp_services.iter().chain(&self.udp_services)
    }
}

/// The treatment of paths with an unsupported guard: an annotation that restricts who may come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum UnsupportedGuards {
    /// They return 503.
    #[default]
    Refuse,
    /// They are served without the guard.
    Ignore,
}

/// The source of a host's certificate.
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
    /// No usable Secret exists: the local CA issues the certificate until one does.
    Local,
}

/// A host with TLS, and the certificate it is served with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsHost {
    /// The host or wildcard under `spec.tls[].hosts`, or under a rule of an Ingress with `tls` that
    /// lists no hosts. Without a host there either it is [`HostPattern::Any`]: the certificate for
    /// clients that do not name a known host.
    pub pattern: HostPattern,
    /// The source of its certificate.
    pub source: CertificateSource,
    /// The oldest Ingress that the certificate is for.
    pub ingress: ObjectRef,
    /// The Secret that the Ingress names (`spec.tls[].secretName`), usable or not.
    pub secret_name: Option<Box<str>>,
    /// [`DesiredCertificate::id`] of the desired certificate that covers the host.
    pub certificate: Option<Arc<str>>,
}

/// A certificate that Ingresses ask for. A Secret that gatelet did not write is used as it is, and
/// no certificate is desired for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredCertificate {
    /// `namespace/secret`, or `namespace/~` and the first host where no Secret is named.
    pub id: Arc<str>,
    /// The Ingresses that ask, oldest first.
    pub about: Vec<ObjectRef>,
    /// Their namespace.
    pub namespace: Arc<str>,
    /// The Secret to store it in.
    pub secret: Option<Arc<str>>,
    /// Its hosts, wildcards and addresses: sorted, each once, 1 to 100.
    pub hosts: Vec<Box<str>>,
    /// Its issuers in the order of preference, by the names in its namespace: each is in
    /// [`Settings::issuers`], with or without the namespace before it. Not empty.
    pub issuers: Vec<Box<str>>,
    /// Settings that override those of the issuer.
    pub terms: CertificateTerms,
    /// The content of its Secret, if that can be used.
    pub existing: Option<ExistingSecret>,
}

/// The content of the Secret of a desired certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingSecret {
    /// `tls.crt`, PEM.
    pub chain: Arc<[u8]>,
    /// `tls.key`, PEM.
    pub private_key: Secretive,
    /// The issuer that it names.
    pub issuer: Option<Box<str>>,
    /// True if its chain is the one that gatelet wrote.
    pub is_written: bool,
    /// False if the label that makes it ours was removed.
    pub is_labelled: bool,
}

/// New endpoints for a backend that is in the table already.
#[derive(Clone, Debug)]
pub struct EndpointUpdate {
    /// The backend, shared with the table.
    pub backend: Arc<Backend>,
    /// Its endpoints now.
    pub endpoints: EndpointSet,
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

/// The result of a compile. Parts that did not change since the last compile are `None` or empty.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// The new table, if any rule changed.
    pub table: Option<Arc<RoutingTable>>,
    /// The new ports of layer 4, if one of their objects changed.
    pub ports: Option<Arc<PortTable>>,
    /// Endpoints to store into their backends' cells (apply these before publishing the table).
    pub endpoints: Vec<EndpointUpdate>,
    /// The ConfigMaps that the settings and Ingresses name, if others than before.
    pub config_maps: Option<NamedConfigMaps>,
    /// The labels of Pods that groups of endpoints ask for, if others than before.
    pub pods: Option<PodLabels>,
    /// The backends whose endpoints are checked, if others than before.
    pub checked: Option<Vec<Weak<Backend>>>,
    /// All hosts with TLS, if any of them or their Secrets changed.
    pub certificates: Option<Vec<TlsHost>>,
    /// All desired certificates, sorted by id, if any of them changed.
    pub desired: Option<Vec<DesiredCertificate>>,
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
