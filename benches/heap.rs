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

    let bare = compiled(support::ingress);
    let annotated = compiled(support::ingress_of_nginx);
    let more = Heap {
        kept: annotated.kept - bare.kept,
        ..annotated
    };
    row("ten annotations on an Ingress, all told", more);
}

/// Counts what Ingresses and their hosts keep.
fn compiled(make: fn(usize) -> Arc<RawObject>) -> Heap {
    let mut index = support::index();
    for number in 0..OBJECTS {
        for make in [support::service, support::slice] {
            index.apply(Event::Apply(make(number)));
        }
    }

    let (output, heap) = support::count(|| {
        for number in 0..OBJECTS {
            index.apply(Event::Apply(make(number)));
        }
        index.compile()
    });
    assert!(output.findings.is_some_and(|findings| findings.is_empty()));
    heap
}

/// Prints the bytes that one object keeps on average.
fn row(title: &str, heap: Heap) {
    let bytes = heap.kept / OBJECTS as i64;
    println!("{title:<46} {bytes:>8}");
}
