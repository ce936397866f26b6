//! What the guard, the service and the driver of one client connection tell each other, and the
//! deadlines that follow from it.
//!
//! All three run on one thread, but the HTTP server demands that the transport (and so the guard in
//! it) can be sent; hence atomics, all relaxed, which cost what plain memory costs.

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

/// The method of the request that the guard puts in the place of a refused head. A client may send
/// it too: it is a refusal only where one was noted.
pub(super) const REFUSED: &str = "GATELET-REFUSED";

/// While draining, a connection that just had an answer may bring one more request for this long:
/// its client could not know yet, and would see a request fail.
pub(super) const DRAIN_IDLE: Duration = Duration::from_secs(1);
/// After the client's end of stream its pending answers may still come for this long. A client that
/// closed and one that only ended its own direction look the same; the first wants its request
/// cancelled.
const HALF_CLOSED: Duration = Duration::from_secs(3);
/// For how long a closing connection still takes what its client sends, so that it can read our
/// last answer.
const LINGER: Duration = Duration::from_secs(2);

/// Where a connection is in reading requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Between requests.
    Idle,
    /// In a request head that is not complete.
    Head,
    /// In a request body.
    Body,
    /// The protocol was switched: no HTTP any more.
    Switched,
    /// Our side is closed.
    Closing,
}

/// What a deadline that passed means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum DeadlineAction {
    /// Nothing passed.
    None,
    /// The request head came too slowly: answer 408.
    SlowHead,
    /// Nothing was asked for too long: close.
    Idle,
    /// The client is gone or takes nothing: end at once.
    End,
}

/// The durations that matter here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    head: Duration,
    idle: Duration,
    stream: Duration,
}

/// The shared state of one client connection. Times are milliseconds since `born`, 0 for "not".
#[derive(Debug)]
pub(crate) struct ConnState {
    born: Instant,
    timeouts: Timeouts,
    phase: AtomicU8,
    phase_since: AtomicU64,
    in_flight: AtomicU32,
    /// Set once a request was seen.
    used: AtomicBool,
    /// When the last answer was given; for a new connection when it began.
    idle_since: AtomicU64,
    write_blocked: AtomicU64,
    ended: AtomicU64,
    /// What the client has sent waits for the end of the requests in flight.
    held: AtomicBool,
    /// An answer may lie in the server's buffer that was not handed to the transport.
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
        // Never 0, which means "not".
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

    /// Moves to a phase; cheap if it is the one we are in.
    pub(super) fn enter(&self, phase: Phase) {
        if self.phase.load(Relaxed) != phase as u8 {
            self.phase.store(phase as u8, Relaxed);
            self.phase_since.store(self.now(), Relaxed);
        }
    }

    /// A write had to wait for the client.
    pub(super) fn writing_waits(&self) {
        if self.write_blocked.load(Relaxed) == 0 {
            self.write_blocked.store(self.now(), Relaxed);
        }
    }

    /// A write was taken.
    pub(super) fn writing_goes_on(&self) {
        if self.write_blocked.load(Relaxed) != 0 {
            self.write_blocked.store(0, Relaxed);
        }
    }

    /// All that was written is with the transport.
    pub(super) fn flushed(&self) {
        if self.unflushed.load(Relaxed) && self.in_flight.load(Relaxed) == 0 {
            self.unflushed.store(false, Relaxed);
            self.responded();
            self.wake_after_end();
        }
    }

    /// A part of a response is with the transport. A client that takes the last of them slowly is
    /// not idle.
    pub(super) fn responded(&self) {
        if self.in_flight.load(Relaxed) == 0 {
            self.idle_since.store(self.now(), Relaxed);
        }
    }

    /// The client ended its direction.
    pub(super) fn ended(&self) {
        if self.ended.load(Relaxed) == 0 {
            self.ended.store(self.now(), Relaxed);
        }
    }

    /// The guard goes on when no request is in flight any more: nothing of the transport tells it.
    pub(super) fn hold(&self) {
        self.held.store(true, Relaxed);
    }

    /// Whether requests are being answered, or the last answer is not with the transport yet.
    pub(super) fn busy(&self) -> bool {
        self.in_flight.load(Relaxed) > 0 || self.unflushed.load(Relaxed)
    }

    /// Requests in flight.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Whether the protocol was switched by an answer.
    pub(super) fn is_switched(&self) -> bool {
        self.switched.load(Relaxed)
    }

    /// A head was refused; [`REFUSED`] follows in its place.
    pub(super) fn refuse(&self, kind: Kind) {
        *lock(&self.refusal) = Some(kind);
        self.refused.store(true, Relaxed);
    }

    /// The client sends frames without end that ask for nothing.
    pub(super) fn flooded(&self) {
        self.flooded.store(true, Relaxed);
    }

    /// Takes what the driver decided.
    pub(super) fn action(&self) -> DeadlineAction {
        match self.action.load(Relaxed) {
            0 => DeadlineAction::None,
            1 => DeadlineAction::SlowHead,
            2 => DeadlineAction::Idle,
            _ => DeadlineAction::End,
        }
    }

    // === The service's side ===

    /// A request was taken up.
    pub(super) fn request_begins(&self) {
        self.in_flight
            .store(self.in_flight.load(Relaxed) + 1, Relaxed);
        self.unflushed.store(true, Relaxed);
        self.used.store(true, Relaxed);
    }

    /// Its answer was given whole, or never will be.
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

    /// Why the head was refused in whose place `request` came; `None` if it is a client's own.
    pub(super) fn refusal<B>(&self, request: &Request<B>) -> Option<Kind> {
        if !self.refused.load(Relaxed) || request.method().as_str() != REFUSED {
            return None;
        }
        *lock(&self.refusal)
    }

    /// An answer switches the protocol.
    pub(super) fn switch(&self) {
        self.switched.store(true, Relaxed);
    }

    /// Whether no request may follow.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    // === The driver's side ===

    /// Remembers the task of the connection.
    pub(super) fn set_waker(&self, waker: &Waker) {
        let mut known = lock(&self.waker);
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }

    /// Whether the connection was ended for its flood of frames.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(Relaxed)
    }

    /// From now on no request may follow the ones in flight.
    pub(super) fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.wake();
    }

    /// Lets what the guard does next follow from this.
    pub(super) fn decide(&self, action: DeadlineAction) {
        self.action.store(action as u8, Relaxed);
    }

    /// Withdraws a decision that was overtaken.
    pub(super) fn undecide(&self) {
        self.action.store(DeadlineAction::None as u8, Relaxed);
    }

    /// When something must happen next, and what; the earliest of all.
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
            // The client still takes the last response.
            Phase::Idle if blocked != 0 => {}
            // A request in flight has deadlines of its own. Behind it, a head or a body waits for
            // its turn.
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
        // A far deadline is looked at again in between: adding to an `Instant` must not overflow.
        first.map(|(at, action)| (self.born + Duration::from_millis(at.min(1 << 40)), action))
    }

    /// Once the client has ended, nothing of its transport wakes the connection: its own progress
    /// must.
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

/// A request in flight, to be begun as soon as its head is handed over (the server looks for the
/// end of the stream before it polls the service), until its answer was given whole or never will
/// be.
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
