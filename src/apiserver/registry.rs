//! The kinds that are served. A kind is an entry here, never a handler.

use serde_json::Value;

use super::columns::{self, Column};
use crate::objects::Kind;

/// One resource of the API.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) kind: Kind,
    /// API group; empty for the core group.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) short: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) namespaced: bool,
    /// True if clients may write. Only the process itself writes Nodes.
    pub(crate) writable: bool,
    /// True if there is a `/status` subresource.
    pub(crate) status: bool,
    /// True if objects have `metadata.generation`. On a real API server only some kinds have it.
    pub(crate) generation: bool,
    /// True if the response to a deletion is the object, false if it is a `Status`.
    pub(crate) delete_returns_object: bool,
    /// True if a PUT must name the version that it replaces.
    pub(crate) versioned_update: bool,
    /// True if a PUT creates an object that does not exist.
    pub(crate) create_on_update: bool,
    /// The `Warning` on every response; empty for kinds that are not deprecated.
    pub(crate) deprecated: &'static str,
    /// Field selectors beside `metadata.name` and `metadata.namespace`: label, and the JSON pointer
    /// of the value.
    pub(crate) fields: &'static [(&'static str, &'static str)],
    /// The same of fields that are true or false, and false where they are absent.
    pub(crate) flags: &'static [(&'static str, &'static str)],
    pub(crate) columns: &'static [Column],
    /// Returns the cells of a row, in the order of the columns. The number is the current Unix
    /// time.
    pub(crate) cells: fn(&Value, i64) -> Vec<Value>,
}

/// Verbs of a writable resource.
const ALL_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

const NAMESPACE_VERBS: &[&str] = &[
    "create", "delete", "get", "list", "patch", "update", "watch",
];

pub(crate) const READ_VERBS: &[&str] = &["get", "list", "watch"];

impl Resource {
    /// Returns the name for error messages: `ingresses.networking.k8s.io`.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// Reports whether the kind is one of Kubernetes itself: only those have a form in protobuf.
    pub(crate) fn has_protobuf(&self) -> bool {
        self.group != "traefik.io"
    }

    /// Returns group and version: `networking.k8s.io/v1`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Returns the verbs in discovery. Namespaces are deleted one by one.
    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        match (self.writable, self.kind) {
            (false, _) => READ_VERBS,
            (true, Kind::Namespace) => NAMESPACE_VERBS,
            (true, _) => ALL_VERBS,
        }
    }

    /// Returns the subresources with their verbs, in the order of discovery.
    pub(crate) fn subresources(&self) -> &'static [(&'static str, &'static [&'static str])] {
        const STATUS: (&str, &[&str]) = ("status", &["get", "patch", "update"]);
        match (self.status, self.kind) {
            (_, Kind::Namespace) => &[("finalize", &["update"]), STATUS],
            (true, _) => &[STATUS],
            (false, _) => &[],
        }
    }

    /// Returns true if there is such a subresource.
    pub(crate) fn has_subresource(&self, name: &str) -> bool {
        self.subresources()
            .iter()
            .any(|(known, _verbs)| *known == name)
    }
}

/// Values shared by most entries.
const BASE: Resource = Resource {
    kind: Kind::ConfigMap,
    group: "",
    version: "v1",
    plural: "",
    singular: "",
    short: &[],
    categories: &[],
    namespaced: true,
    writable: true,
    status: false,
    generation: false,
    delete_returns_object: false,
    versioned_update: false,
    create_on_update: false,
    flags: &[],
    deprecated: "",
    fields: &[],
    columns: columns::NAME_AGE,
    cells: columns::name_age,
};

const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject.kind", "/involvedObject/kind"),
    ("involvedObject.namespace", "/involvedObject/namespace"),
    ("involvedObject.name", "/involvedObject/name"),
    ("involvedObject.uid", "/involvedObject/uid"),
    ("involvedObject.apiVersion", "/involvedObject/apiVersion"),
    (
        "involvedObject.resourceVersion",
        "/involvedObject/resourceVersion",
    ),
    ("involvedObject.fieldPath", "/involvedObject/fieldPath"),
    ("reason", "/reason"),
    ("reportingComponent", "/reportingComponent"),
    ("source", "/source/component"),
    ("type", "/type"),
];

/// The fields of Events by their names in the newer group. They are stored as those of the core
/// group.
const NEW_EVENT_FIELDS: &[(&str, &str)] = &[
    ("reason", "/reason"),
    ("regarding.kind", "/involvedObject/kind"),
    ("regarding.namespace", "/involvedObject/namespace"),
    ("regarding.name", "/involvedObject/name"),
    ("regarding.uid", "/involvedObject/uid"),
    ("regarding.apiVersion", "/involvedObject/apiVersion"),
    (
        "regarding.resourceVersion",
        "/involvedObject/resourceVersion",
    ),
    ("regarding.fieldPath", "/involvedObject/fieldPath"),
    ("reportingController", "/reportingComponent"),
    ("type", "/type"),
];

