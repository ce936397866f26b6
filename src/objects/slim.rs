//! Slim views: of each kind only the fields that are read, in the smallest form. `null` counts as
//! absent, unknown fields are passed over.

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::{Map, Value};

use super::raw::nullable;

/// `networking.k8s.io/v1` Ingress.
#[derive(Debug, Default, Deserialize)]
pub struct Ingress {
    /// `spec`
    #[serde(default, deserialize_with = "nullable")]
    pub spec: IngressSpec,
    /// `status`
    #[serde(default, deserialize_with = "nullable")]
    pub status: IngressStatus,
}

/// `spec` of an Ingress.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressSpec {
    /// `ingressClassName`
    pub ingress_class_name: Option<Box<str>>,
    /// `defaultBackend`
    pub default_backend: Option<IngressBackend>,
    /// `tls`
    #[serde(deserialize_with = "nullable")]
    pub tls: Vec<IngressTls>,
    /// `rules`
    #[serde(deserialize_with = "nullable")]
    pub rules: Vec<IngressRule>,
}

/// An entry of `spec.tls`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressTls {
    /// `hosts`
    #[serde(deserialize_with = "nullable")]
    pub hosts: Vec<Box<str>>,
    /// `secretName`
    pub secret_name: Option<Box<str>>,
}

/// An entry of `spec.rules`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct IngressRule {
    /// `host`; empty for every host.
    #[serde(deserialize_with = "nullable")]
    pub host: Box<str>,
    /// `http`
    pub http: Option<IngressHttp>,
}

/// `http` of a rule.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct IngressHttp {
    /// `paths`
    #[serde(deserialize_with = "nullable")]
    pub paths: Vec<IngressPath>,
}

/// A path of a rule.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressPath {
    /// `path`; empty counts as `/`.
    #[serde(deserialize_with = "nullable")]
    pub path: Box<str>,
    /// `pathType`
    #[serde(deserialize_with = "nullable")]
    pub path_type: Box<str>,
    /// `backend`
    #[serde(deserialize_with = "nullable")]
    pub backend: IngressBackend,
}

impl IngressPath {
    /// Returns the path, `/` for an empty one.
    pub fn text(&self) -> &str {
        match &*self.path {
            "" => "/",
            path => path,
        }
    }
}

/// A backend of an Ingress.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct IngressBackend {
    /// `service`
    pub service: Option<IngressService>,
    /// `resource`, which is not supported.
    pub resource: Option<IgnoredAny>,
}

/// `service` of a backend.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct IngressService {
    /// `name`
    #[serde(deserialize_with = "nullable")]
    pub name: Box<str>,
    /// `port`
    #[serde(deserialize_with = "nullable")]
    pub port: BackendPort,
}

/// `port` of a Service backend: a name or a number.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct BackendPort {
    /// `name`
    #[serde(deserialize_with = "nullable")]
    pub name: Box<str>,
    /// `number`; 0 where a name is given.
    #[serde(deserialize_with = "nullable")]
    pub number: u16,
}

impl BackendPort {
    /// Returns the port of this number.
    pub fn of_number(number: u16) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// Returns the port of this name.
    pub fn of_name(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }
}

/// `status` of an Ingress.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IngressStatus {
    /// `loadBalancer`
    #[serde(deserialize_with = "nullable")]
    pub load_balancer: LoadBalancer,
}

/// `loadBalancer` of a status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    /// `ingress`
    #[serde(deserialize_with = "nullable")]
    pub ingress: Vec<LoadBalancerIngress>,
}

/// An address of a status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct LoadBalancerIngress {
    /// `ip`
    #[serde(deserialize_with = "nullable")]
    pub ip: Box<str>,
}

/// `networking.k8s.io/v1` IngressClass.
#[derive(Debug, Default, Deserialize)]
pub struct IngressClass {
    /// `spec`
    #[serde(default, deserialize_with = "nullable")]
    pub spec: IngressClassSpec,
}

