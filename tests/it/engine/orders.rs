//! Orders side by side, orders at a private CA, and the accounts that they need.

use std::{
    io::{BufReader, Write},
    net::{IpAddr, Ipv4Addr, TcpListener},
    sync::Arc,
    thread,
    time::Duration,
};

use gatelet::{
    acme::{Timing, ca::jws::ExternalAccount, engine::notice::NoticeReason, spec::CertificateSpec},
    tls::Challenges,
};
use jiff::SignedDuration;

use super::{
    failpoint_store::Gate,
    harness::{End, Harness, TIMING, Time, issuer, spec},
};
use crate::support::{
    backend,
    chaos::{
        Action, ChaosCa, Endpoint, Fault, Identifier, Nth, Options, Profile, Validation, WrongChain,
    },
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// The key of the chaos CA's external account, as the configuration has it: 32 bytes with the
/// value 7.
const EAB_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";

/// Returns the options of a CA whose external account is good for one account.
fn bound_once() -> Options {
    Options {
        eab: vec![("kid-1".to_owned(), vec![7; 32])],
        eab_once: true,
        ..Options::default()
    }
}

/// Returns a spec for `a.example` with an external account.
fn bound(harness: &Harness) -> Arc<CertificateSpec> {
    let eab = ExternalAccount::new("kid-1", EAB_KEY).unwrap();
    let issuer = harness.issuer(|acme| acme.eab = Some(eab));
    spec(&["a.example"], &[issuer])
}

/// Returns a harness that waits for the CA for a minute.
fn patient() -> Harness {
    let timing = Timing {
        poll_timeout: Duration::from_secs(60),
        ..TIMING
    };
    let ca = ChaosCa::start(Options::default());
    Harness::on(ca, Gate::new(), Time::new(), timing)
}

/// Returns a patient harness whose account is registered, with a first certificate.
fn registered() -> Harness {
    let harness = patient();
    harness.request(&["first.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness
}

/// Serves the responses to HTTP-01 challenges for a host, and returns the port.
fn serve_challenges(host: &'static str, challenges: Arc<Challenges>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let head = backend::head(&mut BufReader::new(&stream)).unwrap_or_default();
            let path = head.split_whitespace().nth(1).unwrap_or_default();
            let token = path.rsplit('/').next().unwrap_or_default();
            let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let proof = challenges.http(host, token, client).unwrap_or_default();
            let length = proof.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            let _gone = (&stream).write_all(format!("{head}{proof}").as_bytes());
        }
    });
    port
}

#[test]
fn certificates_of_a_minute_never_run_out() {
    let harness = Harness::new(Options {
        // Like other CAs, it backdates them by an hour.
        profiles: vec![Profile {
            name: "minute",
            life: SignedDuration::from_secs(3_600 + 60),
            ..Profile::of_a_day()
        }],
        ..Options::default()
    });
    let issuer = harness.issuer(|acme| acme.publishes_limits = false);
    harness
        .engine
        .set_specs([spec(&["a.example"], &[issuer])].into());
    assert_eq!(harness.settle(SECOND), End::Live);

    while harness.issued() < 60 {
        harness.pass(SECOND * 5);
        assert_eq!(harness.settle(SECOND), End::Live);
        // A renewal may be under way, but never too late.
        let (report, now) = (harness.report(), harness.time.reading().wall);
        assert!(report.not_after.is_some_and(|end| end > now), "{report:?}");
    }

    // The operator may renew at any time, too.
    for renewal in 61..=70 {
        harness.block_on(harness.engine.renew("a.example")).unwrap();
        harness.until("it is renewed", || {
            (harness.issued() >= renewal).then_some(())
        });
    }
}

#[test]
fn two_issuers_validate_one_host_at_once() {
    let second = ChaosCa::start(Options::default());
    let harness = Harness::new(Options::default());
    let http_port = serve_challenges("a.example", harness.challenges.clone());
    for ca in [&*harness.ca, &second] {
        ca.set_validation(Validation::Real {
            http_port,
            tls_port: 1,
        });
        // Both have published their responses before either is validated.
        let delay = Action::Delay(Duration::from_millis(500));
        ca.set_faults(vec![Fault::once(Endpoint::Challenge, delay)]);
    }

    let one = spec(&["a.example"], &[harness.issuer(|_| {})]);
    let mut other = (*spec(&["a.example"], &[issuer("second", &second, |_| {})])).clone();
    other.id = "other/a.example".into();
    harness.engine.set_specs([one, Arc::new(other)].into());

    assert_eq!(harness.settle(SECOND), End::Live, "{:#?}", harness.ca.log());
    assert_eq!(harness.calls(Endpoint::NewOrder), 1);
    assert_eq!(second.calls(Endpoint::NewOrder), 1);
}

