//! Clocks that are wrong, that jump, and that stand still.

use std::{sync::Arc, time::Duration};

use gatelet::acme::engine::notice::NoticeReason;

use super::{
    failpoint_store::Gate,
    harness::{End, Harness, TIMING, Time, spec},
};
use crate::support::chaos::{ChaosCa, Door, Endpoint, Options};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const DAYS: i64 = 86_400;
const YEARS: i64 = 365 * DAYS;

/// A harness whose clock is wrong from the start.
fn wrong_by(seconds: i64) -> Harness {
    let time = Time::new();
    time.jump(seconds);
    Harness::on(
        ChaosCa::start(Options::default()),
        Gate::new(),
        time,
        TIMING,
    )
}

#[test]
fn a_boot_in_1970_orders_once_a_ca_confirms_the_time() {
    let mut harness = wrong_by(-56 * YEARS);
    harness.ca.set_door(Door::Refuses);
    harness.request(&["a.example"]);
    crate::support::eventually("the notice", || {
        harness
            .was_notified(NoticeReason::ClockSuspect)
            .then_some(())
    });
    assert_eq!(harness.report().state, "clock");
    assert!(harness.engine.clock_state().starts_with("unknown"));
    harness.ca.set_door(Door::Open);
    harness.until("it is there", || (harness.issued() == 1).then_some(()));
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.time.jump(56 * YEARS);
    harness.until("it is trusted", || {
        (harness.engine.clock_state() == "trusted").then_some(())
    });
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 1);
    harness.assert_good();
}

#[test]
fn a_clock_ten_years_ahead_waits_for_a_cas_time() {
    let mut harness = Harness::new(Options::default());
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    // The device is switched off and starts with a wrong clock.
    harness.stop();
    harness.ca.set_door(Door::Refuses);
    harness.time.jump(10 * YEARS);
    harness.start_again();
    harness.request(&["a.example"]);
    harness.until("it is planned", || {
        (harness.reports().first()?.state == "clock").then_some(())
    });
    assert_eq!(
        harness.engine.active().borrow().certificates.len(),
        1,
        "it is served on any clock"
    );
    harness.ca.set_door(Door::Open);
    // The CA's own certificate has expired by the wall clock, but not by the certain time.
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.time.jump(-10 * YEARS);
    harness.until("it is trusted", || {
        (harness.engine.clock_state() == "trusted").then_some(())
    });
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 1);
    // The wrong time leaves no trace: the certificate is renewed when it is due.
    harness.pass(DAY * 70);
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 2);
    harness.assert_good();
}

#[test]
fn failures_in_the_future_do_not_delay_attempts() {
    let harness = wrong_by(300 * DAYS);
    harness.ca.set_door(Door::Refuses);
    harness.request(&["a.example"]);
    harness.until("it has failed", || {
        harness.reports().first()?.problem.clone()
    });
    harness.time.jump(-300 * DAYS);
    harness.ca.set_door(Door::Open);
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 1);
    harness.assert_good();
}

#[test]
fn steps_of_an_hour_change_nothing() {
    let harness = Harness::new(Options::default());
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    for hour in [1, -1, -1, 1, 1, 1, -1, -1] {
        harness.time.jump(hour * 3_600);
        harness.pass(HOUR);
        assert_eq!(harness.settle(HOUR), End::Live);
    }
    assert_eq!(harness.issued(), 1);
    harness.pass(DAY * 70);
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 2);
    harness.assert_good();
}

#[test]
fn certificates_that_became_due_during_a_suspend_are_renewed() {
    let harness = Harness::new(Options::default());
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.until("a suggestion", || harness.report().suggestion);
    harness.look();
    let next = harness.report().next.unwrap();
    let wait = next.saturating_since(harness.time.reading().wall);
    harness.pass(wait - DAY * 2);
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 1);
    harness.time.jump(3 * DAYS);
    harness.ca.advance(DAY * 3);
    harness.until("a CA was asked, and it is renewed", || {
        (harness.issued() == 2).then_some(())
    });
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.engine.clock_state(), "trusted");
    harness.assert_good();
}

#[test]
fn one_wrong_date_of_a_ca_changes_nothing() {
    use crate::support::chaos::{Action, Fault};
    for years in [-10, 10] {
        let offset = vec![Fault::once(
            Endpoint::NewOrder,
            Action::DateOffset(years * YEARS),
        )];
        let harness = Harness::with(Options::default(), offset);
        harness.request(&["a.example"]);
        assert_eq!(harness.settle(HOUR), End::Live);
        assert_eq!(harness.engine.clock_state(), "trusted", "{years}");
        harness.pass(DAY * 70);
        assert_eq!(harness.settle(HOUR), End::Live);
        assert_eq!(harness.issued(), 2);
        harness.assert_good();
    }
}

#[test]
fn fifty_names_after_four_months_off_are_renewed_a_few_at_once() {
    let (ca, store, time) = (
        Arc::new(ChaosCa::start(Options::default())),
        Gate::new(),
        Time::new(),
    );
    let mut harness = Harness::on(ca, store, time, TIMING);
    let issuer = harness.issuer(|_| {});
    let specs: Vec<_> = (0..50)
        .map(|n| spec(&[&format!("n{n}.example")], std::slice::from_ref(&issuer)))
        .collect();
    harness.engine.set_specs(specs.into());
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 50);
    let log = harness.ca.log().len();
    harness.pass(DAY * 120);
    harness.crash();
    assert_eq!(
        harness.engine.active().borrow().certificates.len(),
        50,
        "expired ones are served"
    );
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 100);
    let mut open = 0;
    for line in &harness.ca.log()[log..] {
        match line.endpoint {
            Endpoint::NewOrder => open += 1,
            Endpoint::Certificate => open -= 1,
            _ => {}
        }
        assert!(open <= 4, "{:?}", line.names);
    }
    assert_eq!(harness.calls(Endpoint::NewAccount), 1);
    harness.assert_good();
}
