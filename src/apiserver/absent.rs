//! The kinds that need a kubelet or controllers. They are in discovery and have no objects, so that
//! clients that only look work as in any cluster. Creating one is refused with advice.

use http::{Method, Response, StatusCode, request::Parts};
use serde_json::json;
use tokio::{sync::mpsc, time::sleep};

use super::{
    Api, columns,
    request::{Accept, Query, Shape, media_type},
    response::{self, Body},
    status::ApiError,
    watch,
};

/// A kind without objects.
#[derive(Debug)]
pub(crate) struct Absent {
    /// API group; empty for the core group.
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) short: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) namespaced: bool,
    lack: Lack,
}

/// The reason why a kind has no objects.
#[derive(Clone, Copy, Debug)]
enum Lack {
    Workloads,
    /// Kinds that are about Pods of others.
    Pods,
    Volumes,
    NetworkPolicies,
    Quotas,
}

impl Lack {
    /// Returns the reason and the advice.
    fn text(self) -> &'static str {
        match self {
            Self::Workloads => {
                "this mini cluster runs no workloads; start the program on a device, and point a \
                 Service at it with an EndpointSlice or with `gatelet expose`"
            }
            Self::Pods => "this mini cluster runs no workloads, so it would have no effect",
            Self::Volumes => {
                "this mini cluster has no volumes; programs keep their files on their devices"
            }
            Self::NetworkPolicies => {
                "this mini cluster does not enforce network policies; use a firewall, or an \
                 annotation of the Ingress that restricts its clients"
            }
            Self::Quotas => "this mini cluster does not enforce quotas and limits",
        }
    }
}

/// Values shared by most entries.
const BASE: Absent = Absent {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short: &[],
    categories: &[],
    namespaced: true,
    lack: Lack::Workloads,
};

/// Values shared by the kinds that `kubectl get all` shows.
const SHOWN: Absent = Absent {
    categories: &["all"],
    ..BASE
};

const AUTOSCALER: Absent = Absent {
    group: "autoscaling",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short: &["hpa"],
    lack: Lack::Pods,
    ..SHOWN
};

/// Every kind without objects.
pub(crate) static ABSENT: [Absent; 18] = [
    Absent {
        kind: "LimitRange",
        plural: "limitranges",
        singular: "limitrange",
        short: &["limits"],
        lack: Lack::Quotas,
        ..BASE
    },
    Absent {
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        singular: "persistentvolumeclaim",
        short: &["pvc"],
        lack: Lack::Volumes,
        ..BASE
    },
    Absent {
        kind: "PersistentVolume",
        plural: "persistentvolumes",
        singular: "persistentvolume",
        short: &["pv"],
        namespaced: false,
        lack: Lack::Volumes,
        ..BASE
    },
    Absent {
        kind: "Pod",
        plural: "pods",
        singular: "pod",
        short: &["po"],
        ..SHOWN
    },
    Absent {
        kind: "ReplicationController",
        plural: "replicationcontrollers",
        singular: "replicationcontroller",
        short: &["rc"],
        ..SHOWN
    },
    Absent {
        kind: "ResourceQuota",
        plural: "resourcequotas",
        singular: "resourcequota",
        short: &["quota"],
        lack: Lack::Quotas,
        ..BASE
    },
    Absent {
        group: "apps",
        kind: "DaemonSet",
        plural: "daemonsets",
        singular: "daemonset",
        short: &["ds"],
        ..SHOWN
    },
    Absent {
        group: "apps",
        kind: "Deployment",
        plural: "deployments",
        singular: "deployment",
        short: &["deploy"],
        ..SHOWN
    },
    Absent {
        group: "apps",
        kind: "ReplicaSet",
        plural: "replicasets",
        singular: "replicaset",
        short: &["rs"],
        ..SHOWN
    },
    Absent {
        group: "apps",
        kind: "StatefulSet",
        plural: "statefulsets",
        singular: "statefulset",
        short: &["sts"],
        ..SHOWN
    },
    Absent {
        version: "v2",
        ..AUTOSCALER
    },
    AUTOSCALER,
    Absent {
        group: "batch",
        kind: "CronJob",
        plural: "cronjobs",
        singular: "cronjob",
        short: &["cj"],
        ..SHOWN
    },
    Absent {
        group: "batch",
        kind: "Job",
        plural: "jobs",
        singular: "job",
        ..SHOWN
    },
    Absent {
        group: "networking.k8s.io",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        singular: "networkpolicy",
        short: &["netpol"],
        lack: Lack::NetworkPolicies,
        ..BASE
    },
    Absent {
        group: "policy",
        kind: "PodDisruptionBudget",
        plural: "poddisruptionbudgets",
        singular: "poddisruptionbudget",
        short: &["pdb"],
        lack: Lack::Pods,
        ..BASE
    },
    Absent {
        group: "scheduling.k8s.io",
        kind: "PriorityClass",
        plural: "priorityclasses",
        singular: "priorityclass",
        short: &["pc"],
        namespaced: false,
        lack: Lack::Pods,
        ..BASE
    },
    Absent {
        group: "storage.k8s.io",
        kind: "StorageClass",
        plural: "storageclasses",
        singular: "storageclass",
        short: &["sc"],
        namespaced: false,
        lack: Lack::Volumes,
        ..BASE
    },
];

/// The part of a path that follows the kind.
#[derive(Clone, Copy, Debug)]
struct Place<'p> {
    absent: &'static Absent,
    /// The name of an object; `None` for the collection.
    name: Option<&'p str>,
}

