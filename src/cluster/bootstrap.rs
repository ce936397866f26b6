//! The objects of the first start: the namespaces `default` and `kube-system`, and the IngressClass
//! `gatelet`. They are created once: those that the owner deletes stay deleted.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    objects::{Key, Kind, Op, Proposal},
    util::stamp,
};

/// Returns the writes of the first start.
pub(super) fn objects() -> Vec<Proposal> {
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
    vec![
        create(Kind::Namespace, namespace("default")),
        create(Kind::Namespace, namespace("kube-system")),
        create(Kind::IngressClass, class),
    ]
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
