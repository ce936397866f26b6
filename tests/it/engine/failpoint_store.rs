//! A store that a test can stop, let fail, and look into.

use std::{
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use gatelet::store::{Batch, Memory, Store, StoreError};

/// See the module.
#[derive(Debug, Default)]
pub struct Gate {
    inner: Memory,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    commits: usize,
    stop_after: Option<usize>,
    fails: Range<usize>,
}

impl Gate {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Commits so far, those that failed too.
    pub fn commits(&self) -> usize {
        self.state().commits
    }

    /// The commit of this number, counted from 1, is done and its caller never hears of it.
    pub fn stop_after(&self, commit: usize) {
        self.state().stop_after = Some(commit);
    }

    /// Whether that has happened.
    pub fn has_stopped(&self) -> bool {
        let state = self.state();
        state.stop_after.is_some_and(|stop| state.commits >= stop)
    }

    /// After the crash: everything goes on.
    pub fn go_on(&self) {
        self.state().stop_after = None;
        self.changed.notify_all();
    }

    /// These commits find the disk full.
    pub fn fails(&self, commits: Range<usize>) {
        self.state().fails = commits;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Store for Gate {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key)
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.inner.scan(prefix)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        let mut state = self.state();
        // Nothing of a process that is gone is written.
        if state.stop_after.is_some_and(|stop| state.commits >= stop) {
            drop(
                self.changed
                    .wait_while(state, |state| state.stop_after.is_some())
                    .unwrap(),
            );
            return Err(StoreError::Full);
        }
        state.commits += 1;
        if state.fails.contains(&state.commits) {
            return Err(StoreError::Full);
        }
        self.inner.commit(batch)?;
        while state.stop_after.is_some_and(|stop| state.commits >= stop) {
            state = self.changed.wait(state).unwrap();
        }
        Ok(())
    }
}
