//! The paths that are not resources: versions, groups, lists of resources (aggregated and plain),
//! OpenAPI, health.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts};
use serde_json::{Value, json};

use super::{
    absent::{ABSENT, Absent},
    openapi,
    registry::{READ_VERBS, RESOURCES, Resource},
    response::{self, Body},
    reviews::{CREATED, Created},
    status::ApiError,
};
use crate::util::hex;

/// The minor version of Kubernetes that the schemas and responses are taken from.
const MINOR: &str = "36";

/// The part of a kind that discovery shows.
struct Entry {
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
    short: &'static [&'static str],
    categories: &'static [&'static str],
    namespaced: bool,
    verbs: &'static [&'static str],
    subresources: &'static [(&'static str, &'static [&'static str])],
    /// The subresource that is only created.
    created: Option<&'static Created>,
}

impl From<&'static Resource> for Entry {
    fn from(resource: &'static Resource) -> Self {
        Self {
            group: resource.group,
            version: resource.version,
            kind: resource.kind.name(),
            plural: resource.plural,
            singular: resource.singular,
            short: resource.short,
            categories: resource.categories,
            namespaced: resource.namespaced,
            verbs: resource.verbs(),
            subresources: resource.subresources(),
            created: created_of(resource),
        }
    }
}

impl From<&'static Absent> for Entry {
    fn from(absent: &'static Absent) -> Self {
        Self {
            group: absent.group,
            version: absent.version,
            kind: absent.kind,
            plural: absent.plural,
            singular: absent.singular,
            short: absent.short,
            categories: absent.categories,
            namespaced: absent.namespaced,
            verbs: READ_VERBS,
            subresources: &[],
            created: None,
        }
    }
}

impl From<&'static Created> for Entry {
    fn from(created: &'static Created) -> Self {
        Self {
            group: created.group,
            version: "v1",
            kind: created.kind,
            plural: created.plural,
            singular: created.singular,
            short: &[],
            categories: &[],
            namespaced: created.namespaced,
            verbs: &["create"],
            subresources: &[],
            created: None,
        }
    }
}

/// Returns the entries of all kinds.
fn entries() -> impl Iterator<Item = Entry> {
    let absent = ABSENT.iter().map(Entry::from);
    let created = CREATED
        .iter()
        .filter(|created| !created.plural.contains('/'));
    let served = RESOURCES.iter().map(Entry::from);
    served.chain(absent).chain(created.map(Entry::from))
}

/// Returns the entries of a group and version, in the order of their plurals.
fn in_version(group: &str, version: &str) -> Vec<Entry> {
    let mut found: Vec<Entry> = entries()
        .filter(|entry| entry.group == group && entry.version == version)
        .collect();
    found.sort_by_key(|entry| entry.plural);
    found
}

/// Returns the groups other than the core group, in the order of discovery.
fn groups() -> BTreeSet<&'static str> {
    let groups = entries().map(|entry| entry.group);
    groups.filter(|group| !group.is_empty()).collect()
}

/// Returns the versions of a group, the newest first: clients prefer it.
fn versions(group: &str) -> Vec<&'static str> {
    let in_group = entries().filter(|entry| entry.group == group);
    let versions: BTreeSet<&str> = in_group.map(|entry| entry.version).collect();
    versions.into_iter().rev().collect()
}

/// Returns true if a group and version are served.
pub(crate) fn is_known(group: &str, version: &str) -> bool {
    entries().any(|entry| entry.group == group && entry.version == version)
}

/// Handles a GET of a path that is not a resource.
pub(crate) fn get(head: &Parts, segments: &[&str]) -> Result<Response<Body>, ApiError> {
    let aggregated = aggregated_version(&head.headers);
    let found = match segments {
        ["version"] => version(),
        ["healthz" | "readyz" | "livez", ..] => return Ok(response::text("ok")),
        ["api"] => match aggregated {
            Some(form) => return Ok(group_list(&head.headers, form, [""])),
            None => json!({
                "kind": "APIVersions",
                "versions": ["v1"],
                "serverAddressByClientCIDRs": [],
            }),
        },
        ["apis"] => match aggregated {
            Some(form) => return Ok(group_list(&head.headers, form, groups())),
            None => {
                let groups: Vec<Value> = groups().into_iter().map(group).collect();
                json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
            }
        },
        ["api", "v1"] => resource_list("", "v1"),
        ["apis", name] if groups().contains(name) => {
            let mut group = group(name);
            group["kind"] = "APIGroup".into();
            group["apiVersion"] = "v1".into();
            group
        }
        ["apis", name, version] if !name.is_empty() && is_known(name, version) => {
            resource_list(name, version)
        }
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
    let version = |version: &str| {
        let group_version = format!("{name}/{version}");
        json!({ "groupVersion": group_version, "version": version })
    };
    let versions: Vec<Value> = versions(name).into_iter().map(version).collect();
    let preferred = versions.first().cloned();
    json!({ "name": name, "versions": versions, "preferredVersion": preferred })
}

/// Returns the entry of a subresource that is only created in an `APIResourceList`.
fn created_entry(created: &Created) -> Value {
    json!({
        "name": created.plural,
        "singularName": created.singular,
        "namespaced": created.namespaced,
        "kind": created.kind,
        "group": created.kind_group,
        "version": "v1",
        "verbs": ["create"],
    })
}

/// Returns the entry of a subresource that is only created in aggregated discovery.
fn created_discovery(created: &Created) -> Value {
    let kind = json!({ "group": created.kind_group, "version": "v1", "kind": created.kind });
    let (_plural, name) = created.plural.split_once('/').unwrap_or_default();
    json!({ "subresource": name, "responseKind": kind, "verbs": ["create"] })
}

/// Returns the subresource of a resource that is only created.
fn created_of(resource: &Resource) -> Option<&'static Created> {
    CREATED.iter().find(|created| {
        let parts = created.plural.split_once('/');
        let of = parts.is_some_and(|(plural, _subresource)| plural == resource.plural);
        of && created.group == resource.group
    })
}

