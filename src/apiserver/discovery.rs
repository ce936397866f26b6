//! The paths that are not resources: versions, groups, lists of resources (aggregated and plain),
//! OpenAPI, health.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use serde_json::{Value, json};

use super::{
    openapi,
    registry::{self, RESOURCES, Resource},
    response::{self, Body},
    reviews::{CREATED, Created},
    status::ApiError,
};

/// The minor version of Kubernetes that the schemas and responses are taken from.
const MINOR: &str = "36";

/// Returns true if a group and version are served.
pub(crate) fn is_known(group: &str, version: &str) -> bool {
    let is_served = |served: &str| served == group;
    version == "v1"
        && (RESOURCES.iter().any(|resource| is_served(resource.group))
            || CREATED.iter().any(|created| is_served(created.group)))
}

/// Returns the groups other than the core group, in order.
fn groups() -> Vec<&'static str> {
    let created = CREATED.iter().map(|created| created.group);
    let mut groups: Vec<&str> = registry::groups().into_iter().chain(created).collect();
    groups.retain(|group| !group.is_empty());
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Handles a GET of a path that is not a resource.
pub(crate) fn get(head: &Parts, segments: &[&str]) -> Result<Response<Body>, ApiError> {
    let aggregated = aggregated_version(&head.headers);
    let found = match segments {
        ["version"] => version(),
        ["healthz" | "readyz" | "livez", ..] => return Ok(response::text("ok")),
        ["api"] => match aggregated {
            Some(form) => return Ok(group_list(form, &[""])),
            None => json!({
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [],
            }),
        },
        ["apis"] => match aggregated {
            Some(form) => return Ok(group_list(form, &groups())),
            None => {
                let groups: Vec<Value> = groups().into_iter().map(group).collect();
                json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
            }
        },
        ["api", "v1"] => resource_list("", "v1"),
        ["apis", name] if is_known(name, "v1") => {
            let mut group = group(name);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["apis", name, "v1"] if is_known(name, "v1") => resource_list(name, "v1"),
        ["openapi", "v2"] => return Ok(empty_v2(&head.headers)),
        ["openapi", "v3"] => return Ok(response::json(StatusCode::OK, openapi::index())),
        ["openapi", "v3", path @ ..] => return document(&head.headers, &path.join("/")),
        [] | [""] => {
            let paths =
                "/api /api/v1 /apis /healthz /livez /openapi/v2 /openapi/v3 /readyz /version";
            json!({ "paths": paths.split(' ').collect::<Vec<&str>>() })
        }
        _ => return Err(ApiError::no_such_path()),
    };

    Ok(response::json(StatusCode::OK, found.to_string()))
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": MINOR,
        "gitVersion": format!("v1.{MINOR}.2+gatelet{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

fn group(name: &str) -> Value {
    let version = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
    json!({ "name": name, "versions": [version], "preferredVersion": version })
}

/// Returns the kinds of a group that are only created.
fn created_in<'g>(group: &'g str) -> impl Iterator<Item = &'static Created> + 'g {
    CREATED.iter().filter(move |created| created.group == group)
}

/// Returns the entry of a kind that is only created in an `APIResourceList`.
fn created_entry(created: &Created) -> Value {
    let mut entry = json!({
        "name": created.plural,
        "singularName": created.singular,
        "namespaced": created.namespaced,
        "kind": created.kind,
        "verbs": ["create"],
    });
    if created.kind_group != created.group {
        entry["group"] = created.kind_group.into();
        entry["version"] = "v1".into();
    }
    entry
}

/// Returns the entry of a kind that is only created in aggregated discovery: of its own, or below
/// that of its resource.
fn created_discovery(created: &Created) -> Value {
    let kind = json!({ "group": created.kind_group, "version": "v1", "kind": created.kind });
    match created.plural.split_once('/') {
        Some((_resource, subresource)) => {
            json!({ "subresource": subresource, "responseKind": kind, "verbs": ["create"] })
        }
        None => json!({
            "resource": created.plural,
            "responseKind": kind,
            "scope": if created.namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": created.singular,
            "verbs": ["create"],
        }),
    }
}

/// Returns the subresource of a resource that is only created.
fn created_of(resource: &Resource) -> Option<&'static Created> {
    created_in(resource.group).find(|created| {
        let parts = created.plural.split_once('/');
        parts.is_some_and(|(plural, _subresource)| plural == resource.plural)
    })
}

fn in_group<'g>(group: &'g str) -> impl Iterator<Item = &'static Resource> + 'g {
    RESOURCES
        .iter()
        .filter(move |resource| resource.group == group)
}

