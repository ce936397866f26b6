//! The verb watch: the history of a kind as a stream of JSON lines.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use super::{
    Api, protobuf,
    registry::Resource,
    request::{Accept, Encoding, Query, ResourceRequest, Shape},
    response::{self, Body},
    selector::Selector,
    status::ApiError,
};
use crate::objects::{Change, Expired, RawObject, Revision, View, Watcher};

/// The time between two bookmarks.
pub(super) const BOOKMARK: Duration = Duration::from_secs(60);

/// The duration of a watch without `timeoutSeconds`. Clients begin a new one.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// The number of lines that wait for a slow client. Later changes wait in the history, which drops
/// the oldest when it is full.
const BUFFER: usize = 64;

/// The annotation of the bookmark that marks the end of the initial objects.
const INITIAL_END: &str = "k8s.io/initial-events-end";

/// A running watch.
struct Stream {
    view: Arc<dyn View>,
    resource: &'static Resource,
    namespace: Option<String>,
    selector: Selector,
    accept: Accept,
    bookmarks: bool,
    /// The objects that exist at the beginning, which are sent as `ADDED`.
    initial: Vec<Arc<RawObject>>,
    /// True if a bookmark marks the end of the initial objects.
    marked: bool,
    watcher: Box<dyn Watcher>,
    /// The revision of the last change.
    at: Revision,
    /// True once a Table has named its columns.
    defined: bool,
    lines: mpsc::Sender<Bytes>,
}

/// The client has closed the connection, or the watch has ended.
struct Closed;

impl Api {
    /// Begins a watch. `name` narrows it to one object.
    pub(crate) fn watch(
        &self,
        request: &ResourceRequest<'_>,
        name: Option<&str>,
    ) -> Result<Response<Body>, ApiError> {
        let ResourceRequest { target, accept, .. } = *request;
        let (query, resource) = (&request.query, target.resource);
        let mut fields = query.text("fieldSelector").to_owned();
        if let Some(name) = name {
            fields.push_str(&format!(",metadata.name={name}"));
        }
        let selector = Selector::parse(resource, query.text("labelSelector"), &fields)?;
        let from = start(query)?;

        let send_initial = query.flag("sendInitialEvents");

        // A watch from a revision continues a list; others begin with the objects that exist.
        let (at, initial, watcher) = match from {
            Some(from) if !send_initial => {
                let Ok(watcher) = self.view.watch(resource.kind, from) else {
                    return Ok(expired(from, accept.encoding));
                };
                (from, Vec::new(), watcher)
            }
            Some(_) | None => loop {
                let snapshot = self.view.list(resource.kind, target.namespace.as_deref());
                // Retry if the history has dropped the revision of the snapshot since.
                if let Ok(watcher) = self.view.watch(resource.kind, snapshot.revision) {
                    break (snapshot.revision, snapshot.items, watcher);
                }
            },
        };

        let (lines, body) = mpsc::channel(BUFFER);
        let stream = Stream {
            view: self.view.clone(),
            resource,
            namespace: target.namespace.clone(),
            selector,
            accept,
            bookmarks: query.flag("allowWatchBookmarks"),
            initial,
            marked: send_initial,
            watcher,
            at,
            defined: false,
            lines,
        };

        let run = async move {
            let _client_gone = stream.run().await;
        };
        self.begin_watch(query, accept.encoding, body, run)
    }

    /// Begins the response of a watch: its lines come from `run`, which ends with the watch.
    pub(super) fn begin_watch(
        &self,
        query: &Query,
        encoding: Encoding,
        lines: mpsc::Receiver<Bytes>,
        run: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Response<Body>, ApiError> {
        let permit = self
            .watches
            .clone()
            .try_acquire_owned()
            .map_err(|_full| ApiError::too_many("watches"))?;
        let timeout = query
            .number("timeoutSeconds")
            .map_or(TIMEOUT, |s| Duration::from_secs(s.clamp(1, 86_400)));
        let mut drain = self.drain.clone();

        #[allow(
            clippy::disallowed_methods,
            reason = "the permits bound these tasks, and the drain ends them"
        )]
        tokio::spawn(async move {
            let _permit = permit;
            tokio::select! {
                () = run => {}
                () = tokio::time::sleep(timeout) => {}
                _grace = drain.draining() => {}
            }
        });

        let mut response = stream(encoding, Bytes::new());
        *response.body_mut() = Body::Stream(lines);
        Ok(response)
    }
}

impl Stream {
    /// Sends the initial objects, then every change and bookmark until the watch ends.
    async fn run(mut self) -> Result<(), Closed> {
        for object in std::mem::take(&mut self.initial) {
            if self.selector.matches(&object) {
                self.event("ADDED", &object.body).await?;
            }
        }

        if self.marked && self.bookmarks {
            self.bookmark(true).await?;
        }

        let mut next_bookmark = Instant::now() + BOOKMARK;
        let lines = self.lines.clone();
        loop {
            tokio::select! {
                () = lines.closed() => return Err(Closed),
                change = self.watcher.next() => {
                    let Ok(change) = change else { return self.expire().await };
                    self.change(change).await?;
                }
                () = tokio::time::sleep_until(next_bookmark), if self.bookmarks => {
                    next_bookmark = Instant::now() + BOOKMARK;
                    self.catch_up().await?;
                    self.bookmark(false).await?;
                }
            }
        }
    }

    /// Sends every change up to now, so that a bookmark may name the newest revision.
    async fn catch_up(&mut self) -> Result<(), Closed> {
        let newest = self.view.revision();

        loop {
            let ready = tokio::select! {
                biased;
                change = self.watcher.next() => Some(change),
                () = std::future::ready(()) => None,
            };
            match ready {
                Some(Ok(change)) => self.change(change).await?,
                Some(Err(Expired)) => {
                    self.expire().await?;
                    return Err(Closed);
                }
                None => break,
            }
        }
        self.at = self.at.max(newest);
        Ok(())
    }