/// `spec` of an IngressClass.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct IngressClassSpec {
    /// `controller`
    #[serde(deserialize_with = "nullable")]
    pub controller: Box<str>,
    /// `parameters`
    pub parameters: Option<ClassParameters>,
}

/// `parameters` of an IngressClass: an object with further settings.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClassParameters {
    /// `apiGroup`; empty for the core group.
    #[serde(deserialize_with = "nullable")]
    pub api_group: Box<str>,
    /// `kind`
    #[serde(deserialize_with = "nullable")]
    pub kind: Box<str>,
    /// `name`
    #[serde(deserialize_with = "nullable")]
    pub name: Box<str>,
    /// `namespace`, with the scope `Namespace` alone.
    pub namespace: Option<Box<str>>,
}

/// `traefik.io/v1alpha1` Middleware or ServersTransport.
#[derive(Debug, Default, Deserialize)]
pub struct TraefikObject {
    /// `spec`, with fields of any names.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: Map<String, Value>,
}

/// `v1` Service.
#[derive(Debug, Default, Deserialize)]
pub struct Service {
    /// `spec`
    #[serde(default, deserialize_with = "nullable")]
    pub spec: ServiceSpec,
}

/// `spec` of a Service.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// `type`
    #[serde(rename = "type", deserialize_with = "nullable")]
    pub service_type: Box<str>,
    /// `clusterIP`: an address, `None`, or empty.
    #[serde(rename = "clusterIP", deserialize_with = "nullable")]
    pub cluster_ip: Box<str>,
    /// `externalName`
    #[serde(deserialize_with = "nullable")]
    pub external_name: Box<str>,
    /// True if `selector` has a label.
    #[serde(rename = "selector", deserialize_with = "is_filled")]
    pub selects: bool,
    /// `sessionAffinity`
    #[serde(deserialize_with = "nullable")]
    pub session_affinity: Box<str>,
    /// `ports`
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// `name`
    #[serde(deserialize_with = "nullable")]
    pub name: Box<str>,
    /// `port`
    #[serde(deserialize_with = "nullable")]
    pub port: u16,
    /// `protocol`; empty for TCP.
    #[serde(deserialize_with = "nullable")]
    pub protocol: Box<str>,
    /// `appProtocol`
    #[serde(deserialize_with = "nullable")]
    pub app_protocol: Box<str>,
}

/// `discovery.k8s.io/v1` EndpointSlice.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointSlice {
    /// `addressType`
    #[serde(deserialize_with = "nullable")]
    pub address_type: Box<str>,
    /// `endpoints`
    #[serde(deserialize_with = "nullable")]
    pub endpoints: Vec<SliceEndpoint>,
    /// `ports`
    #[serde(deserialize_with = "nullable")]
    pub ports: Vec<SlicePort>,
}

/// An endpoint of a slice.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SliceEndpoint {
    /// `addresses`
    #[serde(deserialize_with = "nullable")]
    pub addresses: Vec<Box<str>>,
    /// `conditions`
    #[serde(deserialize_with = "nullable")]
    pub conditions: SliceConditions,
    /// `nodeName`
    #[serde(deserialize_with = "nullable")]
    pub node_name: Box<str>,
    /// `zone`
    #[serde(deserialize_with = "nullable")]
    pub zone: Box<str>,
    /// `targetRef`
    #[serde(deserialize_with = "nullable")]
    pub target_ref: TargetRef,
}

/// The object behind an endpoint.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// `uid`
    #[serde(deserialize_with = "nullable")]
    pub uid: Box<str>,
}

/// `conditions` of an endpoint. Absent `ready` means ready.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SliceConditions {
    /// `ready`
    pub ready: Option<bool>,
    /// `serving`
    pub serving: Option<bool>,
    /// `terminating`
    pub terminating: Option<bool>,
}

/// A port of a slice.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SlicePort {
    /// `name`, the name of the Service's port.
    #[serde(deserialize_with = "nullable")]
    pub name: Box<str>,
    /// `port`; absent where the endpoints have all ports.
    pub port: Option<u16>,
    /// `protocol`; empty for TCP.
    #[serde(deserialize_with = "nullable")]
    pub protocol: Box<str>,
}

