//! The number of requests of an order: CAs limit them, and each takes time on slow links.

use std::time::Duration;

use super::harness::{End, Harness};
use crate::support::chaos::{Endpoint, Options};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Returns the number of requests so far, without those for renewal information, which depend on
/// time.
fn requests(harness: &Harness) -> usize {
    harness
        .ca
        .log()
        .iter()
        .filter(|line| line.endpoint != Endpoint::RenewalInfo)
        .count()
}

#[test]
fn an_order_costs_few_requests() {
    let harness = Harness::new(Options {
        reuse: false,
        ..Options::default()
    });
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    let first = requests(&harness);
    harness.pass(DAY * 70);
    assert_eq!(harness.settle(HOUR), End::Live);
    let renewal = requests(&harness) - first;
    let three = Harness::new(Options {
        reuse: false,
        ..Options::default()
    });
    three.request(&["a.example", "b.example", "c.example"]);
    assert_eq!(three.settle(HOUR), End::Live);
    // Each limit is a fifth more than an order without faults needs: 10, 7 and 16.
    assert!(first <= 12, "{first}: {:#?}", harness.ca.log());
    assert!(renewal <= 8, "{renewal}: {:#?}", harness.ca.log());
    assert!(requests(&three) <= 19, "{:#?}", three.ca.log());
}