/// Every resource, in the order of discovery. Events are served twice from one store.
pub(crate) static RESOURCES: [Resource; 19] = [
    Resource {
        kind: Kind::ConfigMap,
        plural: "configmaps",
        singular: "configmap",
        short: &["cm"],
        columns: columns::CONFIG_MAP,
        cells: columns::config_map,
        ..BASE
    },
    Resource {
        kind: Kind::Endpoints,
        plural: "endpoints",
        singular: "endpoints",
        short: &["ep"],
        create_on_update: true,
        deprecated: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
        columns: columns::ENDPOINTS,
        cells: columns::endpoints,
        ..BASE
    },
    Resource {
        kind: Kind::Event,
        plural: "events",
        singular: "event",
        short: &["ev"],
        create_on_update: true,
        fields: EVENT_FIELDS,
        columns: columns::EVENT,
        cells: columns::event,
        ..BASE
    },
    Resource {
        kind: Kind::Namespace,
        plural: "namespaces",
        singular: "namespace",
        short: &["ns"],
        namespaced: false,
        status: true,
        delete_returns_object: true,
        fields: &[("status.phase", "/status/phase")],
        columns: columns::NAMESPACE,
        cells: columns::namespace,
        ..BASE
    },
    Resource {
        kind: Kind::Node,
        plural: "nodes",
        singular: "node",
        short: &["no"],
        namespaced: false,
        writable: false,
        flags: &[("spec.unschedulable", "/spec/unschedulable")],
        columns: columns::NODE,
        cells: columns::node,
        ..BASE
    },
    Resource {
        kind: Kind::Secret,
        plural: "secrets",
        singular: "secret",
        fields: &[("type", "/type")],
        columns: columns::SECRET,
        cells: columns::secret,
        ..BASE
    },
    Resource {
        kind: Kind::ServiceAccount,
        plural: "serviceaccounts",
        singular: "serviceaccount",
        short: &["sa"],
        delete_returns_object: true,
        ..BASE
    },
    Resource {
        kind: Kind::Service,
        plural: "services",
        singular: "service",
        short: &["svc"],
        categories: &["all"],
        status: true,
        create_on_update: true,
        delete_returns_object: true,
        fields: &[
            ("spec.clusterIP", "/spec/clusterIP"),
            ("spec.type", "/spec/type"),
        ],
        columns: columns::SERVICE,
        cells: columns::service,
        ..BASE
    },
    Resource {
        kind: Kind::Lease,
        group: "coordination.k8s.io",
        plural: "leases",
        singular: "lease",
        versioned_update: true,
        create_on_update: true,
        columns: columns::LEASE,
        cells: columns::lease,
        ..BASE
    },
    Resource {
        kind: Kind::EndpointSlice,
        group: "discovery.k8s.io",
        plural: "endpointslices",
        singular: "endpointslice",
        generation: true,
        columns: columns::ENDPOINT_SLICE,
        cells: columns::endpoint_slice,
        ..BASE
    },
    Resource {
        kind: Kind::Event,
        group: "events.k8s.io",
        plural: "events",
        singular: "event",
        short: &["ev"],
        create_on_update: true,
        fields: NEW_EVENT_FIELDS,
        columns: columns::EVENT,
        cells: columns::event,
        ..BASE
    },
    Resource {
        kind: Kind::IngressClass,
        group: "networking.k8s.io",
        plural: "ingressclasses",
        singular: "ingressclass",
        namespaced: false,
        generation: true,
        columns: columns::INGRESS_CLASS,
        cells: columns::ingress_class,
        ..BASE
    },
    Resource {
        kind: Kind::Ingress,
        group: "networking.k8s.io",
        plural: "ingresses",
        singular: "ingress",
        short: &["ing"],
        status: true,
        generation: true,
        columns: columns::INGRESS,
        cells: columns::ingress,
        ..BASE
    },
    Resource {
        kind: Kind::ClusterRoleBinding,
        group: "rbac.authorization.k8s.io",
        plural: "clusterrolebindings",
        singular: "clusterrolebinding",
        namespaced: false,
        create_on_update: true,
        columns: columns::BINDING,
        cells: columns::binding,
        ..BASE
    },
    Resource {
        kind: Kind::ClusterRole,
        group: "rbac.authorization.k8s.io",
        plural: "clusterroles",
        singular: "clusterrole",
        namespaced: false,
        create_on_update: true,
        columns: columns::ROLE,
        cells: columns::role,
        ..BASE
    },
    Resource {
        kind: Kind::RoleBinding,
        group: "rbac.authorization.k8s.io",
        plural: "rolebindings",
        singular: "rolebinding",
        create_on_update: true,
        columns: columns::BINDING,
        cells: columns::binding,
        ..BASE
    },
    Resource {
        kind: Kind::Role,
        group: "rbac.authorization.k8s.io",
        plural: "roles",
        singular: "role",
        create_on_update: true,
        columns: columns::ROLE,
        cells: columns::role,
        ..BASE
    },
    Resource {
        kind: Kind::Middleware,
        group: "traefik.io",
        version: "v1alpha1",
        plural: "middlewares",
        singular: "middleware",
        generation: true,
        versioned_update: true,
        ..BASE
    },
    Resource {
        kind: Kind::ServersTransport,
        group: "traefik.io",
        version: "v1alpha1",
        plural: "serverstransports",
        singular: "serverstransport",
        generation: true,
        versioned_update: true,
        ..BASE
    },
];

/// Returns the resource of a path.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    RESOURCES
        .iter()
        .find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// Returns the resource of a kind in its own group.
pub(crate) fn of(kind: Kind) -> &'static Resource {
    RESOURCES
        .iter()
        .find(|r| r.kind == kind && r.group == kind.group())
        .expect("every kind has an entry")
}