#[test]
fn a_host_that_waits_does_not_hold_up_the_others() {
    let harness = registered();
    let stall = Fault::once(Endpoint::Challenge, Action::Stall(1_000));
    harness.ca.set_faults(vec![stall]);
    let issuer = harness.issuer(|_| {});
    let specs = |count: usize| -> Vec<_> {
        let mut names = vec!["first.example".to_owned(), "slow.example".to_owned()];
        names.extend((0..count).map(|number| format!("n{number}.example")));
        let issuers = std::slice::from_ref(&issuer);
        names.iter().map(|name| spec(&[name], issuers)).collect()
    };
    harness.engine.set_specs(specs(0).into());
    harness.call_comes();
    harness.engine.set_specs(specs(8).into());
    harness.until("the others are issued", || {
        (harness.issued() == 9).then_some(())
    });

    let reports = harness.reports();
    let slow = reports
        .iter()
        .find(|one| one.name == "default/slow.example");
    assert!(slow.unwrap().doing.is_some(), "{reports:#?}");
    harness.assert_good();
}

#[test]
fn no_more_than_four_orders_are_open_at_once() {
    let harness = registered();
    let stall = Fault::always(Endpoint::Challenge, Action::Stall(1_000));
    harness.ca.set_faults(vec![stall]);
    let issuer = harness.issuer(|_| {});
    let names = (0..6).map(|number| format!("n{number}.example"));
    let issuers = std::slice::from_ref(&issuer);
    // The last two have the same name, so only one of them is validated at a time.
    let mut specs: Vec<_> = names.map(|name| spec(&[&name], issuers)).collect();
    specs.push(spec(&["first.example"], issuers));
    harness.engine.set_specs(specs.into());
    harness.until("four wait for the CA", || {
        (harness.calls(Endpoint::Challenge) == 5).then_some(())
    });
    harness.look();
    let waiting = harness
        .reports()
        .iter()
        .filter(|one| one.doing.as_deref() == Some("waiting for other orders of this account"))
        .count();
    assert_eq!(waiting, 2);
    assert_eq!(harness.calls(Endpoint::NewOrder), 5);
}

#[test]
fn certificates_for_the_same_name_are_validated_in_turn() {
    let harness = registered();
    let stall = Fault::always(Endpoint::Challenge, Action::Stall(1_000));
    harness.ca.set_faults(vec![stall]);
    let issuers = [harness.issuer(|_| {})];
    let specs = [
        spec(&["a.example", "shared.example"], &issuers),
        spec(&["b.example", "shared.example"], &issuers),
    ];
    harness.engine.set_specs(specs.into());
    harness.until("one waits for the CA", || {
        (harness.calls(Endpoint::Challenge) == 2).then_some(())
    });
    harness.look();
    assert_eq!(harness.calls(Endpoint::NewOrder), 2);
}

#[test]
fn a_name_below_a_wildcard_is_not_ordered() {
    let harness = Harness::new(Options::default());
    let authorized = Fault::always(Endpoint::NewOrder, Action::AuthzReuse);
    harness.ca.set_faults(vec![authorized]);
    let names = ["*.a.example", "a.example", "b.a.example", "c.b.a.example"];
    harness.request(&names);
    assert_eq!(harness.settle(HOUR), End::Live);

    let ordered = harness.ca.orders().remove(0).names;
    let expected = ["*.a.example", "a.example", "c.b.a.example"];
    let expected = expected.map(|name| Identifier::Dns(name.to_owned()));
    assert_eq!(ordered, expected);
    let hosts = harness.report().hosts;
    assert_eq!(hosts.len(), 4, "{hosts:?}");
    harness.pass(DAY * 10);
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 1, "it fits the spec");
    harness.assert_good();
}

#[test]
fn a_binding_is_not_sent_again_after_a_lost_response() {
    let harness = Harness::with(
        bound_once(),
        vec![Fault::new(
            Endpoint::NewAccount,
            Nth::Call(2),
            Action::CloseAfterCommit,
        )],
    );
    harness.engine.set_specs([bound(&harness)].into());
    assert_eq!(harness.settle(HOUR), End::Live, "{:#?}", harness.ca.log());
    assert_eq!(harness.ca.faults_left(), []);
}

#[test]
fn a_binding_is_not_sent_again_after_a_crash() {
    let hangs = Fault::new(Endpoint::NewAccount, Nth::Call(2), Action::HangAfterCommit);
    let mut harness = Harness::with(bound_once(), vec![hangs]);
    harness.engine.set_specs([bound(&harness)].into());
    harness.call_comes();
    harness.crash();
    assert_eq!(harness.settle(HOUR), End::Live, "{:#?}", harness.ca.log());
    // Looked up, made, and looked up again.
    assert_eq!(harness.calls(Endpoint::NewAccount), 3);
}

#[test]
fn a_deactivated_account_is_replaced_by_itself() {
    for finds_ended in [false, true] {
        let mut harness = Harness::new(Options {
            finds_ended,
            ..Options::default()
        });
        harness.request(&["a.example"]);
        assert_eq!(harness.settle(HOUR), End::Live);
        let ended = Fault::once(Endpoint::NewOrder, Action::AccountDeactivated);
        harness.ca.set_faults(vec![ended]);
        harness.pass(DAY * 80);
        assert_eq!(harness.settle(HOUR), End::Live, "{:#?}", harness.ca.log());
        assert_eq!(harness.issued(), 2);
        let replaced = harness.notified().iter();
        let replaced = replaced.filter(|notice| notice.reason == NoticeReason::AccountReplaced);
        assert_eq!(replaced.count(), 1);
        harness.assert_good();
    }
}

