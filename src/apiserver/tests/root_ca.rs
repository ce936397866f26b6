//! The ConfigMap `kube-root-ca.crt` of each namespace.

use super::*;
use crate::objects::{Key, Kind, Op, Proposal, RawObject, Revision};

/// Waits until the ConfigMap of a namespace fulfils a condition.
async fn published(server: &Server, namespace: &str, fits: impl Fn(&RawObject) -> bool) {
    let view = server.api.view.clone();
    let key = key(namespace);
    loop {
        let from = view.revision();
        if view.get(&key).is_some_and(|found| fits(&found)) {
            return;
        }
        let mut watch = view.watch(Kind::ConfigMap, from).unwrap();
        watch.next().await.unwrap();
    }
}

fn key(namespace: &str) -> Key {
    Key {
        kind: Kind::ConfigMap,
        namespace: namespace.into(),
        name: "kube-root-ca.crt".into(),
    }
}

#[tokio::test]
async fn each_namespace_has_the_certificate_of_the_ca() {
    let server = Server::new();
    let api = server.api.clone();
    let publisher = tokio::spawn(async move { api.publish_root_ca().await });
    let (ca, _key) = server.api.auth.ca().unwrap();
    let has_ca = |object: &RawObject| {
        let object: Value = serde_json::from_slice(&object.body).unwrap();
        object["data"] == json!({ "ca.crt": ca })
    };

    // Those of the start, and a new one.
    published(&server, "kube-system", has_ca).await;
    let namespace =
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } });
    let namespaces = "/api/v1/namespaces";
    server.post(namespaces, &namespace).await;
    published(&server, "shop", has_ca).await;

    // One that is changed or deleted comes back.
    let known = server.api.view.get(&key("shop")).unwrap();
    let changed = String::from_utf8(known.body.to_vec()).unwrap();
    let changed = changed.replace("BEGIN CERT", "BEGIN OTHER");
    let at = |object: &RawObject| object.meta.resource_version.parse::<u64>().unwrap();
    for op in [
        Op::Update {
            expected: None,
            body: changed.into(),
        },
        Op::Delete { expected: None },
    ] {
        let key = key("shop");
        let proposal = Proposal { key, op };
        let done = server.api.propose.propose(proposal).await.unwrap();
        let Revision(after) = done.revision;
        published(&server, "shop", |found| at(found) > after && has_ca(found)).await;
    }
    publisher.abort();
}