    /// Sends a change if it affects the selection.
    async fn change(&mut self, change: Change) -> Result<(), Closed> {
        self.at = change.revision;
        let shown = |object: &RawObject| {
            self.namespace
                .as_deref()
                .is_none_or(|namespace| *namespace == *object.key.namespace)
                && self.selector.matches(object)
        };

        let now = !change.deleted && shown(&change.object);
        let before = change.previous.as_deref().is_some_and(shown);

        match (before, now) {
            (false, true) => self.event("ADDED", &change.object.body).await,
            (true, true) => self.event("MODIFIED", &change.object.body).await,
            // An object that left the selection is shown in its last selected state, with the
            // revision of the change.
            (true, false) if !change.deleted => {
                let previous = change
                    .previous
                    .map(|object| object.body.clone())
                    .unwrap_or_default();
                let mut previous: Value = serde_json::from_slice(&previous).unwrap_or_default();
                previous["metadata"]["resourceVersion"] = change.revision.0.to_string().into();
                self.event("DELETED", &previous.to_string().into()).await
            }
            (true, false) => self.event("DELETED", &change.object.body).await,
            (false, false) => Ok(()),
        }
    }

    async fn event(&mut self, kind: &str, stored: &Bytes) -> Result<(), Closed> {
        let object = response::one(self.resource, stored, self.accept, !self.defined);
        self.defined = true;
        self.send(line(kind, &object, self.accept.encoding)).await
    }

    /// Sends that the history no longer has what follows.
    async fn expire(&self) -> Result<(), Closed> {
        self.send(expired_line(self.at, self.accept.encoding)).await
    }

    async fn bookmark(&self, initial_end: bool) -> Result<(), Closed> {
        let version = self.resource.api_version();
        let of = (self.resource.kind.name(), &*version);
        self.send(bookmark(of, self.accept, self.at, initial_end))
            .await
    }

    async fn send(&self, line: Bytes) -> Result<(), Closed> {
        self.lines.send(line).await.map_err(|_closed| Closed)
    }
}

/// Returns the line of a bookmark at a revision. `of` is the kind and its API version.
pub(super) fn bookmark(of: (&str, &str), accept: Accept, at: Revision, initial_end: bool) -> Bytes {
    let version = json!({ "resourceVersion": at.0.to_string() });
    let mut metadata = version.clone();
    if initial_end {
        metadata["annotations"] = json!({ INITIAL_END: "true" });
    }

    let named =
        |(kind, of): (&str, &str)| json!({ "kind": kind, "apiVersion": of, "metadata": metadata });

    let partial = ("PartialObjectMetadata", "meta.k8s.io/v1");
    let object = match accept.shape {
        // Clients read the annotation from the object of the row.
        Shape::Table(table) => json!({
            "kind": "Table",
            "apiVersion": table,
            "metadata": version,
            "columnDefinitions": null,
            "rows": [{ "cells": [""], "object": named(partial) }],
        }),
        Shape::Partial => named(partial),
        Shape::Object => named(of),
    };

    line("BOOKMARK", object.to_string().as_bytes(), accept.encoding)
}

/// Returns the revision to start from; `None` starts with the objects that exist.
pub(super) fn start(query: &Query) -> Result<Option<Revision>, ApiError> {
    let (version, matching) = (
        query.text("resourceVersion"),
        query.text("resourceVersionMatch"),
    );
    let option = |field, message: &str| {
        ApiError::invalid_options("ListOptions", field, "FieldValueForbidden", message)
    };

    match (query.text("sendInitialEvents").is_empty(), matching) {
        (true, "") | (false, "NotOlderThan") => {}
        (true, _) => {
            let message = "Forbidden: resourceVersionMatch is forbidden for watch \
                           unless sendInitialEvents is provided";
            return Err(option("resourceVersionMatch", message));
        }
        (false, _) => {
            let message = "Forbidden: sendInitialEvents requires setting \
                           resourceVersionMatch to NotOlderThan";
            return Err(option("resourceVersionMatch", message));
        }
    }

    match version {
        "" | "0" => Ok(None),
        _ => match version.parse() {
            Ok(from) => Ok(Some(Revision(from))),
            Err(_) => Err(ApiError::bad_request(format!(
                "Invalid value: \"{version}\": invalid resource version"
            ))),
        },
    }
}

/// Returns the line of an event, which in protobuf is a message with its length before it.
fn line(kind: &str, object: &[u8], encoding: Encoding) -> Bytes {
    if encoding == Encoding::Protobuf
        && let Some(object) = serde_json::from_slice(object)
            .ok()
            .and_then(|value| protobuf::encode(&value))
    {
        return protobuf::watch_event(kind, &object).into();
    }

    let mut line = BytesMut::with_capacity(object.len() + 40);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(kind.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}

fn expired_line(from: Revision, encoding: Encoding) -> Bytes {
    let error = ApiError::expired(format!("too old resource version: {}", from.0));
    line("ERROR", error.to_value().to_string().as_bytes(), encoding)
}

/// Returns the response to a watch from a revision that the history no longer has: 200 with one
/// error event.
fn expired(from: Revision, encoding: Encoding) -> Response<Body> {
    stream(encoding, expired_line(from, encoding))
}

/// Returns the response of a watch. Its events are JSON for clients that prefer YAML.
fn stream(encoding: Encoding, events: Bytes) -> Response<Body> {
    let media_type = match encoding {
        Encoding::Json | Encoding::Yaml => "application/json",
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
    };
    response::typed(StatusCode::OK, media_type, events)
}
