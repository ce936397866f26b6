//! The kinds that cannot be read at the moment, for people who ask.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use crate::{objects::Kind, util::sync::lock};

/// Which kinds cannot be read, and why.
#[derive(Clone, Debug, Default)]
pub struct Unread(Arc<Mutex<BTreeMap<Kind, String>>>);

impl Unread {
    /// As of now.
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
