//! Stores changes a second time some minutes after they were made: together, so that a flash disk
//! is written less.

use std::{sync::Arc, time::Duration};

use crate::store::Store;

/// The longest time for which a change is on the disk once only.
const INTERVAL: Duration = Duration::from_secs(300);

/// Runs until the process ends. Writes nothing if nothing has changed.
pub(super) async fn keep(store: Arc<dyn Store>) {
    loop {
        tokio::time::sleep(INTERVAL).await;

        let store = store.clone();
        // It fails only if the process ends.
        let _ = tokio::task::spawn_blocking(move || make(&*store)).await;
    }
}

/// Stores a second time what is stored once.
pub(super) fn make(store: &dyn Store) {
    if let Err(error) = store.settle() {
        tracing::warn!(%error, "some changes are stored only once, and will be stored again");
    }
}