/// Returns the kind that a path names, if it is one without objects. `segments` follow the version.
fn find<'p>(group: &str, version: &str, segments: &'p [&'p str]) -> Option<Place<'p>> {
    let (plural, namespace, rest) = match segments {
        ["namespaces", namespace, plural, rest @ ..] => (plural, Some(namespace), rest),
        [plural, rest @ ..] => (plural, None, rest),
        [] => return None,
    };
    let absent = ABSENT.iter().find(|absent| {
        (absent.group, absent.version, absent.plural) == (group, version, *plural)
    })?;

    let name = rest.first().copied();
    let placed = namespace.is_some() || name.is_none() || !absent.namespaced;
    let has_namespace = absent.namespaced || namespace.is_none();
    (placed && has_namespace).then_some(Place { absent, name })
}

impl Api {
    /// Handles a request for a kind without objects; returns `None` for other kinds. `segments` are
    /// those of the path after the version.
    pub(crate) fn absent(
        &self,
        group: &str,
        version: &str,
        segments: &[&str],
        head: &Parts,
    ) -> Option<Result<Response<Body>, ApiError>> {
        let place = find(group, version, segments)?;
        Some(self.serve_absent(place, head))
    }

    fn serve_absent(&self, place: Place<'_>, head: &Parts) -> Result<Response<Body>, ApiError> {
        let Place { absent, name } = place;
        let query = Query::parse(head.uri.query().unwrap_or_default());
        let accept = Accept::parse(&head.headers, true)?;
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        let applies = head.method == Method::PATCH
            && media_type(&head.headers) == "application/apply-patch+yaml";

        match name {
            _ if reads && query.flag("watch") => self.watch_absent(absent, &query, accept),
            None if reads || head.method == Method::DELETE => Ok(self.empty_list(absent, accept)),
            None if head.method == Method::POST => Err(absent.refused()),
            Some(_) if applies => Err(absent.refused()),
            Some(name) => Err(absent.not_found(name)),
            None => Err(ApiError::method_not_allowed()),
        }
    }

    fn empty_list(&self, absent: &Absent, accept: Accept) -> Response<Body> {
        let metadata = json!({ "resourceVersion": self.view.revision().0.to_string() });
        let (kind, version) = (format!("{}List", absent.kind), absent.api_version());
        let list = match accept.shape {
            Shape::Table(version) => json!({
                "kind": "Table",
                "apiVersion": version,
                "metadata": metadata,
                "columnDefinitions": response::column_definitions(columns::NAME_AGE),
                "rows": [],
            }),
            Shape::Partial => json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": [],
            }),
            Shape::Object => json!({
                "kind": kind,
                "apiVersion": version,
                "metadata": metadata,
                "items": [],
            }),
        };
        response::encode(StatusCode::OK, list.to_string().into(), accept.encoding)
    }

    /// Begins a watch that shows bookmarks alone.
    fn watch_absent(
        &self,
        absent: &'static Absent,
        query: &Query,
        accept: Accept,
    ) -> Result<Response<Body>, ApiError> {
        watch::start(query)?;
        let (lines, body) = mpsc::channel(1);
        let (view, bookmarks) = (self.view.clone(), query.flag("allowWatchBookmarks"));
        let marked = query.flag("sendInitialEvents");

        let version = absent.api_version();
        let run = async move {
            let line = |initial_end| {
                let (of, at) = ((absent.kind, &*version), view.revision());
                watch::bookmark(of, accept, at, initial_end)
            };
            if bookmarks && marked && lines.send(line(true)).await.is_err() {
                return;
            }
            loop {
                tokio::select! {
                    () = lines.closed() => return,
                    () = sleep(watch::BOOKMARK) => {}
                }
                if bookmarks && lines.send(line(false)).await.is_err() {
                    return;
                }
            }
        };
        self.begin_watch(query, accept.encoding, body, run)
    }
}

impl Absent {
    /// Returns group and version: `apps/v1`.
    fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Returns the name for error messages: `deployments.apps`.
    fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.to_owned()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    fn not_found(&self, name: &str) -> ApiError {
        ApiError::missing((&self.qualified(), self.group, self.plural), name)
    }

    fn refused(&self) -> ApiError {
        let why = self.lack.text();
        ApiError::unsupported_verb(format!("{} cannot be created: {why}", self.qualified()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::registry::RESOURCES;

    #[test]
    fn an_absent_kind_is_not_served_otherwise() {
        for (number, absent) in ABSENT.iter().enumerate() {
            let id = (absent.group, absent.version, absent.plural);
            let served = |r: &crate::apiserver::registry::Resource| {
                (r.group, r.version, r.plural) == id || r.kind.name() == absent.kind
            };
            assert!(!RESOURCES.iter().any(served), "{id:?}");
            let same = |other: &Absent| (other.group, other.version, other.plural) == id;
            assert!(!ABSENT[..number].iter().any(same), "{id:?}");
        }
    }

    #[test]
    fn a_path_names_a_kind_in_its_scope_only() {
        let find = |group, segments: &[&str]| {
            let place = find(group, "v1", segments);
            place.map(|place| (place.absent.kind, place.name.map(str::to_owned)))
        };
        assert_eq!(find("", &["pods"]), Some(("Pod", None)));
        assert_eq!(find("", &["namespaces", "a", "pods"]), Some(("Pod", None)));
        assert_eq!(
            find("", &["namespaces", "a", "pods", "b", "log"]),
            Some(("Pod", Some("b".to_owned())))
        );
        assert_eq!(
            find("", &["persistentvolumes", "b"]),
            Some(("PersistentVolume", Some("b".to_owned())))
        );

        assert_eq!(find("", &["pods", "b"]), None);
        assert_eq!(find("", &["namespaces", "a", "persistentvolumes"]), None);
        assert_eq!(find("", &["namespaces", "a"]), None);
        assert_eq!(find("", &["deployments"]), None);
        assert_eq!(find("batch", &["deployments"]), None);
    }
}
