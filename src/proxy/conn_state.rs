//! State shared by the guard, the service and the driver of one client connection, and the
//! deadlines that follow from it.
//!
//! All three run on one thread, but the HTTP server requires the transport (and so the guard in it)
//! to be `Send`. Hence the atomics, all relaxed, which cost the same as plain memory.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::Duration,
};

use http::Request;
use tokio::time::Instant;

use super::{Settings, error::Kind};
use crate::util::sync::lock;

/// The method of the request that replaces a refused head. A client may send it too: it is a
/// refusal only if one was recorded.
pub(super) const REFUSED: &str = "GATELET-REFUSED";

/// While draining, a connection that just had a response may send one more request for this long:
/// its client cannot know yet that we drain, and would see the request fail.
pub(super) const DRAIN_IDLE: Duration = Duration::from_secs(1);
/// After the client's end of stream, pending responses may still be sent for this long. A client
/// that closed and one that only ended its own direction look the same; the first expects its
/// request to be cancelled.
const HALF_CLOSED: Duration = Duration::from_secs(3);
/// The time for which a closing connection still reads, so that its client can receive our last
/// response.
const LINGER: Duration = Duration::from_secs(2);

/// The phase of a connection in reading requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Between requests.
    Idle,
    /// Inside a request head that is incomplete.
    Head,
    /// Inside a request body.
    Body,
    /// After a switch of protocols: no more HTTP.
    Switched,
    /// Our side is closed.
    Closing,
}

/// The action that follows when a deadline passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum DeadlineAction {
    /// No deadline has passed.
    None,
    /// The request head was too slow: respond with 408.
    SlowHead,
    /// No request came for too long: close.
    Idle,
    /// The client is gone or does not read: end at once.
    End,
}

/// The timeouts of a client connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    head: Duration,
    idle: Duration,
    stream: Duration,
}

/// The shared state of one client connection. Times are milliseconds since `born`; 0 means "not
/// set".
#[derive(Debug)]
pub(crate) struct ConnState {
    born: Instant,
    timeouts: Timeouts,
    phase: AtomicU8,
    phase_since: AtomicU64,
    in_flight: AtomicU32,
    /// Set once a request has come.
    used: AtomicBool,
    /// The time of the last response; for a new connection, of its start.
    idle_since: AtomicU64,
    write_blocked: AtomicU64,
    ended: AtomicU64,
    /// The guard holds bytes of the client until no request is in flight.
    held: AtomicBool,
    /// The server's buffer may hold a response that the transport has not taken yet.
    unflushed: AtomicBool,
    switched: AtomicBool,
    draining: AtomicBool,
    action: AtomicU8,
    flooded: AtomicBool,
    refused: AtomicBool,
    refusal: Mutex<Option<Kind>>,
    waker: Mutex<Option<Waker>>,
}

impl From<&Settings> for Timeouts {
    fn from(settings: &Settings) -> Self {
        Self {
            head: settings.client_header_timeout,
            idle: settings.client_idle_timeout,
            stream: settings.stream_idle_timeout,
        }
    }
}

impl ConnState {
    pub(super) fn new(timeouts: Timeouts) -> Self {
        Self {
            born: Instant::now(),
            timeouts,
            phase: AtomicU8::new(Phase::Idle as u8),
            phase_since: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            used: AtomicBool::new(false),
            idle_since: AtomicU64::new(0),
            write_blocked: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            held: AtomicBool::new(false),
            unflushed: AtomicBool::new(false),
            switched: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            action: AtomicU8::new(DeadlineAction::None as u8),
            flooded: AtomicBool::new(false),
            refused: AtomicBool::new(false),
            refusal: Mutex::new(None),
            waker: Mutex::new(None),
        }
    }

    #[cfg(test)]
    pub(super) fn of_tests() -> Arc<Self> {
        Arc::new(Self::new((&Settings::default()).into()))
    }

