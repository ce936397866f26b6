//! Matches requests against routing tables with many hosts, and against hosts with many paths.

#![allow(clippy::print_stdout, reason = "a bench prints its results")]

mod support;

use std::{hint::black_box, sync::Arc, time::Instant};

use gatelet::routing::{
    HostPattern, HostRoutes, Origin, PathMatch, PlainGet, Refusal, Route, RoutingTable,
};

/// The number of hosts of each table.
const HOSTS: [usize; 3] = [10, 1_000, 10_000];
/// The number of paths of each host.
const PATHS: [usize; 3] = [1, 30, 1_000];
/// The number of requests to each table.
const REQUESTS: usize = 200_000;

fn main() {
    compare("hosts", HOSTS, |hosts| {
        let mut index = support::index();
        for event in support::events(hosts) {
            index.apply(event);
        }
        let output = index.compile();
        let table = output.table.expect("the first compile makes a table");
        let host = |n| (support::host(n), "/api/v1/users/7".to_owned());
        (table, (0..hosts).map(host).collect())
    });
    compare("paths", PATHS, |paths| {
        let path = |n: usize| format!("/api/v1/service-{n}");
        let rules = (0..paths).map(|n| (PathMatch::Prefix(path(n).into()), route(n)));
        let pattern = HostPattern::parse("a.example").expect("a host");
        let (routes, _) = HostRoutes::new(pattern, rules, None);

        let mut table = RoutingTable::default();
        table.set(Arc::new(routes));
        let request = |n| ("a.example".to_owned(), format!("{}/users/7", path(n)));
        (Arc::new(table), (0..paths).map(request).collect())
    });
}

fn route(number: usize) -> Arc<Route> {
    let origin = Origin {
        namespace: "default".into(),
        name: "app".into(),
        field: number.to_string().into(),
        requests: None,
        priority: None,
    };
    Arc::new(Route::refused(origin, Refusal::UnknownService))
}

/// Prints what a lookup costs in tables of these sizes, each made with requests that match.
fn compare(
    what: &str,
    sizes: [usize; 3],
    table: impl Fn(usize) -> (Arc<RoutingTable>, Vec<(String, String)>),
) {
    println!(
        "{what:>8} {:>12} {:>12} {:>8}",
        "allocations", "ns/request", "ratio"
    );
    let mut smallest = None;
    for size in sizes {
        let (table, requests) = table(size);
        let (nanoseconds, heap) = support::count(|| run(&table, &requests));
        let first = *smallest.get_or_insert(nanoseconds);
        let ratio = nanoseconds / first;
        let allocations = heap.allocations;
        println!("{size:>8} {allocations:>12} {nanoseconds:>12.0} {ratio:>8.2}");
    }
}

/// Sends the requests in turn, and returns the nanoseconds for one.
fn run(table: &RoutingTable, requests: &[(String, String)]) -> f64 {
    let began = Instant::now();
    for (host, path) in requests.iter().cycle().take(REQUESTS) {
        let found = table.find(Some(black_box(host)), black_box(path), &PlainGet::default());
        assert!(black_box(found).is_some(), "every request has a route");
    }
    began.elapsed().as_secs_f64() * 1e9 / REQUESTS as f64
}
