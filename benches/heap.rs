//! Counts the bytes that one more object keeps on the heap.

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

mod support;

use std::sync::Arc;

use gatelet::objects::{Event, RawObject};

use support::Heap;

/// The number of objects of each kind.
const OBJECTS: usize = 1_000;

fn main() {
    println!("{:<46} {:>8}", "", "bytes");
    let kinds: [(&str, fn(usize) -> Arc<RawObject>); 3] = [
        ("Ingress", support::ingress),
        ("Service", support::service),
        ("EndpointSlice", support::slice),
    ];

    // The mini cluster keeps objects as they come; a real cluster's are dropped after `apply`.
    for (kind, make) in kinds {
        let (objects, heap) = support::count(|| (0..OBJECTS).map(make).collect::<Vec<_>>());
        let body: usize = objects.iter().map(|object| object.body.len()).sum();
        let title = format!("{kind} as stored, body of {} bytes", body / OBJECTS);
        row(&title, heap);
    }

    let mut index = support::index();
    for (kind, make) in kinds {
        let ((), heap) = support::count(|| {
            for number in 0..OBJECTS {
                index.apply(Event::Apply(make(number)));
            }
        });
        row(&format!("{kind} in the compiler"), heap);
    }

    let (output, heap) = support::count(|| index.compile());
    row("host in the routing table, with its backend", heap);
    drop(output);
}

/// Prints the bytes that one object keeps on average.
fn row(title: &str, heap: Heap) {
    let bytes = heap.kept / OBJECTS as i64;
    println!("{title:<46} {bytes:>8}");
}
