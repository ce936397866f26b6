//! The client of certificate authorities against Pebble.

use std::{path::Path, sync::Arc, time::Duration};

use gatelet::{
    acme::ca::{
        Client, ErrorKind, Identifier, Order, Replied, Session, Status, ari_id,
        jws::{AccountKey, ExternalAccount},
    },
    http_client::{Http, HttpError, HttpSettings},
    pki::CertificateName,
};
use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject};
use serde_json::json;

use super::support::{Pebble, pebble::Options};

fn settings(root: &Path) -> HttpSettings {
    let root = CertificateDer::from_pem_file(root).expect("a root");
    HttpSettings {
        extra_roots: vec![root],
        ..HttpSettings::new(Arc::new(UnixTime::now))
    }
}

fn client(pebble: &Pebble) -> Client {
    Client::new(
        Http::new(settings(&pebble.root())).expect("roots"),
        &pebble.directory(),
    )
    .expect("a URL")
}

async fn account(client: &Client, external: Option<&ExternalAccount>) -> Session {
    let key = Arc::new(AccountKey::generate());
    let contacts = ["mailto:ops@gatelet.test".to_owned()];
    let account = client
        .new_account(&key, &contacts, external, false)
        .await
        .expect("an account")
        .value;
    assert_eq!(
        (account.status, &*account.contact),
        (Status::Valid, &contacts[..])
    );
    client.session(key, &account.url)
}

fn name(name: &str) -> CertificateName {
    CertificateName::parse(name).expect("a name")
}

fn csr(names: &[&str]) -> Vec<u8> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>(),
    );
    params
        .expect("names")
        .serialize_request(&key)
        .expect("a CSR")
        .der()
        .to_vec()
}

/// Polls until the status differs from `not`, at the pace of the CA's `Retry-After`.
async fn after(session: &Session, order: Order, not: &[Status]) -> Replied<Order> {
    for _ in 0..300 {
        let read = session.order(&order.url).await.expect("the order");
        if !not.contains(&read.value.status) {
            return read;
        }
        let wait = read
            .retry_after
            .unwrap_or_default()
            .clamp(Duration::from_millis(100), Duration::from_secs(5));
        tokio::time::sleep(wait).await;
    }
    panic!("{} is still one of {not:?}", order.url)
}

/// Proves every name by HTTP-01 and downloads the certificate. Returns it in DER with the URLs of
/// the other chains.
async fn issued(
    session: &Session,
    pebble: &Pebble,
    order: Order,
    names: &[&str],
) -> (CertificateDer<'static>, Vec<String>) {
    for url in &order.authorizations {
        let authorization = session
            .authorization(url)
            .await
            .expect("an authorization")
            .value;
        if authorization.status == Status::Valid {
            continue;
        }
        let challenge = authorization
            .challenges
            .iter()
            .find(|challenge| challenge.kind == "http-01")
            .expect("offered");
        let token = challenge.token.as_deref().expect("a token");
        let content = format!("{token}.{}", session.key().thumbprint());
        pebble.tell_dns("/add-http01", &json!({"token": token, "content": content}));
        session.respond(&challenge.url).await.expect("taken");
    }
    let ready = after(session, order, &[Status::Pending]).await.value;
    assert_eq!(ready.status, Status::Ready, "{:?}", ready.error);
    let finalized = session
        .finalize(&ready, &csr(names))
        .await
        .expect("taken")
        .value;
    let valid = after(session, finalized, &[Status::Processing, Status::Ready])
        .await
        .value;
    assert_eq!(valid.status, Status::Valid, "{:?}", valid.error);
    let chain = session
        .certificate(&valid.certificate.expect("its URL"))
        .await
        .expect("a chain")
        .value;
    assert_eq!(
        chain.pem.matches("BEGIN CERTIFICATE").count(),
        2,
        "certificate and intermediate"
    );
    (
        CertificateDer::from_pem_slice(chain.pem.as_bytes()).expect("PEM"),
        chain.alternates,
    )
}

const EXTERNAL: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

