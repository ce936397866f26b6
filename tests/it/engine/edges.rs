//! More that CAs, disks and people do in the middle of things.

use std::{sync::Arc, time::Duration};

use gatelet::acme::{Pace, ca::jws::ExternalAccount, notice::NoticeReason};

use super::{
    bench::{Bench, End, PACE, Time, issuer, want},
    gate::Gate,
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

fn live(options: Options) -> Bench {
    let bench = Bench::new(options);
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    bench
}

#[test]
fn a_directory_with_other_urls_is_read_again() {
    let bench = live(Options::default());
    bench.ca.set_faults(vec![Fault::once(
        Endpoint::RenewalInfo,
        Action::DirectoryMoved,
    )]);
    bench.until("it has moved", || {
        bench.ca.faults_left().is_empty().then_some(())
    });
    bench.pass(DAY * 70);
    assert_eq!(bench.settle(HOUR), End::Live, "{:#?}", bench.ca.log());
    assert_eq!(bench.issued(), 2);
    bench.assert_good();
}

#[test]
fn connections_that_the_ca_closes_after_each_answer_are_opened_again() {
    let bench = Bench::with(
        Options::default(),
        vec![Fault::always(Endpoint::Any, Action::GoAway)],
    );
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(Duration::from_secs(1)), End::Live);
    bench.assert_good();
}

#[test]
fn a_ca_that_hangs_is_left_and_asked_again() {
    let pace = Pace {
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
        let bench = Bench::on(ca, Gate::new(), Time::new(), pace);
        bench.want(&["a.example"]);
        assert_eq!(
            bench.settle(HOUR),
            End::Live,
            "{endpoint:?}: {:#?}",
            bench.ca.log()
        );
        assert_eq!(bench.issued(), 1, "{endpoint:?}");
        assert_eq!(bench.ca.faults_left(), [], "{endpoint:?}");
        bench.assert_good();
    }
}

#[test]
fn a_ca_that_stands_still_in_mid_order_finishes_the_same_order() {
    let pace = Pace {
        answer: Duration::from_millis(1_500),
        ..PACE
    };
    let ca = ChaosCa::start(Options::default());
    ca.set_faults(vec![Fault::once(
        Endpoint::Authz,
        Action::Delay(Duration::from_millis(300)),
    )]);
    let bench = Bench::on(ca, Gate::new(), Time::new(), pace);
    bench.want(&["a.example"]);
    bench.until("an order is open", || {
        (bench.calls(Endpoint::NewOrder) == 1).then_some(())
    });
    bench.ca.set_door(Door::Silent);
    bench.until("it is noticed", || bench.reports().first()?.problem.clone());
    bench.ca.set_door(Door::Open);
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!((bench.issued(), bench.ca.orders().len()), (1, 1));
    bench.assert_good();
}

#[test]
fn an_order_that_has_expired_is_followed_by_another() {
    for endpoint in [Endpoint::Authz, Endpoint::Challenge, Endpoint::Finalize] {
        let mut bench = Bench::with(
            Options::default(),
            vec![Fault::once(endpoint, Action::Delay(DAY))],
        );
        bench.want(&["a.example"]);
        bench.call_comes();
        bench.stop();
        bench.ca.set_faults(Vec::new());
        bench.pass(DAY * 8);
        bench.start_again();
        bench.want(&["a.example"]);
        assert_eq!(bench.settle(HOUR), End::Live, "{endpoint:?}");
        assert_eq!(bench.issued(), 1);
        bench.assert_good();
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
        let bench = Bench::with(
            Options::default(),
            vec![Fault::once(endpoint, Action::OrderInvalid(invalid))],
        );
        bench.want(&["a.example"]);
        assert_eq!(
            bench.settle(HOUR * 3),
            End::Live,
            "{endpoint:?}: {:#?}",
            bench.ca.log()
        );
        assert_eq!(bench.ca.faults_left(), [], "{endpoint:?}");
        assert_eq!(bench.issued(), 1);
        bench.assert_good();
    }
}

#[test]
fn what_a_poll_is_asked_to_wait_is_waited_with_the_order_kept() {
    let bench = Bench::with(
        Options::default(),
        vec![
            Fault::once(Endpoint::Finalize, Action::Stall(2)),
            Fault::once(
                Endpoint::Finalize,
                Action::RetryAfter(RetryAfter::Seconds(4_000)),
            ),
        ],
    );
    bench.want(&["a.example"]);
    bench.until("it waits", || {
        let next: jiff::Timestamp = bench.reports().first()?.next.as_ref()?.parse().unwrap();
        (next.as_second() - bench.time.reading().wall >= 3_900).then_some(())
    });
    assert_eq!(bench.settle(HOUR * 2), End::Live);
    assert_eq!((bench.issued(), bench.ca.orders().len()), (1, 1));
    bench.assert_good();
}

