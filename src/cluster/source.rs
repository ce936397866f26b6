//! The mini cluster as a source of events: its history, followed in process, without HTTP.

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::objects::{Change, Event, Kind, RawObject, View};

/// Follows one kind, of ConfigMaps only those with issuers: a reset with everything there is, then
/// each change; a new reset whenever it fell behind. Returns when nobody listens any more.
pub async fn follow(
    view: Arc<dyn View>,
    kind: Kind,
    events: mpsc::Sender<Event>,
) -> Result<(), String> {
    loop {
        let mut snapshot = view.list(kind, None);
        snapshot.items.retain(|object| is_followed(object));
        if events
            .send(Event::Reset(kind, snapshot.items))
            .await
            .is_err()
        {
            return Ok(());
        }
        let Ok(mut watcher) = view.watch(kind, snapshot.revision) else {
            continue;
        };
        while let Ok(Change {
            object, deleted, ..
        }) = watcher.next().await
        {
            // Without its label it is gone, as a watch with a selector says it.
            let gone = deleted || !is_followed(&object);
            let event = if gone {
                Event::Delete(object.key.clone())
            } else {
                Event::Apply(object)
            };
            if events.send(event).await.is_err() {
                return Ok(());
            }
        }
        tracing::warn!(
            kind = kind.name(),
            "the controller fell behind the mini cluster and reads all objects again"
        );
    }
}

fn is_followed(object: &RawObject) -> bool {
    object.key.kind != Kind::ConfigMap || object.is_issuer()
}