#[test]
fn a_ca_that_ends_every_account_gets_few_new_ones() {
    let harness = Harness::new(Options::default());
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    let ended = Fault::always(Endpoint::NewOrder, Action::AccountDeactivated);
    harness.ca.set_faults(vec![ended]);
    harness.pass(DAY * 80);
    let before = harness.calls(Endpoint::NewAccount);
    assert!(matches!(harness.settle(DAY * 5), End::Waiting(_)));
    let calls = harness.calls(Endpoint::NewAccount) - before;
    assert!(calls <= 18, "{calls}: {:#?}", harness.ca.log());
    harness.assert_good();
}

#[test]
fn several_certificates_replace_an_ended_account_once_a_day() {
    let mut harness = Harness::new(Options::default());
    let issuers = [harness.issuer(|_| {})];
    let names = ["a.example", "b.example", "c.example", "d.example"];
    let specs: Vec<_> = names.iter().map(|name| spec(&[name], &issuers)).collect();
    harness.engine.set_specs(specs.into());
    assert_eq!(harness.settle(HOUR), End::Live);

    let ended = Fault::always(Endpoint::NewOrder, Action::AccountDeactivated);
    harness.ca.set_faults(vec![ended]);
    harness.pass(DAY * 80);
    assert!(matches!(harness.settle(DAY * 5), End::Waiting(_)));
    let replaced = harness.notified().iter();
    let replaced = replaced.filter(|notice| notice.reason == NoticeReason::AccountReplaced);
    assert!((1..=6).contains(&replaced.count()));
}

#[test]
fn a_spent_binding_leads_to_the_command_for_an_account() {
    let mut harness = Harness::new(bound_once());
    harness.engine.set_specs([bound(&harness)].into());
    assert_eq!(harness.settle(HOUR), End::Live);
    let ended = Fault::once(Endpoint::NewOrder, Action::AccountDeactivated);
    harness.ca.set_faults(vec![ended]);
    harness.pass(DAY * 80);
    let end = harness.settle(DAY * 5);
    assert!(
        matches!(&end, End::Blocked(why) if why.contains("gatelet certs new-account chaos")),
        "{end:?}"
    );
    let blocked = harness.notified().iter();
    let blocked = blocked.filter(|notice| notice.reason == NoticeReason::Blocked);
    assert_eq!(blocked.count(), 1);

    // The operator has talked to the CA.
    harness.ca.forget();
    let spec = harness.engine.specs()[0].clone();
    harness
        .block_on(harness.engine.new_account(&spec.issuers[0]))
        .unwrap();
    assert_eq!(harness.settle(HOUR), End::Live, "{:#?}", harness.ca.log());
    assert_eq!(harness.issued(), 2);
    harness.assert_good();
}

#[test]
fn a_single_certificate_is_a_complete_chain() {
    let mut harness = Harness::with(
        Options::default(),
        vec![Fault::once(
            Endpoint::Finalize,
            Action::Chain(WrongChain::MissingIntermediate),
        )],
    );
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(SECOND), End::Live);
    assert_eq!(harness.issued(), 1);
    assert!(!harness.was_notified(NoticeReason::Failed));
    harness.assert_good();
}

#[test]
fn the_time_of_a_requested_renewal_is_known() {
    let harness = Harness::new(Options::default());
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    let renew = || {
        let renewed = harness.engine.renew("a.example");
        harness.block_on(renewed).unwrap()
    };

    for issued in 2..=4 {
        let when = renew();
        assert!(when.ends_with("is being renewed now"), "{when}");
        harness.until("it is renewed", || {
            (harness.issued() == issued).then_some(())
        });
        harness.look();
    }

    let limited = renew();
    assert!(
        limited.contains("is renewed at 20") && limited.contains("within a week"),
        "{limited}"
    );
    harness.pass(DAY * 8);
    harness.until("it is renewed", || (harness.issued() == 5).then_some(()));

    let slow = Action::Stall(1_000);
    harness
        .ca
        .set_faults(vec![Fault::once(Endpoint::Finalize, slow)]);
    harness.look();
    renew();
    harness.call_comes();
    let again = renew();
    assert!(again.contains("already under way"), "{again}");
    harness.assert_good();
}

#[test]
fn an_unusable_issuer_gets_no_new_account() {
    let harness = Harness::new(Options::default());
    let issuer = harness.issuer(|acme| acme.problem = Some("eab.hmac: not base64url".into()));
    harness
        .engine
        .set_specs([spec(&["a.example"], std::slice::from_ref(&issuer))].into());

    let refused = harness.block_on(harness.engine.new_account(&issuer));
    let message = refused.expect_err("it cannot be used").to_string();
    assert!(message.ends_with("eab.hmac: not base64url"), "{message}");
    assert_eq!(harness.calls(Endpoint::NewAccount), 0);
}
