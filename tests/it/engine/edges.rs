//! More events in the middle of an order, caused by CAs, disks and operators.

use std::{sync::Arc, time::Duration};

use gatelet::acme::{Timing, ca::jws::ExternalAccount, engine::notice::NoticeReason};

use super::{
    failpoint_store::Gate,
    harness::{End, Harness, TIMING, Time, issuer, spec},
};
use crate::support::{
    chaos::{Action, Ari, ChaosCa, Door, Endpoint, Fault, Options, Problem, Profile, RetryAfter},
    eventually,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

const ORDER_CALLS: [Endpoint; 6] = [
    Endpoint::NewOrder,
    Endpoint::Authz,
    Endpoint::Challenge,
    Endpoint::Order,
    Endpoint::Finalize,
    Endpoint::Certificate,
];

fn live(options: Options) -> Harness {
    let harness = Harness::new(options);
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness
}

#[test]
fn a_directory_with_other_urls_is_read_again() {
    let harness = live(Options::default());
    harness.ca.set_faults(vec![Fault::once(
        Endpoint::RenewalInfo,
        Action::DirectoryMoved,
    )]);
    harness.until("it has moved", || {
        harness.ca.faults_left().is_empty().then_some(())
    });
    harness.pass(DAY * 70);
    assert_eq!(harness.settle(HOUR), End::Live, "{:#?}", harness.ca.log());
    assert_eq!(harness.issued(), 2);
    harness.assert_good();
}

#[test]
fn connections_that_the_ca_closes_are_reopened() {
    let harness = Harness::with(
        Options::default(),
        vec![Fault::always(Endpoint::Any, Action::GoAway)],
    );
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(Duration::from_secs(1)), End::Live);
    harness.assert_good();
}

#[test]
fn a_hanging_ca_is_retried() {
    let timing = Timing {
        answer: Duration::from_millis(1_500),
        ..TIMING
    };
    for endpoint in ORDER_CALLS.into_iter().chain([
        Endpoint::Directory,
        Endpoint::NewNonce,
        Endpoint::NewAccount,
    ]) {
        let ca = ChaosCa::start(Options::default());
        ca.set_faults(vec![Fault::once(endpoint, Action::Delay(DAY))]);
        let harness = Harness::on(ca, Gate::new(), Time::new(), timing);
        harness.request(&["a.example"]);
        assert_eq!(
            harness.settle(HOUR),
            End::Live,
            "{endpoint:?}: {:#?}",
            harness.ca.log()
        );
        assert_eq!(harness.issued(), 1, "{endpoint:?}");
        assert_eq!(harness.ca.faults_left(), [], "{endpoint:?}");
        harness.assert_good();
    }
}

#[test]
fn a_ca_that_pauses_mid_order_finishes_the_same_order() {
    let timing = Timing {
        answer: Duration::from_millis(1_500),
        ..TIMING
    };
    let ca = ChaosCa::start(Options::default());
    ca.set_faults(vec![Fault::once(
        Endpoint::Authz,
        Action::Delay(Duration::from_millis(300)),
    )]);
    let harness = Harness::on(ca, Gate::new(), Time::new(), timing);
    harness.request(&["a.example"]);
    harness.until("an order is open", || {
        (harness.calls(Endpoint::NewOrder) == 1).then_some(())
    });
    harness.ca.set_door(Door::Silent);
    harness.until("it is noticed", || {
        harness.reports().first()?.problem.clone()
    });
    harness.ca.set_door(Door::Open);
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!((harness.issued(), harness.ca.orders().len()), (1, 1));
    harness.assert_good();
}

#[test]
fn an_expired_order_is_replaced() {
    for endpoint in [Endpoint::Authz, Endpoint::Challenge, Endpoint::Finalize] {
        let mut harness = Harness::with(
            Options::default(),
            vec![Fault::once(endpoint, Action::Delay(DAY))],
        );
        harness.request(&["a.example"]);
        harness.call_comes();
        harness.stop();
        harness.ca.set_faults(Vec::new());
        harness.pass(DAY * 8);
        harness.start_again();
        harness.request(&["a.example"]);
        assert_eq!(harness.settle(HOUR), End::Live, "{endpoint:?}");
        assert_eq!(harness.issued(), 1);
        harness.assert_good();
    }
}

