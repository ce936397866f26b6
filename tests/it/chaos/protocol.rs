//! The protocol without faults, and the refusals of wrong requests.

use std::{process::Command, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::client::{Client, Key, binding, body, csr, refusal, start};
use crate::support::{
    Folder,
    chaos::{ChaosCa, Endpoint, Options, Status},
    run,
};

#[test]
fn a_certificate_verifies_against_both_roots() {
    let (ca, mut client) = start(Options::default());
    let chain = client
        .issue(&["www.example.test", "example.test"], json!({}))
        .unwrap()
        .expect("a certificate");
    let issued = ca.issued().pop().expect("a certificate");
    assert_eq!(issued.chains[0], chain);
    let folder = Folder::new();
    for (root, chain) in ca.issuer_roots().iter().zip(&issued.chains) {
        let (root, chain) = (
            folder.write("root.pem", root),
            folder.write("chain.pem", chain),
        );
        let mut command = Command::new("openssl");
        command
            .args(["verify", "-verify_hostname", "www.example.test", "-CAfile"])
            .arg(root);
        run(command.arg("-untrusted").arg(&chain).arg(&chain));
    }
    assert_eq!(
        issued
            .not_after
            .duration_since(issued.not_before)
            .as_hours(),
        90 * 24
    );
    assert_eq!(ca.calls(Endpoint::Finalize), 1);
    assert_eq!(ca.orders()[0].status, Status::Valid);
    assert!(ca.violations().is_empty(), "{:?}", ca.violations());
    let line = ca
        .log()
        .into_iter()
        .find(|line| line.endpoint == Endpoint::NewOrder)
        .expect("a line");
    assert_eq!((line.account, line.status), (client.kid.clone(), Some(201)));
    assert_eq!(line.names, ["example.test", "www.example.test"]);

    let url = client.post(&ca.orders()[0].url, "").unwrap();
    let url = body(&url)["certificate"]
        .as_str()
        .expect("a URL")
        .to_owned();
    let links = client.post(&url, "").unwrap();
    assert!(
        links.head.contains(&format!("<{url}/1>;rel=\"alternate\"")),
        "{}",
        links.head
    );
    assert_eq!(
        client.post(&format!("{url}/1"), "").unwrap().text(),
        issued.chains[1]
    );
    assert_eq!(
        refusal(&Client::registered(&ca).post(&url, "").unwrap()),
        (404, "malformed".into())
    );
}

#[test]
fn requests_that_are_signed_wrongly_are_refused() {
    let (_ca, mut client) = start(Options::default());
    let url = client.url("newOrder");
    let good = |client: &Client| client.header(&client.url("newOrder"));
    let signed = |client: &mut Client, header: Value| {
        let signed = client.key.sign(&header, "{}");
        refusal(&client.post_raw(&url, &signed).unwrap())
    };
    let mut header = good(&client);
    header["url"] = json!("https://127.0.0.1/other");
    assert_eq!(signed(&mut client, header), (403, "unauthorized".into()));
    let mut header = good(&client);
    header["alg"] = json!("RS256");
    assert_eq!(
        signed(&mut client, header),
        (400, "badSignatureAlgorithm".into())
    );
    let mut header = good(&client);
    header["jwk"] = client.key.jwk();
    assert_eq!(signed(&mut client, header), (400, "malformed".into()));
    let mut header = good(&client);
    header["kid"] = json!(client.kid.clone().expect("an account") + "0");
    assert_eq!(
        signed(&mut client, header),
        (400, "accountDoesNotExist".into())
    );
    let header = good(&client);
    client.key = Key::new();
    assert_eq!(signed(&mut client, header), (400, "malformed".into()));

    let spent = client.header(&url);
    client.post(&url, "").unwrap();
    assert_eq!(signed(&mut client, spent), (400, "badNonce".into()));
    let answer = client
        .send(&url, "POST", "Content-Type: application/json\r\n", "{}")
        .unwrap();
    assert_eq!(refusal(&answer), (415, "malformed".into()));
    assert_eq!(
        refusal(&client.get(&url).unwrap()),
        (405, "malformed".into())
    );
    let mut silent = client.connect(&[]).unwrap();
    silent
        .send(b"GET /directory HTTP/1.1\r\nHost: ca\r\n\r\n")
        .unwrap();
    assert_eq!(
        refusal(&silent.answer().unwrap()),
        (400, "malformed".into())
    );
    let mut head = client.connect(&[]).unwrap();
    head.send(b"HEAD /new/0/nonce HTTP/1.1\r\nHost: ca\r\nUser-Agent: test\r\n\r\n")
        .unwrap();
    assert!(
        head.head()
            .unwrap()
            .to_ascii_lowercase()
            .contains("replay-nonce: ")
    );
}

#[test]
fn accounts_are_found_changed_and_ended() {
    let ca = ChaosCa::start(Options::default());
    let mut client = Client::new(&ca);
    let lookup = json!({"onlyReturnExisting": true});
    assert_eq!(
        refusal(&client.register(lookup.clone()).unwrap()),
        (400, "accountDoesNotExist".into())
    );
    assert_eq!(
        refusal(&client.register(json!({})).unwrap()),
        (400, "malformed".into())
    );
    let asked = json!({"termsOfServiceAgreed": true, "contact": ["tel:112"]});
    assert_eq!(
        refusal(&client.register(asked).unwrap()),
        (400, "unsupportedContact".into())
    );
    assert_eq!(
        client
            .register(json!({"termsOfServiceAgreed": true}))
            .unwrap()
            .status,
        201
    );
    let kid = client.kid.take().expect("an account");
    assert_eq!(client.register(lookup).unwrap().status, 200);
    assert_eq!(client.kid.as_ref(), Some(&kid));
    let answer = client
        .post(
            &kid,
            &json!({"contact": ["mailto:ops@example.test"]}).to_string(),
        )
        .unwrap();
    assert_eq!(body(&answer)["contact"][0], "mailto:ops@example.test");

    let other = Client::registered(&ca);
    let url = client.url("keyChange");
    let change = |client: &Client, key: &Key| {
        let asked = json!({"account": client.kid, "oldKey": client.key.jwk()}).to_string();
        key.sign(
            &json!({"alg": "ES256", "jwk": key.jwk(), "url": url}),
            &asked,
        )
        .to_string()
    };
    let taken = change(&client, &other.key);
    let answer = client.post(&url, &taken).unwrap();
    assert_eq!(
        (answer.status, answer.field("location")),
        (409, other.kid.as_deref())
    );
    let key = Key::new();
    let changed = change(&client, &key);
    assert_eq!(client.post(&url, &changed).unwrap().status, 200);
    assert_eq!(
        refusal(&client.post(&kid, "").unwrap()),
        (400, "malformed".into()),
        "the old key"
    );
    client.key = key;
    assert_eq!(client.post(&kid, "").unwrap().status, 200);

    assert_eq!(
        body(&client.post(&kid, r#"{"status":"deactivated"}"#).unwrap())["status"],
        "deactivated"
    );
    assert_eq!(
        refusal(&client.post(&kid, "").unwrap()),
        (403, "unauthorized".into())
    );
}

#[test]
fn external_accounts_are_required_and_checked() {
    let eab = vec![("kid-1".to_owned(), b"secret".to_vec())];
    let ca = ChaosCa::start(Options {
        eab,
        ..Options::default()
    });
    let mut client = Client::new(&ca);
    assert_eq!(client.directory["meta"]["externalAccountRequired"], true);
    let mut register = |kid: &str, secret: &[u8]| {
        let bound = binding(&client.url("newAccount"), &client.key, kid, secret);
        let asked = json!({"termsOfServiceAgreed": true, "externalAccountBinding": bound});
        client.kid = None;
        client.register(asked).unwrap()
    };
    assert_eq!(
        refusal(&register("kid-1", b"guess")),
        (403, "unauthorized".into())
    );
    assert_eq!(
        refusal(&register("kid-2", b"secret")),
        (403, "unauthorized".into())
    );
    assert_eq!(register("kid-1", b"secret").status, 201);
    let answer = Client::new(&ca)
        .register(json!({"termsOfServiceAgreed": true}))
        .unwrap();
    assert_eq!(refusal(&answer), (403, "externalAccountRequired".into()));
}

#[test]
fn orders_are_checked_and_expire() {
    let (ca, mut client) = start(Options::default());
    for (names, more, kind) in [
        (vec!["localhost"], json!({}), "rejectedIdentifier"),
        (vec!["Upper.test"], json!({}), "rejectedIdentifier"),
        (vec!["127.0.0.1"], json!({}), "rejectedIdentifier"),
        (
            vec!["a.test"],
            json!({"profile": "nonesuch"}),
            "invalidProfile",
        ),
        (
            vec!["a.test"],
            json!({"notAfter": "2030-01-01T00:00:00Z"}),
            "malformed",
        ),
        (
            vec!["a.test"],
            json!({"replaces": "AAAA.AAAA"}),
            "malformed",
        ),
        (vec![], json!({}), "malformed"),
    ] {
        let (_, refused) = refusal(&client.order(&names, more).unwrap());
        assert_eq!(refused, kind, "{names:?}");
    }
    let answer = client
        .order(
            &["b.test", "a.test", "a.test"],
            json!({"profile": "tlsserver"}),
        )
        .unwrap();
    let (order, url) = (
        body(&answer),
        answer.field("location").expect("a location").to_owned(),
    );
    assert_eq!(
        (
            order["identifiers"].as_array().map(Vec::len),
            &order["profile"]
        ),
        (Some(2), &json!("tlsserver"))
    );
    let again = client
        .order(&["a.test", "b.test"], json!({"profile": "tlsserver"}))
        .unwrap();
    assert_eq!(
        again.field("location"),
        Some(&*url),
        "an open order is handed out again"
    );
    assert_eq!(
        refusal(&client.finalize(&order, &["a.test", "b.test"]).unwrap()),
        (403, "orderNotReady".into())
    );
    client.respond(&order, "http-01").unwrap();
    assert_eq!(client.settled(&url)["status"], "ready");
    assert_eq!(
        refusal(&client.finalize(&order, &["a.test"]).unwrap()),
        (400, "badCSR".into())
    );
    let forged = csr(&["a.test", "b.test"]);
    let forged = format!("{}AAAA", &forged[..forged.len() - 4]);
    let answer = client
        .post(
            order["finalize"].as_str().unwrap(),
            &json!({"csr": forged}).to_string(),
        )
        .unwrap();
    assert_eq!(refusal(&answer), (400, "badCSR".into()));
    ca.advance(Duration::from_secs(8 * 3600 + 1));
    assert_eq!(
        refusal(&client.post(&url, "").unwrap()),
        (404, "malformed".into())
    );
    assert!(
        client
            .issue(&["a.test", "b.test"], json!({}))
            .unwrap()
            .is_ok()
    );
}

#[test]
fn addresses_and_wildcards_reuse_valid_authorizations() {
    let (ca, mut client) = start(Options::default());
    let address = client
        .issue(&["192.0.2.1"], json!({"profile": "shortlived"}))
        .unwrap();
    assert!(address.is_ok());
    assert_eq!(
        ca.issued()[0]
            .not_after
            .duration_since(ca.issued()[0].not_before)
            .as_hours(),
        160
    );
    assert!(
        client
            .issue(&["*.example.test"], json!({}))
            .unwrap()
            .is_ok()
    );
    let responses = ca.calls(Endpoint::Challenge);
    assert!(
        client
            .issue(&["*.example.test"], json!({}))
            .unwrap()
            .is_ok()
    );
    assert_eq!(ca.calls(Endpoint::Challenge), responses);
}

#[test]
fn renewal_information_leads_to_one_replacement() {
    let (ca, mut client) = start(Options::default());
    assert!(client.issue(&["a.test"], json!({})).unwrap().is_ok());
    let old = ca.issued().pop().expect("a certificate");
    let url = format!("{}/{}", client.url("renewalInfo"), old.id);
    let answer = client.get(&url).unwrap();
    assert_eq!(answer.field("retry-after"), Some("21600"));
    let window = |answer: &Value, end: &str| {
        answer["suggestedWindow"][end]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    assert_eq!(
        old.not_after
            .duration_since(window(&body(&answer), "start"))
            .as_hours(),
        30 * 24
    );

    let answer = client
        .order(&["a.test"], json!({"replaces": old.id}))
        .unwrap();
    assert_eq!(body(&answer)["replaces"], *old.id);
    let answer = client
        .order(&["a.test"], json!({"replaces": old.id}))
        .unwrap();
    assert_eq!(refusal(&answer), (409, "alreadyReplaced".into()));
    let answer = client
        .order(&["b.test"], json!({"replaces": old.id}))
        .unwrap();
    assert_eq!(refusal(&answer), (400, "malformed".into()));
    let answer = Client::registered(&ca)
        .order(&["a.test"], json!({"replaces": old.id}))
        .unwrap();
    assert_eq!(refusal(&answer), (403, "unauthorized".into()));

    let mut revoke = |reason: u64| {
        let asked = json!({"certificate": URL_SAFE_NO_PAD.encode(&old.der), "reason": reason});
        client.post_new("revokeCert", asked).unwrap()
    };
    assert_eq!(refusal(&revoke(7)), (400, "badRevocationReason".into()));
    assert_eq!(revoke(4).status, 200);
    assert_eq!(refusal(&revoke(4)), (400, "alreadyRevoked".into()));
    assert_eq!(ca.issued()[0].revoked, Some(4));
    assert!(window(&body(&client.get(&url).unwrap()), "end") < ca.now());
}
