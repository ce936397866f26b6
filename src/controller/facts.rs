//! Facts: the parts of each object that a compile needs, in the smallest form.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde_json::{Map, Value};

use super::{
    CertificateSource, Settings, UnsupportedGuards, annotations,
    authorities::RawAuthorities,
    peers::{self, On, PeerAnnotation},
    port_annotations::PortAnnotations,
    regex,
    users::RawUsers,
};
use crate::{
    objects::{
        Key, Kind, ObjectError, ObjectRef, RawObject, Texts,
        secret::{self, ISSUER_NAME, MANAGED, Owner, WRITTEN},
        slim::{
            ClassParameters, ConfigMap, EndpointSlice, Ingress, IngressClass, IngressSpec, Secret,
            Service, ServicePort, SlicePort, TraefikObject,
        },
    },
    routing::{EndpointId, Transport},
    util::secretive::Secretive,
};

/// Marks an IngressClass as the default one (`ingressclass.kubernetes.io/is-default-class`).
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
/// Annotation of a slice: with `loopback`, endpoints on this node are dialled on loopback.
const CONNECT: &str = "gatelet.dev/connect";
/// Label of a slice with the name of its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Returns true if a chain (PEM) is that of the certificate which gatelet stores for a Secret. The
/// caller provides it, because this module does not know what was issued.
pub type IsStored = Box<dyn Fn(&Key, &[u8]) -> bool + Send + Sync>;

