//! Memory goes back to the system when much has changed and then nothing any more: a first list of
//! thousands of objects, or a whole directory applied, leaves behind about half as much again as is
//! kept.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{store::Store, util::memory};

/// Fewer changes leave nothing worth the while behind.
const MANY: usize = 500;
/// How long nothing must have changed.
const QUIET: Duration = Duration::from_secs(2);

/// Counts changes, and tidies up after them.
#[derive(Debug)]
pub(crate) struct Tidy {
    store: Arc<dyn Store>,
    changed: usize,
    due: Option<Instant>,
}

impl Tidy {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            changed: 0,
            due: None,
        }
    }

    /// Notes that so many objects have changed.
    pub(crate) fn note(&mut self, changed: usize) {
        self.changed = self.changed.saturating_add(changed);
        if self.changed >= MANY {
            self.due = Some(Instant::now() + QUIET);
        }
    }

    /// When to tidy up, if nothing changes until then.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Tidies up in the background.
    pub(crate) fn run(&mut self) {
        (self.changed, self.due) = (0, None);
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            store.trim_memory();
            memory::give_back();
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Memory;

    #[test]
    fn it_is_due_when_nothing_changes_after_much_has() {
        let mut tidy = Tidy::new(Arc::new(Memory::default()));
        tidy.note(MANY - 1);
        assert_eq!(tidy.due(), None);
        tidy.note(1);
        let first = tidy.due().expect("due");
        tidy.note(1);
        assert!(tidy.due().expect("due") >= first);
    }
}