#[tokio::test]
async fn certificates_are_issued_while_half_of_all_nonces_are_refused() {
    let pebble = Pebble::start(Options {
        config: json!({
            "externalAccountBindingRequired": true,
            "externalAccountMACKeys": {"kid-1": EXTERNAL},
            "domainBlocklist": ["blocked.test"],
        }),
        environment: vec![
            ("PEBBLE_WFE_NONCEREJECT", "50"),
            ("PEBBLE_VA_NOSLEEP", "1"),
            ("PEBBLE_ALTERNATE_ROOTS", "2"),
        ],
        answers_http: true,
        ..Options::default()
    });
    let client = client(&pebble);
    assert!(
        client
            .directory()
            .await
            .expect("a directory")
            .meta
            .external_account_required
    );
    let refused = client
        .new_account(&AccountKey::generate(), &[], None, false)
        .await
        .expect_err("no credentials");
    assert!(refused.is("externalAccountRequired"), "{refused}");

    let external = ExternalAccount::new("kid-1", EXTERNAL).expect("base64url");
    let session = account(&client, Some(&external)).await;
    let names = ["a.gatelet.test", "*.gatelet.test"];
    let order = session
        .new_order(&names.map(name), None, None)
        .await
        .expect("an order");
    assert!(order.date.is_some());
    let wildcard = session
        .authorization(order.value.authorizations.last().expect("two"))
        .await
        .expect("one")
        .value;
    let first = session
        .authorization(&order.value.authorizations[0])
        .await
        .expect("one")
        .value;
    let wildcard = if wildcard.wildcard { wildcard } else { first };
    assert_eq!(
        (wildcard.wildcard, &wildcard.identifier),
        (true, &Identifier::Dns("gatelet.test".to_owned()))
    );

    let identifiers = ["a.gatelet.test", "127.0.0.1"].map(name);
    let order = session
        .new_order(&identifiers, None, None)
        .await
        .expect("an order")
        .value;
    let (certificate, alternates) =
        issued(&session, &pebble, order, &["a.gatelet.test", "127.0.0.1"]).await;
    assert_eq!(alternates.len(), 2);
    let other = session
        .certificate(&alternates[0])
        .await
        .expect("another chain")
        .value;
    assert_eq!(
        CertificateDer::from_pem_slice(other.pem.as_bytes()).expect("PEM"),
        certificate
    );

    session
        .revoke(&certificate, Some(4))
        .await
        .expect("revoked");
    session
        .revoke(&certificate, None)
        .await
        .expect("revoked already");
    let refused = session
        .new_order(&[name("blocked.test")], None, None)
        .await
        .expect_err("on its list");
    assert!(refused.is("rejectedIdentifier"), "{refused:?}");
}

#[tokio::test]
async fn an_account_changes_its_key_and_its_contacts() {
    let mut pebble = Pebble::start(Options::default());
    let client = client(&pebble);
    let session = account(&client, None).await;
    let found = client
        .new_account(session.key(), &[], None, true)
        .await
        .expect("known by its key")
        .value;

    let new = Arc::new(AccountKey::generate());
    let unknown = client
        .new_account(&new, &[], None, true)
        .await
        .expect_err("not known yet");
    assert!(unknown.is("accountDoesNotExist"), "{unknown}");
    session.change_key(&new).await.expect("changed");
    let by_new = client
        .new_account(&new, &[], None, true)
        .await
        .expect("known by the new key")
        .value;
    assert_eq!(by_new.url, found.url);
    let old = session
        .new_order(&[name("a.gatelet.test")], None, None)
        .await
        .expect_err("the old key counts no more");
    assert!(matches!(old.kind, ErrorKind::Problem(_)), "{old:?}");

    let other = account(&client, None).await;
    let session = client.session(new.clone(), &found.url);
    let taken = other
        .change_key(&new)
        .await
        .expect_err("the key of another account");
    assert!(taken.problem().is_some(), "{taken:?}");

    let contacts = ["mailto:new@gatelet.test".to_owned()];
    session.update_contacts(&contacts).await.expect("updated");
    let found = client.new_account(&new, &[], None, true).await;
    assert_eq!(found.expect("the account").value.contact, contacts);
    session
        .new_order(&[name("a.gatelet.test")], None, None)
        .await
        .expect("the account goes on");

    // After a restart it knows neither account nor order: an error, and an empty 404.
    let order = other
        .new_order(&[name("a.gatelet.test")], None, None)
        .await
        .expect("an order")
        .value;
    pebble.stop();
    let gone = other.order(&order.url).await.expect_err("nobody there");
    assert!(
        matches!(gone.kind, ErrorKind::Transport(HttpError::Connect { .. })),
        "{gone}"
    );
    pebble.go_on();
    let forgotten = other.order(&order.url).await.expect_err("forgotten");
    assert!(forgotten.is("accountDoesNotExist"), "{forgotten:?}");
    let again = account(&client, None).await;
    let unknown = again.order(&order.url).await.expect_err("unknown");
    assert_eq!(
        (unknown.status(), &*unknown.to_string()),
        (Some(404), "HTTP 404 Not Found")
    );
}

