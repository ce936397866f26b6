//! URL paths of the Kubernetes API.

use crate::objects::{Key, Kind};

/// Returns the path of all objects of a kind, in all namespaces.
pub(super) fn collection(kind: Kind) -> String {
    format!("{}/{}", root(kind), kind.plural())
}

/// Returns the path of all objects of a kind in the namespace of `key`.
pub(super) fn namespaced(key: &Key) -> String {
    match &*key.namespace {
        "" => collection(key.kind),
        namespace => format!(
            "{}/namespaces/{namespace}/{}",
            root(key.kind),
            key.kind.plural()
        ),
    }
}

/// Returns the path of one object.
pub(super) fn object(key: &Key) -> String {
    format!("{}/{}", namespaced(key), key.name)
}

fn root(kind: Kind) -> String {
    match kind.group() {
        "" => "/api/v1".to_owned(),
        _ => format!("/apis/{}", kind.api_version()),
    }
}
