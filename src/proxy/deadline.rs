//! Coarse deadlines: one ticker per core for everything that waits, instead of a timer per wait.
//! They are precise to [`TICK`], which is enough for timeouts of seconds, and cost nothing while
//! nothing waits.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// The interval of the ticker, and so the longest delay of a deadline.
const TICK: Duration = Duration::from_millis(100);

/// The longest time until a deadline: more than any process runs.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// All deadlines of a core.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    slots: RefCell<Slots>,
    armed: Cell<usize>,
    first: Notify,
}

#[derive(Debug, Default)]
struct Slots {
    entries: Vec<Option<(Instant, Waker)>>,
    free: Vec<usize>,
}

/// One deadline. It takes a slot when it waits for the first time.
#[derive(Debug)]
pub(super) struct Deadline {
    of: Rc<Deadlines>,
    slot: Option<usize>,
    /// The time at which it passes, if nothing moves until then.
    at: Option<Instant>,
}

impl Deadlines {
    /// Wakes every task that waits for a deadline, so that it sees a change of its own terms.
    pub(super) fn wake_all(&self) {
        let slots = self.slots.borrow();
        let waiting: Vec<Waker> = slots
            .entries
            .iter()
            .flatten()
            .map(|(_, waker)| waker.clone())
            .collect();
        drop(slots);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Wakes the tasks whose deadline has passed. Runs as long as the worker; sleeps while nothing
    /// waits.
    pub(super) async fn run(&self) {
        loop {
            while self.armed.get() == 0 {
                self.first.notified().await;
            }
            tokio::time::sleep(TICK).await;

            let now = Instant::now();
            let mut due = Vec::new();
            for entry in &mut self.slots.borrow_mut().entries {
                if let Some((_, waker)) = entry.take_if(|(at, _)| *at <= now) {
                    due.push(waker);
                }
            }

            self.armed.set(self.armed.get() - due.len());
            due.into_iter().for_each(Waker::wake);
        }
    }
}

impl Deadline {
    /// Creates a deadline that is not armed yet.
    pub(super) fn new(of: &Rc<Deadlines>) -> Self {
        Self {
            of: of.clone(),
            slot: None,
            at: None,
        }
    }

    /// Disarms the deadline after progress; the next wait starts over.
    pub(super) fn moved(&mut self) {
        if self.at.take().is_some() {
            self.disarm();
        }
    }

    /// Returns true if `idle` has passed since the first call after [`Deadline::moved`], or if
    /// `latest` has passed. If not, wakes the task when one of them passes.
    pub(super) fn is_over(
        &mut self,
        cx: &Context<'_>,
        idle: Duration,
        latest: Option<Instant>,
    ) -> bool {
        let now = Instant::now();
        // The greatest duration means no limit, and is more than an `Instant` can hold.
        let at = *self.at.get_or_insert_with(|| now + idle.min(LONGEST));
        let at = latest.map_or(at, |latest| latest.min(at));
        if at <= now {
            return true;
        }

        let mut slots = self.of.slots.borrow_mut();
        let slot = *self.slot.get_or_insert_with(|| {
            slots.free.pop().unwrap_or_else(|| {
                slots.entries.push(None);
                slots.entries.len() - 1
            })
        });

        match &mut slots.entries[slot] {
            Some((when, waker)) => {
                *when = at;
                waker.clone_from(cx.waker());
            }
            empty @ None => {
                *empty = Some((at, cx.waker().clone()));
                if self.of.armed.replace(self.of.armed.get() + 1) == 0 {
                    self.of.first.notify_one();
                }
            }
        }
        false
    }

    fn disarm(&self) {
        let Some(slot) = self.slot else { return };
        let waiting = self.of.slots.borrow_mut().entries[slot].take();
        if waiting.is_some() {
            self.of.armed.set(self.of.armed.get() - 1);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.disarm();
        if let Some(slot) = self.slot {
            self.of.slots.borrow_mut().free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests;