#[test]
fn an_order_that_is_invalid_at_any_stage_is_replaced() {
    for endpoint in [
        Endpoint::NewOrder,
        Endpoint::Challenge,
        Endpoint::Order,
        Endpoint::Finalize,
    ] {
        let invalid = Problem::new("serverInternal", "broken");
        let harness = Harness::with(
            Options::default(),
            vec![Fault::once(endpoint, Action::OrderInvalid(invalid))],
        );
        harness.request(&["a.example"]);
        assert_eq!(
            harness.settle(HOUR * 3),
            End::Live,
            "{endpoint:?}: {:#?}",
            harness.ca.log()
        );
        assert_eq!(harness.ca.faults_left(), [], "{endpoint:?}");
        assert_eq!(harness.issued(), 1);
        harness.assert_good();
    }
}

#[test]
fn a_long_retry_after_keeps_the_order() {
    let harness = Harness::with(
        Options::default(),
        vec![
            Fault::once(Endpoint::Finalize, Action::Stall(2)),
            Fault::once(
                Endpoint::Finalize,
                Action::RetryAfter(RetryAfter::Seconds(4_000)),
            ),
        ],
    );
    harness.request(&["a.example"]);
    harness.until("it waits", || {
        let next = harness.reports().first()?.next?;
        (next - harness.time.reading().wall >= 3_900).then_some(())
    });
    assert_eq!(harness.settle(HOUR * 2), End::Live);
    assert_eq!((harness.issued(), harness.ca.orders().len()), (1, 1));
    harness.assert_good();
}

#[test]
fn a_wrong_external_account_blocks_until_it_changes() {
    let options = Options {
        eab: vec![("kid-1".to_owned(), vec![7; 32])],
        ..Options::default()
    };
    let harness = Harness::new(options);
    let with = |key: &str| {
        let eab = ExternalAccount::new("kid-1", key).unwrap();
        spec(
            &["a.example"],
            &[harness.issuer(|acme| acme.eab = Some(eab))],
        )
    };
    harness
        .engine
        .set_specs([with("d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmc")].into());
    let end = harness.settle(DAY * 3);
    assert!(
        matches!(&end, End::Blocked(why) if why.contains("eab")),
        "{end:?}"
    );
    // A look-up by the key before the binding is sent, and one after it was refused.
    assert_eq!(harness.calls(Endpoint::NewAccount), 3);
    // 32 bytes with the value 7.
    harness
        .engine
        .set_specs([with("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc")].into());
    harness.until("it is looked at again", || {
        (harness.reports().first()?.state != "blocked").then_some(())
    });
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.assert_good();
}

#[test]
fn new_terms_of_service_are_agreed_to_by_renewing() {
    let harness = live(Options::default());
    harness
        .ca
        .set_faults(vec![Fault::once(Endpoint::NewOrder, Action::TosChanged)]);
    harness.pass(DAY * 70);
    let end = harness.settle(DAY);
    assert!(
        matches!(&end, End::Blocked(why) if why.contains("terms of service")),
        "{end:?}"
    );
    assert_eq!(harness.engine.active().borrow().certificates.len(), 1);
    harness.block_on(harness.engine.renew("a.example")).unwrap();
    harness.until("it is renewed", || (harness.issued() == 2).then_some(()));
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.assert_good();
}

