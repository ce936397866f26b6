//! `Endpoints`, read by name only, made from the EndpointSlices: kubectl before 1.31 looks there in `describe`. Not a
//! kind of its own: it cannot be listed, written or watched, and discovery does not name it. And a list of no pods, that
//! `describe node` asks for.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    Api,
    answer::{self, Body},
    registry,
    request::Accept,
    status::ApiError,
};
use crate::objects::{Key, Kind};

impl Api {
    /// The endpoints of a Service.
    pub(crate) fn endpoints(&self, namespace: &str, name: &str, accept: Accept) -> Result<Response<Body>, ApiError> {
        let key = Key { kind: Kind::Service, namespace: namespace.into(), name: name.into() };
        let service = self.view.get(&key).ok_or_else(|| ApiError::not_found(registry::of(Kind::Service), name))?;
        let slices = self.view.list(Kind::EndpointSlice, Some(namespace)).items;
        let subsets: Vec<Value> = slices
            .iter()
            .filter(|slice| slice.meta.labels.get("kubernetes.io/service-name").is_some_and(|of| **of == *name))
            .map(|slice| subset(&serde_json::from_slice(&slice.body).unwrap_or_default()))
            .collect();
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
        Ok(answer::encode(StatusCode::OK, found.to_string().into(), accept))
    }
}

/// The pods: there are none.
pub(super) fn pods(accept: Accept) -> Response<Body> {
    let list = json!({ "kind": "PodList", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": [] });
    answer::encode(StatusCode::OK, list.to_string().into(), accept)
}

fn subset(slice: &Value) -> Value {
    let (mut ready, mut others) = (Vec::new(), Vec::new());
    for endpoint in slice["endpoints"].as_array().into_iter().flatten() {
        // Absent counts as ready.
        let list = if endpoint["conditions"]["ready"] == false { &mut others } else { &mut ready };
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
