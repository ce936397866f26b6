//! The counters: the requests that count, the tokens that come back with time, and the exemptions.

use std::time::Duration;

use serde_json::json;

use super::client::{Client, body, refusal, start};
use crate::support::chaos::{ChaosCa, Options, Problem, Validation};

const HOUR: Duration = Duration::from_secs(3600);

fn failing() -> Options {
    Options {
        validation: Validation::Fail(Problem::new("unauthorized", "wrong response")),
        ..Options::default()
    }
}

/// Starts a CA whose clock stands still.
fn frozen(options: Options) -> (ChaosCa, Client) {
    let (ca, client) = start(options);
    ca.freeze();
    (ca, client)
}

/// Makes an order whose validation fails.
fn fail(client: &mut Client, name: &str) {
    let answer = client.order(&[name], json!({})).unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    client.respond(&body(&answer), "http-01").unwrap();
    assert_eq!(
        client.settled(answer.field("location").expect("a location"))["status"],
        "invalid"
    );
}

#[test]
fn a_sixth_failed_authorization_in_an_hour_is_a_violation() {
    let (ca, mut client) = frozen(failing());
    for _ in 0..5 {
        fail(&mut client, "a.test");
    }
    fail(&mut client, "b.test");
    assert!(ca.violations().is_empty(), "{:?}", ca.violations());
    ca.advance(Duration::from_secs(12 * 60));
    fail(&mut client, "a.test");
    assert!(
        ca.violations().is_empty(),
        "one comes back in twelve minutes: {:?}",
        ca.violations()
    );
    client.order(&["a.test"], json!({})).unwrap();
    let violations = ca.violations();
    assert!(
        violations.len() == 1 && violations[0].contains("a.test"),
        "{violations:?}"
    );
}

#[test]
fn a_sixth_certificate_of_a_week_needs_to_replace_one() {
    let (ca, mut client) = frozen(Options::default());
    for _ in 0..5 {
        assert!(
            client
                .issue(&["a.test", "b.test"], json!({}))
                .unwrap()
                .is_ok()
        );
    }
    let replaces = json!({"replaces": ca.issued()[0].id});
    assert!(
        client
            .issue(&["a.test", "b.test"], replaces)
            .unwrap()
            .is_ok()
    );
    assert!(ca.violations().is_empty(), "{:?}", ca.violations());
    ca.advance(35 * HOUR);
    assert!(
        client
            .issue(&["a.test", "b.test"], json!({}))
            .unwrap()
            .is_ok()
    );
    assert!(
        ca.violations().is_empty(),
        "one comes back in 34 hours: {:?}",
        ca.violations()
    );
    assert!(
        client
            .issue(&["a.test", "b.test"], json!({}))
            .unwrap()
            .is_ok()
    );
    assert!(!ca.violations().is_empty());
}

#[test]
fn certificates_orders_and_accounts_are_counted() {
    let (ca, mut client) = frozen(Options {
        reuse: false,
        ..Options::default()
    });
    client.keeps = true;
    for number in 0..50 {
        assert!(
            client
                .issue(&[&format!("n{number}.a.test")], json!({}))
                .unwrap()
                .is_ok()
        );
    }
    assert!(
        client.issue(&["n0.a.test"], json!({})).unwrap().is_ok(),
        "a renewal"
    );
    assert!(ca.violations().is_empty(), "{:?}", ca.violations());
    client.order(&["n50.a.test"], json!({})).unwrap();
    assert_eq!(
        ca.violations(),
        ["certificates per registered domain: test.a"]
    );
    for number in 0..260 {
        client
            .order(&[&format!("n.b{number}.test")], json!({}))
            .unwrap();
    }
    let orders = ca
        .violations()
        .into_iter()
        .filter(|violation| violation.contains("orders per account"))
        .count();
    assert_eq!(orders, 51 + 260 - 300);
    for _ in 0..9 {
        Client::registered(&ca);
    }
    let accounts = || {
        ca.violations()
            .into_iter()
            .filter(|violation| violation.contains("new accounts"))
            .count()
    };
    assert_eq!(accounts(), 0);
    Client::registered(&ca);
    assert_eq!(accounts(), 1);
}

#[test]
fn too_many_failures_pause_a_name_until_the_link_is_opened() {
    let options = Options {
        pause_after: 3,
        enforce_limits: true,
        ..failing()
    };
    let (ca, mut client) = frozen(options);
    fail(&mut client, "a.test");
    fail(&mut client, "a.test");
    ca.set_validation(Validation::AlwaysValid);
    assert!(
        client.issue(&["a.test"], json!({})).unwrap().is_ok(),
        "a success starts the count again"
    );
    ca.set_validation(Validation::Fail(Problem::new("dns", "SERVFAIL")));
    ca.advance(40 * 24 * HOUR);
    for _ in 0..3 {
        fail(&mut client, "a.test");
    }
    ca.advance(24 * HOUR);
    let answer = client.order(&["a.test"], json!({})).unwrap();
    assert_eq!(refusal(&answer), (429, "rateLimited".into()));
    assert!(
        answer.text().contains("https://portal.test/"),
        "{}",
        answer.text()
    );
    assert_eq!(ca.violations().len(), 1);
    ca.unpause("a.test");
    fail(&mut client, "a.test");
}

#[test]
fn enforced_limits_return_the_time_to_wait() {
    let (ca, mut client) = frozen(Options {
        enforce_limits: true,
        ..failing()
    });
    for _ in 0..5 {
        fail(&mut client, "a.test");
    }
    let answer = client.order(&["a.test"], json!({})).unwrap();
    assert_eq!(refusal(&answer), (429, "rateLimited".into()));
    assert_eq!(answer.field("retry-after"), Some("721"));
    ca.advance(Duration::from_secs(721));
    fail(&mut client, "a.test");
}

#[test]
fn too_many_requests_are_a_violation() {
    let (ca, mut client) = frozen(Options::default());
    client.keeps = true;
    let mut ask = |times: usize, ask: &dyn Fn(&mut Client)| {
        (0..times).for_each(|_| ask(&mut client));
        ca.violations().len()
    };
    // Starting took one of each, and the buckets may be full again.
    assert_eq!(ask(19, &Client::renew_nonce), 0);
    assert!(ask(2, &Client::renew_nonce) > 0);
    assert!(
        ca.violations()[0].starts_with("new-nonce"),
        "{:?}",
        ca.violations()
    );
    let before = ca.violations().len();
    assert_eq!(ask(39, &|client| drop(client.get(&ca.directory()))), before);
    assert!(ask(2, &|client| drop(client.get(&ca.directory()))) > before);
}
