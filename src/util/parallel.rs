//! Work on many values at once, on as many cores as there are for it.

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, Scope},
};

use super::{memory, sync::lock};

/// The most threads that work on the same values, with that of the caller.
const MOST: usize = 4;
/// Number of values that a thread takes at a time. A thread costs as much as decoding some of them.
const PART: usize = 32;
/// The most threads that are started in place of one.
const ATTEMPTS: usize = 3;

/// Returns what `of` makes of each value, in the order of the values. Threads of its own help the
/// caller's where there are enough values; it does alone what no thread can be started for.
pub fn map<T: Sync, R: Send>(values: &[T], of: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let helpers = helpers(values.len());
    if helpers == 0 {
        return values.iter().map(of).collect();
    }

    // Each takes the next part: a thread that starts late, or on a busy core, takes fewer.
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Vec<R>)>> = Mutex::default();
    let work = || {
        loop {
            let start = next.fetch_add(PART, Relaxed);
            let Some(rest) = values.get(start..).filter(|rest| !rest.is_empty()) else {
                return;
            };
            let part = rest[..rest.len().min(PART)].iter().map(&of).collect();
            lock(&done).push((start, part));
        }
    };
    with_helpers(helpers, &work, work);

    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(start, _part)| *start);
    let mut all = Vec::with_capacity(values.len());
    all.extend(done.into_iter().flat_map(|(_start, part)| part));
    all
}

/// Returns the result of `work`. Beside it, threads of their own prepare the values, from the last
/// to the first: where there are enough values, and while `work` runs. It cannot rely on that.
pub fn beside<T: Sync, R>(
    values: &[T],
    prepare: impl Fn(&T) + Sync,
    work: impl FnOnce() -> R,
) -> R {
    let helpers = helpers(values.len());
    if helpers == 0 {
        return work();
    }

    let next = AtomicUsize::new(0);
    let help = || {
        while let Some(value) = values.iter().rev().nth(next.fetch_add(1, Relaxed)) {
            prepare(value);
        }
    };
    with_helpers(helpers, &help, || {
        let result = work();
        next.store(values.len(), Relaxed);
        result
    })
}

/// Returns the results of both. A thread of its own computes the first, if one can be started.
pub fn both<A: Send, B>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    let one = Mutex::new(Some(one));
    let result: Mutex<Option<A>> = Mutex::new(None);
    let help = || {
        let one = lock(&one).take();
        if let Some(one) = one {
            let done = one();
            *lock(&result) = Some(done);
        }
    };

    let other = with_helpers(1, &help, other);
    // No thread has done it.
    help();
    let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
    (result.expect("it is computed once"), other)
}

/// Runs `work`, and `help` on threads of their own beside it; on fewer if not all can be started.
/// Returns when all have ended.
fn with_helpers<R>(count: usize, help: &(impl Fn() + Sync), work: impl FnOnce() -> R) -> R {
    let heaps = Mutex::new(Vec::from_iter(memory::heap()));
    thread::scope(|scope| {
        for _ in 0..count {
            start(scope, &heaps, help, ATTEMPTS);
        }
        work()
    })
}

/// Starts a thread that helps.
///
/// The allocator lets threads share heaps, in turn. Two that work on the same values wait for each
/// other at nearly every allocation if they have the same heap: then another one is started in
/// place of the latter.
fn start<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    heaps: &'scope Mutex<Vec<usize>>,
    help: &'scope (impl Fn() + Sync),
    attempts: usize,
) {
    let run = move || {
        let is_taken = memory::heap().is_some_and(|heap| {
            let mut heaps = lock(heaps);
            let is_taken = heaps.contains(&heap);
            heaps.push(heap);
            is_taken
        });
        match attempts.checked_sub(1).filter(|_| is_taken) {
            Some(attempts) => start(scope, heaps, help, attempts),
            None => help(),
        }
    };
    let thread = thread::Builder::new().name("helper".to_owned());
    // The caller does the work if it fails.
    let _started = thread.spawn_scoped(scope, run);
}

/// Returns the number of threads that are worth their start.
fn helpers(values: usize) -> usize {
    let parts = values / PART;
    if parts < 2 {
        return 0;
    }
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    cores.min(MOST).min(parts) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_values() {
        for count in [0, 1, PART - 1, PART, 2 * PART, 100 * PART + 1] {
            let values: Vec<usize> = (0..count).collect();
            let expected: Vec<usize> = (0..count).map(|value| value * 2).collect();
            assert_eq!(map(&values, |value| value * 2), expected);
        }
    }

    #[test]
    fn work_goes_on_beside_the_preparation() {
        let values: Vec<usize> = (0..3 * PART).collect();
        let prepared = AtomicUsize::new(0);
        let prepare = |value: &usize| {
            prepared.fetch_add(*value, Relaxed);
        };
        assert_eq!(beside(&values, prepare, || values.len()), values.len());
        assert!(prepared.into_inner() <= values.iter().sum());
        assert_eq!(beside(&values[..1], |_| panic!("no thread"), || 1), 1);
    }

    #[test]
    fn both_results_are_there() {
        let (one, other) = (vec![1], vec![2]);
        assert_eq!(both(|| one, || other), (vec![1], vec![2]));
    }

    #[test]
    fn few_values_start_no_thread() {
        assert_eq!((helpers(0), helpers(2 * PART - 1)), (0, 0));
        assert!(helpers(1_000_000) < MOST);
    }
}
