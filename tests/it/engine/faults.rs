//! Faults of CAs and networks, one by one, with the state in which they must end.

use std::time::Duration;

use gatelet::acme::engine::notice::NoticeReason;

use super::harness::{End, Harness, issuer, spec};
use crate::support::chaos::{
    Action, Ari, ChaosCa, Door, Endpoint, Fault, Nth, Options, Problem, RetryAfter, Validation,
    WrongChain,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Checks that with these faults a certificate is issued within a time, without the operator.
/// Returns the harness for more checks.
fn gets_there(what: &str, faults: Vec<Fault>, within: Duration) -> Harness {
    let harness = Harness::with(Options::default(), faults);
    harness.request(&["a.example"]);
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

/// Checks that with these faults the operator has to act and is notified.
fn is_blocked(what: &str, faults: Vec<Fault>, words: &str) -> Harness {
    let mut harness = Harness::with(Options::default(), faults);
    harness.request(&["a.example"]);
    let end = harness.settle(DAY * 40);
    assert!(
        matches!(&end, End::Blocked(why) if why.contains(words)),
        "{what}: {end:?}"
    );
    assert!(harness.was_notified(NoticeReason::Blocked), "{what}");
    harness.assert_good();
    harness
}

#[test]
fn a_certificate_is_issued_and_renewed_in_time() {
    let harness = Harness::new(Options::default());
    harness.request(&["a.example", "b.example"]);
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
fn network_errors_are_never_final() {
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
        harness.request(&["a.example"]);
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
fn refused_connections_are_retried() {
    for door in [
        Door::Refuses,
        Door::EndsHandshake,
        Door::ShowsExpiredCertificate,
    ] {
        let harness = Harness::new(Options::default());
        harness.ca.set_door(door);
        harness.request(&["a.example"]);
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
fn bad_nonces_are_replaced() {
    for percent in [5, 50] {
        let harness = Harness::with(
            Options::default(),
            vec![Fault::new(
                Endpoint::Any,
                Nth::Percent(percent),
                Action::BadNonce,
            )],
        );
        harness.request(&["a.example"]);
        assert_eq!(harness.settle(DAY), End::Live, "{percent} %");
        harness.assert_good();
    }
    let every = vec![Fault::always(Endpoint::NewOrder, Action::BadNonce)];
    let harness = Harness::with(Options::default(), every);
    harness.request(&["a.example"]);
    assert!(matches!(harness.settle(HOUR * 5), End::Waiting(_)));
    assert_eq!(harness.issued(), 0);
    harness.assert_good();
}

#[test]
fn a_missing_nonce_is_requested() {
    gets_there(
        "no nonce",
        vec![Fault::once(Endpoint::NewAccount, Action::NoNonce)],
        HOUR,
    );
}

#[test]
fn retry_after_is_respected() {
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
        harness.request(&["a.example"]);
        harness.until("it waits", || harness.reports().first()?.problem.clone());
        harness.look();
        let next = harness.report().next.unwrap();
        let wait = next - harness.time.reading().wall;
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
fn a_pause_is_reported_with_its_link_and_stops_attempts() {
    let text = "Your account is temporarily prevented from requesting certificates for \
                a.example. Please visit: https://unpause.ca.test/sfe/v1/unpause?jwt=abc";
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
    // The operator acts.
    harness.ca.set_faults(Vec::new());
    harness.block_on(harness.engine.renew("a.example")).unwrap();
    assert_eq!(harness.settle(HOUR), End::Live);
}

#[test]
fn failures_that_need_the_operator_are_not_repeated() {
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
fn a_refused_contact_blocks_and_is_named() {
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
fn failed_validations_back_off_within_the_cas_limits() {
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
        harness.request(&["a.example"]);
        let end = harness.settle(DAY * 5);
        assert!(
            matches!(&end, End::Waiting(why) if why.contains("it did not work")),
            "{kind}: {end:?}"
        );
        assert!(harness.was_notified(NoticeReason::Failed), "{kind}");
        harness.assert_good();
        // It works again: the next attempt succeeds.
        harness.ca.set_validation(Validation::AlwaysValid);
        assert_eq!(harness.settle(DAY * 2), End::Live, "{kind}");
        harness.assert_good();
    }
}

#[test]
fn a_month_of_failed_validations_blocks() {
    let options = Options {
        validation: Validation::Fail(Problem::new("dns", "no such name")),
        ..Options::default()
    };
    let harness = Harness::new(options);
    harness.request(&["a.example"]);
    let end = harness.settle(DAY * 60);
    assert!(
        matches!(&end, End::Blocked(why) if why.contains("no such name")),
        "{end:?}"
    );
    harness.assert_good();
}

#[test]
fn a_ca_that_never_connected_is_reported() {
    let options = Options {
        validation: Validation::Fail(Problem::new("connection", "timeout")),
        ..Options::default()
    };
    let mut harness = Harness::new(options);
    harness.request(&["a.example"]);
    assert!(matches!(harness.settle(HOUR), End::Waiting(_)));
    let notice = harness
        .notified()
        .iter()
        .find(|notice| notice.reason == NoticeReason::ChallengeNeverSeen)
        .cloned();
    assert!(notice.is_some_and(|notice| notice.message.contains("no request reached this device")));
}

#[test]
fn another_challenge_is_tried_once_if_the_first_fails() {
    let options = Options {
        validation: Validation::Fail(Problem::new("connection", "closed")),
        ..Options::default()
    };
    let mut harness = Harness::new(options);
    harness.request(&["a.example"]);
    assert!(matches!(
        harness.settle(Duration::from_secs(30)),
        End::Waiting(_)
    ));
    // http-01, then tls-alpn-01, each in its own order, and then a wait.
    assert_eq!(
        harness.calls(Endpoint::NewOrder),
        2,
        "{:#?}",
        harness.ca.log()
    );
    // The owner hears of it once.
    let failed = harness.notified().iter();
    let failed = failed.filter(|notice| notice.reason == NoticeReason::Failed);
    assert_eq!(failed.count(), 1);
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
        harness.was_notified(NoticeReason::ChallengeNeverSeen),
        "{:?}",
        harness.notified()
    );
    // First http-01, then tls-alpn-01.
    assert_eq!(harness.calls(Endpoint::Challenge), 2);
}

#[test]
fn mismatching_certificates_are_never_served() {
    for wrong in [
        WrongChain::Expired,
        WrongChain::NotYetValid,
        WrongChain::OtherKey,
        WrongChain::OtherNames,
    ] {
        let harness = Harness::with(
            Options::default(),
            vec![Fault::once(Endpoint::Finalize, Action::Chain(wrong))],
        );
        harness.request(&["a.example"]);
        let problem = harness.until("it is noticed", || {
            harness.reports().first()?.problem.clone()
        });
        assert!(
            problem.message.contains("cannot be used"),
            "{wrong:?}: {problem:?}"
        );
        assert!(
            harness.engine.active().borrow().certificates.is_empty(),
            "{wrong:?}"
        );
        assert_eq!(harness.settle(DAY), End::Live, "{wrong:?}");
        harness.assert_good();
    }
    // A short lifetime and an additional name are fine.
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
fn an_invalid_order_is_replaced() {
    for endpoint in [Endpoint::Order, Endpoint::Finalize] {
        let invalid = Problem::new("serverInternal", "broken");
        let harness = Harness::with(
            Options::default(),
            vec![Fault::once(endpoint, Action::OrderInvalid(invalid))],
        );
        harness.request(&["a.example"]);
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
fn valid_authorizations_are_not_proved_again() {
    let harness = gets_there(
        "reuse",
        vec![Fault::once(Endpoint::NewOrder, Action::AuthzReuse)],
        HOUR,
    );
    assert_eq!(harness.calls(Endpoint::Challenge), 0);
}

#[test]
fn authorizations_of_other_names_are_refused() {
    let options = Options {
        reuse: false,
        ..Options::default()
    };
    let harness = Harness::with(
        options,
        vec![Fault::once(Endpoint::NewOrder, Action::AuthzOfAnother)],
    );
    harness.request(&["a.example"]);
    let problem = harness.until("it is noticed", || {
        harness.reports().first()?.problem.clone()
    });
    assert!(problem.message.contains("was not ordered"), "{problem:?}");
    assert_eq!(harness.calls(Endpoint::Challenge), 0);
    harness.ca.set_faults(Vec::new());
    assert_eq!(harness.settle(DAY), End::Live);
}

#[test]
fn renewal_information_moves_but_never_breaks_renewals() {
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
        harness.request(&["a.example"]);
        assert_eq!(harness.settle(HOUR), End::Live, "{ari:?}");
        if renews {
            harness.until("it is renewed", || (harness.issued() >= 2).then_some(()));
            harness.ca.set_faults(Vec::new());
        } else {
            std::thread::sleep(Duration::from_secs(1));
            assert_eq!(harness.issued(), 1, "{ari:?}");
        }
        // Whatever the CA suggests, it is renewed before it expires.
        harness.pass(DAY * 89);
        assert_eq!(harness.settle(HOUR), End::Live, "{ari:?}");
        assert!(harness.issued() >= 2, "{ari:?}");
        harness.assert_good();
    }
}

#[test]
fn a_refused_predecessor_never_stops_a_renewal() {
    let harness = Harness::new(Options::default());
    harness.request(&["a.example"]);
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
fn a_renewal_names_its_predecessor() {
    let harness = Harness::new(Options::default());
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.pass(DAY * 70);
    assert_eq!(harness.settle(HOUR), End::Live);
    let issued = harness.ca.issued();
    assert_eq!(issued[1].replaces.as_deref(), Some(&*issued[0].id));
}

#[test]
fn a_lost_account_is_registered_again_with_the_same_key() {
    let harness = Harness::new(Options::default());
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.ca.forget();
    harness.pass(DAY * 80);
    assert_eq!(harness.settle(DAY), End::Live);
    assert_eq!(harness.calls(Endpoint::NewAccount), 2);
    harness.assert_good();
}

#[test]
fn unusual_members_of_resources_do_no_harm() {
    let mut harness = gets_there(
        "odd members",
        vec![Fault::always(Endpoint::Any, Action::OddMembers)],
        HOUR,
    );
    assert!(
        !harness.was_notified(NoticeReason::Failed),
        "{:#?}",
        harness.ca.log()
    );
    assert_eq!(
        (harness.issued(), harness.calls(Endpoint::NewOrder)),
        (1, 1)
    );
}

#[test]
fn an_account_that_the_ca_rejects_is_looked_up_once() {
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
            harness.was_notified(NoticeReason::Failed),
            times == 2,
            "{:#?}",
            harness.ca.log()
        );
        assert_eq!(harness.calls(Endpoint::NewAccount), 2);
    }
}

#[test]
fn the_next_ca_takes_over_if_the_first_refuses() {
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
    harness
        .engine
        .set_specs([spec(&["a.example"], &both)].into());
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!((harness.issued(), second.issued().len()), (0, 1));
    assert_eq!(harness.report().issuer, "second");
    harness.assert_good();
}

#[test]
fn a_spec_that_changes_mid_order_gets_another_order() {
    let harness = Harness::with(
        Options::default(),
        vec![Fault::always(
            Endpoint::Authz,
            Action::Delay(Duration::from_millis(300)),
        )],
    );
    harness.request(&["a.example"]);
    harness.until("an order is open", || {
        (harness.calls(Endpoint::NewOrder) == 1).then_some(())
    });
    let changed = spec(&["a.example", "b.example"], &[harness.issuer(|_| {})]);
    harness.engine.set_specs([changed].into());
    harness.ca.set_faults(Vec::new());
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.report().hosts, ["a.example", "b.example"]);
    let served = harness.engine.active().borrow().clone();
    assert_eq!(
        served.certificates["default/a.example"].live.names().len(),
        2
    );
    // The spec is removed.
    harness.ca.set_faults(vec![Fault::always(
        Endpoint::Authz,
        Action::Delay(Duration::from_millis(300)),
    )]);
    let orders = harness.calls(Endpoint::NewOrder);
    harness
        .engine
        .set_specs([spec(&["c.example"], &[harness.issuer(|_| {})])].into());
    harness.until("an order is open", || {
        (harness.calls(Endpoint::NewOrder) > orders).then_some(())
    });
    harness.engine.set_specs([].into());
    harness.until("it is let go", || {
        harness.reports().is_empty().then_some(())
    });
    harness.assert_good();
}

#[test]
fn unknown_profiles_are_named_and_ignored_ones_do_no_harm() {
    let ignored = Harness::with(
        Options::default(),
        vec![Fault::always(Endpoint::NewOrder, Action::ProfileIgnored)],
    );
    let issuer = ignored.issuer(|acme| acme.profile = Some("shortlived".to_owned()));
    ignored
        .engine
        .set_specs([spec(&["a.example"], &[issuer])].into());
    assert_eq!(ignored.settle(HOUR), End::Live);
    let unknown = Harness::new(Options::default());
    let issuer = unknown.issuer(|acme| acme.profile = Some("no-such-profile".to_owned()));
    unknown
        .engine
        .set_specs([spec(&["a.example"], &[issuer])].into());
    assert!(matches!(unknown.settle(HOUR), End::Blocked(_)));
}

#[test]
fn six_day_certificates_need_no_setting() {
    let harness = Harness::new(Options::default());
    let issuer = harness.issuer(|acme| acme.profile = Some("shortlived".to_owned()));
    harness
        .engine
        .set_specs([spec(&["a.example", "192.0.2.1"], &[issuer])].into());
    assert_eq!(harness.settle(HOUR), End::Live);
    for _day in 0..30 {
        harness.pass(DAY);
        assert_eq!(harness.settle(HOUR), End::Live);
    }
    assert!((6..=14).contains(&harness.issued()), "{}", harness.issued());
    harness.assert_good();
}

#[test]
fn revocation_and_key_change_keep_the_account_working() {
    let harness = Harness::new(Options::default());
    harness.request(&["a.example"]);
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
