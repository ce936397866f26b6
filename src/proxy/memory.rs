//! The memory budget of the process, and what a core does when little of it is left.
//!
//! The resident memory decides, because it is what the system counts, whatever it is spent on; what
//! waits in pipes, which the kernel keeps, is added to it. Each
//! core looks at it when it has work, so a process without work does not wake. Under pressure the
//! cores read less ahead. When next to nothing is left they take no further connection or request,
//! and end what waits and holds most: clients that do not read, uploads that pile up, idle
//! connections.

use std::{
    cell::{Cell, RefCell},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::util::memory::{Resident, Stalls};

/// The shortest time between two looks: much less than it takes to fill a quarter of a small budget
/// over a fast network.
const LOOK: Duration = Duration::from_millis(10);
/// The shortest time between two shares of what has to be given back. Memory that was freed is
/// returned to the system in between.
pub(super) const SHARE: Duration = Duration::from_millis(200);

/// The shortest time between two looks at the device.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// The percentage of the time for which tasks of the device wait for memory when that counts as
/// short, whatever is left of the budget: the system drops and reads pages of programs again and
/// again.
const STALLED: u8 = 10;

/// The least that is left of the budget when it counts as used up: what was let in before takes
/// more for a while.
const MARGIN: u64 = 6 << 20;

/// The memory that a response takes whose client does not read it, at least.
pub(super) const BLOCKED: usize = 16 * 1024;

/// The part of the budget that is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Usually less than three quarters, or there is no budget; and the device has enough.
    #[default]
    Low,
    /// More than that, or the device is short of memory.
    High,
    /// Usually at least seven eighths.
    Critical,
}

/// The memory budget, shared by all cores.
#[derive(Debug)]
pub struct Memory {
    /// Bytes; 0 for no limit.
    budget: AtomicU64,
    reader: Option<Resident>,
    stalls: Option<Stalls>,
    /// True if the device is short of memory, as of the last look.
    is_device_short: AtomicBool,
    /// Bytes, as of the last look.
    resident: AtomicU64,
    /// Bytes that the kernel keeps for the process, and that are known.
    outside: AtomicI64,
    born: Instant,
    /// The times of the last look and of the last share, in milliseconds since `born`.
    looked: AtomicU64,
    looked_around: AtomicU64,
    shared: AtomicU64,
    /// Bytes that still have to be given back.
    excess: AtomicI64,
    changes: watch::Sender<Pressure>,
    /// The number of what was refused or ended because of the budget.
    shed: AtomicU64,
}

thread_local! {
    /// The budget, on the threads of cores.
    static MEMORY: RefCell<Option<Arc<Memory>>> = const { RefCell::new(None) };
    /// The pressure as of the last look of this core.
    static PRESSURE: Cell<Pressure> = const { Cell::new(Pressure::Low) };
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            budget: AtomicU64::new(0),
            reader: Resident::open(),
            stalls: Stalls::open(),
            is_device_short: AtomicBool::new(false),
            resident: AtomicU64::new(0),
            outside: AtomicI64::new(0),
            born: Instant::now(),
            looked: AtomicU64::new(0),
            looked_around: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            excess: AtomicI64::new(0),
            changes: watch::Sender::default(),
            shed: AtomicU64::new(0),
        }
    }
}

impl Memory {
    /// Sets the budget in bytes; 0 for none.
    pub fn set_budget(&self, bytes: u64) {
        self.budget.store(bytes, Relaxed);
    }

    /// Returns the budget in bytes; 0 for none.
    pub fn budget(&self) -> u64 {
        self.budget.load(Relaxed)
    }

    /// Returns the resident memory in bytes, and what waits in pipes, as of the last look.
    pub fn resident(&self) -> u64 {
        self.resident.load(Relaxed)
    }

    /// Returns the bytes that wait in pipes.
    #[cfg(test)]
    pub(super) fn outside(&self) -> u64 {
        u64::try_from(self.outside.load(Relaxed)).unwrap_or(0)
    }

    /// Returns the number of what was refused or ended because of the budget.
    pub fn shed(&self) -> u64 {
        self.shed.load(Relaxed)
    }

    /// Changes with the pressure.
    pub fn changes(&self) -> watch::Receiver<Pressure> {
        self.changes.subscribe()
    }

    /// Returns the pressure `now`.
    pub fn pressure(&self, now: Instant) -> Pressure {
        let budget = self.budget();
        let now = u64::try_from((now - self.born).as_millis()).unwrap_or(u64::MAX);
        if is_due(&self.looked_around, now, LOOK_AROUND)
            && let Some(stalls) = &self.stalls
        {
            self.look_around(stalls);
        }
        if is_due(&self.looked, now, LOOK)
            && let Some(resident) = self.reader.as_ref().and_then(Resident::bytes)
        {
            let outside = u64::try_from(self.outside.load(Relaxed)).unwrap_or(0);
            self.note(resident + outside, budget, now);
        }
        *self.changes.borrow()
    }

    fn look_around(&self, stalls: &Stalls) {
        let is_short = stalls.percentage().is_some_and(|share| share >= STALLED);
        if self.is_device_short.swap(is_short, Relaxed) != is_short {
            tracing::info!(is_short, "the device is short of memory");
        }
    }

