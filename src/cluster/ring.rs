//! The recent history of one kind, bounded by count and by bytes.

use std::collections::VecDeque;

use crate::objects::{Change, Expired, Revision};

/// Changes kept per kind.
pub(super) const MAX_CHANGES: usize = 4096;

/// Bytes of object bodies kept per kind, beside those that are the newest version anyway.
pub(super) const MAX_BYTES: usize = 8 << 20;

/// The last changes, oldest first. A change has a sequence number (its place in the whole history
/// since the start), which is what a watcher remembers.
#[derive(Debug)]
pub(super) struct Ring {
    changes: VecDeque<Change>,
    /// The sequence number of the front.
    first: u64,
    /// Everything up to here may have been dropped.
    compacted: Revision,
    bytes: usize,
    max_changes: usize,
}

impl Ring {
    /// An empty history that begins after `start`.
    pub(super) fn new(start: Revision, max_changes: usize) -> Self {
        Self {
            changes: VecDeque::new(),
            first: 0,
            compacted: start,
            bytes: 0,
            max_changes,
        }
    }

    /// Appends a change, dropping the oldest ones that no longer fit.
    pub(super) fn push(&mut self, change: Change) {
        debug_assert!(
            self.changes
                .back()
                .is_none_or(|last| last.revision < change.revision)
        );
        self.bytes = self.bytes.saturating_add(change.object.body.len());
        self.changes.push_back(change);
        while self.changes.len() > self.max_changes
            || (self.bytes > MAX_BYTES && self.changes.len() > 1)
        {
            let Some(oldest) = self.changes.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(oldest.object.body.len());
            self.compacted = oldest.revision;
            self.first += 1;
        }
    }

    /// The place of the first change after `from`.
    pub(super) fn position(&self, from: Revision) -> Result<u64, Expired> {
        if from < self.compacted {
            return Err(Expired);
        }
        let skipped = self
            .changes
            .partition_point(|change| change.revision <= from);
        Ok(self.first.saturating_add(skipped as u64))
    }

    /// The change at a place: `None` when it has not happened yet.
    pub(super) fn at(&self, place: u64) -> Result<Option<&Change>, Expired> {
        let index = place.checked_sub(self.first).ok_or(Expired)?;
        Ok(usize::try_from(index)
            .ok()
            .and_then(|index| self.changes.get(index)))
    }
}
