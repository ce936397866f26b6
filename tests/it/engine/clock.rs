//! Clocks that are wrong, jump, and stand still.

use std::{sync::Arc, time::Duration};

use gatelet::acme::notice::NoticeReason;

use super::{
    bench::{Bench, End, PACE, Time, want},
    gate::Gate,
};
use crate::support::chaos::{ChaosCa, Door, Endpoint, Options};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const DAYS: i64 = 86_400;
const YEARS: i64 = 365 * DAYS;

/// A bench whose clock is wrong from the start.
fn wrong_by(seconds: i64) -> Bench {
    let time = Time::new();
    time.jump(seconds);
    Bench::on(ChaosCa::start(Options::default()), Gate::new(), time, PACE)
}

#[test]
fn a_boot_in_1970_orders_once_a_ca_says_the_time_and_goes_on_when_the_clock_is_set() {
    let mut bench = wrong_by(-56 * YEARS);
    bench.ca.set_door(Door::Refuses);
    bench.want(&["a.example"]);
    crate::support::eventually("it is told", || {
        bench.was_told(NoticeReason::ClockSuspect).then_some(())
    });
    assert_eq!(bench.report().state, "clock");
    assert!(bench.engine.clock_state().starts_with("unknown"));
    bench.ca.set_door(Door::Open);
    bench.until("it is there", || (bench.issued() == 1).then_some(()));
    assert_eq!(bench.settle(HOUR), End::Live);
    bench.time.jump(56 * YEARS);
    bench.until("it is trusted", || {
        (bench.engine.clock_state() == "trusted").then_some(())
    });
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.issued(), 1);
    bench.assert_good();
}

#[test]
fn ten_years_ahead_orders_nothing_until_a_ca_says_the_time_and_nothing_stays_of_it() {
    let mut bench = Bench::new(Options::default());
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    // The device is off, and its clock comes back wrong.
    bench.stop();
    bench.ca.set_door(Door::Refuses);
    bench.time.jump(10 * YEARS);
    bench.start_again();
    bench.want(&["a.example"]);
    bench.until("it is planned", || {
        (bench.reports().first()?.state == "clock").then_some(())
    });
    assert_eq!(
        bench.engine.served().borrow().certificates.len(),
        1,
        "it is served on any clock"
    );
    bench.ca.set_door(Door::Open);
    // The CA's own certificate has expired by the wall clock, and not by what is certain.
    assert_eq!(bench.settle(HOUR), End::Live);
    bench.time.jump(-10 * YEARS);
    bench.until("it is trusted", || {
        (bench.engine.clock_state() == "trusted").then_some(())
    });
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.issued(), 1);
    // Nothing of it is left: it is renewed when it is due.
    bench.pass(DAY * 70);
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.issued(), 2);
    bench.assert_good();
}

#[test]
fn failures_on_a_clock_that_ran_ahead_do_not_wait_for_its_time_to_come() {
    let bench = wrong_by(300 * DAYS);
    bench.ca.set_door(Door::Refuses);
    bench.want(&["a.example"]);
    bench.until("it has failed", || bench.reports().first()?.problem.clone());
    bench.time.jump(-300 * DAYS);
    bench.ca.set_door(Door::Open);
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.issued(), 1);
    bench.assert_good();
}

#[test]
fn steps_of_an_hour_change_nothing() {
    let bench = Bench::new(Options::default());
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    for hour in [1, -1, -1, 1, 1, 1, -1, -1] {
        bench.time.jump(hour * 3_600);
        bench.pass(HOUR);
        assert_eq!(bench.settle(HOUR), End::Live);
    }
    assert_eq!(bench.issued(), 1);
    bench.pass(DAY * 70);
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.issued(), 2);
    bench.assert_good();
}

#[test]
fn after_a_suspension_in_which_the_monotonic_clock_stood_still_what_became_due_is_renewed() {
    let bench = Bench::new(Options::default());
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    bench.until("a suggestion", || bench.report().suggestion);
    bench.look();
    let next: jiff::Timestamp = bench.report().next.unwrap().parse().unwrap();
    let wait = u64::try_from(next.as_second() - bench.time.reading().wall).unwrap();
    bench.pass(Duration::from_secs(wait) - DAY * 2);
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.issued(), 1);
    bench.time.jump(3 * DAYS);
    bench.ca.advance(DAY * 3);
    bench.until("a CA was asked, and it is renewed", || {
        (bench.issued() == 2).then_some(())
    });
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.engine.clock_state(), "trusted");
    bench.assert_good();
}

#[test]
fn one_wrong_date_of_a_ca_moves_nothing() {
    use crate::support::chaos::{Action, Fault};
    for years in [-10, 10] {
        let offset = vec![Fault::once(
            Endpoint::NewOrder,
            Action::DateOffset(years * YEARS),
        )];
        let bench = Bench::with(Options::default(), offset);
        bench.want(&["a.example"]);
        assert_eq!(bench.settle(HOUR), End::Live);
        assert_eq!(bench.engine.clock_state(), "trusted", "{years}");
        bench.pass(DAY * 70);
        assert_eq!(bench.settle(HOUR), End::Live);
        assert_eq!(bench.issued(), 2);
        bench.assert_good();
    }
}

#[test]
fn fifty_names_after_four_months_off_are_renewed_one_by_one() {
    let (ca, store, time) = (
        Arc::new(ChaosCa::start(Options::default())),
        Gate::new(),
        Time::new(),
    );
    let mut bench = Bench::on(ca, store, time, PACE);
    let issuer = bench.issuer(|_| {});
    let wants: Vec<_> = (0..50)
        .map(|n| want(&[&format!("n{n}.example")], std::slice::from_ref(&issuer)))
        .collect();
    bench.engine.want(wants.into());
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.issued(), 50);
    let log = bench.ca.log().len();
    bench.pass(DAY * 120);
    bench.crash();
    assert_eq!(
        bench.engine.served().borrow().certificates.len(),
        50,
        "expired ones are served"
    );
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.issued(), 100);
    let mut open: Option<Vec<String>> = None;
    for line in &bench.ca.log()[log..] {
        match (line.endpoint, &open) {
            (Endpoint::NewOrder, Some(names)) => {
                panic!("{names:?} was on its way when {:?} began", line.names)
            }
            (Endpoint::NewOrder, None) => open = Some(line.names.clone()),
            (Endpoint::Certificate, _) => open = None,
            _ => {}
        }
    }
    assert_eq!(bench.calls(Endpoint::NewAccount), 1);
    bench.assert_good();
}