/// `v1` ConfigMap.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConfigMap {
    /// `data`
    #[serde(deserialize_with = "nullable")]
    pub data: BTreeMap<Box<str>, Box<str>>,
}

/// `v1` Secret. Its data never shows in debug output.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Secret<'a> {
    /// `type`
    #[serde(rename = "type", borrow, deserialize_with = "nullable")]
    pub secret_type: Cow<'a, str>,
    /// `data`, still in base64.
    #[serde(borrow, deserialize_with = "nullable")]
    pub data: BTreeMap<Cow<'a, str>, Cow<'a, str>>,
}

impl<'a> Secret<'a> {
    /// A value, decoded; `None` when it is absent or not base64.
    pub fn value(&self, key: &str) -> Option<Vec<u8>> {
        STANDARD.decode(self.data.get(key)?.as_bytes()).ok()
    }

    /// Returns true if it has a certificate, authorities, or may have users.
    pub fn is_needed(&self) -> bool {
        let has_chain = self.data.contains_key("tls.crt");
        let has_certificate = has_chain || self.secret_type == "kubernetes.io/tls";
        has_certificate || self.has_authorities() || self.users().is_some()
    }

    /// The keys of authorities of certificates; the first that is there counts.
    pub const AUTHORITIES: [&'static str; 2] = ["ca.crt", "tls.ca"];

    /// Returns true if it has authorities of certificates.
    pub fn has_authorities(&self) -> bool {
        let mut keys = Self::AUTHORITIES.iter();
        keys.any(|key| self.data.contains_key(*key))
    }

    /// Returns all values, decoded, if they may have the users of a login: the type
    /// `kubernetes.io/basic-auth`, a key `auth`, or a value that begins like the hash of a
    /// password, in a line behind a name too. Those that are not base64 are left out.
    pub fn users(&self) -> Option<Box<[(Box<str>, Box<[u8]>)]>> {
        if self.secret_type == "kubernetes.io/tls" {
            return None;
        }
        let decoded = |(key, value): (&Cow<'a, str>, &Cow<'a, str>)| {
            let value = STANDARD.decode(value.as_bytes()).ok()?;
            Some((Box::from(&**key), value.into_boxed_slice()))
        };
        let values: Box<[(Box<str>, Box<[u8]>)]> = self.data.iter().filter_map(decoded).collect();
        let is_hash = |value: &[u8]| HASHES.iter().any(|hash| value.starts_with(hash));
        let is_file = |value: &[u8]| {
            let mut lines = value.split(|byte| *byte == b'\n');
            let hash = |line: &[u8]| Some(is_hash(&line[memchr::memchr(b':', line)? + 1..]));
            lines.any(|line| hash(line) == Some(true) || ends_with_digest(line))
        };
        let has_hash = |(_, value): &(Box<str>, Box<[u8]>)| is_hash(value) || is_file(value);
        let has_users = self.data.contains_key("auth")
            || self.secret_type == "kubernetes.io/basic-auth"
            || values.iter().any(has_hash);
        has_users.then_some(values)
    }
}

/// Reports whether a line has the form `name:realm:digest`.
fn ends_with_digest(line: &[u8]) -> bool {
    let parts: Vec<&[u8]> = line.trim_ascii().split(|byte| *byte == b':').collect();
    let digest = parts.last().filter(|_| parts.len() > 2);
    digest.is_some_and(|digest| digest.len() == 32 && digest.iter().all(u8::is_ascii_hexdigit))
}

/// The beginnings of hashes of passwords.
const HASHES: &[&[u8]] = &[
    b"$1$", b"$2", b"$5$", b"$6$", b"$apr1$", b"{SHA}", b"{SSHA}", b"{PLAIN}",
];

/// Decodes a map to whether it has an entry.
fn is_filled<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let map: Option<BTreeMap<Box<str>, IgnoredAny>> = Option::deserialize(from)?;
    Ok(map.is_some_and(|map| !map.is_empty()))
}

impl std::fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("keys", &self.data.keys())
            .finish_non_exhaustive()
    }
}
