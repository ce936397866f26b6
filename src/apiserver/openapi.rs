//! The OpenAPI v3 documents, reduced to the parts that kubectl's checks and `explain` use.
//! `data/generate` generates them.

use std::{collections::HashMap, sync::OnceLock};

use bytes::Bytes;
use serde::Deserialize;

const INDEX: &str = include_str!("data/index.json");

const DOCUMENTS: [(&str, &[u8]); 9] = [
    ("api/v1", include_bytes!("data/api_v1.json.gz")),
    (
        "apis/authentication.k8s.io/v1",
        include_bytes!("data/apis_authentication.k8s.io_v1.json.gz"),
    ),
    (
        "apis/authorization.k8s.io/v1",
        include_bytes!("data/apis_authorization.k8s.io_v1.json.gz"),
    ),
    (
        "apis/coordination.k8s.io/v1",
        include_bytes!("data/apis_coordination.k8s.io_v1.json.gz"),
    ),
    (
        "apis/discovery.k8s.io/v1",
        include_bytes!("data/apis_discovery.k8s.io_v1.json.gz"),
    ),
    (
        "apis/events.k8s.io/v1",
        include_bytes!("data/apis_events.k8s.io_v1.json.gz"),
    ),
    (
        "apis/networking.k8s.io/v1",
        include_bytes!("data/apis_networking.k8s.io_v1.json.gz"),
    ),
    (
        "apis/rbac.authorization.k8s.io/v1",
        include_bytes!("data/apis_rbac.authorization.k8s.io_v1.json.gz"),
    ),
    (
        "apis/traefik.io/v1alpha1",
        include_bytes!("data/apis_traefik.io_v1alpha1.json.gz"),
    ),
];

/// Returns the list of the documents: `/openapi/v3`.
pub(crate) fn index() -> Bytes {
    Bytes::from_static(INDEX.as_bytes())
}

/// Returns a document, compressed with gzip, and its entity tag. `path` is that of the index:
/// `api/v1`.
pub(crate) fn document(path: &str) -> Option<(&'static [u8], &'static str)> {
    let (known, bytes) = DOCUMENTS.iter().find(|(known, _bytes)| *known == path)?;
    Some((bytes, tags().get(*known).map_or("", |tag| tag.as_str())))
}

/// Returns the entity tags by path: the hashes of the index, which clients compare, in quotes.
fn tags() -> &'static HashMap<String, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Entry {
        #[serde(rename = "serverRelativeURL")]
        url: String,
    }
    #[derive(Deserialize)]
    struct Index {
        paths: HashMap<String, Entry>,
    }

    static TAGS: OnceLock<HashMap<String, String>> = OnceLock::new();
    TAGS.get_or_init(|| {
        let index: Index =
            serde_json::from_str(INDEX).expect("the index is made by a script and tested");
        let tag = |url: &str| format!("\"{}\"", url.rsplit("hash=").next().unwrap_or_default());
        index
            .paths
            .into_iter()
            .map(|(path, entry)| (path, tag(&entry.url)))
            .collect()
    })
}