/// The fact about an object, whatever its kind.
#[derive(Debug)]
pub(super) enum Fact {
    Class(ClassFact),
    Ingress(IngressFact),
    Service(ServiceFact),
    /// `None` for a slice that does not belong to a Service.
    Slice(Option<SliceFact>),
    ConfigMap(ConfigMapFact),
    Secret(SecretFact),
    Traefik(TraefikFact),
    /// The labels of a Pod count, which are decoded already.
    Pod,
    /// Nothing of the object counts.
    Nothing,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClassFact {
    pub(super) about: ObjectRef,
    pub(super) ours: bool,
    pub(super) default: bool,
    pub(super) parameters: Option<ClassParameters>,
}

#[derive(Debug)]
pub(super) struct IngressFact {
    pub(super) about: ObjectRef,
    pub(super) created: Box<str>,
    /// The annotations that [`annotations::is_known`] accepts, sorted by name.
    pub(super) annotations: Box<[(Box<str>, Box<str>)]>,
    /// The annotations of other controllers, sorted by name.
    pub(super) peers: Box<[PeerAnnotation]>,
    /// True if an annotation turns its paths into regular expressions.
    pub(super) declares_regex: bool,
    pub(super) spec: IngressSpec,
    /// `status.loadBalancer.ingress[].ip`, sorted.
    pub(super) addresses: Box<[IpAddr]>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServiceFact {
    /// `metadata.uid`
    pub(super) uid: Box<str>,
    /// True if it has a selector, so that a controller has to fill its endpoints.
    pub(super) selects: bool,
    /// The TCP ports.
    pub(super) ports: Box<[ServicePort]>,
    /// The UDP ports, which only layer 4 leads to.
    pub(super) udp_ports: Box<[ServicePort]>,
    /// Its own address, if it has one.
    pub(super) address: Option<IpAddr>,
    /// `externalName` of a Service of that type.
    pub(super) external: Option<Box<str>>,
    /// The annotations of other controllers that affect the paths to it, or are worth a note.
    pub(super) peers: Box<[PeerAnnotation]>,
    /// The annotations that [`annotations::is_known_on_services`] accepts, sorted by name.
    pub(super) annotations: Box<[(Box<str>, Box<str>)]>,
    /// Its decision about unsupported guards.
    pub(super) guards: Option<UnsupportedGuards>,
    /// True if connections of a client to its ports of layer 4 go to one endpoint.
    pub(super) sticky: bool,
    /// Its annotations about ports of layer 4.
    pub(super) asks: Option<Box<PortAnnotations>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct SliceFact {
    pub(super) service: Arc<str>,
    /// The TCP ports.
    pub(super) ports: Box<[(Box<str>, u16)]>,
    /// The UDP ports.
    pub(super) udp_ports: Box<[(Box<str>, u16)]>,
    pub(super) endpoints: Box<[SliceAddress]>,
    /// Its labels, if one of its endpoints does not name what serves there. Those of Kubernetes
    /// itself are left out.
    pub(super) labels: Texts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SliceAddress {
    pub(super) address: IpAddr,
    pub(super) ready: bool,
    /// Not ready, but still serving while it terminates: used if no endpoint is ready.
    pub(super) last_resort: bool,
    pub(super) terminating: bool,
    /// The identity of the object behind it, if the slice names one.
    pub(super) id: Option<EndpointId>,
    pub(super) zone: Option<Arc<str>>,
}

/// A ConfigMap that maps ports to Services.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ConfigMapFact {
    pub(super) about: ObjectRef,
    pub(super) created: Box<str>,
    pub(super) data: BTreeMap<Box<str>, Box<str>>,
}

/// The kind of an object of Traefik, and its namespace and name as annotations write them, without
/// the provider.
pub(super) type TraefikId = (Kind, Box<str>);

/// An object of Traefik. Few clusters have many, so its fields are read when an Ingress that names
/// it is compiled.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TraefikFact {
    pub(super) id: TraefikId,
    /// `spec`
    pub(super) spec: Map<String, Value>,
}

/// The values of `tls.crt` and `tls.key` (PEM); `None` for one that is missing or not base64.
#[derive(Debug)]
pub(super) struct RawPair {
    pub(super) chain: Option<Arc<[u8]>>,
    pub(super) key: Option<Secretive>,
}

#[derive(Debug)]
pub(super) struct SecretFact {
    pub(super) owner: Owner,
    /// The issuer that it names.
    pub(super) issuer: Option<Box<str>>,
    /// True if its chain is the one that gatelet wrote.
    pub(super) is_written: bool,
    /// The certificate in it, or the reason why it cannot be used.
    pub(super) holds: Result<CertificateSource, &'static str>,
    /// Its certificate and key, whatever its type is, if it has at least one of them.
    pub(super) pair: Option<RawPair>,
    /// The values that may have users of a login.
    pub(super) users: Option<RawUsers>,
    /// The authorities of certificates of clients, if it has the key `ca.crt`.
    pub(super) authorities: Option<Result<RawAuthorities, &'static str>>,
}

impl Fact {
    /// Decodes an object. `is_stored` shows whether a chain is the one that gatelet keeps for it.
    pub(super) fn read(
        object: &RawObject,
        settings: &Settings,
        is_stored: &IsStored,
    ) -> Result<Self, ObjectError> {
        Ok(match object.key.kind {
            Kind::IngressClass => Self::Class(ClassFact::read(object, &settings.controller)?),
            Kind::Middleware | Kind::ServersTransport => Self::Traefik(TraefikFact::read(object)?),
            Kind::Ingress => Self::Ingress(IngressFact::read(object)?),
            Kind::Service => Self::Service(ServiceFact::read(object)?),
            Kind::EndpointSlice => Self::Slice(SliceFact::read(object, &settings.node)?),
            Kind::Pod => Self::Pod,
            Kind::ConfigMap if object.is_issuer() => Self::Nothing,
            Kind::ConfigMap => Self::ConfigMap(ConfigMapFact::read(object)?),
            Kind::Secret => Self::Secret(SecretFact::read(object, is_stored)?),
            Kind::Namespace
            | Kind::Endpoints
            | Kind::Node
            | Kind::Event
            | Kind::Lease
            | Kind::ServiceAccount
            | Kind::ClusterRole
            | Kind::ClusterRoleBinding
            | Kind::Role
            | Kind::RoleBinding => Self::Nothing,
        })
    }
}

impl ClassFact {
    pub(super) fn read(object: &RawObject, controller: &str) -> Result<Self, ObjectError> {
        let class: IngressClass = object.view()?;
        Ok(Self {
            about: object.reference(),
            parameters: class.spec.parameters,
            ours: *class.spec.controller == *controller,
            default: object
                .meta
                .annotations
                .get(DEFAULT_CLASS)
                .is_some_and(|value| **value == *"true"),
        })
    }
}

impl IngressFact {
    pub(super) fn read(object: &RawObject) -> Result<Self, ObjectError> {
        let mut ingress: Ingress = object.view()?;
        shrink(&mut ingress.spec);

        let annotations = object
            .meta
            .annotations
            .iter()
            .filter(|(name, _)| annotations::is_known(name));
        let status = &ingress.status.load_balancer.ingress;
        let mut addresses: Vec<IpAddr> = status
            .iter()
            .filter_map(|entry| entry.ip.parse().ok())
            .collect();
        addresses.sort_unstable();

        Ok(Self {
            about: object.reference(),
            created: object.meta.creation_timestamp.clone(),
            annotations: annotations
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            peers: peers::read(&object.meta.annotations, On::Ingress),
            declares_regex: regex::is_declared(&object.meta.annotations),
            spec: ingress.spec,
            addresses: addresses.into(),
        })
    }
}

impl ServiceFact {
    /// Returns the ports of a transport.
    pub(super) fn ports_of(&self, transport: Transport) -> &[ServicePort] {
        match transport {
            Transport::Tcp => &self.ports,
            Transport::Udp => &self.udp_ports,
        }
    }

