//! What CAs and networks do wrong, one by one, with the state it must end in.

use std::time::Duration;

use gatelet::acme::notice::NoticeReason;

use super::harness::{End, Harness, issuer, want};
use crate::support::chaos::{
    Action, Ari, ChaosCa, Door, Endpoint, Fault, Nth, Options, Problem, RetryAfter, Validation,
    WrongChain,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// With these faults, and nobody's help, a certificate comes within so much time. Returns the harness
/// for more questions.
fn gets_there(what: &str, faults: Vec<Fault>, within: Duration) -> Harness {
    let harness = Harness::with(Options::default(), faults);
    harness.want(&["a.example"]);
    assert_eq!(
        harness.settle(within),
        End::Live,
        "{what}: {:#?}",
        harness.ca.log()
    );
    assert_eq!(
        harness.ca.faults_left(),
        [] as [Fault; 0],
        "{what} never happened"
    );
    harness.assert_good();
    harness
}

/// With these faults somebody has to act, and is told so.
fn is_blocked(what: &str, faults: Vec<Fault>, words: &str) -> Harness {
    let mut harness = Harness::with(Options::default(), faults);
    harness.want(&["a.example"]);
    let end = harness.settle(DAY * 40);
    assert!(
        matches!(&end, End::Blocked(why) if why.contains(words)),
        "{what}: {end:?}"
    );
    assert!(harness.was_told(NoticeReason::Blocked), "{what}");
    harness.assert_good();
    harness
}

#[test]
fn a_certificate_comes_and_is_renewed_in_time() {
    let harness = Harness::new(Options::default());
    harness.want(&["a.example", "b.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 1);
    let first = harness.report();
    for _month in 0..6 {
        harness.pass(DAY * 30);
        assert_eq!(harness.settle(HOUR), End::Live);
    }
    assert!(harness.issued() >= 3, "{}", harness.issued());
    assert_ne!(harness.report().not_after, first.not_after);
    harness.assert_good();
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
        let harness = Harness::with(Options::default(), faults.collect());
        harness.want(&["a.example"]);
        assert_eq!(
            harness.settle(DAY),
            End::Live,
            "{endpoint:?}: {:#?}",
            harness.ca.log()
        );
        assert!(harness.issued() <= 2, "{endpoint:?}");
        harness.assert_good();
    }
}

#[test]
fn closed_doors_are_tried_again() {
    for door in [
        Door::Refuses,
        Door::EndsHandshake,
        Door::ShowsExpiredCertificate,
    ] {
        let harness = Harness::new(Options::default());
        harness.ca.set_door(door);
        harness.want(&["a.example"]);
        assert!(
            matches!(harness.settle(HOUR * 2), End::Waiting(_)),
            "{door:?}"
        );
        harness.ca.set_door(Door::Open);
        assert_eq!(harness.settle(HOUR * 3), End::Live, "{door:?}");
        harness.assert_good();
    }
}

#[test]
fn bad_nonces_are_answered_with_new_ones() {
    for percent in [5, 50] {
        let harness = Harness::with(
            Options::default(),
            vec![Fault::new(
                Endpoint::Any,
                Nth::Percent(percent),
                Action::BadNonce,
            )],
        );
        harness.want(&["a.example"]);
        assert_eq!(harness.settle(DAY), End::Live, "{percent} %");
        harness.assert_good();
    }
    let every = vec![Fault::always(Endpoint::NewOrder, Action::BadNonce)];
    let harness = Harness::with(Options::default(), every);
    harness.want(&["a.example"]);
    assert!(matches!(harness.settle(HOUR * 5), End::Waiting(_)));
    assert_eq!(harness.issued(), 0);
    harness.assert_good();
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
        let harness = Harness::with(Options::default(), faults);
        harness.want(&["a.example"]);
        harness.until("it waits", || harness.reports().first()?.problem.clone());
        harness.look();
        let next = harness.report().next.unwrap();
        let next: jiff::Timestamp = next.parse().unwrap();
        let wait = next.as_second() - harness.time.reading().wall.0;
        assert!(wait >= at_least - 2, "{what}: {wait}");
        assert_eq!(harness.settle(DAY * 10), End::Live, "{what}");
        harness.assert_good();
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
    let harness = is_blocked(
        "paused",
        paused,
        "https://unpause.ca.test/sfe/v1/unpause?jwt=abc",
    );
    let calls = harness.calls(Endpoint::NewOrder);
    harness.pass(DAY * 30);
    assert!(matches!(harness.settle(HOUR), End::Blocked(_)));
    assert_eq!(harness.calls(Endpoint::NewOrder), calls);
    // A person looked.
    harness.ca.set_faults(Vec::new());
    harness.block_on(harness.engine.renew("a.example")).unwrap();
    assert_eq!(harness.settle(HOUR), End::Live);
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
        let harness = is_blocked(
            kind,
            vec![Fault::always(endpoint, Action::Problem(refused))],
            "not like this",
        );
        assert_eq!(harness.calls(endpoint), 1, "{kind}");
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
        let mut harness = Harness::new(options);
        harness.want(&["a.example"]);
        let end = harness.settle(DAY * 5);
        assert!(
            matches!(&end, End::Waiting(why) if why.contains("it did not work")),
            "{kind}: {end:?}"
        );
        assert!(harness.was_told(NoticeReason::Failed), "{kind}");
        harness.assert_good();
        // It works again: the next attempt gets there.
        harness.ca.set_validation(Validation::AlwaysValid);
        assert_eq!(harness.settle(DAY * 2), End::Live, "{kind}");
        harness.assert_good();
    }
}

#[test]
fn a_month_of_failed_validation_stops_until_somebody_looks() {
    let options = Options {
        validation: Validation::Fail(Problem::new("dns", "no such name")),
        ..Options::default()
    };
    let harness = Harness::new(options);
    harness.want(&["a.example"]);
    let end = harness.settle(DAY * 60);
    assert!(
        matches!(&end, End::Blocked(why) if why.contains("no such name")),
        "{end:?}"
    );
    harness.assert_good();
}

#[test]
fn nobody_who_came_is_said_as_such() {
    let options = Options {
        validation: Validation::Fail(Problem::new("connection", "timeout")),
        ..Options::default()
    };
    let mut harness = Harness::new(options);
    harness.want(&["a.example"]);
    assert!(matches!(harness.settle(HOUR), End::Waiting(_)));
    let told = harness
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
    let harness = Harness::new(options);
    harness.want(&["a.example"]);
    assert!(matches!(
        harness.settle(Duration::from_secs(30)),
        End::Waiting(_)
    ));
    // http-01, then tls-alpn-01, each in an order of its own, and then patience.
    assert_eq!(
        harness.calls(Endpoint::NewOrder),
        2,
        "{:#?}",
        harness.ca.log()
    );
    harness.assert_good();
}

#[test]
fn a_challenge_that_stays_pending_with_an_error_has_failed() {
    let problem = Problem::new("connection", "nobody at port 80");
    let stays = Fault::always(
        Endpoint::Challenge,
        Action::StaysPending("http-01", problem),
    );
    let mut harness = gets_there("pending with an error", vec![stays], HOUR);
    assert!(
        harness.was_told(NoticeReason::ChallengeNeverSeen),
        "{:?}",
        harness.told()
    );
    // By http-01, then by tls-alpn-01.
    assert_eq!(harness.calls(Endpoint::Challenge), 2);
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
        let harness = Harness::with(
            Options::default(),
            vec![Fault::once(Endpoint::Finalize, Action::Chain(wrong))],
        );
        harness.want(&["a.example"]);
        let problem = harness.until("it is noticed", || {
            harness.reports().first()?.problem.clone()
        });
        assert!(
            problem.message.contains("is wrong"),
            "{wrong:?}: {problem:?}"
        );
        assert!(
            harness.engine.served().borrow().certificates.is_empty(),
            "{wrong:?}"
        );
        assert_eq!(harness.settle(DAY), End::Live, "{wrong:?}");
        harness.assert_good();
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
        let harness = Harness::with(
            Options::default(),
            vec![Fault::once(endpoint, Action::OrderInvalid(invalid))],
        );
        harness.want(&["a.example"]);
        assert_eq!(
            harness.settle(DAY),
            End::Live,
            "{endpoint:?}: {:#?}",
            harness.ca.log()
        );
        harness.assert_good();
    }
}

