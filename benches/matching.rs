//! Matches requests against routing tables of different sizes.

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

mod support;

use std::{hint::black_box, time::Instant};

use gatelet::routing::RoutingTable;

/// The number of hosts of each table.
const SIZES: [usize; 3] = [10, 1_000, 10_000];
/// The number of requests to each table.
const REQUESTS: usize = 200_000;

fn main() {
    println!(
        "{:>8} {:>12} {:>12} {:>8}",
        "hosts", "allocations", "ns/request", "ratio"
    );
    let mut smallest = None;
    for hosts in SIZES {
        let mut index = support::index();
        for event in support::events(hosts) {
            index.apply(event);
        }
        let output = index.compile();
        let table = output.table.expect("the first compile makes a table");

        let names: Vec<String> = (0..hosts).map(support::host).collect();
        let (nanoseconds, heap) = support::count(|| run(&table, &names));
        let first = *smallest.get_or_insert(nanoseconds);
        let ratio = nanoseconds / first;
        let allocations = heap.allocations;
        println!("{hosts:>8} {allocations:>12} {nanoseconds:>12.0} {ratio:>8.2}");
    }
}

/// Sends the requests to all hosts in turn, and returns the nanoseconds for one.
fn run(table: &RoutingTable, names: &[String]) -> f64 {
    let began = Instant::now();
    for name in names.iter().cycle().take(REQUESTS) {
        let found = table.find(Some(black_box(name)), black_box("/api/v1/users/7"));
        assert!(black_box(found).is_some(), "every host has a route");
    }
    began.elapsed().as_secs_f64() * 1e9 / REQUESTS as f64
}
