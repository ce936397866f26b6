//! The mini cluster as a source of objects: follows its history in process, without HTTP.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::objects::{Change, Event, Kind, NamedConfigMaps, Selection, View};

/// Follows one kind, of ConfigMaps only those that are selected: sends a reset with all objects,
/// then each change, and another reset whenever it fell behind or others are selected. Ends when
/// `events` is closed.
pub async fn follow(
    view: Arc<dyn View>,
    kind: Kind,
    mut selection: watch::Receiver<Selection>,
    events: mpsc::Sender<Event>,
) {
    loop {
        let named = selection.borrow_and_update().config_maps.clone();
        let mut snapshot = view.list(kind, None);
        snapshot.items.retain(|object| named.selects(object));
        let reset = Event::Reset(kind, snapshot.items);
        if events.send(reset).await.is_err() {
            return;
        }
        if kind == Kind::ConfigMap {
            let known = Event::ConfigMapsKnown(named.clone());
            if events.send(known).await.is_err() {
                return;
            }
        }

        let Ok(mut watcher) = view.watch(kind, snapshot.revision) else {
            continue;
        };
        loop {
            let next = tokio::select! {
                next = watcher.next() => next,
                _changed = selection.changed(), if kind == Kind::ConfigMap => break,
            };
            let Ok(change) = next else {
                tracing::warn!(
                    kind = kind.name(),
                    "the controller fell behind the mini cluster and reads all objects again"
                );
                break;
            };
            if events.send(event(change, &named)).await.is_err() {
                return;
            }
        }
    }
}

/// Turns a change into an event. An object that lost the label it is selected by is deleted, as in
/// a watch with a selector.
fn event(change: Change, named: &NamedConfigMaps) -> Event {
    if change.deleted || !named.selects(&change.object) {
        Event::Delete(change.object.key.clone())
    } else {
        Event::Apply(change.object)
    }
}
