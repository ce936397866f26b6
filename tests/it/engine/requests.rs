//! How many requests an order costs: CAs limit them, and slow links feel each.

use std::time::Duration;

use super::bench::{Bench, End};
use crate::support::chaos::{Endpoint, Options};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Requests so far. Renewal information is read by the clock, not by the order.
fn requests(bench: &Bench) -> usize {
    bench
        .ca
        .log()
        .iter()
        .filter(|line| line.endpoint != Endpoint::RenewalInfo)
        .count()
}

#[test]
fn an_order_costs_few_requests() {
    let bench = Bench::new(Options {
        reuse: false,
        ..Options::default()
    });
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    let first = requests(&bench);
    bench.pass(DAY * 70);
    assert_eq!(bench.settle(HOUR), End::Live);
    let renewal = requests(&bench) - first;
    let three = Bench::new(Options {
        reuse: false,
        ..Options::default()
    });
    three.want(&["a.example", "b.example", "c.example"]);
    assert_eq!(three.settle(HOUR), End::Live);
    // Each is a fifth more than is needed where nothing goes wrong: 10, 7 and 16.
    assert!(first <= 12, "{first}: {:#?}", bench.ca.log());
    assert!(renewal <= 8, "{renewal}: {:#?}", bench.ca.log());
    assert!(requests(&three) <= 19, "{:#?}", three.ca.log());
}
