//! A real cluster as a source of objects: lists one kind in pages, then watches it, and recovers
//! from everything that can go wrong between.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};

use super::{
    client::Client,
    objects::{self, WriteError},
    paths,
    unread::Unread,
};
use crate::{
    objects::{Event, Key, Kind, NamedConfigMaps, PodLabels, RawObject, Selection, slim::Secret},
    util::{backoff::Backoff, percent, stamp},
};

/// Objects per page of a list.
const PAGE: usize = 500;
/// The largest page and the largest line of a watch that are read, in bytes. An API server sends
/// less: objects are at most 1.5 MiB.
const MAX_PAGE: usize = 256 * 1024 * 1024;
const MAX_LINE: usize = 8 * 1024 * 1024;
/// The server ends a watch after this; silence for longer means that the connection is dead.
const WATCH: Duration = Duration::from_secs(290);
/// The time limit for a page of a list, and for the head of a watch's response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// A watch that lasted this long is reopened at once.
const SOUND: Duration = Duration::from_secs(5);
/// The number of refusals in a row after which one is believed: a server that is just starting
/// refuses requests that it allows later.
const REFUSALS: u32 = 4;
/// The time after which a kind that the cluster lacks is looked for again.
const ABSENCE: Duration = Duration::from_secs(30);

/// The reason why a round of list and watch ended.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("{0}")]
    Client(String),
    #[error("the API server responded {0}: {1}")]
    Status(StatusCode, String),
    #[error("the API server did not respond in time")]
    Timeout,
    #[error("the response broke off: {0}")]
    Broken(String),
    #[error("not a response of an API server: {0}")]
    Malformed(String),
    #[error("the resource version is no longer kept")]
    Expired,
    #[error("the receiver of the events is gone")]
    Closed,
    /// Other objects are selected now.
    #[error("the selection changed")]
    Reselected,
}

#[derive(Deserialize)]
struct Page<'a> {
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    change: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// Follows one kind: sends a reset with all objects, then each change, and another reset whenever
/// changes were lost. Ends when `events` is closed. While the kind cannot be read, `unread` says
/// why.
pub async fn follow(
    client: Client,
    kind: Kind,
    selection: watch::Receiver<Selection>,
    events: mpsc::Sender<Event>,
    unread: Unread,
) {
    let selected = Selected {
        kind,
        selection,
        named: NamedConfigMaps::default(),
        pods: PodLabels::default(),
        known: HashMap::new(),
    };
    let mut follower = Follower {
        client,
        kind,
        selected,
        events,
        backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(10)),
        unread,
        last_logged: None,
        refusals: 0,
        is_absent: false,
    };

    loop {
        if follower.rest().await.is_err() {
            return;
        }
        let ended = match follower.round().await {
            WatchError::Closed => return,
            WatchError::Expired => Ok(()),
            // A user waits for the object that was named.
            WatchError::Reselected => continue,
            error if is_absent(kind, &error) => follower.absent().await,
            error => follower.report(&error).await,
        };
        if ended.is_err() {
            return;
        }

        follower.wait().await;
    }
}

/// The failure that was logged last, so that it is logged once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastLogged {
    Away,
    Refused(StatusCode),
}

struct Follower {
    client: Client,
    kind: Kind,
    selected: Selected,
    events: mpsc::Sender<Event>,
    backoff: Backoff,
    unread: Unread,
    last_logged: Option<LastLogged>,
    /// The number of refusals in a row.
    refusals: u32,
    /// True if the cluster lacks the kind.
    is_absent: bool,
}

/// Returns true if an error shows that the cluster lacks a kind.
fn is_absent(kind: Kind, error: &WatchError) -> bool {
    kind.is_optional() && matches!(error, WatchError::Status(StatusCode::NOT_FOUND, _))
}

impl Follower {
    /// Waits while no object of the kind is asked for.
    async fn rest(&mut self) -> Result<(), WatchError> {
        while self.selected.is_empty() {
            if !self.selected.pods.is_empty() {
                self.selected.forget();
                self.unread.clear(self.kind);
                self.events
                    .send(Event::Reset(self.kind, Vec::new()))
                    .await
                    .map_err(|_closed| WatchError::Closed)?;
            }
            let changed = self.selected.selection.changed().await;
            changed.map_err(|_closed| WatchError::Closed)?;
        }
        Ok(())
    }

