//! The drain signal: one sender, many watchers, three phases that only move forward.

use std::time::Duration;
use tokio::sync::watch;

/// Progress of the shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Serving normally.
    Running,
    /// No new connections; what is in flight may finish within the grace time, counted from the
    /// change of phase.
    Draining {
        /// Time that work in flight may still take.
        grace: Duration,
    },
    /// End at once.
    Stopped,
}

/// The side that decides. Dropping it counts as [`Phase::Stopped`].
#[derive(Debug)]
pub struct Signal(watch::Sender<Phase>);

/// The side that obeys; cheap to clone, one per task.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<Phase>);

/// A signal in phase [`Phase::Running`] and its first watcher.
pub fn channel() -> (Signal, Drain) {
    let (tx, rx) = watch::channel(Phase::Running);
    (Signal(tx), Drain(rx))
}

impl Signal {
    /// Begins draining. No effect if draining or stopped already.
    pub fn drain(&self, grace: Duration) {
        self.0.send_if_modified(|phase| {
            let first = *phase == Phase::Running;
            if first {
                *phase = Phase::Draining { grace };
            }
            first
        });
    }

    /// Ends everything at once.
    pub fn stop(&self) {
        self.0.send_replace(Phase::Stopped);
    }

    /// Returns a further watcher.
    pub fn subscribe(&self) -> Drain {
        Drain(self.0.subscribe())
    }
}

impl Drain {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        if self.0.has_changed().is_err() {
            return Phase::Stopped;
        }
        *self.0.borrow()
    }

    /// Waits until draining has begun (or everything stopped) and returns the grace time left to
    /// work in flight.
    pub async fn draining(&mut self) -> Duration {
        match self
            .0
            .wait_for(|phase| *phase != Phase::Running)
            .await
            .map(|phase| *phase)
        {
            Ok(Phase::Draining { grace }) => grace,
            Ok(Phase::Running | Phase::Stopped) | Err(_) => Duration::ZERO,
        }
    }

    /// Waits until everything must end.
    pub async fn stopped(&mut self) {
        let _closed_counts_as_stopped = self.0.wait_for(|phase| *phase == Phase::Stopped).await;
    }
}
