//! What CAs and networks do wrong, one by one, with the state it must end in.

use std::time::Duration;

use gatelet::acme::notice::NoticeReason;

use super::bench::{Bench, End, issuer, want};
use crate::support::chaos::{
    Action, Ari, ChaosCa, Door, Endpoint, Fault, Nth, Options, Problem, RetryAfter, Validation,
    WrongChain,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// With these faults, and nobody's help, a certificate comes within so much time. Returns the bench
/// for more questions.
fn gets_there(what: &str, faults: Vec<Fault>, within: Duration) -> Bench {
    let bench = Bench::with(Options::default(), faults);
    bench.want(&["a.example"]);
    assert_eq!(
        bench.settle(within),
        End::Live,
        "{what}: {:#?}",
        bench.ca.log()
    );
    assert_eq!(
        bench.ca.faults_left(),
        [] as [Fault; 0],
        "{what} never happened"
    );
    bench.assert_good();
    bench
}

/// With these faults somebody has to act, and is told so.
fn is_blocked(what: &str, faults: Vec<Fault>, words: &str) -> Bench {
    let mut bench = Bench::with(Options::default(), faults);
    bench.want(&["a.example"]);
    let end = bench.settle(DAY * 40);
    assert!(
        matches!(&end, End::Blocked(why) if why.contains(words)),
        "{what}: {end:?}"
    );
    assert!(bench.was_told(NoticeReason::Blocked), "{what}");
    bench.assert_good();
    bench
}

#[test]
fn a_certificate_comes_and_is_renewed_in_time() {
    let bench = Bench::new(Options::default());
    bench.want(&["a.example", "b.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.issued(), 1);
    let first = bench.report();
    for _month in 0..6 {
        bench.pass(DAY * 30);
        assert_eq!(bench.settle(HOUR), End::Live);
    }
    assert!(bench.issued() >= 3, "{}", bench.issued());
    assert_ne!(bench.report().not_after, first.not_after);
    bench.assert_good();
}

#[test]
fn what_the_network_does_is_never_final() {
    let answer = |status: u16, body: &str| Action::Answer {
        status,
        headers: vec![("content-type".to_owned(), "text/html".to_owned())],
        body: body.to_owned().into(),
    };
    for endpoint in [
        Endpoint::Directory,
        Endpoint::NewNonce,
        Endpoint::NewAccount,
        Endpoint::NewOrder,
        Endpoint::Order,
        Endpoint::Authz,
        Endpoint::Challenge,
        Endpoint::Finalize,
        Endpoint::Certificate,
    ] {
        let failures = [
            ("500", answer(500, "")),
            ("502 in HTML", answer(502, "<html>bad gateway</html>")),
            ("a body cut off", Action::CutAfter(3)),
            ("a reset before", Action::CloseBeforeCommit),
            ("a reset after", Action::CloseAfterCommit),
        ];
        let faults = failures.iter().enumerate();
        let faults = faults.map(|(nth, (_, action))| {
            Fault::new(
                endpoint,
                Nth::Call(u32::try_from(nth).unwrap() * 2 + 1),
                action.clone(),
            )
        });
        let bench = Bench::with(Options::default(), faults.collect());
        bench.want(&["a.example"]);
        assert_eq!(
            bench.settle(DAY),
            End::Live,
            "{endpoint:?}: {:#?}",
            bench.ca.log()
        );
        assert!(bench.issued() <= 2, "{endpoint:?}");
        bench.assert_good();
    }
}

#[test]
fn closed_doors_are_tried_again() {
    for door in [
        Door::Refuses,
        Door::EndsHandshake,
        Door::ShowsExpiredCertificate,
    ] {
        let bench = Bench::new(Options::default());
        bench.ca.set_door(door);
        bench.want(&["a.example"]);
        assert!(
            matches!(bench.settle(HOUR * 2), End::Waiting(_)),
            "{door:?}"
        );
        bench.ca.set_door(Door::Open);
        assert_eq!(bench.settle(HOUR * 3), End::Live, "{door:?}");
        bench.assert_good();
    }
}

#[test]
fn bad_nonces_are_answered_with_new_ones() {
    for percent in [5, 50] {
        let bench = Bench::with(
            Options::default(),
            vec![Fault::new(
                Endpoint::Any,
                Nth::Percent(percent),
                Action::BadNonce,
            )],
        );
        bench.want(&["a.example"]);
        assert_eq!(bench.settle(DAY), End::Live, "{percent} %");
        bench.assert_good();
    }
    let every = vec![Fault::always(Endpoint::NewOrder, Action::BadNonce)];
    let bench = Bench::with(Options::default(), every);
    bench.want(&["a.example"]);
    assert!(matches!(bench.settle(HOUR * 5), End::Waiting(_)));
    assert_eq!(bench.issued(), 0);
    bench.assert_good();
}

#[test]
fn a_missing_nonce_is_asked_for() {
    gets_there(
        "no nonce",
        vec![Fault::once(Endpoint::NewAccount, Action::NoNonce)],
        HOUR,
    );
}

#[test]
fn what_the_ca_asks_to_wait_is_waited() {
    let limited = |after: Option<RetryAfter>, detail: &str| {
        let mut faults = vec![Fault::once(
            Endpoint::NewOrder,
            Action::Problem(Problem::new("rateLimited", detail).status(429)),
        )];
        faults
            .extend(after.map(|after| Fault::once(Endpoint::NewOrder, Action::RetryAfter(after))));
        faults
    };
    for (what, faults, at_least) in [
        (
            "seconds",
            limited(Some(RetryAfter::Seconds(5_000)), "slow down"),
            5_000,
        ),
        (
            "a date",
            limited(Some(RetryAfter::Date(7_000)), "slow down"),
            7_000,
        ),
        (
            "a week",
            limited(Some(RetryAfter::Seconds(7 * 86_400)), "slow down"),
            7 * 86_400,
        ),
        (
            "a date in the past",
            limited(Some(RetryAfter::Date(-100)), "slow down"),
            0,
        ),
        (
            "garbage",
            limited(Some(RetryAfter::Garbage), "slow down"),
            1,
        ),
        ("nothing", limited(None, "slow down"), 1),
    ] {
        let bench = Bench::with(Options::default(), faults);
        bench.want(&["a.example"]);
        bench.until("it waits", || bench.reports().first()?.problem.clone());
        bench.look();
        let next = bench.report().next.unwrap();
        let next: jiff::Timestamp = next.parse().unwrap();
        let wait = next.as_second() - bench.time.reading().wall;
        assert!(wait >= at_least - 2, "{what}: {wait}");
        assert_eq!(bench.settle(DAY * 10), End::Live, "{what}");
        bench.assert_good();
    }
    // 503 with Retry-After, elsewhere.
    let busy = Problem::new("serverInternal", "busy").status(503);
    gets_there(
        "503",
        vec![
            Fault::once(Endpoint::Finalize, Action::Problem(busy)),
            Fault::once(
                Endpoint::Finalize,
                Action::RetryAfter(RetryAfter::Seconds(600)),
            ),
        ],
        HOUR,
    );
}

#[test]
fn a_pause_is_told_with_its_link_and_nothing_more_is_asked() {
    let text = "Your account is temporarily prevented from requesting certificates for a.example. Please visit: \
                https://unpause.ca.test/sfe/v1/unpause?jwt=abc";
    let paused = vec![Fault::always(
        Endpoint::NewOrder,
        Action::Problem(Problem::new("rateLimited", text).status(429)),
    )];
    let bench = is_blocked(
        "paused",
        paused,
        "https://unpause.ca.test/sfe/v1/unpause?jwt=abc",
    );
    let calls = bench.calls(Endpoint::NewOrder);
    bench.pass(DAY * 30);
    assert!(matches!(bench.settle(HOUR), End::Blocked(_)));
    assert_eq!(bench.calls(Endpoint::NewOrder), calls);
    // A person looked.
    bench.ca.set_faults(Vec::new());
    bench.block_on(bench.engine.renew("a.example")).unwrap();
    assert_eq!(bench.settle(HOUR), End::Live);
}

#[test]
fn what_only_a_person_can_change_is_not_repeated() {
    for kind in [
        "rejectedIdentifier",
        "unsupportedIdentifier",
        "externalAccountRequired",
        "invalidProfile",
    ] {
        let endpoint = if kind == "externalAccountRequired" {
            Endpoint::NewAccount
        } else {
            Endpoint::NewOrder
        };
        let refused = Problem::new(kind, "not like this").status(400);
        let bench = is_blocked(
            kind,
            vec![Fault::always(endpoint, Action::Problem(refused))],
            "not like this",
        );
        assert_eq!(bench.calls(endpoint), 1, "{kind}");
    }
    let refused = Problem::new("badCSR", "what a request").status(400);
    is_blocked(
        "badCSR",
        vec![Fault::always(Endpoint::Finalize, Action::Problem(refused))],
        "what a request",
    );
}

#[test]
fn a_contact_that_the_ca_refuses_blocks_and_is_named() {
    let refused = Problem::new("invalidContact", "mail to nobody").status(400);
    is_blocked(
        "contact",
        vec![Fault::always(
            Endpoint::NewAccount,
            Action::Problem(refused),
        )],
        "mail to nobody",
    );
}

#[test]
fn validation_that_fails_climbs_its_ladder_within_the_cas_limits() {
    for kind in [
        "connection",
        "dns",
        "tls",
        "unauthorized",
        "incorrectResponse",
        "caa",
    ] {
        let options = Options {
            validation: Validation::Fail(Problem::new(kind, "it did not work")),
            ..Options::default()
        };
        let mut bench = Bench::new(options);
        bench.want(&["a.example"]);
        let end = bench.settle(DAY * 5);
        assert!(
            matches!(&end, End::Waiting(why) if why.contains("it did not work")),
            "{kind}: {end:?}"
        );
        assert!(bench.was_told(NoticeReason::Failed), "{kind}");
        bench.assert_good();
        // It works again: the next attempt gets there.
        bench.ca.set_validation(Validation::AlwaysValid);
        assert_eq!(bench.settle(DAY * 2), End::Live, "{kind}");
        bench.assert_good();
    }
}

#[test]
fn a_month_of_failed_validation_stops_until_somebody_looks() {
    let options = Options {
        validation: Validation::Fail(Problem::new("dns", "no such name")),
        ..Options::default()
    };
    let bench = Bench::new(options);
    bench.want(&["a.example"]);
    let end = bench.settle(DAY * 60);
    assert!(
        matches!(&end, End::Blocked(why) if why.contains("no such name")),
        "{end:?}"
    );
    bench.assert_good();
}

#[test]
fn nobody_who_came_is_said_as_such() {
    let options = Options {
        validation: Validation::Fail(Problem::new("connection", "timeout")),
        ..Options::default()
    };
    let mut bench = Bench::new(options);
    bench.want(&["a.example"]);
    assert!(matches!(bench.settle(HOUR), End::Waiting(_)));
    let told = bench
        .told()
        .iter()
        .find(|notice| notice.reason == NoticeReason::ChallengeNeverSeen)
        .cloned();
    assert!(told.is_some_and(|told| told.message.contains("nobody came")));
}

#[test]
fn another_challenge_is_tried_once_when_the_first_fails() {
    let options = Options {
        validation: Validation::Fail(Problem::new("connection", "closed")),
        ..Options::default()
    };
    let bench = Bench::new(options);
    bench.want(&["a.example"]);
    assert!(matches!(
        bench.settle(Duration::from_secs(30)),
        End::Waiting(_)
    ));
    // http-01, then tls-alpn-01, each in an order of its own, and then patience.
    assert_eq!(bench.calls(Endpoint::NewOrder), 2, "{:#?}", bench.ca.log());
    bench.assert_good();
}

#[test]
fn a_challenge_that_stays_pending_with_an_error_has_failed() {
    let problem = Problem::new("connection", "nobody at port 80");
    let stays = Fault::always(
        Endpoint::Challenge,
        Action::StaysPending("http-01", problem),
    );
    let mut bench = gets_there("pending with an error", vec![stays], HOUR);
    assert!(
        bench.was_told(NoticeReason::ChallengeNeverSeen),
        "{:?}",
        bench.told()
    );
    // By http-01, then by tls-alpn-01.
    assert_eq!(bench.calls(Endpoint::Challenge), 2);
}

#[test]
fn certificates_that_are_not_what_was_asked_for_are_never_served() {
    for wrong in [
        WrongChain::Expired,
        WrongChain::MissingIntermediate,
        WrongChain::NotYetValid,
        WrongChain::OtherKey,
        WrongChain::OtherNames,
    ] {
        let bench = Bench::with(
            Options::default(),
            vec![Fault::once(Endpoint::Finalize, Action::Chain(wrong))],
        );
        bench.want(&["a.example"]);
        let problem = bench.until("it is noticed", || bench.reports().first()?.problem.clone());
        assert!(
            problem.message.contains("is wrong"),
            "{wrong:?}: {problem:?}"
        );
        assert!(
            bench.engine.served().borrow().certificates.is_empty(),
            "{wrong:?}"
        );
        assert_eq!(bench.settle(DAY), End::Live, "{wrong:?}");
        bench.assert_good();
    }
    // A short life is not wrong, nor is a name more.
    let extra = gets_there(
        "a name more",
        vec![Fault::once(
            Endpoint::Finalize,
            Action::Chain(WrongChain::ExtraName),
        )],
        HOUR,
    );
    assert_eq!(extra.issued(), 1);
    gets_there(
        "one day",
        vec![Fault::once(
            Endpoint::Finalize,
            Action::Chain(WrongChain::OneDayLife),
        )],
        HOUR,
    );
}

#[test]
fn an_order_that_becomes_invalid_is_followed_by_another() {
    for endpoint in [Endpoint::Order, Endpoint::Finalize] {
        let invalid = Problem::new("serverInternal", "broken");
        let bench = Bench::with(
            Options::default(),
            vec![Fault::once(endpoint, Action::OrderInvalid(invalid))],
        );
        bench.want(&["a.example"]);
        assert_eq!(
            bench.settle(DAY),
            End::Live,
            "{endpoint:?}: {:#?}",
            bench.ca.log()
        );
        bench.assert_good();
    }
}

#[test]
fn what_is_proved_already_is_not_proved_again() {
    let bench = gets_there(
        "reuse",
        vec![Fault::once(Endpoint::NewOrder, Action::AuthzReuse)],
        HOUR,
    );
    assert_eq!(bench.calls(Endpoint::Challenge), 0);
}

#[test]
fn a_ca_that_asks_for_other_names_is_told_nothing() {
    let options = Options {
        reuse: false,
        ..Options::default()
    };
    let bench = Bench::with(
        options,
        vec![Fault::once(Endpoint::NewOrder, Action::AuthzOfAnother)],
    );
    bench.want(&["a.example"]);
    let problem = bench.until("it is noticed", || bench.reports().first()?.problem.clone());
    assert!(problem.message.contains("was not ordered"), "{problem:?}");
    assert_eq!(bench.calls(Endpoint::Challenge), 0);
    bench.ca.set_faults(Vec::new());
    assert_eq!(bench.settle(DAY), End::Live);
}

#[test]
fn renewal_information_moves_a_renewal_and_never_breaks_one() {
    for (ari, renews) in [
        (Ari::Past, true),
        (Ari::Missing, false),
        (Ari::NotFound, false),
        (Ari::Garbage, false),
        (Ari::BeyondExpiry, false),
        (Ari::NoRetryAfter, false),
    ] {
        let bench = Bench::new(Options::default());
        let endpoint = if ari == Ari::Missing {
            Endpoint::Directory
        } else {
            Endpoint::RenewalInfo
        };
        bench
            .ca
            .set_faults(vec![Fault::always(endpoint, Action::Ari(ari))]);
        bench.want(&["a.example"]);
        assert_eq!(bench.settle(HOUR), End::Live, "{ari:?}");
        if renews {
            bench.until("it is renewed", || (bench.issued() >= 2).then_some(()));
            bench.ca.set_faults(Vec::new());
        } else {
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(bench.issued(), 1, "{ari:?}");
        }
        // Whatever was said, it is renewed before its end.
        bench.pass(DAY * 89);
        assert_eq!(bench.settle(HOUR), End::Live, "{ari:?}");
        assert!(bench.issued() >= 2, "{ari:?}");
        bench.assert_good();
    }
}

#[test]
fn a_predecessor_that_the_ca_does_not_accept_never_stops_a_renewal() {
    let bench = Bench::new(Options::default());
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    let replaced = Problem::new("alreadyReplaced", "has a replacement").status(409);
    bench.ca.set_faults(vec![
        Fault::once(Endpoint::NewOrder, Action::Problem(replaced)),
        Fault::new(Endpoint::NewOrder, Nth::Call(2), Action::ReplacesNotEchoed),
    ]);
    bench.pass(DAY * 80);
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.issued(), 2);
    let orders = bench.ca.orders();
    assert_eq!(orders.last().unwrap().replaces, None, "{orders:?}");
    bench.assert_good();
}

#[test]
fn a_renewal_names_what_it_replaces() {
    let bench = Bench::new(Options::default());
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    bench.pass(DAY * 70);
    assert_eq!(bench.settle(HOUR), End::Live);
    let issued = bench.ca.issued();
    assert_eq!(issued[1].replaces.as_deref(), Some(&*issued[0].id));
}

#[test]
fn an_account_that_the_ca_lost_is_registered_again_with_the_same_key() {
    let bench = Bench::new(Options::default());
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    bench.ca.forget();
    bench.pass(DAY * 80);
    assert_eq!(bench.settle(DAY), End::Live);
    assert_eq!(bench.calls(Endpoint::NewAccount), 2);
    bench.assert_good();
}

#[test]
fn odd_members_of_resources_do_no_harm() {
    let mut bench = gets_there(
        "odd members",
        vec![Fault::always(Endpoint::Any, Action::OddMembers)],
        HOUR,
    );
    assert!(
        !bench.was_told(NoticeReason::Failed),
        "{:#?}",
        bench.ca.log()
    );
    assert_eq!((bench.issued(), bench.calls(Endpoint::NewOrder)), (1, 1));
}

#[test]
fn an_account_that_the_ca_calls_malformed_is_looked_up_once() {
    for times in [1, 2] {
        let unknown =
            Problem::new("malformed", "JWS verification error: unknown account").status(400);
        let faults = (1..=times).map(|nth| {
            Fault::new(
                Endpoint::NewOrder,
                Nth::Call(nth),
                Action::Problem(unknown.clone()),
            )
        });
        let mut bench = gets_there("unknown account", faults.collect(), HOUR);
        assert_eq!(
            bench.was_told(NoticeReason::Failed),
            times == 2,
            "{:#?}",
            bench.ca.log()
        );
        assert_eq!(bench.calls(Endpoint::NewAccount), 2);
    }
}

#[test]
fn a_deactivated_account_is_said_and_asked_for_daily_at_most() {
    let bench = Bench::new(Options::default());
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    bench.ca.set_faults(vec![Fault::once(
        Endpoint::NewOrder,
        Action::AccountDeactivated,
    )]);
    bench.pass(DAY * 80);
    let before = bench.calls(Endpoint::NewOrder);
    assert!(matches!(bench.settle(DAY * 5), End::Waiting(_)));
    // Twice each time: with and without the predecessor, which may be somebody else's.
    assert!(
        bench.calls(Endpoint::NewOrder) - before <= 14,
        "{:#?}",
        bench.ca.log()
    );
    bench.assert_good();
}

#[test]
fn the_next_ca_takes_over_where_the_first_will_not() {
    let second = ChaosCa::start(Options::default());
    let bench = Bench::new(Options::default());
    let both = [
        issuer("first", &bench.ca, |_| {}),
        issuer("second", &second, |_| {}),
    ];
    let rejected = Problem::new("rejectedIdentifier", "not here").status(400);
    bench.ca.set_faults(vec![Fault::always(
        Endpoint::NewOrder,
        Action::Problem(rejected),
    )]);
    bench.engine.want([want(&["a.example"], &both)].into());
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!((bench.issued(), second.issued().len()), (0, 1));
    assert_eq!(bench.report().issuer, "second");
    bench.assert_good();
}

#[test]
fn a_wish_that_changes_in_mid_order_is_followed_by_what_it_became() {
    let bench = Bench::with(
        Options::default(),
        vec![Fault::always(
            Endpoint::Authz,
            Action::Delay(Duration::from_millis(300)),
        )],
    );
    bench.want(&["a.example"]);
    bench.until("an order is open", || {
        (bench.calls(Endpoint::NewOrder) == 1).then_some(())
    });
    let changed = want(&["a.example", "b.example"], &[bench.issuer(|_| {})]);
    bench.engine.want([changed].into());
    bench.ca.set_faults(Vec::new());
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.report().hosts, ["a.example", "b.example"]);
    let served = bench.engine.served().borrow().clone();
    assert_eq!(
        served.certificates["default/a.example"].live.names().len(),
        2
    );
    // Taken back altogether.
    bench.ca.set_faults(vec![Fault::always(
        Endpoint::Authz,
        Action::Delay(Duration::from_millis(300)),
    )]);
    let orders = bench.calls(Endpoint::NewOrder);
    bench
        .engine
        .want([want(&["c.example"], &[bench.issuer(|_| {})])].into());
    bench.until("an order is open", || {
        (bench.calls(Endpoint::NewOrder) > orders).then_some(())
    });
    bench.engine.want([].into());
    bench.until("it is let go", || bench.reports().is_empty().then_some(()));
    bench.assert_good();
}

#[test]
fn profiles_that_are_unknown_are_named_and_those_that_are_ignored_do_no_harm() {
    let ignored = Bench::with(
        Options::default(),
        vec![Fault::always(Endpoint::NewOrder, Action::ProfileIgnored)],
    );
    let issuer = ignored.issuer(|acme| acme.profile = Some("shortlived".to_owned()));
    ignored
        .engine
        .want([want(&["a.example"], &[issuer])].into());
    assert_eq!(ignored.settle(HOUR), End::Live);
    let unknown = Bench::new(Options::default());
    let issuer = unknown.issuer(|acme| acme.profile = Some("no-such-profile".to_owned()));
    unknown
        .engine
        .want([want(&["a.example"], &[issuer])].into());
    assert!(matches!(unknown.settle(HOUR), End::Blocked(_)));
}

#[test]
fn six_day_certificates_need_no_setting() {
    let bench = Bench::new(Options::default());
    let issuer = bench.issuer(|acme| acme.profile = Some("shortlived".to_owned()));
    bench
        .engine
        .want([want(&["a.example", "192.0.2.1"], &[issuer])].into());
    assert_eq!(bench.settle(HOUR), End::Live);
    for _day in 0..30 {
        bench.pass(DAY);
        assert_eq!(bench.settle(HOUR), End::Live);
    }
    assert!((6..=14).contains(&bench.issued()), "{}", bench.issued());
    bench.assert_good();
}

#[test]
fn revoking_gets_another_one_and_changing_the_account_key_goes_on_with_the_account() {
    let bench = Bench::new(Options::default());
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    bench
        .block_on(bench.engine.revoke("a.example", Some(4)))
        .unwrap();
    bench.until("another one comes", || (bench.issued() == 2).then_some(()));
    assert_eq!(bench.ca.issued()[0].revoked, Some(4));
    assert_eq!(bench.settle(HOUR), End::Live);
    bench
        .block_on(bench.engine.change_key(&bench.issuer(|_| {})))
        .unwrap();
    bench.pass(DAY * 80);
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!((bench.issued(), bench.calls(Endpoint::NewAccount)), (3, 1));
    bench.assert_good();
}