    fn note(&self, resident: u64, budget: u64, now: u64) {
        let grown = resident.saturating_sub(self.resident.swap(resident, Relaxed));
        let budget = if budget == 0 { u64::MAX } else { budget };
        let critical = budget.saturating_sub(MARGIN.max(budget / 8));
        let high = critical.saturating_sub(budget / 8);
        let pressure = match () {
            () if resident >= critical => Pressure::Critical,
            () if resident >= high || self.is_device_short.load(Relaxed) => Pressure::High,
            () => Pressure::Low,
        };
        // Memory that was freed since the last share may still count. Growth since then is real.
        let bytes = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
        if is_due(&self.shared, now, SHARE) {
            let excess = resident.saturating_sub(high);
            self.excess.store(bytes(excess), Relaxed);
        } else {
            self.excess.fetch_add(bytes(grown), Relaxed);
        }

        let has_changed = self.changes.send_if_modified(|before| {
            let is_other = *before != pressure;
            *before = pressure;
            is_other
        });
        if has_changed && pressure == Pressure::Critical {
            let (resident, budget) = (resident >> 20, budget >> 20);
            tracing::warn!(mib = resident, budget, "little memory is left");
        }
    }

    /// Takes a part of what has to be given back. Returns true if something that holds about this
    /// many bytes has to end now.
    fn sheds(&self, bytes: usize) -> bool {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let ends = self.excess.fetch_sub(bytes, Relaxed) > 0;
        if ends {
            self.shed.fetch_add(1, Relaxed);
        }
        ends
    }
}

/// Claims the next turn of something that at most one thread does per `interval`.
fn is_due(last: &AtomicU64, now: u64, interval: Duration) -> bool {
    let before = last.load(Relaxed);
    let interval = interval.as_millis() as u64;
    now >= before + interval && last.compare_exchange(before, now, Relaxed, Relaxed).is_ok()
}

/// Makes this thread obey the budget.
pub(super) fn enter(memory: Arc<Memory>) {
    MEMORY.set(Some(memory));
}

/// Updates the pressure as this core sees it. To be called whenever the core reads the clock.
pub(super) fn look(now: Instant) {
    MEMORY.with_borrow(|memory| {
        if let Some(memory) = memory {
            PRESSURE.set(memory.pressure(now));
        }
    });
}

/// Returns the pressure as of the last look of this core.
pub(super) fn pressure() -> Pressure {
    PRESSURE.get()
}

/// Returns true if nothing more can be taken on: the budget is all but used up.
pub(super) fn is_used_up() -> bool {
    let is_used_up = pressure() == Pressure::Critical;
    if is_used_up {
        with(|memory| memory.shed.fetch_add(1, Relaxed));
    }
    is_used_up
}

/// Returns true if something that holds about this many bytes, and waits, has to end now.
pub(super) fn sheds(bytes: usize) -> bool {
    pressure() == Pressure::Critical && with(|memory| memory.sheds(bytes)) == Some(true)
}

/// Counts bytes that wait in the kernel: so many `before`, and so many now.
pub(super) fn wait_outside(before: usize, bytes: usize) {
    let change = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
    let change = change(bytes) - change(before);
    with(|memory| memory.outside.fetch_add(change, Relaxed));
}

fn with<T>(f: impl FnOnce(&Memory) -> T) -> Option<T> {
    MEMORY.with_borrow(|memory| memory.as_deref().map(f))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn the_pressure_follows_the_resident_memory() {
        let memory = Memory::default();
        let changes = memory.changes();
        for (resident, pressure) in [
            (10, Pressure::Low),
            (47, Pressure::Low),
            (48, Pressure::High),
            (56, Pressure::Critical),
            (64, Pressure::Critical),
            (55, Pressure::High),
            (1, Pressure::Low),
        ] {
            memory.note(resident * MIB, 64 * MIB, 0);
            assert_eq!(*changes.borrow(), pressure, "{resident}");
        }
    }

    #[test]
    fn a_device_without_memory_counts_like_a_budget_that_ends() {
        let path = std::env::temp_dir().join(format!("device-{}", crate::util::stamp::uid()));
        let memory = Memory::default();
        for (share, budget, pressure) in [
            ("0.00", 64, Pressure::Low),
            ("9.99", 64, Pressure::Low),
            ("10.00", 64, Pressure::High),
            ("100.00", 0, Pressure::High),
            ("0.00", 0, Pressure::Low),
        ] {
            std::fs::write(&path, format!("some avg10={share} avg60=0.00\n")).expect("a file");
            memory.look_around(&Stalls::of(&path).expect("a file"));
            memory.note(10 * MIB, budget * MIB, 0);
            assert_eq!(*memory.changes().borrow(), pressure, "{share} {budget}");
        }
        std::fs::remove_file(&path).expect("a file");
    }

    #[test]
    fn a_small_budget_keeps_the_margin_too() {
        let memory = Memory::default();
        for (resident, pressure) in [
            (14, Pressure::Low),
            (15, Pressure::High),
            (18, Pressure::Critical),
        ] {
            memory.note(resident * MIB, 24 * MIB, 0);
            assert_eq!(*memory.changes().borrow(), pressure, "{resident}");
        }
    }

    #[test]
    fn as_much_is_shed_as_is_too_much() {
        let memory = Memory::default();
        memory.set_budget(MIB);
        let now = Instant::now() + LOOK + SHARE;
        assert_eq!(
            memory.pressure(now),
            Pressure::Critical,
            "a test takes more"
        );

        memory.excess.store(100, Relaxed);
        assert!(memory.sheds(60) && memory.sheds(60));
        assert!(!memory.sheds(60), "the rest may stay until the next look");
        assert_eq!(memory.shed(), 2);

        memory.set_budget(0);
        let now = now + LOOK;
        assert_eq!(memory.pressure(now), Pressure::Low, "there is no budget");
    }

    #[test]
    fn one_of_many_threads_looks() {
        let last = AtomicU64::new(0);
        assert!(!is_due(&last, 9, LOOK));
        assert!(is_due(&last, 10, LOOK));
        assert!(!is_due(&last, 10, LOOK));
        assert!(is_due(&last, 20, LOOK));
    }
}
