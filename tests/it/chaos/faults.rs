//! Every fault of the script, as a client sees it.

use std::{
    io,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use x509_parser::prelude::parse_x509_certificate;

use super::client::{Client, body, csr_for, refusal, start, strings};
use crate::support::{
    chaos::{
        Action, Ari, ChaosCa, Door, Endpoint, Fault, Nth, Options, Problem, RetryAfter, Status,
        WrongChain,
    },
    frames,
    http::Answer,
};

type Seconds = jiff::SignedDuration;

fn date(answer: &Answer, field: &str) -> jiff::Timestamp {
    let text = answer.field(field).expect("a date");
    jiff::fmt::rfc2822::parse(text).expect("a date").timestamp()
}

/// Returns the response to the first new order under this fault.
fn ordered(action: Action) -> (ChaosCa, Client, io::Result<Answer>) {
    let (ca, mut client) = start(Options::default());
    ca.set_faults(vec![Fault::once(Endpoint::NewOrder, action)]);
    let answer = client.order(&["a.test"], json!({}));
    assert!(ca.faults_left().is_empty());
    (ca, client, answer)
}

#[test]
fn responses_of_a_proxy_in_front_of_the_ca_change_nothing() {
    let headers = vec![("Content-Type".to_owned(), "text/html".to_owned())];
    let page = Action::Answer {
        status: 502,
        headers,
        body: b"<h1>Bad Gateway</h1>".to_vec(),
    };
    let (ca, _, answer) = ordered(page);
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, &*answer.text()),
        (502, "<h1>Bad Gateway</h1>")
    );
    assert_eq!(answer.field("replay-nonce"), None);
    assert!(ca.orders().is_empty());
    let (ca, _, answer) = ordered(Action::Redirect("https://127.0.0.1/elsewhere".into()));
    let answer = answer.unwrap();
    assert_eq!(
        (answer.status, answer.field("location")),
        (307, Some("https://127.0.0.1/elsewhere"))
    );
    assert!(ca.orders().is_empty());
}

#[test]
fn problems_come_with_subproblems_and_a_time_to_wait() {
    let (ca, mut client) = start(Options::default());
    let problem = Problem::new("rateLimited", "later").subproblem("a.test", "caa", "forbidden");
    ca.set_faults(vec![
        Fault::new(Endpoint::NewOrder, Nth::Call(2), Action::Problem(problem)),
        Fault::new(
            Endpoint::NewOrder,
            Nth::Call(2),
            Action::RetryAfter(RetryAfter::Seconds(7)),
        ),
    ]);
    assert_eq!(client.order(&["a.test"], json!({})).unwrap().status, 201);
    let answer = client.order(&["b.test"], json!({})).unwrap();
    assert_eq!(refusal(&answer), (429, "rateLimited".into()));
    assert_eq!(answer.field("retry-after"), Some("7"));
    assert_eq!(
        body(&answer)["subproblems"][0]["identifier"]["value"],
        "a.test"
    );
    assert_eq!(ca.orders().len(), 1);
    assert_eq!(client.order(&["b.test"], json!({})).unwrap().status, 201);
}

#[test]
fn connections_end_before_after_and_within_a_response() {
    let (ca, _, answer) = ordered(Action::CloseBeforeCommit);
    assert!(answer.is_err() && ca.orders().is_empty());
    let (ca, _, answer) = ordered(Action::CloseAfterCommit);
    assert!(answer.is_err() && ca.orders().len() == 1);
    assert_eq!(ca.log().last().map(|line| line.status), Some(None));
    let (ca, client, _) = ordered(Action::CutAfter(10));
    assert_eq!(ca.orders().len(), 1);
    ca.set_faults(vec![Fault::once(Endpoint::Directory, Action::CutAfter(10))]);
    let mut connection = client.connect(&[]).unwrap();
    connection
        .send(b"GET /directory HTTP/1.1\r\nHost: ca\r\nUser-Agent: test\r\n\r\n")
        .unwrap();
    let head = connection.head().unwrap().to_ascii_lowercase();
    assert!(!head.contains("content-length: 10\r\n"), "{head}");
    let mut part = Vec::new();
    connection.exactly(10, &mut part).unwrap();
    assert!(connection.exactly(1, &mut part).is_err());
}

#[test]
fn responses_are_late_and_connections_retire() {
    let wait = Duration::from_millis(200);
    let (ca, client) = start(Options::default());
    ca.set_faults(vec![
        Fault::once(Endpoint::Directory, Action::Delay(wait)),
        Fault::new(Endpoint::Directory, Nth::Call(2), Action::GoAway),
    ]);
    let began = Instant::now();
    client.get(&ca.directory()).unwrap();
    assert!(began.elapsed() >= wait);
    assert!(client.get(&ca.directory()).unwrap().closes());
}