#[test]
fn an_earlier_renewal_is_announced_with_its_page() {
    let mut harness = live(Options::default());
    let before = harness.until("a suggestion", || harness.report().suggestion);
    harness.ca.set_faults(vec![Fault::always(
        Endpoint::RenewalInfo,
        Action::Ari(Ari::Moved),
    )]);
    let now = harness.until("another one", || {
        harness
            .report()
            .suggestion
            .filter(|now| now.chosen != before.chosen)
    });
    assert!(
        now.chosen < before.chosen && now.explanation.is_some(),
        "{now:?}"
    );
    eventually("the notice", || {
        harness
            .was_notified(NoticeReason::RenewalMoved)
            .then_some(())
    });
    // After that the loop plans again.
    harness.until("it is planned", || {
        (harness.report().next == Some(now.chosen)).then_some(())
    });
    harness.assert_good();
}

#[test]
fn a_full_disk_at_any_write_costs_no_second_certificate() {
    for commit in 1..=5 {
        for length in [1, 8] {
            let gate = Gate::new();
            gate.fails(commit..commit + length);
            let harness = Harness::on(
                ChaosCa::start(Options::default()),
                gate.clone(),
                Time::new(),
                TIMING,
            );
            harness.request(&["a.example"]);
            assert_eq!(harness.settle(DAY), End::Live, "write {commit}");
            assert!(gate.commits() >= commit + length - 1);
            assert_eq!(harness.issued(), 1, "write {commit}, {length} times");
            harness.assert_good();
        }
    }
}

#[test]
fn a_disk_that_rejects_writes_serves_but_orders_nothing() {
    let gate = Gate::new();
    let harness = Harness::on(
        ChaosCa::start(Options::default()),
        gate.clone(),
        Time::new(),
        TIMING,
    );
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    let commits = gate.commits();
    gate.fails(commits + 1..usize::MAX);
    harness.pass(DAY * 70);
    let orders = harness.calls(Endpoint::NewOrder);
    let end = harness.settle(HOUR * 10);
    assert!(
        matches!(&end, End::Waiting(why) if why.contains("until the store works again")),
        "{end:?}"
    );
    assert_eq!(harness.calls(Endpoint::NewOrder), orders);
    assert_eq!(harness.engine.active().borrow().certificates.len(), 1);
    gate.fails(0..0);
    assert_eq!(harness.settle(HOUR * 2), End::Live);
    assert_eq!(harness.issued(), 2);
    // From the start.
    let gate = Gate::new();
    gate.fails(1..usize::MAX);
    let harness = Harness::on(
        ChaosCa::start(Options::default()),
        gate,
        Time::new(),
        TIMING,
    );
    harness.request(&["a.example"]);
    assert!(matches!(harness.settle(HOUR * 10), End::Waiting(_)));
    assert_eq!(harness.ca.log().len(), 0);
}

#[test]
fn two_leaders_cost_one_certificate_more() {
    let (ca, time) = (Arc::new(ChaosCa::start(Options::default())), Time::new());
    let one = Harness::on(ca.clone(), Gate::new(), time.clone(), TIMING);
    let two = Harness::on(ca, Gate::new(), time, TIMING);
    one.request(&["a.example"]);
    two.request(&["a.example"]);
    assert_eq!((one.settle(HOUR), two.settle(HOUR)), (End::Live, End::Live));
    assert_eq!(one.issued(), 2);
    one.assert_good();
    two.assert_good();
}

#[test]
fn a_new_issuer_waits_until_the_first_order_is_abandoned() {
    let second = ChaosCa::start(Options::default());
    let harness = Harness::with(
        Options::default(),
        vec![Fault::always(
            Endpoint::Authz,
            Action::Delay(Duration::from_millis(500)),
        )],
    );
    harness.request(&["a.example"]);
    harness.until("an order is open", || {
        (harness.calls(Endpoint::NewOrder) == 1).then_some(())
    });
    harness
        .engine
        .set_specs([spec(&["a.example"], &[issuer("second", &second, |_| {})])].into());
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!((harness.issued(), second.issued().len()), (0, 1));
    let let_go = harness.ca.log().len();
    assert_eq!(harness.report().issuer, "second");
    assert_eq!(harness.report().order, None);
    assert_eq!(harness.ca.log().len(), let_go);
    harness.assert_good();
}

