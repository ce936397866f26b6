//! The time on a data-plane core. A request asks for it many times in a row, so the clock is read
//! once for several of them, and again after each sleep of the core.

use std::{cell::Cell, time::Instant};

use super::memory;

/// The number of answers that one reading gives: a core that never sleeps must not stop the clock.
const ANSWERS: u32 = 32;

thread_local! {
    /// The last reading, and the answers that it may still give. `None` on threads that do not say
    /// when they have slept.
    static READING: Cell<Option<(Instant, u32)>> = const { Cell::new(None) };
}

/// Notes that this thread has slept. The caller does so after every sleep.
pub(super) fn woke() {
    let now = Instant::now();
    READING.set(Some((now, ANSWERS)));
    memory::look(now);
}

/// Returns the time, precise to the work of a few requests.
pub(super) fn now() -> Instant {
    let Some((reading, left)) = READING.get() else {
        return Instant::now();
    };
    if left == 0 {
        woke();
        return now();
    }
    READING.set(Some((reading, left - 1)));
    reading
}

#[cfg(test)]
mod tests {
    use std::{thread, time::Duration};

    use super::*;

    const PAUSE: Duration = Duration::from_millis(2);

    #[test]
    fn a_reading_serves_until_the_next_sleep_and_not_for_ever() {
        woke();
        let first = now();
        thread::sleep(PAUSE);
        assert_eq!(now(), first);
        woke();
        assert!(now() >= first + PAUSE);

        let second = now();
        thread::sleep(PAUSE);
        for _ in 0..ANSWERS {
            now();
        }
        assert!(now() >= second + PAUSE);
        // Another test may run on this thread.
        READING.set(None);
    }

    #[test]
    fn a_thread_that_does_not_tell_its_sleeps_gets_the_exact_time() {
        let before = now();
        thread::sleep(PAUSE);
        assert!(now() >= before + PAUSE);
    }
}