#[test]
fn an_http2_connection_gets_goaway() {
    let (ca, client) = start(Options::default());
    ca.set_faults(vec![Fault::always(Endpoint::Directory, Action::GoAway)]);
    let mut connection = client.connect(&["h2"]).unwrap();
    connection
        .send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/directory"),
        ("user-agent", "test"),
    ];
    let flags = frames::END_STREAM | frames::END_HEADERS;
    connection
        .send(&frames::frame(
            frames::HEADERS,
            flags,
            1,
            &frames::block(&fields),
        ))
        .unwrap();
    let mut kinds = Vec::new();
    while !kinds.contains(&frames::GOAWAY) || !kinds.contains(&frames::HEADERS) {
        let mut head = Vec::new();
        connection.exactly(9, &mut head).unwrap();
        kinds.push(head[3]);
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        connection.exactly(length, &mut Vec::new()).unwrap();
    }
}

#[test]
fn dates_and_times_to_wait_come_in_every_form() {
    let (ca, client) = start(Options::default());
    let answer = |action| {
        ca.set_faults(vec![Fault::always(Endpoint::Directory, action)]);
        client.get(&ca.directory()).unwrap()
    };
    let near = |at: jiff::Timestamp, seconds: i64| {
        (at.duration_since(ca.now()) - Seconds::from_secs(seconds)).abs() < Seconds::from_secs(30)
    };
    assert!(near(
        date(&answer(Action::DateOffset(-3600)), "date"),
        -3600
    ));
    assert!(near(
        date(
            &answer(Action::RetryAfter(RetryAfter::Date(600))),
            "retry-after"
        ),
        600
    ));
    assert!(near(
        date(
            &answer(Action::RetryAfter(RetryAfter::Date(-600))),
            "retry-after"
        ),
        -600
    ));
    let garbage = answer(Action::RetryAfter(RetryAfter::Garbage));
    assert!(
        garbage
            .field("retry-after")
            .expect("a field")
            .parse::<u64>()
            .is_err()
    );
    let huge = answer(Action::RetryAfter(RetryAfter::Huge));
    assert!(
        huge.field("retry-after")
            .expect("a field")
            .parse::<u64>()
            .unwrap()
            > 900_000_000
    );
    ca.advance(Duration::from_secs(86_400));
    assert!(near(date(&answer(Action::DateOffset(0)), "date"), 0));
    assert!(ca.now() > jiff::Timestamp::now() + Seconds::from_secs(86_000));
}

#[test]
fn nonces_are_refused_or_missing() {
    let (_ca, mut client, answer) = ordered(Action::BadNonce);
    let answer = answer.unwrap();
    assert_eq!(refusal(&answer), (400, "badNonce".into()));
    assert_eq!(
        client.order(&["a.test"], json!({})).unwrap().status,
        201,
        "with the nonce of the refusal"
    );
    let (_, _, answer) = ordered(Action::NoNonce);
    assert_eq!(answer.unwrap().field("replay-nonce"), None);

    let (ca, mut client) = start(Options::default());
    ca.set_faults(vec![Fault::new(
        Endpoint::NewOrder,
        Nth::Percent(50),
        Action::BadNonce,
    )]);
    let refused = (0..40)
        .filter(|_| client.order(&["a.test"], json!({})).unwrap().status == 400)
        .count();
    assert!((10..=30).contains(&refused), "{refused} of 40");
}

#[test]
fn certificates_are_wrong_in_every_way() {
    let (ca, mut client) = start(Options::default());
    let mut wrong = |kind| {
        ca.set_faults(vec![Fault::once(Endpoint::Finalize, Action::Chain(kind))]);
        let chain = client
            .issue(&["a.test"], json!({}))
            .unwrap()
            .expect("a certificate");
        assert!(ca.faults_left().is_empty());
        (chain, ca.issued().pop().expect("a certificate"))
    };
    let days = |days: i64| Seconds::from_hours(days * 24);
    let (_, expired) = wrong(WrongChain::Expired);
    assert!(expired.not_after < ca.now());
    let (_, early) = wrong(WrongChain::NotYetValid);
    assert!(early.not_before > ca.now() + days(6));
    let (_, short) = wrong(WrongChain::OneDayLife);
    let (_, parsed) = parse_x509_certificate(&short.der).unwrap();
    let life = parsed.validity.not_after.timestamp() - parsed.validity.not_before.timestamp();
    assert_eq!(life, 86_400);
    let (chain, _) = wrong(WrongChain::MissingIntermediate);
    assert_eq!(chain.matches("BEGIN").count(), 1);
    let (_, other) = wrong(WrongChain::OtherNames);
    let (_, parsed) = parse_x509_certificate(&other.der).unwrap();
    let names = format!(
        "{:?}",
        parsed
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names
    );
    assert!(
        names.contains("somebody-else.test") && !names.contains("a.test\""),
        "{names}"
    );

    let key = rcgen::KeyPair::generate().unwrap();
    let csr = csr_for(&["b.test"], &key);
    for (fault, fits) in [
        (Action::Chain(WrongChain::OtherKey), false),
        (Action::DateOffset(0), true),
    ] {
        ca.set_faults(vec![Fault::once(Endpoint::Finalize, fault)]);
        let answer = client.order(&["b.test"], json!({})).unwrap();
        client.respond(&body(&answer), "http-01").unwrap();
        let url = body(&answer)["finalize"].as_str().unwrap().to_owned();
        assert_eq!(
            body(&client.post(&url, &json!({"csr": csr}).to_string()).unwrap())["status"],
            "valid"
        );
        let issued = ca.issued().pop().unwrap();
        let (_, parsed) = parse_x509_certificate(&issued.der).unwrap();
        assert_eq!(
            parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw(),
            fits
        );
    }
}

