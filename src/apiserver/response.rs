//! Responses: objects, lists and tables as bytes, and the body type of all responses.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use serde_json::{Value, json, value::RawValue};
use tokio::sync::mpsc;

use super::{
    columns::Column,
    events, protobuf,
    registry::Resource,
    request::{Accept, Encoding, Shape},
    status::ApiError,
};
use crate::objects::RawObject;

const JSON: &str = "application/json";

/// A response body.
#[derive(Debug)]
pub(crate) enum Body {
    /// A complete body; `None` is an empty one.
    Whole(Option<Bytes>),
    /// A body that is sent in pieces as they become available.
    Stream(mpsc::Receiver<Bytes>),
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(pieces) => pieces
                .poll_recv(cx)
                .map(|piece| piece.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> http_body::SizeHint {
        match self {
            Self::Whole(bytes) => {
                http_body::SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64))
            }
            Self::Stream(_) => http_body::SizeHint::default(),
        }
    }
}

/// Returns a JSON response.
pub(crate) fn json(code: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    typed(code, JSON, body)
}

/// Returns a response of plain text.
pub(crate) fn text(body: &'static str) -> Response<Body> {
    typed(StatusCode::OK, "text/plain; charset=utf-8", body)
}

/// Returns a response with this body and media type.
pub(crate) fn typed(
    code: StatusCode,
    media_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Some(body.into())));
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Returns the response for an error, with its warnings, to a client with these header fields.
pub(crate) fn error(error: &ApiError, asked: Option<&HeaderMap>) -> Response<Body> {
    let (media_type, body) = error.body();
    let accept = asked.and_then(|headers| Accept::parse(headers, true).ok());
    let mut response = match accept {
        Some(accept) if media_type == JSON && accept.encoding == Encoding::Protobuf => {
            encode(error.code, body, accept.encoding)
        }
        _ => typed(error.code, media_type, body),
    };
    if matches!(
        error.code,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    warn(&mut response, &error.warnings);
    response
}

/// Adds `Warning` headers.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let text: String = warning
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// Adds a `Warning` before the others, unless the text is empty.
pub(crate) fn warn_first(response: &mut Response<Body>, warning: &str) {
    if warning.is_empty() {
        return;
    }

    let others: Vec<HeaderValue> = response
        .headers()
        .get_all(header::WARNING)
        .iter()
        .cloned()
        .collect();
    response.headers_mut().remove(header::WARNING);
    warn(response, &[warning.to_owned()]);
    for other in others {
        response.headers_mut().append(header::WARNING, other);
    }
}

/// Returns the object as the resource shows it: its stored bytes, except for `events.k8s.io`.
fn shown(resource: &Resource, stored: &Bytes) -> Bytes {
    if resource.group == "events.k8s.io" {
        let stored: Value = serde_json::from_slice(stored).unwrap_or_default();
        return events::to_events_v1(stored).to_string().into();
    }
    stored.clone()
}

/// Returns one stored object in the accepted shape. `definitions` makes a Table name its columns.
pub(crate) fn one(resource: &Resource, stored: &Bytes, accept: Accept, definitions: bool) -> Bytes {
    match accept.shape {
        Shape::Object => shown(resource, stored),
        Shape::Partial => partial(stored).to_string().into(),
        Shape::Table(version) => {
            let value = serde_json::from_slice(stored).unwrap_or_default();
            table(
                resource,
                version,
                [&value],
                json!({ "resourceVersion": version_of(&value) }),
                definitions,
            )
            .to_string()
            .into()
        }
    }
}

/// Returns the response with one object.
pub(crate) fn object(
    code: StatusCode,
    resource: &Resource,
    stored: &Bytes,
    accept: Accept,
) -> Response<Body> {
    encode(code, one(resource, stored, accept, true), accept.encoding)
}

/// Returns a response with this JSON, converted to what the client prefers.
pub(crate) fn encode(code: StatusCode, body: Bytes, encoding: Encoding) -> Response<Body> {
    let value = || serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let converted = match encoding {
        Encoding::Json => None,
        Encoding::Yaml => serde_saphyr::to_string(&value())
            .ok()
            .map(|text| ("application/yaml", Bytes::from(text))),
        Encoding::Protobuf => {
            protobuf::encode(&value()).map(|bytes| (protobuf::MEDIA_TYPE, Bytes::from(bytes)))
        }
    };
    let (media_type, body) = converted.unwrap_or((JSON, body));
    typed(code, media_type, body)
}

/// Returns a list in the accepted shape, with this metadata of the list.
pub(crate) fn list(
    resource: &Resource,
    items: &[Arc<RawObject>],
    metadata: Value,
    accept: Accept,
) -> Bytes {
    match accept.shape {
        Shape::Table(version) => {
            let values: Vec<Value> = items
                .iter()
                .map(|item| serde_json::from_slice(&item.body).unwrap_or_default())
                .collect();
            table(resource, version, &values, metadata, true)
                .to_string()
                .into()
        }
        Shape::Partial => {
            let items: Vec<Value> = items.iter().map(|item| partial(&item.body)).collect();
            json!({
                "kind": "PartialObjectMetadataList",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": metadata,
                "items": items,
            })
            .to_string()
            .into()
        }
        Shape::Object => {
            let size: usize = items.iter().map(|item| item.body.len() + 1).sum();
            let mut out = BytesMut::with_capacity(size + 256);
            let (kind, version) = (resource.kind.name(), resource.api_version());
            let head = format!(
                "{{\"kind\":\"{kind}List\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},"
            );

            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(b"\"items\":[");
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    out.extend_from_slice(b",");
                }
                out.extend_from_slice(&item_of(resource, shown(resource, &item.body)));
            }
            out.extend_from_slice(b"]}");
            out.freeze()
        }
    }
}

/// Returns an object as an item of a list. A list of a kind of Kubernetes names the kind itself,
/// and its items do not; those of other API groups do.
fn item_of(resource: &Resource, object: Bytes) -> Bytes {
    if !resource.has_protobuf() {
        return object;
    }
    let Ok(mut members) = serde_json::from_slice::<BTreeMap<&str, &RawValue>>(&object) else {
        return object;
    };
    members.remove("apiVersion");
    members.remove("kind");
    serde_json::to_vec(&members).map_or(object, Bytes::from)
}

/// Returns a Table of these stored objects. `definitions` makes it name its columns.
pub(crate) fn table<'v>(
    resource: &Resource,
    version: &str,
    objects: impl IntoIterator<Item = &'v Value>,
    metadata: Value,
    definitions: bool,
) -> Value {
    let now = jiff::Timestamp::now().as_second();
    let rows: Vec<Value> = objects
        .into_iter()
        .map(|object| {
            let partial = json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": object["metadata"],
            });
            json!({ "cells": (resource.cells)(object, now), "object": partial })
        })
        .collect();

    let columns = match definitions {
        true => column_definitions(resource.columns),
        false => Value::Null,
    };
    json!({
        "kind": "Table",
        "apiVersion": version,
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

/// Returns the `columnDefinitions` of a Table.
pub(crate) fn column_definitions(columns: &[Column]) -> Value {
    let definition = |column: &Column| {
        json!({
            "name": column.name,
            "type": column.kind,
            "format": column.format,
            "description": column.name,
            "priority": i32::from(column.wide),
        })
    };
    columns.iter().map(definition).collect()
}

fn partial(body: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": value["metadata"],
    })
}

fn version_of(object: &Value) -> &Value {
    object
        .pointer("/metadata/resourceVersion")
        .unwrap_or(&Value::Null)
}
