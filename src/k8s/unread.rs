//! The kinds that cannot be read at the moment, for inspection.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{objects::Kind, util::sync::lock};

/// The kinds that cannot be read, each with the reason.
#[derive(Clone, Debug, Default)]
pub struct Unread(Arc<Mutex<BTreeMap<Kind, String>>>);

impl Unread {
    /// Returns the kinds that cannot be read now.
    pub fn list(&self) -> BTreeMap<Kind, String> {
        self.lock().clone()
    }

    pub(super) fn set(&self, kind: Kind, why: String) {
        self.lock().insert(kind, why);
    }

    pub(super) fn clear(&self, kind: Kind) {
        self.lock().remove(&kind);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Kind, String>> {
        lock(&self.0)
    }
}
