//! The objects that a mini cluster begins with. The namespaces of every cluster are created at each
//! start if they are missing. The IngressClass `gatelet` is created once: if the owner deletes it,
//! it stays deleted.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    objects::{Key, Kind, Op, Proposal},
    util::stamp,
};

/// The namespaces of every cluster.
const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Returns the writes of a start. They fail for objects that exist.
pub(super) fn objects(first: bool) -> Vec<Proposal> {
    let new = |name| create(Kind::Namespace, namespace(name));
    let namespaces = NAMESPACES.into_iter().map(new);
    namespaces.chain(first.then(class)).collect()
}

fn class() -> Proposal {
    let class = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {
            "name": "gatelet",
            "annotations": { "ingressclass.kubernetes.io/is-default-class": "true" },
            "generation": 1,
        },
        "spec": { "controller": "gatelet.dev/ingress-controller" },
    });
    create(Kind::IngressClass, class)
}

fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
        "spec": { "finalizers": ["kubernetes"] },
        "status": { "phase": "Active" },
    })
}

fn create(kind: Kind, mut object: Value) -> Proposal {
    object["metadata"]["uid"] = stamp::uid().into();
    object["metadata"]["creationTimestamp"] = stamp::now().into();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let key = Key {
        kind,
        namespace: "".into(),
        name: name.into(),
    };
    Proposal {
        key,
        op: Op::Create(Bytes::from(object.to_string())),
    }
}