    /// Lists, then watches until the kind has to be listed again.
    async fn round(&mut self) -> WatchError {
        let mut version = match list(&self.client, &mut self.selected, &self.events).await {
            Ok(version) => version,
            Err(error) => return error,
        };
        self.succeeded();
        self.is_absent = false;

        loop {
            let url = watch_url(&self.selected, &version);
            let is_pod = self.kind == Kind::Pod;
            let opening = open(&self.client, &url, if is_pod { METADATA } else { JSON });
            let opened = timeout(REQUEST_TIMEOUT, opening).await;
            let body = match opened.unwrap_or(Err(WatchError::Timeout)) {
                Ok(body) => body,
                Err(WatchError::Expired) => return WatchError::Expired,
                Err(error) if is_absent(self.kind, &error) => return error,
                Err(error) => {
                    if let Err(closed) = self.report(&error).await {
                        return closed;
                    }
                    self.wait().await;
                    continue;
                }
            };
            self.succeeded();

            let began = Instant::now();
            match watch(&mut self.selected, body, &mut version, &self.events).await {
                // The server ended the watch as planned: continue from the last version.
                Ok(()) => {}
                Err(
                    error @ (WatchError::Expired
                    | WatchError::Reselected
                    | WatchError::Closed
                    | WatchError::Malformed(_)),
                ) => {
                    return error;
                }
                Err(error) => {
                    tracing::debug!(kind = self.kind.name(), %error, "watch broke off");
                }
            }

            // A watch that ends at once counts as a failure: the loop must not spin.
            if began.elapsed() >= SOUND {
                self.backoff.succeeded();
            } else {
                self.wait().await;
            }
        }
    }

    /// Tells the controller that there are no objects, and waits before the next look.
    async fn absent(&mut self) -> Result<(), WatchError> {
        self.succeeded();
        if !std::mem::replace(&mut self.is_absent, true) {
            tracing::debug!(
                kind = self.kind.name(),
                "the cluster does not have this kind"
            );
            self.events
                .send(Event::Reset(self.kind, Vec::new()))
                .await
                .map_err(|_closed| WatchError::Closed)?;
        }

        tokio::time::sleep(ABSENCE).await;
        Ok(())
    }

    async fn wait(&mut self) {
        tokio::time::sleep(self.backoff.failed(u64::from_le_bytes(stamp::random()))).await;
    }

    /// Notes that the cluster responded as it should.
    fn succeeded(&mut self) {
        self.refusals = 0;
        self.unread.clear(self.kind);
        if self.last_logged.take().is_some() {
            tracing::info!(kind = self.kind.name(), "the cluster responds again");
        }
    }

    /// Logs a failure once, and tells the controller if this kind cannot be read. Fails with
    /// [`WatchError::Closed`] only.
    async fn report(&mut self, error: &WatchError) -> Result<(), WatchError> {
        let failure = match error {
            WatchError::Status(status, _) => LastLogged::Refused(*status),
            _ => LastLogged::Away,
        };
        self.unread.set(self.kind, error.to_string());

        if let LastLogged::Refused(StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) = failure {
            self.refusals = self.refusals.saturating_add(1);
            // Nothing waits for a kind that a cluster may lack, and some paths wait for Pods.
            let is_believed = self.kind.is_optional() || self.kind == Kind::Pod;
            let believed = if is_believed { 1 } else { REFUSALS };
            if self.refusals < believed {
                return Ok(());
            }
            if self.refusals == believed {
                self.events
                    .send(Event::Refused(self.kind))
                    .await
                    .map_err(|_closed| WatchError::Closed)?;
            }
        }

        if self.last_logged.replace(failure) == Some(failure) {
            return Ok(());
        }

        let kind = self.kind.name();
        match failure {
            LastLogged::Refused(StatusCode::FORBIDDEN) => tracing::error!(
                kind,
                %error,
                "the cluster does not allow this kind to be read: grant list and watch; \
                 everything else continues"
            ),
            LastLogged::Refused(StatusCode::UNAUTHORIZED) => tracing::error!(
                kind,
                %error,
                "the cluster does not accept the credentials: renew them, they are read again; \
                 continuing to serve the last known state"
            ),
            LastLogged::Refused(_) | LastLogged::Away => tracing::warn!(
                kind,
                %error,
                "the cluster does not respond; continuing to serve the last known state"
            ),
        }

        Ok(())
    }
}