    pub(super) fn read(object: &RawObject) -> Result<Self, ObjectError> {
        let service: Service = object.view()?;
        let external =
            (*service.spec.service_type == *"ExternalName").then_some(service.spec.external_name);

        let (ports, others): (Vec<_>, Vec<_>) = service
            .spec
            .ports
            .into_iter()
            .partition(|port| is_tcp(&port.protocol));
        let udp_ports = others.into_iter();
        let udp_ports = udp_ports.filter(|port| *port.protocol == *"UDP").collect();

        let annotations = &object.meta.annotations;
        let asks = PortAnnotations::of(object);
        let guards = annotations::guards_of_service(annotations);
        let peers = peers::read(annotations, On::Service).into_iter();
        let peers = peers.filter_map(|one| PortAnnotations::judge(one, asks.is_some()));

        let known = annotations
            .iter()
            .filter(|(name, _)| annotations::is_known_on_services(name));

        Ok(Self {
            annotations: known
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            uid: object.meta.uid.clone(),
            selects: service.spec.selects,
            ports: ports.into(),
            udp_ports,
            address: service.spec.cluster_ip.parse().ok(),
            external,
            peers: peers.collect(),
            guards,
            sticky: *service.spec.session_affinity == *"ClientIP",
            asks,
        })
    }
}

impl SliceFact {
    /// Returns the ports of a transport, by name.
    pub(super) fn ports_of(&self, transport: Transport) -> &[(Box<str>, u16)] {
        match transport {
            Transport::Tcp => &self.ports,
            Transport::Udp => &self.udp_ports,
        }
    }