/// Returns the `APIResourceList` of a group.
fn resource_list(group: &str, version: &str) -> Value {
    let mut resources = Vec::new();

    for resource in in_group(group) {
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind.name(),
            "verbs": resource.verbs(),
        });
        if !resource.short.is_empty() {
            entry["shortNames"] = resource.short.into();
        }
        if !resource.categories.is_empty() {
            entry["categories"] = resource.categories.into();
        }
        resources.push(entry);
        if resource.status {
            resources.push(json!({
                "name": format!("{}/status", resource.plural),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": resource.kind.name(),
                "verbs": ["get", "patch", "update"],
            }));
        }
        resources.extend(created_of(resource).map(created_entry));
    }
    let own = created_in(group).filter(|created| !created.plural.contains('/'));
    resources.extend(own.map(created_entry));

    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    })
}

/// Returns the newest version of aggregated discovery that the client accepts.
fn aggregated_version(headers: &HeaderMap) -> Option<&'static str> {
    let accepted: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    let accepted = accepted.join(",");
    let accepts = |version: &str| {
        accepted.split(',').any(|range| {
            range.contains("as=APIGroupDiscoveryList")
                && range.split(';').any(|part| part.trim() == version)
        })
    };
    ["v2", "v2beta1"]
        .into_iter()
        .find(|version| accepts(&format!("v={version}")))
}

/// Returns the `APIGroupDiscoveryList` of these groups, in this version.
fn group_list(form: &'static str, groups: &[&str]) -> Response<Body> {
    let items: Vec<Value> = groups
        .iter()
        .map(|group| {
            let own = created_in(group).filter(|created| !created.plural.contains('/'));
            let resources: Vec<Value> = in_group(group)
                .map(discovery_entry)
                .chain(own.map(created_discovery))
                .collect();
            let metadata = if group.is_empty() {
                json!({})
            } else {
                json!({ "name": group })
            };
            let version =
                json!({ "version": "v1", "resources": resources, "freshness": "Current" });
            json!({ "metadata": metadata, "versions": [version] })
        })
        .collect();

    let list = json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{form}"),
        "metadata": {},
        "items": items,
    });

    let media_type = match form {
        "v2" => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        _ => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
    };
    let mut response = response::typed(StatusCode::OK, media_type, list.to_string());
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

fn discovery_entry(resource: &'static Resource) -> Value {
    let kind = json!({
        "group": resource.group,
        "version": resource.version,
        "kind": resource.kind.name(),
    });

    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": kind,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs(),
    });

    if !resource.short.is_empty() {
        entry["shortNames"] = resource.short.into();
    }
    if !resource.categories.is_empty() {
        entry["categories"] = resource.categories.into();
    }
    if resource.status {
        let verbs = ["get", "patch", "update"];
        entry["subresources"] =
            json!([{ "subresource": "status", "responseKind": kind, "verbs": verbs }]);
    }
    if let Some(created) = created_of(resource) {
        entry["subresources"] = json!([created_discovery(created)]);
    }
    entry
}

/// Returns an OpenAPI v2 document without definitions. kubectl reads it before it sends a `List` or
/// a kind that it does not know. Without definitions it leaves the checks to the server.
fn empty_v2(headers: &HeaderMap) -> Response<Body> {
    let accepted = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if accepted.contains("proto-openapi") {
        let media_type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
        // Document { swagger: "2.0", info: { title: "Kubernetes", version: "v1" }, paths: {} }
        let document = b"\x0a\x032.0\x12\x10\x0a\x0aKubernetes\x12\x02v1\x42\x00";
        return response::typed(StatusCode::OK, media_type, &document[..]);
    }

    let info = json!({ "title": "Kubernetes", "version": "v1" });
    response::json(
        StatusCode::OK,
        json!({ "swagger": "2.0", "info": info, "paths": {} }).to_string(),
    )
}

/// Returns an OpenAPI v3 document.
fn document(headers: &HeaderMap, path: &str) -> Result<Response<Body>, ApiError> {
    let (bytes, tag) = openapi::document(path).ok_or_else(ApiError::no_such_path)?;
    let mut response = response::json(StatusCode::OK, Bytes::from_static(bytes));
    let fields = response.headers_mut();

    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes())
    {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::Whole(None);
        return Ok(response);
    }

    // Clients request the document by its hash, so they may cache it without a limit; kubectl's
    // next apply fetches the index only.
    fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    fields.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    fields.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, immutable, max-age=31536000"),
    );
    if let Ok(tag) = HeaderValue::from_str(tag) {
        fields.insert(header::ETAG, tag);
    }
    Ok(response)
}
