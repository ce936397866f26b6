//! Watches over the history of a kind.

use std::sync::Arc;

use tokio::sync::watch;

use super::shared::Shared;
use crate::objects::{Change, Expired, Kind, Revision, Watcher, traits::BoxFuture};

/// A running watch: a place in the history and a bell. It holds no changes itself.
pub(super) struct RingWatcher {
    shared: Arc<Shared>,
    kind: Kind,
    place: u64,
    /// Changes up to this revision are skipped, because the client knows them already.
    from: Revision,
    bell: watch::Receiver<()>,
}

impl RingWatcher {
    pub(super) fn new(shared: Arc<Shared>, kind: Kind, from: Revision) -> Result<Self, Expired> {
        let bell = shared.bell(kind);
        let place = shared.machine().ring(kind).position(from)?;
        Ok(Self {
            shared,
            kind,
            place,
            from,
            bell,
        })
    }

    /// Returns the next change after `self.from`; waits for it.
    async fn advance(&mut self) -> Result<Change, Expired> {
        loop {
            self.bell.mark_unchanged();
            let next = self
                .shared
                .machine()
                .ring(self.kind)
                .at(self.place)?
                .cloned();

            match next {
                Some(change) => {
                    self.place = self.place.saturating_add(1);
                    if change.revision > self.from {
                        return Ok(change);
                    }
                }
                // The sender lives in `shared`, which this watcher holds.
                None => self.bell.changed().await.map_err(|_gone| Expired)?,
            }
        }
    }
}

impl Watcher for RingWatcher {
    fn next(&mut self) -> BoxFuture<'_, Result<Change, Expired>> {
        Box::pin(self.advance())
    }
}