/// Lists all objects and sends them as a reset. Returns the version to watch from.
async fn list(
    client: &Client,
    selected: &mut Selected,
    events: &mpsc::Sender<Event>,
) -> Result<String, WatchError> {
    let kind = selected.kind;
    selected.select();
    if selected.is_empty() {
        return Err(WatchError::Reselected);
    }
    let mut objects = Vec::new();
    let mut next = String::new();

    loop {
        let mut url = format!(
            "{}?limit={PAGE}{}",
            selected.collection(),
            selected.selector()
        );
        if !next.is_empty() {
            url.push_str(&format!("&continue={}", percent::encode(&next)));
        }
        let accepted = if kind == Kind::Pod {
            METADATA_LIST
        } else {
            JSON
        };
        let body = timeout(REQUEST_TIMEOUT, fetch(client, &url, accepted))
            .await
            .map_err(|_elapsed| WatchError::Timeout)??;
        let page: Page<'_> = serde_json::from_slice(&body)
            .map_err(|error| WatchError::Malformed(error.to_string()))?;

        objects.extend(
            page.items
                .unwrap_or_default()
                .into_iter()
                .filter_map(|item| read(kind, item))
                .filter(|object| is_needed(object) && selected.named.selects(object))
                .filter_map(|object| selected.part_of(object)),
        );

        if page.metadata.next.is_empty() {
            selected.reset(&objects);
            events
                .send(Event::Reset(kind, objects))
                .await
                .map_err(|_closed| WatchError::Closed)?;
            if let Some(known) = selected.known() {
                events
                    .send(known)
                    .await
                    .map_err(|_closed| WatchError::Closed)?;
            }
            return Ok(page.metadata.resource_version);
        }

        next = page.metadata.next;
    }
}

/// Watches one object until its version differs from `version`, or until the server ends the watch.
/// `url` selects the object and has a query.
pub(super) async fn changed(
    client: &Client,
    url: &str,
    version: Option<&str>,
) -> Result<(), WriteError> {
    // Without a `resourceVersion` the watch begins with the current state. The version of an object
    // may be too old for the server to resume from.
    let url = format!("{url}&watch=true&timeoutSeconds={}", WATCH.as_secs());
    let watching = async {
        let body = timeout(REQUEST_TIMEOUT, open(client, &url, JSON))
            .await
            .map_err(|_elapsed| WatchError::Timeout)??;

        let mut lines = Lines::of(body);
        while let Some(line) = lines.next().await? {
            if version_in(line)?.as_deref() != version {
                return Ok(());
            }
        }

        Ok(())
    };

    watching.await.map_err(|error| match error {
        WatchError::Status(status, message) => WriteError::Refused(status, message),
        WatchError::Timeout => WriteError::Timeout,
        other => WriteError::Client(other.to_string()),
    })
}

/// Returns the version of the object in a line of a watch; `None` if it has no version.
fn version_in(line: &[u8]) -> Result<Option<String>, WatchError> {
    let mut line: Value =
        serde_json::from_slice(line).map_err(|error| WatchError::Malformed(error.to_string()))?;
    if line["type"] == "ERROR" {
        return Err(WatchError::Broken(
            line["object"]["message"]
                .as_str()
                .unwrap_or("an error in the watch")
                .to_owned(),
        ));
    }

    Ok(match line["object"]["metadata"]["resourceVersion"].take() {
        Value::String(version) => Some(version),
        _ => None,
    })
}

/// The lines of a watch, without the empty ones.
struct Lines {
    body: Body,
    buffer: Vec<u8>,
    /// The number of bytes at the start of `buffer` that were returned already.
    done: usize,
}

impl Lines {
    fn of(body: Body) -> Self {
        Self {
            body,
            buffer: Vec::new(),
            done: 0,
        }
    }

    /// Returns the next line; `None` when the server has ended the watch.
    async fn next(&mut self) -> Result<Option<&[u8]>, WatchError> {
        loop {
            while let Some(length) = memchr::memchr(b'\n', &self.buffer[self.done..]) {
                let line = self.done..self.done + length;
                self.done = line.end + 1;
                if !self.buffer[line.clone()].trim_ascii().is_empty() {
                    return Ok(Some(&self.buffer[line]));
                }
            }

            self.buffer.drain(..std::mem::take(&mut self.done));
            if self.buffer.len() > MAX_LINE {
                return Err(WatchError::Malformed(
                    "a line of the watch is too long".to_owned(),
                ));
            }

            let Some(data) = data(&mut self.body).await? else {
                return Ok(None);
            };
            self.buffer.extend_from_slice(&data);
        }
    }
}

