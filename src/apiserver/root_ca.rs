//! Keeps the ConfigMap `kube-root-ca.crt` with the certificate of the API's CA in each namespace
//! (pkg/controller/certificates/rootcacertpublisher).

use std::time::Duration;

use serde_json::{Value, json};

use super::Api;
use crate::{
    objects::{Key, Kind, Op, Proposal, ProposeError, RawObject, Revision},
    util::stamp,
};

/// The name of the ConfigMap, and of its only datum.
const NAME: &str = "kube-root-ca.crt";
const DATUM: &str = "ca.crt";

/// The interval between attempts after a write that failed.
const RETRY: Duration = Duration::from_secs(5);

impl Api {
    /// Creates the ConfigMaps, and puts them right after each change. Runs as long as the server
    /// does. Returns at once without a CA.
    pub(super) async fn publish_root_ca(&self) {
        let Some((ca, _key)) = self.auth.ca() else {
            return;
        };
        loop {
            let from = self.view.revision();
            let done = self.write_root_cas(ca).await;
            let failed = done
                .inspect_err(|error| tracing::warn!(%error, "cannot write {NAME}"))
                .is_err();

            let watches = [Kind::Namespace, Kind::ConfigMap];
            let [Ok(mut namespaces), Ok(mut config_maps)] =
                watches.map(|kind| self.view.watch(kind, from))
            else {
                continue;
            };
            tokio::select! {
                _changed = namespaces.next() => {}
                _changed = config_maps.next() => {}
                () = tokio::time::sleep(RETRY), if failed => {}
            }
        }
    }

    async fn write_root_cas(&self, ca: &str) -> Result<(), ProposeError> {
        for namespace in self.view.list(Kind::Namespace, None).items {
            if !namespace.meta.deletion_timestamp.is_empty() {
                continue;
            }
            let key = Key {
                kind: Kind::ConfigMap,
                namespace: namespace.meta.name.clone(),
                name: NAME.into(),
            };
            let known = self.view.get(&key);
            let Some(op) = write(&key, known.as_deref(), ca) else {
                continue;
            };
            match self.propose.propose(Proposal { key, op }).await {
                // The other write wakes this loop again.
                Ok(_)
                | Err(
                    ProposeError::Exists(_)
                    | ProposeError::Conflict { .. }
                    | ProposeError::NotFound(_),
                ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Returns the write that makes the ConfigMap right; `None` if it is.
fn write(key: &Key, known: Option<&RawObject>, ca: &str) -> Option<Op> {
    let Some(known) = known else {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": NAME,
                "namespace": &*key.namespace,
                "uid": stamp::uid(),
                "creationTimestamp": stamp::now(),
                "annotations": {
                    "kubernetes.io/description": "Contains the certificate of the CA that the \
                        API server of this cluster uses."
                },
            },
            "data": { DATUM: ca },
        });
        return Some(Op::Create(object.to_string().into()));
    };

    let mut object: Value = serde_json::from_slice(&known.body).ok()?;
    let data = json!({ DATUM: ca });
    if object["data"] == data {
        return None;
    }
    object["data"] = data;
    Some(Op::Update {
        expected: known.meta.resource_version.parse().ok().map(Revision),
        body: object.to_string().into(),
    })
}