#[test]
fn orders_become_invalid_at_every_stage() {
    for endpoint in [
        Endpoint::NewOrder,
        Endpoint::Challenge,
        Endpoint::Order,
        Endpoint::Finalize,
    ] {
        let (ca, mut client) = start(Options::default());
        let broken = Action::OrderInvalid(Problem::new("serverInternal", "broken"));
        ca.set_faults(vec![Fault::once(endpoint, broken)]);
        let answer = client.order(&["a.test"], json!({})).unwrap();
        let order = body(&answer);
        if endpoint == Endpoint::NewOrder {
            assert_eq!(order["status"], "invalid");
        }
        client.respond(&order, "http-01").unwrap();
        if endpoint == Endpoint::Finalize {
            assert_eq!(
                body(&client.finalize(&order, &["a.test"]).unwrap())["status"],
                "invalid"
            );
        }
        let order = client.settled(answer.field("location").unwrap());
        assert_eq!(
            (&order["status"], &order["error"]["detail"]),
            (&json!("invalid"), &json!("broken")),
            "{endpoint:?}"
        );
        assert_eq!(ca.orders()[0].status, Status::Invalid);
        assert!(ca.issued().is_empty());
    }
}

#[test]
fn orders_differ_from_the_request() {
    let (_, _, answer) = ordered(Action::AuthzReuse);
    assert_eq!(body(&answer.unwrap())["status"], "ready");
    let (_ca, mut client, answer) = ordered(Action::AuthzOfAnother);
    let url = strings(&body(&answer.unwrap())["authorizations"]).remove(0);
    assert_eq!(
        body(&client.post(&url, "").unwrap())["identifier"]["value"],
        "somebody-else.test"
    );
    let (_, _, answer) = ordered(Action::DuplicatedIdentifier);
    let order = body(&answer.unwrap());
    assert_eq!(
        order["identifiers"],
        json!([{"type": "dns", "value": "a.test"}, {"type": "dns", "value": "a.test"}])
    );
    assert_eq!(strings(&order["authorizations"]).len(), 2);

    let (ca, mut client) = start(Options::default());
    assert!(client.issue(&["a.test"], json!({})).unwrap().is_ok());
    let mut order = |action, more: Value| {
        ca.set_faults(vec![Fault::once(Endpoint::NewOrder, action)]);
        client.order(&["a.test"], more).unwrap()
    };
    let short = json!({"profile": "shortlived"});
    assert_eq!(
        body(&order(Action::ProfileIgnored, short.clone()))["profile"],
        Value::Null
    );
    assert_eq!(
        refusal(&order(Action::ProfileUnknown, short)),
        (400, "invalidProfile".into())
    );
    let replaces = json!({"replaces": ca.issued()[0].id});
    assert_eq!(
        body(&order(Action::ReplacesNotEchoed, replaces))["replaces"],
        Value::Null
    );
    assert_eq!(
        ca.orders().pop().unwrap().replaces,
        Some(ca.issued()[0].id.clone())
    );
}

#[test]
fn validation_and_issuance_take_time() {
    let (ca, mut client) = start(Options::default());
    ca.set_faults(vec![
        Fault::once(Endpoint::Challenge, Action::Stall(2)),
        Fault::once(Endpoint::Finalize, Action::Stall(2)),
    ]);
    let answer = client.order(&["a.test"], json!({})).unwrap();
    let url = answer.field("location").unwrap().to_owned();
    let order = body(&answer);
    client.respond(&order, "http-01").unwrap();
    let look = |client: &mut Client| body(&client.post(&url, "").unwrap())["status"].clone();
    assert_eq!(
        (look(&mut client), look(&mut client)),
        (json!("pending"), json!("ready"))
    );
    assert_eq!(
        body(&client.finalize(&order, &["a.test"]).unwrap())["status"],
        "processing"
    );
    assert_eq!(
        (look(&mut client), look(&mut client)),
        (json!("processing"), json!("valid"))
    );
}