#[tokio::test]
async fn a_ca_that_hangs_is_given_up_in_time() {
    let pebble = Pebble::start(Options::default());
    let total_timeout = Duration::from_secs(5);
    let http = Http::new(HttpSettings {
        total_timeout,
        ..settings(&pebble.root())
    })
    .expect("roots");
    let client = Client::new(http, &pebble.directory()).expect("a URL");
    let key = AccountKey::generate();
    client.directory().await.expect("it responds");
    pebble.freeze(true);
    let late = client
        .new_account(&key, &[], None, false)
        .await
        .expect_err("it hangs");
    assert!(
        matches!(late.kind, ErrorKind::Transport(HttpError::Timeout { .. })),
        "{late}"
    );
    pebble.freeze(false);
    client
        .new_account(&key, &[], None, false)
        .await
        .expect("it goes on");
}

#[tokio::test]
async fn renewal_information_profiles_and_waits_are_read() {
    let profiles = json!({
        "classic": {"description": "90 days", "validityPeriod": 7_776_000},
        "shortlived": {"description": "6 days", "validityPeriod": 518_400},
    });
    let options = Options {
        config: json!({
           "profiles": profiles,
           "retryAfter": {"authz": 1, "order": 1},
           "keyAlgorithm": "ecdsa",
        }),
        environment: vec![("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0")],
        answers_http: true,
        ..Options::default()
    };
    let Some(pebble) = Pebble::start_newest(options) else {
        return;
    };
    let client = client(&pebble);
    let offered = client
        .directory()
        .await
        .expect("a directory")
        .meta
        .profiles
        .clone();
    assert_eq!(
        offered.get("shortlived").map(String::as_str),
        Some("6 days")
    );

    let session = account(&client, None).await;
    let unknown = session
        .new_order(&[name("a.gatelet.test")], Some("tall"), None)
        .await
        .expect_err("no such profile");
    assert!(unknown.is("invalidProfile"), "{unknown:?}");
    let order = session
        .new_order(&[name("a.gatelet.test")], Some("shortlived"), None)
        .await
        .expect("an order")
        .value;
    assert_eq!(order.profile.as_deref(), Some("shortlived"));
    let read = session.order(&order.url).await.expect("the order");
    assert_eq!(read.value.status, Status::Pending);
    let (certificate, _) = issued(&session, &pebble, order, &["a.gatelet.test"]).await;

    let id = ari_id(&certificate).expect("it names its issuer's key");
    let info = client.renewal_info(&id).await.expect("a window");
    let now = info.date.expect("a date");
    assert!(info.retry_after.is_some());
    let (start, end) = (info.value.start, info.value.end);
    assert!(
        now < start && start < end && end < now + 518_400,
        "{now} {info:?}"
    );

    let renewal = session
        .new_order(&[name("a.gatelet.test")], Some("shortlived"), Some(&id))
        .await
        .expect("an order")
        .value;
    assert_eq!(renewal.replaces.as_deref(), Some(&*id));
    issued(&session, &pebble, renewal, &["a.gatelet.test"]).await;
    let twice = session
        .new_order(&[name("a.gatelet.test")], None, Some(&id))
        .await
        .expect_err("replaced already");
    assert_eq!(
        (twice.status(), twice.is("alreadyReplaced")),
        (Some(409), true),
        "{twice:?}"
    );
    session
        .revoke(&certificate, Some(1))
        .await
        .expect("revoked");
    session
        .revoke(&certificate, Some(1))
        .await
        .expect("revoked already");
    let unknown = client
        .renewal_info("AAAA.AAAA")
        .await
        .expect_err("no such certificate");
    assert!(unknown.is("malformed"), "{unknown:?}");
}

#[tokio::test]
async fn an_order_costs_pebble_few_requests() {
    let pebble = Pebble::start(Options {
        environment: vec![("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "0")],
        answers_http: true,
        ..Options::default()
    });
    let client = client(&pebble);
    let session = account(&client, None).await;
    let names = ["a.gatelet.test", "b.gatelet.test"];
    let order = session
        .new_order(&names.map(name), None, None)
        .await
        .expect("an order")
        .value;
    issued(&session, &pebble, order, &names).await;
    // The number of polls depends on Pebble's speed.
    let log = pebble.log();
    let calls: Vec<_> = log
        .lines()
        .filter(|line| line.contains("-> calling handler()"))
        .collect();
    let count = calls
        .iter()
        .filter(|line| !line.contains("/my-order/"))
        .count();
    assert!(
        count <= 12,
        "a fifth more than 10, which are needed: {calls:#?}"
    );
}
