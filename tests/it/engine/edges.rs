//! More that CAs, disks and people do in the middle of things.

use std::{sync::Arc, time::Duration};

use gatelet::acme::{Timing, ca::jws::ExternalAccount, notice::NoticeReason};

use super::{
    failpoint_store::Gate,
    harness::{End, Harness, PACE, Time, issuer, want},
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
    harness.want(&["a.example"]);
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
fn connections_that_the_ca_closes_after_each_answer_are_opened_again() {
    let harness = Harness::with(
        Options::default(),
        vec![Fault::always(Endpoint::Any, Action::GoAway)],
    );
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(Duration::from_secs(1)), End::Live);
    harness.assert_good();
}

#[test]
fn a_ca_that_hangs_is_left_and_asked_again() {
    let pace = Timing {
        answer: Duration::from_millis(1_500),
        ..PACE
    };
    for endpoint in ORDER_CALLS.into_iter().chain([
        Endpoint::Directory,
        Endpoint::NewNonce,
        Endpoint::NewAccount,
    ]) {
        let ca = ChaosCa::start(Options::default());
        ca.set_faults(vec![Fault::once(endpoint, Action::Delay(DAY))]);
        let harness = Harness::on(ca, Gate::new(), Time::new(), pace);
        harness.want(&["a.example"]);
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
fn a_ca_that_stands_still_in_mid_order_finishes_the_same_order() {
    let pace = Timing {
        answer: Duration::from_millis(1_500),
        ..PACE
    };
    let ca = ChaosCa::start(Options::default());
    ca.set_faults(vec![Fault::once(
        Endpoint::Authz,
        Action::Delay(Duration::from_millis(300)),
    )]);
    let harness = Harness::on(ca, Gate::new(), Time::new(), pace);
    harness.want(&["a.example"]);
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
fn an_order_that_has_expired_is_followed_by_another() {
    for endpoint in [Endpoint::Authz, Endpoint::Challenge, Endpoint::Finalize] {
        let mut harness = Harness::with(
            Options::default(),
            vec![Fault::once(endpoint, Action::Delay(DAY))],
        );
        harness.want(&["a.example"]);
        harness.call_comes();
        harness.stop();
        harness.ca.set_faults(Vec::new());
        harness.pass(DAY * 8);
        harness.start_again();
        harness.want(&["a.example"]);
        assert_eq!(harness.settle(HOUR), End::Live, "{endpoint:?}");
        assert_eq!(harness.issued(), 1);
        harness.assert_good();
    }
}

#[test]
fn an_order_that_is_invalid_at_any_stage_is_followed_by_another() {
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
        harness.want(&["a.example"]);
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
fn what_a_poll_is_asked_to_wait_is_waited_with_the_order_kept() {
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
    harness.want(&["a.example"]);
    harness.until("it waits", || {
        let next: jiff::Timestamp = harness.reports().first()?.next.as_ref()?.parse().unwrap();
        (next.as_second() - harness.time.reading().wall.0 >= 3_900).then_some(())
    });
    assert_eq!(harness.settle(HOUR * 2), End::Live);
    assert_eq!((harness.issued(), harness.ca.orders().len()), (1, 1));
    harness.assert_good();
}

#[test]
fn a_wrong_external_account_blocks_until_it_is_another_one() {
    let options = Options {
        eab: vec![("kid-1".to_owned(), vec![7; 32])],
        ..Options::default()
    };
    let harness = Harness::new(options);
    let with = |key: &str| {
        let eab = ExternalAccount::new("kid-1", key).unwrap();
        want(
            &["a.example"],
            &[harness.issuer(|acme| acme.eab = Some(eab))],
        )
    };
    harness
        .engine
        .want([with("d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmc")].into());
    let end = harness.settle(DAY * 3);
    assert!(
        matches!(&end, End::Blocked(why) if why.contains("eab")),
        "{end:?}"
    );
    assert_eq!(harness.calls(Endpoint::NewAccount), 1);
    // 32 times a 7.
    harness
        .engine
        .want([with("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc")].into());
    harness.until("it is looked at again", || {
        (harness.reports().first()?.state != "blocked").then_some(())
    });
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.assert_good();
}

#[test]
fn new_terms_of_service_wait_for_a_person_and_are_agreed_to_by_renewing() {
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
    assert_eq!(harness.engine.served().borrow().certificates.len(), 1);
    harness.block_on(harness.engine.renew("a.example")).unwrap();
    harness.until("it is renewed", || (harness.issued() == 2).then_some(()));
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.assert_good();
}

#[test]
fn a_renewal_that_the_ca_wants_earlier_is_told_with_its_page() {
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
    eventually("it is told", || {
        harness.was_told(NoticeReason::RenewalMoved).then_some(())
    });
    // The plan is made again after that.
    harness.until("it is planned", || {
        (harness.report().next.as_ref() == Some(&now.chosen)).then_some(())
    });
    harness.assert_good();
}

#[test]
fn a_full_disk_at_any_write_delays_and_costs_no_second_certificate() {
    for commit in 1..=5 {
        for length in [1, 8] {
            let gate = Gate::new();
            gate.fails(commit..commit + length);
            let harness = Harness::on(
                ChaosCa::start(Options::default()),
                gate.clone(),
                Time::new(),
                PACE,
            );
            harness.want(&["a.example"]);
            assert_eq!(harness.settle(DAY), End::Live, "write {commit}");
            assert!(gate.commits() >= commit + length - 1);
            assert_eq!(harness.issued(), 1, "write {commit}, {length} times");
            harness.assert_good();
        }
    }
}

#[test]
fn what_is_served_is_served_on_a_disk_that_takes_nothing_and_no_ca_is_asked() {
    let gate = Gate::new();
    let harness = Harness::on(
        ChaosCa::start(Options::default()),
        gate.clone(),
        Time::new(),
        PACE,
    );
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    let commits = gate.commits();
    gate.fails(commits + 1..usize::MAX);
    harness.pass(DAY * 70);
    let orders = harness.calls(Endpoint::NewOrder);
    let end = harness.settle(HOUR * 10);
    assert!(
        matches!(&end, End::Waiting(why) if why.contains("until it can be kept")),
        "{end:?}"
    );
    assert_eq!(harness.calls(Endpoint::NewOrder), orders);
    assert_eq!(harness.engine.served().borrow().certificates.len(), 1);
    gate.fails(0..0);
    assert_eq!(harness.settle(HOUR * 2), End::Live);
    assert_eq!(harness.issued(), 2);
    // From the start.
    let gate = Gate::new();
    gate.fails(1..usize::MAX);
    let harness = Harness::on(ChaosCa::start(Options::default()), gate, Time::new(), PACE);
    harness.want(&["a.example"]);
    assert!(matches!(harness.settle(HOUR * 10), End::Waiting(_)));
    assert_eq!(harness.ca.log().len(), 0);
}

#[test]
fn two_leaders_cost_one_certificate_more_and_nothing_else() {
    let (ca, time) = (Arc::new(ChaosCa::start(Options::default())), Time::new());
    let one = Harness::on(ca.clone(), Gate::new(), time.clone(), PACE);
    let two = Harness::on(ca, Gate::new(), time, PACE);
    one.want(&["a.example"]);
    two.want(&["a.example"]);
    assert_eq!((one.settle(HOUR), two.settle(HOUR)), (End::Live, End::Live));
    assert_eq!(one.issued(), 2);
    one.assert_good();
    two.assert_good();
}

#[test]
fn another_issuer_in_mid_order_waits_until_the_first_order_is_let_go() {
    let second = ChaosCa::start(Options::default());
    let harness = Harness::with(
        Options::default(),
        vec![Fault::always(
            Endpoint::Authz,
            Action::Delay(Duration::from_millis(500)),
        )],
    );
    harness.want(&["a.example"]);
    harness.until("an order is open", || {
        (harness.calls(Endpoint::NewOrder) == 1).then_some(())
    });
    harness
        .engine
        .want([want(&["a.example"], &[issuer("second", &second, |_| {})])].into());
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
        harness.want(&["a.example"]);
        harness.call_comes();
        // It returns, though the CA does not answer for a day.
        harness.stop();
    }
}

#[test]
fn a_short_restart_writes_nothing_before_anybody_says_what_is_wanted() {
    let gate = Gate::new();
    let mut harness = Harness::on(
        ChaosCa::start(Options::default()),
        gate.clone(),
        Time::new(),
        PACE,
    );
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.until("a suggestion", || harness.report().suggestion);
    let commits = gate.commits();
    harness.stop();
    harness.start_again();
    std::thread::sleep(Duration::from_millis(300));
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    // An idle day: the CA says the same whenever it is asked.
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
fn an_external_account_is_named_only_when_an_account_is_made() {
    let options = Options {
        eab: vec![("kid-1".to_owned(), vec![7; 32])],
        ..Options::default()
    };
    let harness = Harness::new(options);
    let eab = ExternalAccount::new("kid-1", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc").unwrap();
    harness.engine.want(
        [want(
            &["a.example"],
            &[harness.issuer(|acme| acme.eab = Some(eab))],
        )]
        .into(),
    );
    assert_eq!(harness.settle(HOUR), End::Live);
    // The CA accepts each binding once.
    harness.block_on(harness.engine.renew("a.example")).unwrap();
    harness.until("it is renewed", || (harness.issued() == 2).then_some(()));
    // It knows nothing any more: an account is made again.
    harness.ca.forget();
    harness.pass(DAY * 80);
    assert_eq!(harness.settle(DAY), End::Live);
    harness.assert_good();
}

#[test]
fn a_preferred_chain_that_does_not_exist_is_a_warning() {
    let mut harness = Harness::new(Options::default());
    let issuer = harness.issuer(|acme| acme.preferred_chain = Some("No Such Root".to_owned()));
    harness
        .engine
        .want([want(&["a.example"], &[issuer])].into());
    assert_eq!(harness.settle(HOUR), End::Live);
    let told = harness
        .told()
        .iter()
        .find(|notice| notice.reason.name() == "PreferredChainMissing")
        .cloned();
    assert!(told.is_some_and(|told| told.message.contains("No Such Root")));
}

#[test]
fn certificates_of_a_day_never_run_out() {
    let harness = Harness::new(Options {
        profiles: vec![Profile::of_a_day()],
        ..Options::default()
    });
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    let mut last = harness.report().not_after;

    // Two weeks: far more certificates than a public CA gives for the same names without ARI.
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
