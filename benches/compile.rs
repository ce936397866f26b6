//! Compiles 1,000 Ingresses, and an edit of one of them.

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

mod support;

use std::{hint::black_box, time::Instant};

use gatelet::{controller::Index, objects::Event};

use support::Heap;

/// The number of Ingresses, each with a Service and an EndpointSlice of its own.
const INGRESSES: usize = 1_000;
/// The number of edits, of which the average is printed.
const EDITS: usize = 100;

fn main() {
    let events = support::events(INGRESSES);
    let mut index = support::index();
    let (full, full_heap) = timed(|| {
        for event in events {
            index.apply(event);
        }
        black_box(index.compile());
    });

    // An edit deletes an Ingress and applies it again, as two compiles.
    let (edits, edits_heap) = timed(|| {
        for number in 0..EDITS {
            edit(&mut index, number);
        }
    });

    println!("{:<26} {:>12} {:>12} {:>10}", "", "allocations", "KB", "ms");
    row("all Ingresses", full_heap, full, 1);
    row("one of them edited", edits_heap, edits, 2 * EDITS);
    let ratio = full / (edits / (2 * EDITS) as f64);
    println!("all Ingresses take {ratio:.0} times as long as an edit");
}

fn edit(index: &mut Index, number: usize) {
    let ingress = support::ingress(number);
    for event in [Event::Delete(ingress.key.clone()), Event::Apply(ingress)] {
        index.apply(event);
        black_box(index.compile());
    }
}

/// Returns the milliseconds and the use of the heap of `work`.
fn timed(work: impl FnOnce()) -> (f64, Heap) {
    let began = Instant::now();
    let ((), heap) = support::count(work);
    (began.elapsed().as_secs_f64() * 1e3, heap)
}

fn row(title: &str, heap: Heap, milliseconds: f64, times: usize) {
    let allocations = heap.allocations / times as u64;
    let kilobytes = heap.allocated as f64 / 1e3 / times as f64;
    let milliseconds = milliseconds / times as f64;
    println!("{title:<26} {allocations:>12} {kilobytes:>12.1} {milliseconds:>10.3}");
}
