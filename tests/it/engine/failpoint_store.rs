//! A store that a test can stop, make fail, and inspect.

use std::{
    ops::Range,
    sync::{Arc, Condvar, Mutex, MutexGuard},
};

use gatelet::store::{Batch, Memory, Store, StoreError};

/// A store with failpoints; see the module.
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

    /// Returns the number of commits so far, including failed ones.
    pub fn commits(&self) -> usize {
        self.state().commits
    }

    /// Carries out the commit with this number, counted from 1, but never returns to its caller.
    pub fn stop_after(&self, commit: usize) {
        self.state().stop_after = Some(commit);
    }

    /// Returns true once that has happened.
    pub fn has_stopped(&self) -> bool {
        let state = self.state();
        state.stop_after.is_some_and(|stop| state.commits >= stop)
    }

    /// Lets everything continue after the crash.
    pub fn go_on(&self) {
        self.state().stop_after = None;
        self.changed.notify_all();
    }

    /// Makes these commits find the disk full.
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
        // A process that has ended writes nothing.
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