#[test]
fn renewal_information_is_wrong_in_every_way() {
    let (ca, mut client) = start(Options::default());
    assert!(client.issue(&["a.test"], json!({})).unwrap().is_ok());
    let issued = ca.issued().pop().unwrap();
    let url = format!("{}/{}", client.url("renewalInfo"), issued.id);
    let ask = |how| {
        ca.set_faults(vec![Fault::always(Endpoint::Any, Action::Ari(how))]);
        client.get(&url).unwrap()
    };
    let at = |answer: &Answer, end: &str| {
        body(answer)["suggestedWindow"][end]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
    };
    assert_eq!(refusal(&ask(Ari::NotFound)), (404, "malformed".into()));
    assert!(at(&ask(Ari::Garbage), "start").is_err());
    assert!(at(&ask(Ari::Past), "end").unwrap() < ca.now());
    assert!(at(&ask(Ari::BeyondExpiry), "start").unwrap() > issued.not_after);
    assert_eq!(ask(Ari::NoRetryAfter).field("retry-after"), None);
    let moved = ask(Ari::Moved);
    assert!(at(&moved, "start").unwrap() < ca.now() + Seconds::from_hours(2));
    assert!(body(&moved)["explanationURL"].is_string());
    ca.set_faults(vec![Fault::always(
        Endpoint::Directory,
        Action::Ari(Ari::Missing),
    )]);
    assert_eq!(
        body(&client.get(&ca.directory()).unwrap())["renewalInfo"],
        Value::Null
    );
}

#[test]
fn accounts_are_lost_ended_or_have_to_agree_again() {
    let (ca, mut client, answer) = ordered(Action::AccountUnknown);
    assert_eq!(
        refusal(&answer.unwrap()),
        (400, "badNonce".into()),
        "it knows no nonces either"
    );
    assert_eq!(
        refusal(&client.order(&["a.test"], json!({})).unwrap()),
        (400, "accountDoesNotExist".into())
    );
    assert_eq!(
        Client::registered(&ca)
            .order(&["a.test"], json!({}))
            .unwrap()
            .status,
        201
    );
    ca.forget();
    assert!(ca.orders().is_empty());

    let (_ca, mut client, answer) = ordered(Action::AccountDeactivated);
    assert_eq!(refusal(&answer.unwrap()), (403, "unauthorized".into()));
    assert_eq!(client.order(&["a.test"], json!({})).unwrap().status, 403);

    let (ca, mut client, answer) = ordered(Action::TosChanged);
    let answer = answer.unwrap();
    assert_eq!(refusal(&answer), (403, "userActionRequired".into()));
    let terms = body(&client.get(&ca.directory()).unwrap())["meta"]["termsOfService"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        answer
            .head
            .contains(&format!("<{terms}>;rel=\"terms-of-service\"")),
        "{}",
        answer.head
    );
    let kid = client.kid.clone().unwrap();
    assert_eq!(
        client
            .post(&kid, r#"{"termsOfServiceAgreed":true}"#)
            .unwrap()
            .status,
        200
    );
    assert_eq!(client.order(&["a.test"], json!({})).unwrap().status, 201);
}

#[test]
fn the_directory_moves() {
    let (ca, mut client) = start(Options::default());
    ca.set_faults(vec![Fault::once(
        Endpoint::Directory,
        Action::DirectoryMoved,
    )]);
    let old = client.url("newOrder");
    client.directory = body(&client.get(&ca.directory()).unwrap());
    assert_ne!(client.url("newOrder"), old);
    assert_eq!(client.post(&old, "{}").unwrap().status, 404);
    assert_eq!(client.order(&["a.test"], json!({})).unwrap().status, 201);
}

#[test]
fn the_ca_is_unreachable_in_every_way_and_comes_back() {
    let (ca, client) = start(Options::default());
    let ask = || client.get(&ca.directory());
    ca.set_door(Door::Refuses);
    assert_eq!(ask().unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    ca.set_door(Door::EndsHandshake);
    assert!(ask().is_err());
    ca.set_door(Door::ShowsExpiredCertificate);
    assert!(ask().unwrap_err().to_string().contains("expired"));
    ca.set_door(Door::Silent);
    let silent = std::thread::scope(|scope| {
        let waiting = scope.spawn(ask);
        sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished());
        ca.set_door(Door::Open);
        waiting.join().unwrap()
    });
    // The connection was cut, or accepted only after the CA was reachable again.
    assert!(silent.is_err() || silent.unwrap().status == 200);
    assert_eq!(ask().unwrap().status, 200);
}
