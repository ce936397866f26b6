//! The kinds that gatelet knows.

/// The label, with the value `true`, of ConfigMaps that describe an issuer of certificates.
pub const ISSUER_LABEL: &str = "gatelet.dev/issuer";

/// A kind with its group and version. The order is the order in which a snapshot is best applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1` Namespace.
    Namespace,
    /// `networking.k8s.io/v1` IngressClass.
    IngressClass,
    /// `v1` ConfigMap.
    ConfigMap,
    /// `v1` Secret.
    Secret,
    /// `v1` Service.
    Service,
    /// `v1` Endpoints; served by the mini cluster, which mirrors them into EndpointSlices.
    Endpoints,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlice,
    /// `traefik.io/v1alpha1` Middleware, which a cluster with Traefik has.
    Middleware,
    /// `traefik.io/v1alpha1` ServersTransport, the same.
    ServersTransport,
    /// `networking.k8s.io/v1` Ingress.
    Ingress,
    /// `v1` Node.
    Node,
    /// `v1` and `events.k8s.io/v1` Event.
    Event,
    /// `coordination.k8s.io/v1` Lease.
    Lease,
    /// `v1` ServiceAccount.
    ServiceAccount,
    /// `rbac.authorization.k8s.io/v1` ClusterRole.
    ClusterRole,
    /// `rbac.authorization.k8s.io/v1` ClusterRoleBinding.
    ClusterRoleBinding,
    /// `rbac.authorization.k8s.io/v1` Role.
    Role,
    /// `rbac.authorization.k8s.io/v1` RoleBinding.
    RoleBinding,
    /// `v1` Pod, which real clusters alone have. Of some their labels are read.
    Pod,
}

impl Kind {
    /// Every kind that the mini cluster has, in order.
    pub const ALL: [Self; 18] = [
        Self::Namespace,
        Self::IngressClass,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::Endpoints,
        Self::EndpointSlice,
        Self::Middleware,
        Self::ServersTransport,
        Self::Ingress,
        Self::Node,
        Self::Event,
        Self::Lease,
        Self::ServiceAccount,
        Self::ClusterRole,
        Self::ClusterRoleBinding,
        Self::Role,
        Self::RoleBinding,
    ];

    /// The kinds that are followed. Of ConfigMaps only those with [`ISSUER_LABEL`], and
    /// those that the settings name. Pods of a real cluster are followed while their labels are
    /// asked for.
    pub const WATCHED: [Self; 8] = [
        Self::IngressClass,
        Self::ConfigMap,
        Self::Secret,
        Self::Service,
        Self::EndpointSlice,
        Self::Middleware,
        Self::ServersTransport,
        Self::Ingress,
    ];

    /// `kind` in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::IngressClass => "IngressClass",
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
            Self::Service => "Service",
            Self::Endpoints => "Endpoints",
            Self::EndpointSlice => "EndpointSlice",
            Self::Middleware => "Middleware",
            Self::ServersTransport => "ServersTransport",
            Self::Ingress => "Ingress",
            Self::Node => "Node",
            Self::Event => "Event",
            Self::Lease => "Lease",
            Self::ServiceAccount => "ServiceAccount",
            Self::ClusterRole => "ClusterRole",
            Self::ClusterRoleBinding => "ClusterRoleBinding",
            Self::Role => "Role",
            Self::RoleBinding => "RoleBinding",
            Self::Pod => "Pod",
        }
    }

    /// `apiVersion` in manifests.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::Namespace
            | Self::ConfigMap
            | Self::Secret
            | Self::Service
            | Self::Endpoints
            | Self::Node
            | Self::Event
            | Self::ServiceAccount
            | Self::Pod => "v1",
            Self::IngressClass | Self::Ingress => "networking.k8s.io/v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
            Self::Middleware | Self::ServersTransport => "traefik.io/v1alpha1",
            Self::Lease => "coordination.k8s.io/v1",
            Self::ClusterRole | Self::ClusterRoleBinding | Self::Role | Self::RoleBinding => {
                "rbac.authorization.k8s.io/v1"
            }
        }
    }

    /// The API group; empty for the core group.
    pub fn group(self) -> &'static str {
        self.api_version()
            .rsplit_once('/')
            .map_or("", |(group, _version)| group)
    }

    /// The plural in URLs.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::IngressClass => "ingressclasses",
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
            Self::Service => "services",
            Self::Endpoints => "endpoints",
            Self::EndpointSlice => "endpointslices",
            Self::Middleware => "middlewares",
            Self::ServersTransport => "serverstransports",
            Self::Ingress => "ingresses",
            Self::Node => "nodes",
            Self::Event => "events",
            Self::Lease => "leases",
            Self::ServiceAccount => "serviceaccounts",
            Self::ClusterRole => "clusterroles",
            Self::ClusterRoleBinding => "clusterrolebindings",
            Self::Role => "roles",
            Self::RoleBinding => "rolebindings",
            Self::Pod => "pods",
        }
    }

    /// Reports whether objects of this kind live in a namespace.
    pub fn namespaced(self) -> bool {
        !matches!(
            self,
            Self::Namespace
                | Self::IngressClass
                | Self::Node
                | Self::ClusterRole
                | Self::ClusterRoleBinding
        )
    }

    /// Reports whether a cluster may lack this kind, so that it has no objects: the kind belongs to
    /// a program that not every cluster has.
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Middleware | Self::ServersTransport)
    }

    /// The kind with these manifest fields.
    pub fn find(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|k| k.name() == kind && k.api_version() == api_version)
    }
}