/// Returns the `APIResourceList` of a group.
fn resource_list(group: &str, version: &str) -> Value {
    let mut resources = Vec::new();

    for resource in in_version(group, version) {
        let mut entry = json!({
            "name": resource.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": resource.kind,
            "verbs": resource.verbs,
        });
        if !resource.short.is_empty() {
            entry["shortNames"] = resource.short.into();
        }
        if !resource.categories.is_empty() {
            entry["categories"] = resource.categories.into();
        }
        resources.push(entry);
        for (name, verbs) in resource.subresources {
            resources.push(json!({
                "name": format!("{}/{name}", resource.plural),
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": verbs,
            }));
        }
        resources.extend(resource.created.map(created_entry));
    }

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

/// Returns the `APIGroupDiscoveryList` of these groups, in this version. Clients keep it, and ask
/// with its entity tag whether it has changed.
fn group_list(
    headers: &HeaderMap,
    form: &'static str,
    groups: impl IntoIterator<Item = &'static str>,
) -> Response<Body> {
    let in_group = |group: &'static str| {
        let version = |version| {
            let entries = in_version(group, version);
            let resources: Vec<Value> = entries.iter().map(discovery_entry).collect();
            json!({ "version": version, "resources": resources, "freshness": "Current" })
        };
        let versions: Vec<Value> = versions(group).into_iter().map(version).collect();
        let metadata = match group {
            "" => json!({}),
            name => json!({ "name": name }),
        };
        json!({ "metadata": metadata, "versions": versions })
    };
    let items: Vec<Value> = groups.into_iter().map(in_group).collect();

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
    let body = list.to_string();
    let hash = ring::digest::digest(&ring::digest::SHA256, body.as_bytes());
    let tag = format!("\"{}\"", hex::encode(hash.as_ref()).to_uppercase());

    let mut response = response::typed(StatusCode::OK, media_type, body);
    let fields = response.headers_mut();
    fields.insert(header::VARY, HeaderValue::from_static("Accept"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    tagged(response, headers, &tag)
}

/// Returns the response with an entity tag, or 304 without a body if the client has this version.
fn tagged(mut response: Response<Body>, headers: &HeaderMap, tag: &str) -> Response<Body> {
    let known = headers.get(header::IF_NONE_MATCH);
    if let Ok(tag) = HeaderValue::from_str(tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::Whole(None);
    }
    response
}

fn discovery_entry(entry: &Entry) -> Value {
    let kind = json!({
        "group": entry.group,
        "version": entry.version,
        "kind": entry.kind,
    });

    let mut shown = json!({
        "resource": entry.plural,
        "responseKind": kind,
        "scope": if entry.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": entry.singular,
        "verbs": entry.verbs,
    });

    if !entry.short.is_empty() {
        shown["shortNames"] = entry.short.into();
    }
    if !entry.categories.is_empty() {
        shown["categories"] = entry.categories.into();
    }
    let subresource = |(name, verbs): &(&str, &[&str])| {
        let response_kind = &kind;
        json!({ "subresource": name, "responseKind": response_kind, "verbs": verbs })
    };
    let known = entry.subresources.iter().map(subresource);
    let all: Vec<Value> = known.chain(entry.created.map(created_discovery)).collect();
    if !all.is_empty() {
        shown["subresources"] = all.into();
    }
    shown
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

    // Clients request the document by its hash, so they may cache it without a limit; kubectl's
    // next apply fetches the index only.
    fields.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    fields.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    fields.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("public, immutable, max-age=31536000"),
    );
    Ok(tagged(response, headers, tag))
}
