//! Coarse deadlines: one task per core for everything that waits, instead of a timer per wait. They
//! are precise to [`TICK`], which is enough for timeouts of seconds. The task sleeps until the
//! first of them passes, so that connections on which nothing happens do not wake the core.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::clock;

/// The longest delay of a deadline, and the shortest time between two looks at all of them.
const TICK: Duration = Duration::from_millis(100);

/// The longest time until a deadline: more than any process runs.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// All deadlines of a core.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    slots: RefCell<Slots>,
    /// The time of the next look at all; `None` while nothing waits.
    next: Cell<Option<Instant>>,
    sooner: Notify,
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

    /// Wakes the tasks whose deadline has passed. Runs as long as the worker.
    pub(super) async fn run(&self) {
        loop {
            let now = Instant::now();
            self.wake_due(now);

            let sooner = self.sooner.notified();
            match self.next.get() {
                Some(next) => drop(tokio::time::timeout_at(next.into(), sooner).await),
                None => sooner.await,
            }
            tokio::time::sleep_until((now + TICK).into()).await;
        }
    }

    /// Wakes the tasks whose deadline has passed, and notes when the next one does.
    fn wake_due(&self, now: Instant) {
        let mut due = Vec::new();
        let mut next: Option<Instant> = None;
        for entry in &mut self.slots.borrow_mut().entries {
            match entry {
                Some((at, _)) if *at <= now => due.extend(entry.take().map(|(_, waker)| waker)),
                Some((at, _)) => next = Some(next.map_or(*at, |next| next.min(*at))),
                None => {}
            }
        }

        self.next.set(next);
        due.into_iter().for_each(Waker::wake);
    }

    /// Notes a deadline that may pass before all others.
    fn arm(&self, at: Instant) {
        if self.next.get().is_none_or(|next| at + TICK < next) {
            self.next.set(Some(at));
            self.sooner.notify_one();
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
        let now = clock::now();
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
            empty @ None => *empty = Some((at, cx.waker().clone())),
        }
        self.of.arm(at);
        false
    }

    fn disarm(&self) {
        if let Some(slot) = self.slot {
            self.of.slots.borrow_mut().entries[slot] = None;
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