    fn now(&self) -> u64 {
        // Never 0, which means "not set".
        u64::try_from(self.born.elapsed().as_millis()).map_or(u64::MAX, |now| now.saturating_add(1))
    }

    // === The guard's side ===

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Body,
            3 => Phase::Switched,
            _ => Phase::Closing,
        }
    }

    /// Moves to a phase; cheap if that is the current one.
    pub(super) fn enter(&self, phase: Phase) {
        if self.phase.load(Relaxed) != phase as u8 {
            self.phase.store(phase as u8, Relaxed);
            self.phase_since.store(self.now(), Relaxed);
        }
    }

    /// Records that a write has to wait for the client.
    pub(super) fn writing_waits(&self) {
        if self.write_blocked.load(Relaxed) == 0 {
            self.write_blocked.store(self.now(), Relaxed);
        }
    }

    /// Records that the client accepts writes.
    pub(super) fn writing_goes_on(&self) {
        if self.write_blocked.load(Relaxed) != 0 {
            self.write_blocked.store(0, Relaxed);
        }
    }

    /// Records that the transport has taken everything that was written.
    pub(super) fn flushed(&self) {
        if self.unflushed.load(Relaxed) && self.in_flight.load(Relaxed) == 0 {
            self.unflushed.store(false, Relaxed);
            self.responded();
            self.wake_after_end();
        }
    }

    /// Records that the transport has taken a part of a response. A client that reads the last
    /// response slowly is not idle.
    pub(super) fn responded(&self) {
        if self.in_flight.load(Relaxed) == 0 {
            self.idle_since.store(self.now(), Relaxed);
        }
    }

    /// Records that the client ended its direction.
    pub(super) fn ended(&self) {
        if self.ended.load(Relaxed) == 0 {
            self.ended.store(self.now(), Relaxed);
        }
    }

    /// Wakes the connection once no request is in flight; no event of the transport does that.
    pub(super) fn hold(&self) {
        self.held.store(true, Relaxed);
    }

    /// Returns true while a request is in flight, or the transport has not taken the last response.
    pub(super) fn busy(&self) -> bool {
        self.in_flight.load(Relaxed) > 0 || self.unflushed.load(Relaxed)
    }

    /// Returns the number of requests in flight.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Returns true once a response has switched the protocol.
    pub(super) fn is_switched(&self) -> bool {
        self.switched.load(Relaxed)
    }

    /// Records that a head was refused; [`REFUSED`] follows in its place.
    pub(super) fn refuse(&self, kind: Kind) {
        *lock(&self.refusal) = Some(kind);
        self.refused.store(true, Relaxed);
    }

    /// Records that the client floods the connection with frames.
    pub(super) fn flooded(&self) {
        self.flooded.store(true, Relaxed);
    }

    /// Returns the driver's decision.
    pub(super) fn action(&self) -> DeadlineAction {
        match self.action.load(Relaxed) {
            0 => DeadlineAction::None,
            1 => DeadlineAction::SlowHead,
            2 => DeadlineAction::Idle,
            _ => DeadlineAction::End,
        }
    }

    // === The service's side ===

    /// Records the start of a request.
    pub(super) fn request_begins(&self) {
        self.in_flight
            .store(self.in_flight.load(Relaxed) + 1, Relaxed);
        self.unflushed.store(true, Relaxed);
        self.used.store(true, Relaxed);
    }

    /// Records the end of a request: its response is complete or was abandoned.
    pub(super) fn request_ends(&self) {
        let left = self.in_flight.load(Relaxed).saturating_sub(1);
        self.in_flight.store(left, Relaxed);
        if left == 0 {
            self.idle_since.store(self.now(), Relaxed);
            if self.held.load(Relaxed) {
                self.held.store(false, Relaxed);
                self.wake();
            }
            self.wake_after_end();
        }
    }

    /// Returns the refusal that `request` stands for; `None` if it is the client's own request.
    pub(super) fn refusal<B>(&self, request: &Request<B>) -> Option<Kind> {
        if !self.refused.load(Relaxed) || request.method().as_str() != REFUSED {
            return None;
        }
        *lock(&self.refusal)
    }

    /// Records that a response switches the protocol.
    pub(super) fn switch(&self) {
        self.switched.store(true, Relaxed);
    }

    /// Returns true if no further request may follow.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    // === The driver's side ===

    /// Stores the waker of the connection's task.
    pub(super) fn set_waker(&self, waker: &Waker) {
        let mut known = lock(&self.waker);
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Returns true if the connection was ended because of a flood of frames.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(Relaxed)
    }

    /// Starts the drain: no request may follow the ones in flight.
    pub(super) fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.wake();
    }

    /// Records a decision for the guard to carry out.
    pub(super) fn decide(&self, action: DeadlineAction) {
        self.action.store(action as u8, Relaxed);
    }

    /// Clears the decision.
    pub(super) fn undecide(&self) {
        self.action.store(DeadlineAction::None as u8, Relaxed);
    }

    /// Returns the earliest deadline and its action.
    pub(super) fn deadline(&self) -> Option<(Instant, DeadlineAction)> {
        let mut first: Option<(u64, DeadlineAction)> = None;
        let mut consider = |since: u64, wait: Duration, action| {
            let at = since.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
            if first.is_none_or(|(earliest, _)| at < earliest) {
                first = Some((at, action));
            }
        };

        let phase = self.phase();
        let since = self.phase_since.load(Relaxed);
        let busy = self.in_flight.load(Relaxed) > 0;
        let blocked = self.write_blocked.load(Relaxed);

        match phase {
            Phase::Switched => return None,
            // The client is still reading the last response.
            Phase::Idle if blocked != 0 => {}
            // A request in flight has its own deadlines. A head or a body behind it waits for its
            // turn.
            Phase::Idle | Phase::Head | Phase::Body | Phase::Closing if busy => {}
            Phase::Head => {
                consider(
                    since.max(self.idle_since.load(Relaxed)),
                    self.timeouts.head,
                    DeadlineAction::SlowHead,
                );
            }
            Phase::Closing => consider(since, LINGER, DeadlineAction::End),
            Phase::Body => consider(
                since.max(self.idle_since.load(Relaxed)),
                self.timeouts.head,
                DeadlineAction::End,
            ),
            Phase::Idle => {
                let idle = self.idle_since.load(Relaxed);
                let wait = if self.used.load(Relaxed) {
                    self.timeouts.idle
                } else {
                    self.timeouts.head
                };
                let wait = if self.is_draining() {
                    wait.min(DRAIN_IDLE)
                } else {
                    wait
                };
                consider(idle, wait, DeadlineAction::Idle);
            }
        }

        if blocked != 0 {
            consider(blocked, self.timeouts.stream, DeadlineAction::End);
        }

        match self.ended.load(Relaxed) {
            0 => {}
            ended if busy => consider(ended, HALF_CLOSED, DeadlineAction::End),
            _ => {}
        }

        // A distant deadline is shortened, and checked again when it passes: adding to an `Instant`
        // must not overflow.
        first.map(|(at, action)| (self.born + Duration::from_millis(at.min(1 << 40)), action))
    }

    /// Wakes the connection on its own progress: once the client has ended its direction, no event
    /// of the transport does.
    fn wake_after_end(&self) {
        if self.ended.load(Relaxed) != 0 || self.is_draining() {
            self.wake();
        }
    }

    fn wake(&self) {
        let waker = lock(&self.waker);
        if let Some(waker) = &*waker {
            waker.wake_by_ref();
        }
    }
}

/// Counts a request as in flight until its response is complete or abandoned. Created as soon as
/// the head is handed over: the server looks for the end of the stream before it polls the service.
#[derive(Debug)]
pub(crate) struct InFlightGuard(Arc<ConnState>);

impl InFlightGuard {
    pub(super) fn new(state: &Arc<ConnState>) -> Self {
        state.request_begins();
        Self(state.clone())
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        self.0.request_ends();
    }
}