#[test]
fn what_is_proved_already_is_not_proved_again() {
    let harness = gets_there(
        "reuse",
        vec![Fault::once(Endpoint::NewOrder, Action::AuthzReuse)],
        HOUR,
    );
    assert_eq!(harness.calls(Endpoint::Challenge), 0);
}

#[test]
fn a_ca_that_asks_for_other_names_is_told_nothing() {
    let options = Options {
        reuse: false,
        ..Options::default()
    };
    let harness = Harness::with(
        options,
        vec![Fault::once(Endpoint::NewOrder, Action::AuthzOfAnother)],
    );
    harness.want(&["a.example"]);
    let problem = harness.until("it is noticed", || {
        harness.reports().first()?.problem.clone()
    });
    assert!(problem.message.contains("was not ordered"), "{problem:?}");
    assert_eq!(harness.calls(Endpoint::Challenge), 0);
    harness.ca.set_faults(Vec::new());
    assert_eq!(harness.settle(DAY), End::Live);
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
        let harness = Harness::new(Options::default());
        let endpoint = if ari == Ari::Missing {
            Endpoint::Directory
        } else {
            Endpoint::RenewalInfo
        };
        harness
            .ca
            .set_faults(vec![Fault::always(endpoint, Action::Ari(ari))]);
        harness.want(&["a.example"]);
        assert_eq!(harness.settle(HOUR), End::Live, "{ari:?}");
        if renews {
            harness.until("it is renewed", || (harness.issued() >= 2).then_some(()));
            harness.ca.set_faults(Vec::new());
        } else {
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(harness.issued(), 1, "{ari:?}");
        }
        // Whatever was said, it is renewed before its end.
        harness.pass(DAY * 89);
        assert_eq!(harness.settle(HOUR), End::Live, "{ari:?}");
        assert!(harness.issued() >= 2, "{ari:?}");
        harness.assert_good();
    }
}

