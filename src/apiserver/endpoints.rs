//! The endpoints of a Service without an Endpoints object, which `kubectl describe` before 1.31
//! reads.

use http::{HeaderMap, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    Api,
    request::Target,
    response::{self, Body},
};
use crate::objects::{Key, Kind};

impl Api {
    /// Returns Endpoints made from the EndpointSlices of a Service that has no Endpoints object.
    /// Only `describe` of an old kubectl receives them; to every other client and command the
    /// object does not exist.
    pub(crate) fn described_endpoints(
        &self,
        target: &Target,
        headers: &HeaderMap,
    ) -> Option<Response<Body>> {
        let header = |name| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
        };
        // The typed client of kubectl sends this; `get`, `apply` and others accept other types.
        let describes = header(header::USER_AGENT).starts_with("kubectl")
            && header(header::ACCEPT) == "application/json, */*";

        let (namespace, name) = (target.namespace.as_deref()?, target.name.as_deref()?);
        let get = |kind| {
            self.view.get(&Key {
                kind,
                namespace: namespace.into(),
                name: name.into(),
            })
        };
        if target.resource.kind != Kind::Endpoints || !describes || get(Kind::Endpoints).is_some() {
            return None;
        }

        let service = get(Kind::Service)?;
        let slices = self.view.list(Kind::EndpointSlice, Some(namespace)).items;
        let subsets: Vec<Value> = slices
            .iter()
            .filter(|slice| {
                slice
                    .meta
                    .labels
                    .get("kubernetes.io/service-name")
                    .is_some_and(|of| **of == *name)
            })
            .map(|slice| subset(&serde_json::from_slice(&slice.body).unwrap_or_default()))
            .collect();

        // This object is not stored and has no version of its own: show the newest revision.
        let found = json!({
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": &*service.meta.uid,
                "creationTimestamp": &*service.meta.creation_timestamp,
                "resourceVersion": self.view.revision().0.to_string(),
            },
            "subsets": subsets,
        });
        Some(response::json(StatusCode::OK, found.to_string()))
    }
}

/// Converts an EndpointSlice to a subset of Endpoints.
fn subset(slice: &Value) -> Value {
    let (mut ready, mut others) = (Vec::new(), Vec::new());
    for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
        // An absent condition means ready.
        let list = if endpoint["conditions"]["ready"] == false {
            &mut others
        } else {
            &mut ready
        };
        let addresses = endpoint["addresses"].as_array().into_iter().flatten();
        list.extend(addresses.map(|address| json!({ "ip": address })));
    }

    let mut subset = json!({ "ports": slice["ports"] });
    for (member, addresses) in [("addresses", ready), ("notReadyAddresses", others)] {
        if !addresses.is_empty() {
            subset[member] = addresses.into();
        }
    }
    subset
}