#[test]
fn a_wrong_external_account_blocks_until_it_is_another_one() {
    let options = Options {
        eab: vec![("kid-1".to_owned(), vec![7; 32])],
        ..Options::default()
    };
    let bench = Bench::new(options);
    let with = |key: &str| {
        let eab = ExternalAccount::new("kid-1", key).unwrap();
        want(&["a.example"], &[bench.issuer(|acme| acme.eab = Some(eab))])
    };
    bench
        .engine
        .want([with("d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmc")].into());
    let end = bench.settle(DAY * 3);
    assert!(
        matches!(&end, End::Blocked(why) if why.contains("eab")),
        "{end:?}"
    );
    assert_eq!(bench.calls(Endpoint::NewAccount), 1);
    // 32 times a 7.
    bench
        .engine
        .want([with("BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc")].into());
    bench.until("it is looked at again", || {
        (bench.reports().first()?.state != "blocked").then_some(())
    });
    assert_eq!(bench.settle(HOUR), End::Live);
    bench.assert_good();
}

#[test]
fn new_terms_of_service_wait_for_a_person_and_are_agreed_to_by_renewing() {
    let bench = live(Options::default());
    bench
        .ca
        .set_faults(vec![Fault::once(Endpoint::NewOrder, Action::TosChanged)]);
    bench.pass(DAY * 70);
    let end = bench.settle(DAY);
    assert!(
        matches!(&end, End::Blocked(why) if why.contains("terms of service")),
        "{end:?}"
    );
    assert_eq!(bench.engine.served().borrow().certificates.len(), 1);
    bench.block_on(bench.engine.renew("a.example")).unwrap();
    bench.until("it is renewed", || (bench.issued() == 2).then_some(()));
    assert_eq!(bench.settle(HOUR), End::Live);
    bench.assert_good();
}

#[test]
fn a_renewal_that_the_ca_wants_earlier_is_told_with_its_page() {
    let mut bench = live(Options::default());
    let before = bench.until("a suggestion", || bench.report().suggestion);
    bench.ca.set_faults(vec![Fault::always(
        Endpoint::RenewalInfo,
        Action::Ari(Ari::Moved),
    )]);
    let now = bench.until("another one", || {
        bench
            .report()
            .suggestion
            .filter(|now| now.chosen != before.chosen)
    });
    assert!(
        now.chosen < before.chosen && now.explanation.is_some(),
        "{now:?}"
    );
    eventually("it is told", || {
        bench.was_told(NoticeReason::RenewalMoved).then_some(())
    });
    // The plan is made again after that.
    bench.until("it is planned", || {
        (bench.report().next.as_ref() == Some(&now.chosen)).then_some(())
    });
    bench.assert_good();
}

#[test]
fn a_full_disk_at_any_write_delays_and_costs_no_second_certificate() {
    for commit in 1..=5 {
        for length in [1, 8] {
            let gate = Gate::new();
            gate.fails(commit..commit + length);
            let bench = Bench::on(
                ChaosCa::start(Options::default()),
                gate.clone(),
                Time::new(),
                PACE,
            );
            bench.want(&["a.example"]);
            assert_eq!(bench.settle(DAY), End::Live, "write {commit}");
            assert!(gate.commits() >= commit + length - 1);
            assert_eq!(bench.issued(), 1, "write {commit}, {length} times");
            bench.assert_good();
        }
    }
}

#[test]
fn what_is_served_is_served_on_a_disk_that_takes_nothing_and_no_ca_is_asked() {
    let gate = Gate::new();
    let bench = Bench::on(
        ChaosCa::start(Options::default()),
        gate.clone(),
        Time::new(),
        PACE,
    );
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    let commits = gate.commits();
    gate.fails(commits + 1..usize::MAX);
    bench.pass(DAY * 70);
    let orders = bench.calls(Endpoint::NewOrder);
    let end = bench.settle(HOUR * 10);
    assert!(
        matches!(&end, End::Waiting(why) if why.contains("until it can be kept")),
        "{end:?}"
    );
    assert_eq!(bench.calls(Endpoint::NewOrder), orders);
    assert_eq!(bench.engine.served().borrow().certificates.len(), 1);
    gate.fails(0..0);
    assert_eq!(bench.settle(HOUR * 2), End::Live);
    assert_eq!(bench.issued(), 2);
    // From the start.
    let gate = Gate::new();
    gate.fails(1..usize::MAX);
    let bench = Bench::on(ChaosCa::start(Options::default()), gate, Time::new(), PACE);
    bench.want(&["a.example"]);
    assert!(matches!(bench.settle(HOUR * 10), End::Waiting(_)));
    assert_eq!(bench.ca.log().len(), 0);
}