/// Returns the next data of a watch; `None` when the server has ended it.
async fn data(body: &mut Body) -> Result<Option<Bytes>, WatchError> {
    loop {
        match timeout(WATCH + REQUEST_TIMEOUT, body.frame()).await {
            Err(_elapsed) => return Err(WatchError::Timeout),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(WatchError::Broken(error.to_string())),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn watch_url(selected: &Selected, version: &str) -> String {
    format!(
        "{}?watch=true&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={}{}",
        selected.collection(),
        WATCH.as_secs(),
        selected.selector()
    )
}

/// Reads a watch until the server ends it.
async fn watch(
    selected: &mut Selected,
    body: Body,
    version: &mut String,
    events: &mpsc::Sender<Event>,
) -> Result<(), WatchError> {
    let mut lines = Lines::of(body);
    loop {
        let has_selection = matches!(selected.kind, Kind::ConfigMap | Kind::Pod);
        let next = tokio::select! {
            next = lines.next() => next,
            changed = selected.selection.changed(), if has_selection => {
                changed.map_err(|_closed| WatchError::Closed)?;
                if selected.is_reselected() {
                    return Err(WatchError::Reselected);
                }
                continue;
            }
        };
        let Some(line) = next? else {
            return Ok(());
        };
        apply(selected, line, version, events).await?;
    }
}

/// Sends the event of one line of a watch, and advances `version`.
async fn apply(
    selected: &mut Selected,
    line: &[u8],
    version: &mut String,
    events: &mpsc::Sender<Event>,
) -> Result<(), WatchError> {
    let malformed = |error: serde_json::Error| WatchError::Malformed(error.to_string());
    let Line { change, object } = serde_json::from_slice(line).map_err(malformed)?;

    let event = match change {
        "BOOKMARK" => {
            let value: Value = serde_json::from_str(object.get()).map_err(malformed)?;
            if let Some(at) = value["metadata"]["resourceVersion"].as_str() {
                at.clone_into(version);
            }
            return Ok(());
        }
        "ERROR" => {
            let status: Value = serde_json::from_str(object.get()).map_err(malformed)?;
            return Err(match status["code"].as_u64() {
                Some(410) => WatchError::Expired,
                _ => WatchError::Broken(
                    status["message"]
                        .as_str()
                        .unwrap_or("an error in the watch")
                        .to_owned(),
                ),
            });
        }
        // An unreadable object must not stop the others; its next change may be readable.
        _ => match (read(selected.kind, object), change) {
            (None, _) => return Ok(()),
            // One that is not needed any more must not stay known as it was.
            (Some(object), change) if change == "DELETED" || !is_needed(&object) => {
                object.meta.resource_version.as_ref().clone_into(version);
                Event::Delete(object.key.clone())
            }
            (Some(object), _) => {
                object.meta.resource_version.as_ref().clone_into(version);
                Event::Apply(object)
            }
        },
    };

    match selected.take(event) {
        Some(event) => events
            .send(event)
            .await
            .map_err(|_closed| WatchError::Closed),
        None => Ok(()),
    }
}

/// Returns true unless the object is a Secret that has neither a certificate nor users. Such a
/// Secret is forgotten at once.
fn is_needed(object: &RawObject) -> bool {
    object.key.kind != Kind::Secret
        || object
            .view::<Secret<'_>>()
            .map_or(true, |secret| secret.is_needed())
}

/// Parses an object, without the members that gatelet never reads: these are half of its size.
/// Returns `None` and logs why if it cannot be parsed.
fn read(kind: Kind, object: &RawValue) -> Option<Arc<RawObject>> {
    let warn = |error: &dyn std::fmt::Display| {
        tracing::warn!(
            kind = kind.name(),
            %error,
            "an object of the cluster cannot be read and is skipped"
        );
    };
    let mut value: Value = serde_json::from_str(object.get())
        .inspect_err(|error| warn(error))
        .ok()?;

    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        if let Some(annotations) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
        {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
    }

    let body = Bytes::from(value.to_string());
    RawObject::parse(kind, body)
        .inspect_err(|error| warn(error))
        .ok()
        .map(Arc::new)
}

/// The objects of a kind that gatelet follows.
struct Selected {
    kind: Kind,
    selection: watch::Receiver<Selection>,
    /// The selection as of the last list.
    named: NamedConfigMaps,
    pods: PodLabels,
    /// The ConfigMaps that are followed, or the Pods with a hash of the part that is asked for. A
    /// selector cannot name some ConfigMaps and find others by their label, so if any are named,
    /// the server sends all.
    known: HashMap<Key, u64>,
}

impl Selected {
    /// Selects the objects that are asked for now.
    fn select(&mut self) {
        let selection = self.selection.borrow_and_update();
        self.named = selection.config_maps.clone();
        self.pods = selection.pods.clone();
    }

    /// Reports whether other objects are asked for than at the last list.
    fn is_reselected(&self) -> bool {
        let selection = self.selection.borrow();
        match self.kind {
            Kind::Pod => selection.pods != self.pods,
            _ => selection.config_maps != self.named,
        }
    }

    /// Reports whether no objects of the kind are asked for.
    fn is_empty(&self) -> bool {
        self.kind == Kind::Pod && self.selection.borrow().pods.is_empty()
    }

    /// Forgets the objects that were asked for.
    fn forget(&mut self) {
        self.known.clear();
        self.pods = PodLabels::default();
    }

    /// Returns the event that says which objects are known.
    fn known(&self) -> Option<Event> {
        match self.kind {
            Kind::Pod => Some(Event::PodsKnown(self.pods.clone())),
            Kind::ConfigMap => Some(Event::ConfigMapsKnown(self.named.clone())),
            _ => None,
        }
    }

    /// Returns the path of the objects: those of one namespace, if the Pods of no other are asked
    /// for.
    fn collection(&self) -> String {
        match self.pods.namespace().filter(|_| self.kind == Kind::Pod) {
            Some(namespace) => paths::namespaced(&Key {
                kind: self.kind,
                namespace: namespace.clone(),
                name: Arc::default(),
            }),
            None => paths::collection(self.kind),
        }
    }

    /// Restricts a kind to the objects that gatelet may need: Secrets without those of types that
    /// have neither certificates nor users, ConfigMaps with issuers
    /// ([`ISSUER_LABEL`](crate::objects::ISSUER_LABEL)), unless others are named, and Pods with a
    /// label, unless others are asked for.
    fn selector(&self) -> String {
        match self.kind {
            Kind::Secret => "&fieldSelector=type%21%3Dhelm.sh%2Frelease.v1\
                 %2Ctype%21%3Dkubernetes.io%2Fservice-account-token\
                 %2Ctype%21%3Dkubernetes.io%2Fdockerconfigjson\
                 %2Ctype%21%3Dkubernetes.io%2Fdockercfg\
                 %2Ctype%21%3Dbootstrap.kubernetes.io%2Ftoken"
                .to_owned(),
            Kind::ConfigMap if self.named.is_empty() => {
                "&labelSelector=gatelet.dev%2Fissuer%3Dtrue".to_owned()
            }
            Kind::Pod => {
                let only = self.pods.label().map(percent::encode);
                only.map_or_else(String::new, |label| format!("&labelSelector={label}"))
            }
            _ => String::new(),
        }
    }

    /// Returns the part of an object that is kept; `None` if that is nothing.
    fn part_of(&self, object: Arc<RawObject>) -> Option<Arc<RawObject>> {
        match self.kind {
            Kind::Pod => self.pods.part_of(&object).map(Arc::new),
            _ => Some(object),
        }
    }

    /// Notes the objects of a list.
    fn reset(&mut self, objects: &[Arc<RawObject>]) {
        if matches!(self.kind, Kind::ConfigMap | Kind::Pod) {
            let hashed = objects.iter().map(|one| (one.key.clone(), hash(one)));
            self.known = hashed.collect();
        }
    }

    /// Returns the event that a change is for the objects that are followed.
    fn take(&mut self, event: Event) -> Option<Event> {
        let selects = |object: &RawObject| match self.kind {
            Kind::ConfigMap => self.named.selects(object),
            _ => true,
        };
        match event {
            _ if !matches!(self.kind, Kind::ConfigMap | Kind::Pod) => Some(event),
            Event::Apply(object) if selects(&object) => {
                let key = object.key.clone();
                let Some(part) = self.part_of(object) else {
                    return self.take(Event::Delete(key));
                };
                // Pods change often, and their labels do not.
                let hash = hash(&part);
                let before = self.known.insert(key, hash);
                let is_same = self.kind == Kind::Pod && before == Some(hash);
                (!is_same).then_some(Event::Apply(part))
            }
            // It may have lost the label.
            Event::Apply(object) => self.take(Event::Delete(object.key.clone())),
            Event::Delete(key) => {
                let known = self.known.remove(&key);
                known.map(|_| Event::Delete(key))
            }
            other => Some(other),
        }
    }
}

fn hash(object: &RawObject) -> u64 {
    let mut hash = DefaultHasher::new();
    object.body.hash(&mut hash);
    hash.finish()
}

/// The form of whole objects.
const JSON: &str = "application/json";
/// The forms of a list and of a watch of Pods: of each its metadata alone, if the server can.
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
const METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// Sends a GET request and returns the body of a 200 response, in an accepted form.
async fn open(client: &Client, url: &str, accepted: &str) -> Result<Body, WatchError> {
    let request = Request::get(url)
        .header(http::header::ACCEPT, accepted)
        .body(Vec::new());
    let request = request.map_err(|error| WatchError::Malformed(error.to_string()))?;
    let response = client
        .send(request)
        .await
        .map_err(|error| WatchError::Client(objects::root(&error)))?;

    let status = response.status();
    let body = response.into_body();
    match status {
        StatusCode::OK => Ok(body),
        StatusCode::GONE => Err(WatchError::Expired),
        _ => {
            let text = collect(body, 64 * 1024).await.unwrap_or_default();
            let message = serde_json::from_slice::<Value>(&text).ok();
            let message = message
                .as_ref()
                .and_then(|status| status["message"].as_str())
                .unwrap_or_default();
            Err(WatchError::Status(status, message.to_owned()))
        }
    }
}

async fn fetch(client: &Client, url: &str, accepted: &str) -> Result<Vec<u8>, WatchError> {
    collect(open(client, url, accepted).await?, MAX_PAGE).await
}

/// Reads a body of at most `limit` bytes.
async fn collect(mut body: Body, limit: usize) -> Result<Vec<u8>, WatchError> {
    let mut out = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| WatchError::Broken(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            out.extend_from_slice(&data);
        }
        if out.len() > limit {
            return Err(WatchError::Malformed("the response is too long".to_owned()));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_map(name: &str, label: &str) -> Arc<RawObject> {
        let body = serde_json::json!({
            "metadata": {
                "name": name, "namespace": "n", "labels": {"gatelet.dev/issuer": label},
            },
        });
        let object = RawObject::parse(Kind::ConfigMap, Bytes::from(body.to_string()));
        Arc::new(object.expect("an object"))
    }

    fn config_maps() -> Selected {
        let (_, selection) = watch::channel(Selection::default());
        Selected {
            kind: Kind::ConfigMap,
            selection,
            named: NamedConfigMaps::default(),
            pods: PodLabels::default(),
            known: HashMap::new(),
        }
    }

    #[test]
    fn of_config_maps_issuers_and_named_ones_are_followed() {
        let named = NamedConfigMaps::from_iter([("n".into(), "ports".into())]);
        let mut selected = Selected {
            named,
            ..config_maps()
        };
        assert_eq!(selected.selector(), "");
        let mut take = |event| match selected.take(event) {
            Some(Event::Apply(object)) => format!("apply {}", object.key.name),
            Some(Event::Delete(key)) => format!("delete {}", key.name),
            _ => "nothing".to_owned(),
        };

        let apply = |name, label| Event::Apply(config_map(name, label));
        let delete = |name| Event::Delete(config_map(name, "").key.clone());
        assert_eq!(take(apply("ports", "")), "apply ports");
        assert_eq!(take(apply("issuer", "true")), "apply issuer");
        assert_eq!(take(apply("other", "")), "nothing");
        assert_eq!(take(delete("other")), "nothing");
        assert_eq!(take(apply("issuer", "")), "delete issuer");
        assert_eq!(take(delete("issuer")), "nothing");
        assert_eq!(take(delete("ports")), "delete ports");
    }

    #[test]
    fn without_names_the_server_selects_issuers() {
        let selector = "&labelSelector=gatelet.dev%2Fissuer%3Dtrue";
        assert_eq!(config_maps().selector(), selector);
    }
}