#[test]
fn a_predecessor_that_the_ca_does_not_accept_never_stops_a_renewal() {
    let harness = Harness::new(Options::default());
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    let replaced = Problem::new("alreadyReplaced", "has a replacement").status(409);
    harness.ca.set_faults(vec![
        Fault::once(Endpoint::NewOrder, Action::Problem(replaced)),
        Fault::new(Endpoint::NewOrder, Nth::Call(2), Action::ReplacesNotEchoed),
    ]);
    harness.pass(DAY * 80);
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 2);
    let orders = harness.ca.orders();
    assert_eq!(orders.last().unwrap().replaces, None, "{orders:?}");
    harness.assert_good();
}

#[test]
fn a_renewal_names_what_it_replaces() {
    let harness = Harness::new(Options::default());
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.pass(DAY * 70);
    assert_eq!(harness.settle(HOUR), End::Live);
    let issued = harness.ca.issued();
    assert_eq!(issued[1].replaces.as_deref(), Some(&*issued[0].id));
}

#[test]
fn an_account_that_the_ca_lost_is_registered_again_with_the_same_key() {
    let harness = Harness::new(Options::default());
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.ca.forget();
    harness.pass(DAY * 80);
    assert_eq!(harness.settle(DAY), End::Live);
    assert_eq!(harness.calls(Endpoint::NewAccount), 2);
    harness.assert_good();
}

#[test]
fn odd_members_of_resources_do_no_harm() {
    let mut harness = gets_there(
        "odd members",
        vec![Fault::always(Endpoint::Any, Action::OddMembers)],
        HOUR,
    );
    assert!(
        !harness.was_told(NoticeReason::Failed),
        "{:#?}",
        harness.ca.log()
    );
    assert_eq!(
        (harness.issued(), harness.calls(Endpoint::NewOrder)),
        (1, 1)
    );
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
        let mut harness = gets_there("unknown account", faults.collect(), HOUR);
        assert_eq!(
            harness.was_told(NoticeReason::Failed),
            times == 2,
            "{:#?}",
            harness.ca.log()
        );
        assert_eq!(harness.calls(Endpoint::NewAccount), 2);
    }
}

#[test]
fn a_deactivated_account_is_said_and_asked_for_daily_at_most() {
    let harness = Harness::new(Options::default());
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.ca.set_faults(vec![Fault::once(
        Endpoint::NewOrder,
        Action::AccountDeactivated,
    )]);
    harness.pass(DAY * 80);
    let before = harness.calls(Endpoint::NewOrder);
    assert!(matches!(harness.settle(DAY * 5), End::Waiting(_)));
    // Twice each time: with and without the predecessor, which may be somebody else's.
    assert!(
        harness.calls(Endpoint::NewOrder) - before <= 14,
        "{:#?}",
        harness.ca.log()
    );
    harness.assert_good();
}