#[test]
fn two_leaders_cost_one_certificate_more_and_nothing_else() {
    let (ca, time) = (Arc::new(ChaosCa::start(Options::default())), Time::new());
    let one = Bench::on(ca.clone(), Gate::new(), time.clone(), PACE);
    let two = Bench::on(ca, Gate::new(), time, PACE);
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
    let bench = Bench::with(
        Options::default(),
        vec![Fault::always(
            Endpoint::Authz,
            Action::Delay(Duration::from_millis(500)),
        )],
    );
    bench.want(&["a.example"]);
    bench.until("an order is open", || {
        (bench.calls(Endpoint::NewOrder) == 1).then_some(())
    });
    bench
        .engine
        .want([want(&["a.example"], &[issuer("second", &second, |_| {})])].into());
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!((bench.issued(), second.issued().len()), (0, 1));
    let let_go = bench.ca.log().len();
    assert_eq!(bench.report().issuer, "second");
    assert_eq!(bench.report().order, None);
    assert_eq!(bench.ca.log().len(), let_go);
    bench.assert_good();
}

#[test]
fn a_stop_in_any_state_is_immediate() {
    for endpoint in ORDER_CALLS.into_iter().chain([
        Endpoint::Directory,
        Endpoint::NewNonce,
        Endpoint::NewAccount,
    ]) {
        let mut bench = Bench::with(
            Options::default(),
            vec![Fault::once(endpoint, Action::Delay(DAY))],
        );
        bench.want(&["a.example"]);
        bench.call_comes();
        // It returns, though the CA does not answer for a day.
        bench.stop();
    }
}

#[test]
fn a_short_restart_writes_nothing_before_anybody_says_what_is_wanted() {
    let gate = Gate::new();
    let mut bench = Bench::on(
        ChaosCa::start(Options::default()),
        gate.clone(),
        Time::new(),
        PACE,
    );
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    bench.until("a suggestion", || bench.report().suggestion);
    let commits = gate.commits();
    bench.stop();
    bench.start_again();
    std::thread::sleep(Duration::from_millis(300));
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    // An idle day: the CA says the same whenever it is asked.
    let asked = bench.calls(Endpoint::RenewalInfo);
    for _hour in 0..24 {
        bench.pass(HOUR);
        std::thread::sleep(Duration::from_millis(30));
    }
    bench.until("it was asked", || {
        (bench.calls(Endpoint::RenewalInfo) > asked + 1).then_some(())
    });
    assert_eq!(gate.commits(), commits);
    bench.assert_good();
}

#[test]
fn an_external_account_is_named_only_when_an_account_is_made() {
    let options = Options {
        eab: vec![("kid-1".to_owned(), vec![7; 32])],
        ..Options::default()
    };
    let bench = Bench::new(options);
    let eab = ExternalAccount::new("kid-1", "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc").unwrap();
    bench.engine.want(
        [want(
            &["a.example"],
            &[bench.issuer(|acme| acme.eab = Some(eab))],
        )]
        .into(),
    );
    assert_eq!(bench.settle(HOUR), End::Live);
    // The CA accepts each binding once.
    bench.block_on(bench.engine.renew("a.example")).unwrap();
    bench.until("it is renewed", || (bench.issued() == 2).then_some(()));
    // It knows nothing any more: an account is made again.
    bench.ca.forget();
    bench.pass(DAY * 80);
    assert_eq!(bench.settle(DAY), End::Live);
    bench.assert_good();
}

#[test]
fn a_preferred_chain_that_does_not_exist_is_a_warning() {
    let mut bench = Bench::new(Options::default());
    let issuer = bench.issuer(|acme| acme.preferred_chain = Some("No Such Root".to_owned()));
    bench.engine.want([want(&["a.example"], &[issuer])].into());
    assert_eq!(bench.settle(HOUR), End::Live);
    let told = bench
        .told()
        .iter()
        .find(|notice| notice.reason.name() == "PreferredChainMissing")
        .cloned();
    assert!(told.is_some_and(|told| told.message.contains("No Such Root")));
}

#[test]
fn certificates_of_a_day_never_run_out() {
    let bench = Bench::new(Options {
        profiles: vec![Profile::of_a_day()],
        ..Options::default()
    });
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    let mut last = bench.report().not_after;

    // Two weeks: far more certificates than a public CA gives for the same names without ARI.
    for renewal in 1..=21 {
        bench.pass(HOUR * 16);
        assert_eq!(bench.settle(HOUR), End::Live, "renewal {renewal}");
        let next = bench.report().not_after;
        assert!(
            next > last,
            "renewal {renewal}: {next:?} is not after {last:?}"
        );
        last = next;
    }
    bench.assert_good();
}
