//! The mini cluster as a source of objects: follows its history in process, without HTTP.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::objects::{Change, Event, Kind, RawObject, View};

/// Follows one kind (only those ConfigMaps that describe issuers): sends a reset with all objects,
/// then each change, and another reset whenever it fell behind. Ends when `events` is closed.
pub async fn follow(view: Arc<dyn View>, kind: Kind, events: mpsc::Sender<Event>) {
    loop {
        let mut snapshot = view.list(kind, None);
        snapshot.items.retain(|object| is_followed(object));
        let reset = Event::Reset(kind, snapshot.items);
        if events.send(reset).await.is_err() {
            return;
        }

        let Ok(mut watcher) = view.watch(kind, snapshot.revision) else {
            continue;
        };
        while let Ok(change) = watcher.next().await {
            if events.send(event(change)).await.is_err() {
                return;
            }
        }

        tracing::warn!(
            kind = kind.name(),
            "the controller fell behind the mini cluster and reads all objects again"
        );
    }
}

/// Turns a change into an event. An object that lost the label it is selected by is deleted, as in
/// a watch with a selector.
fn event(change: Change) -> Event {
    if change.deleted || !is_followed(&change.object) {
        Event::Delete(change.object.key.clone())
    } else {
        Event::Apply(change.object)
    }
}

fn is_followed(object: &RawObject) -> bool {
    object.key.kind != Kind::ConfigMap || object.is_issuer()
}