#[test]
fn the_next_ca_takes_over_where_the_first_will_not() {
    let second = ChaosCa::start(Options::default());
    let harness = Harness::new(Options::default());
    let both = [
        issuer("first", &harness.ca, |_| {}),
        issuer("second", &second, |_| {}),
    ];
    let rejected = Problem::new("rejectedIdentifier", "not here").status(400);
    harness.ca.set_faults(vec![Fault::always(
        Endpoint::NewOrder,
        Action::Problem(rejected),
    )]);
    harness.engine.want([want(&["a.example"], &both)].into());
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!((harness.issued(), second.issued().len()), (0, 1));
    assert_eq!(harness.report().issuer, "second");
    harness.assert_good();
}

#[test]
fn a_wish_that_changes_in_mid_order_is_followed_by_what_it_became() {
    let harness = Harness::with(
        Options::default(),
        vec![Fault::always(
            Endpoint::Authz,
            Action::Delay(Duration::from_millis(300)),
        )],
    );
    harness.want(&["a.example"]);
    harness.until("an order is open", || {
        (harness.calls(Endpoint::NewOrder) == 1).then_some(())
    });
    let changed = want(&["a.example", "b.example"], &[harness.issuer(|_| {})]);
    harness.engine.want([changed].into());
    harness.ca.set_faults(Vec::new());
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.report().hosts, ["a.example", "b.example"]);
    let served = harness.engine.served().borrow().clone();
    assert_eq!(
        served.certificates["default/a.example"].live.names().len(),
        2
    );
    // Taken back altogether.
    harness.ca.set_faults(vec![Fault::always(
        Endpoint::Authz,
        Action::Delay(Duration::from_millis(300)),
    )]);
    let orders = harness.calls(Endpoint::NewOrder);
    harness
        .engine
        .want([want(&["c.example"], &[harness.issuer(|_| {})])].into());
    harness.until("an order is open", || {
        (harness.calls(Endpoint::NewOrder) > orders).then_some(())
    });
    harness.engine.want([].into());
    harness.until("it is let go", || {
        harness.reports().is_empty().then_some(())
    });
    harness.assert_good();
}

#[test]
fn profiles_that_are_unknown_are_named_and_those_that_are_ignored_do_no_harm() {
    let ignored = Harness::with(
        Options::default(),
        vec![Fault::always(Endpoint::NewOrder, Action::ProfileIgnored)],
    );
    let issuer = ignored.issuer(|acme| acme.profile = Some("shortlived".to_owned()));
    ignored
        .engine
        .want([want(&["a.example"], &[issuer])].into());
    assert_eq!(ignored.settle(HOUR), End::Live);
    let unknown = Harness::new(Options::default());
    let issuer = unknown.issuer(|acme| acme.profile = Some("no-such-profile".to_owned()));
    unknown
        .engine
        .want([want(&["a.example"], &[issuer])].into());
    assert!(matches!(unknown.settle(HOUR), End::Blocked(_)));
}

#[test]
fn six_day_certificates_need_no_setting() {
    let harness = Harness::new(Options::default());
    let issuer = harness.issuer(|acme| acme.profile = Some("shortlived".to_owned()));
    harness
        .engine
        .want([want(&["a.example", "192.0.2.1"], &[issuer])].into());
    assert_eq!(harness.settle(HOUR), End::Live);
    for _day in 0..30 {
        harness.pass(DAY);
        assert_eq!(harness.settle(HOUR), End::Live);
    }
    assert!((6..=14).contains(&harness.issued()), "{}", harness.issued());
    harness.assert_good();
}

#[test]
fn revoking_gets_another_one_and_changing_the_account_key_goes_on_with_the_account() {
    let harness = Harness::new(Options::default());
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness
        .block_on(harness.engine.revoke("a.example", Some(4)))
        .unwrap();
    harness.until("another one comes", || {
        (harness.issued() == 2).then_some(())
    });
    assert_eq!(harness.ca.issued()[0].revoked, Some(4));
    assert_eq!(harness.settle(HOUR), End::Live);
    harness
        .block_on(harness.engine.change_key(&harness.issuer(|_| {})))
        .unwrap();
    harness.pass(DAY * 80);
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(
        (harness.issued(), harness.calls(Endpoint::NewAccount)),
        (3, 1)
    );
    harness.assert_good();
}