#[test]
fn a_stop_in_any_state_is_immediate() {
    for endpoint in ORDER_CALLS.into_iter().chain([
        Endpoint::Directory,
        Endpoint::NewNonce,
        Endpoint::NewAccount,
    ]) {
        let mut harness = Harness::with(
            Options::default(),
            vec![Fault::once(endpoint, Action::Delay(DAY))],
        );
        harness.request(&["a.example"]);
        harness.call_comes();
        // It returns, though the CA does not respond for a day.
        harness.stop();
    }
}

#[test]
fn a_restart_writes_nothing_before_the_specs_are_known() {
    let gate = Gate::new();
    let mut harness = Harness::on(
        ChaosCa::start(Options::default()),
        gate.clone(),
        Time::new(),
        TIMING,
    );
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.until("a suggestion", || harness.report().suggestion);
    // It is reported before it is stored.
    let commits = harness.until("all is stored", || {
        let before = gate.commits();
        std::thread::sleep(Duration::from_millis(200));
        (gate.commits() == before).then_some(before)
    });
    harness.stop();
    harness.start_again();
    std::thread::sleep(Duration::from_millis(300));
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    // An idle day: the CA's renewal window does not change.
    let asked = harness.calls(Endpoint::RenewalInfo);
    for _hour in 0..24 {
        harness.pass(HOUR);
        std::thread::sleep(Duration::from_millis(30));
    }
    harness.until("it was asked", || {
        (harness.calls(Endpoint::RenewalInfo) > asked + 1).then_some(())
    });
    assert_eq!(gate.commits(), commits);
    harness.assert_good();
}

#[test]
fn an_external_account_is_bound_only_to_a_new_account() {
    // The CA accepts each binding once.
    let options = Options {
        eab: vec![("kid-1".to_owned(), vec![7; 32])],
        eab_once: true,
        ..Options::default()
    };
    let harness = Harness::new(options);
    let eab = ExternalAccount::new("kid-1", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc").unwrap();
    harness.engine.set_specs(
        [spec(
            &["a.example"],
            &[harness.issuer(|acme| acme.eab = Some(eab))],
        )]
        .into(),
    );
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.block_on(harness.engine.renew("a.example")).unwrap();
    harness.until("it is renewed", || (harness.issued() == 2).then_some(()));
    // A binding for an account that exists would have been refused.
    let log = harness.ca.log();
    assert!(
        log.iter()
            .all(|line| line.problem.as_deref() != Some("malformed"))
    );
    // It has lost everything, so the account is created again.
    harness.ca.forget();
    harness.pass(DAY * 80);
    assert_eq!(harness.settle(DAY), End::Live);
    harness.assert_good();
}

#[test]
fn a_missing_preferred_chain_is_a_warning() {
    let mut harness = Harness::new(Options::default());
    let issuer = harness.issuer(|acme| acme.preferred_chain = Some("No Such Root".to_owned()));
    harness
        .engine
        .set_specs([spec(&["a.example"], &[issuer])].into());
    assert_eq!(harness.settle(HOUR), End::Live);
    let notice = harness
        .notified()
        .iter()
        .find(|notice| notice.reason.name() == "PreferredChainMissing")
        .cloned();
    assert!(notice.is_some_and(|notice| notice.message.contains("No Such Root")));
}

#[test]
fn certificates_of_a_day_never_run_out() {
    let harness = Harness::new(Options {
        profiles: vec![Profile::of_a_day()],
        ..Options::default()
    });
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    let mut last = harness.report().not_after;

    // Two weeks: far more certificates than a public CA issues for the same names without ARI.
    for renewal in 1..=21 {
        harness.pass(HOUR * 16);
        assert_eq!(harness.settle(HOUR), End::Live, "renewal {renewal}");
        let next = harness.report().not_after;
        assert!(
            next > last,
            "renewal {renewal}: {next:?} is not after {last:?}"
        );
        last = next;
    }
    harness.assert_good();
}
