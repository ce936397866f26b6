//! The recent history of one kind, bounded by count and by bytes.

use std::collections::VecDeque;

use crate::objects::{Change, Expired, Revision};

/// The most changes that are kept for each kind.
pub(super) const MAX_CHANGES: usize = 1024;

/// The most bytes of object bodies that are kept for each kind. A burst of statuses would otherwise
/// keep the objects before it for as long as nothing else changes.
pub(super) const MAX_BYTES: usize = 2 << 20;

/// The last changes, oldest first. Watchers remember the place of a change: its sequence number in
/// the whole history since the start.
#[derive(Debug)]
pub(super) struct Ring {
    changes: VecDeque<Change>,
    /// The place of the oldest change.
    first: u64,
    /// Changes up to this revision may have been dropped.
    compacted: Revision,
    bytes: usize,
    max_changes: usize,
}

impl Ring {
    /// Makes an empty history that begins after `start`.
    pub(super) fn new(start: Revision, max_changes: usize) -> Self {
        Self {
            changes: VecDeque::new(),
            first: 0,
            compacted: start,
            bytes: 0,
            max_changes,
        }
    }

    /// Appends a change, and drops the oldest ones beyond the limits.
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

    /// Returns the place of the first change after `from`.
    pub(super) fn position(&self, from: Revision) -> Result<u64, Expired> {
        if from < self.compacted {
            return Err(Expired);
        }
        let skipped = self
            .changes
            .partition_point(|change| change.revision <= from);
        Ok(self.first.saturating_add(skipped as u64))
    }

    /// Returns the change at a place; `None` if it has not happened yet.
    pub(super) fn at(&self, place: u64) -> Result<Option<&Change>, Expired> {
        let index = place.checked_sub(self.first).ok_or(Expired)?;
        Ok(usize::try_from(index)
            .ok()
            .and_then(|index| self.changes.get(index)))
    }
}