    /// Reads a slice. Returns `None` for one that does not belong to a Service.
    pub(super) fn read(object: &RawObject, node: &str) -> Result<Option<Self>, ObjectError> {
        let Some(service) = object.meta.labels.get(SERVICE_NAME) else {
            return Ok(None);
        };
        let slice: EndpointSlice = object.view()?;

        let loopback = !node.is_empty()
            && object
                .meta
                .annotations
                .get(CONNECT)
                .is_some_and(|value| **value == *"loopback");

        let (mut endpoints, mut zones) = (Vec::new(), Vec::new());
        for endpoint in &slice.endpoints {
            let conditions = &endpoint.conditions;
            let terminating = conditions.terminating.unwrap_or(false);
            // With `publishNotReadyAddresses` one that terminates is ready too.
            let ready = conditions.ready.unwrap_or(true);
            let last_resort = !ready && terminating && conditions.serving.unwrap_or(false);
            let dial_loopback = loopback && *endpoint.node_name == *node;

            let uid = &endpoint.target_ref.uid;
            let id = (!uid.is_empty()).then(|| EndpointId::of(uid));
            let zone = (!endpoint.zone.is_empty()).then(|| zone(&mut zones, &endpoint.zone));

            for address in endpoint
                .addresses
                .iter()
                .filter_map(|address| address.parse().ok())
            {
                let address = match address {
                    IpAddr::V4(_) if dial_loopback => IpAddr::from([127, 0, 0, 1]),
                    IpAddr::V6(_) if dial_loopback => IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
                    other => other,
                };
                endpoints.push(SliceAddress {
                    address,
                    ready,
                    last_resort,
                    terminating,
                    id,
                    zone: zone.clone(),
                });
            }
        }

        let labels = object.meta.labels.iter();
        let is_own = |name: &str| {
            let prefix = name.split_once('/').map_or("", |(prefix, _)| prefix);
            !["kubernetes.io", "endpointslice.kubernetes.io"].contains(&prefix)
        };
        // In the mini cluster there are no Pods.
        let has_pods = endpoints.iter().all(|endpoint| endpoint.id.is_some());
        let labels = match has_pods && node.is_empty() {
            true => Texts::default(),
            false => labels
                .filter(|(name, _)| is_own(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        };

        let (ports, others): (Vec<_>, Vec<_>) = slice
            .ports
            .into_iter()
            .partition(|port| is_tcp(&port.protocol));
        let udp_ports = others.into_iter().filter(|port| *port.protocol == *"UDP");
        let named = |port: SlicePort| Some((port.name, port.port?));
        Ok(Some(Self {
            service: Arc::from(&**service),
            ports: ports.into_iter().filter_map(named).collect(),
            udp_ports: udp_ports.filter_map(named).collect(),
            endpoints: endpoints.into(),
            labels,
        }))
    }
}

impl ConfigMapFact {
    pub(super) fn read(object: &RawObject) -> Result<Self, ObjectError> {
        let map: ConfigMap = object.view()?;
        Ok(Self {
            about: object.reference(),
            created: object.meta.creation_timestamp.clone(),
            data: map.data,
        })
    }
}

impl TraefikFact {
    /// Returns the namespace and name of an object as annotations write them. As in Traefik all
    /// that is no letter or digit becomes a dash.
    pub(super) fn id(namespace: &str, name: &str) -> Box<str> {
        let text = format!("{namespace}-{name}");
        let words = text.split(|c: char| !c.is_alphanumeric());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        words.join("-").into()
    }

    pub(super) fn read(object: &RawObject) -> Result<Self, ObjectError> {
        let fields: TraefikObject = object.view()?;
        let id = Self::id(&object.key.namespace, &object.key.name);
        Ok(Self {
            id: (object.key.kind, id),
            spec: fields.spec,
        })
    }
}

impl SecretFact {
    /// Reads a Secret. `is_stored` shows whether a chain is the one that gatelet keeps for it.
    pub(super) fn read(object: &RawObject, is_stored: &IsStored) -> Result<Self, ObjectError> {
        let secret: Secret<'_> = object.view()?;

        let pair = RawPair::of(&secret);
        let both = pair.as_ref().and_then(RawPair::both);
        let holds = match (&*secret.secret_type, both) {
            ("kubernetes.io/tls", Some((chain, key))) => Ok(CertificateSource::Secret {
                key: object.key.clone(),
                version: object.meta.resource_version.clone(),
                chain: chain.clone(),
                private_key: key.clone(),
            }),
            ("kubernetes.io/tls", _) => Err("tls.crt or tls.key is missing or not base64"),
            _ => Err("its type is not kubernetes.io/tls"),
        };

        let chain = match &holds {
            Ok(CertificateSource::Secret { chain, .. }) => &chain[..],
            _ => &[],
        };
        let label = object.meta.labels.get(MANAGED).map(|value| &**value);
        let written = object.meta.annotations.get(WRITTEN).map(|value| &**value);
        let is_written = secret::is_written(written, chain) || is_stored(&object.key, chain);

        Ok(Self {
            owner: secret::owner(label, is_written),
            is_written,
            holds,
            pair,
            users: secret.users().map(RawUsers),
            authorities: RawAuthorities::of(&secret),
            ..Self::unreadable(object)
        })
    }

    /// Returns the fact of a Secret that exists but cannot be decoded.
    pub(super) fn unreadable(object: &RawObject) -> Self {
        let label = object.meta.labels.get(MANAGED).map(|value| &**value);
        Self {
            owner: secret::owner(label, false),
            issuer: object.meta.annotations.get(ISSUER_NAME).cloned(),
            is_written: false,
            holds: Err("it cannot be decoded"),
            pair: None,
            users: None,
            authorities: None,
        }
    }
}

impl RawPair {
    /// Returns those of a Secret; `None` if it has neither.
    fn of(secret: &Secret<'_>) -> Option<Self> {
        let has = |key: &str| secret.data.contains_key(key);
        (has("tls.crt") || has("tls.key")).then(|| Self {
            chain: secret.value("tls.crt").map(Into::into),
            key: secret.value("tls.key").map(|key| Secretive(key.into())),
        })
    }

    /// Returns both values, if it has both.
    pub(super) fn both(&self) -> Option<(&Arc<[u8]>, &Secretive)> {
        Some((self.chain.as_ref()?, self.key.as_ref()?))
    }
}

/// Returns the shared copy of the name of a zone: a slice has few.
fn zone(known: &mut Vec<Arc<str>>, name: &str) -> Arc<str> {
    if let Some(zone) = known.iter().find(|zone| ***zone == *name) {
        return zone.clone();
    }
    let zone: Arc<str> = name.into();
    known.push(zone.clone());
    zone
}

/// Returns the spare memory of lists: decoding makes them with room for four entries.
fn shrink(spec: &mut IngressSpec) {
    for rule in &mut spec.rules {
        if let Some(http) = &mut rule.http {
            http.paths.shrink_to_fit();
        }
    }
    for tls in &mut spec.tls {
        tls.hosts.shrink_to_fit();
    }
    spec.rules.shrink_to_fit();
    spec.tls.shrink_to_fit();
}

/// Returns true for TCP ports. Services have HTTP/3 as a UDP port of the same number, but requests
/// go to backends by TCP only.
fn is_tcp(protocol: &str) -> bool {
    matches!(protocol, "" | "TCP")
}
