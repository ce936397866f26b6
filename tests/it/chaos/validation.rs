//! Challenges that are validated against real servers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use ring::digest;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::PrivatePkcs8KeyDer,
    sign::{CertifiedKey, SingleCertAndKey},
};
use serde_json::{Value, json};

use super::client::{Client, body, challenge, start, strings};
use crate::support::{
    chaos::{Options, Validation},
    free_port,
};

fn sha256(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes())
        .as_ref()
        .to_vec()
}

/// Starts a web server that always sends the same response. Returns its port.
fn web(status: &'static str, content: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let asked: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let right = asked[0].starts_with("GET /.well-known/acme-challenge/");
            assert!(
                right
                    && asked
                        .iter()
                        .any(|line| line.eq_ignore_ascii_case("host: www.example.test")),
                "{asked:?}"
            );
            let length = content.len();
            let _ = write!(
                &stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{content}"
            );
        }
    });
    port
}

/// Starts a TLS server that responds to the challenge for a name. Returns its port.
fn tls(name: &str, digest: &[u8]) -> u16 {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).expect("a certificate");
    let provider = rustls::crypto::ring::default_provider();
    let private = provider
        .key_provider
        .load_private_key(PrivatePkcs8KeyDer::from(key.serialize_der()).into());
    // Key and certificate are not compared: rustls cannot read a certificate with an unknown
    // critical extension.
    let certified = CertifiedKey::new(vec![certificate.der().clone()], private.expect("a key"));
    let mut config = ServerConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .expect("ring knows them")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::new(config.clone())).expect("a connection");
            let _ = StreamOwned::new(connection, stream).read(&mut [0]);
        }
    });
    port
}

/// Orders a name and lets `prepare` publish the challenge's key authorization. Returns the finished
/// order.
fn tried(client: &mut Client, name: &str, kind: &str, prepare: impl FnOnce(&str)) -> Value {
    let answer = client
        .order(&[name], json!({"profile": "shortlived"}))
        .expect("an order");
    let order = body(&answer);
    let authz = body(
        &client
            .post(&strings(&order["authorizations"])[0], "")
            .expect("an authorization"),
    );
    let token = challenge(&authz, kind)["token"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    prepare(&client.key.authorize(&token));
    client.respond(&order, kind).expect("a challenge");
    client.settled(answer.field("location").expect("a location"))
}

fn problem(order: &Value) -> (&str, &str) {
    let kind = order["error"]["type"].as_str().unwrap_or_default();
    (
        order["status"].as_str().expect("a status"),
        kind.trim_start_matches("urn:ietf:params:acme:error:"),
    )
}

#[test]
fn http_01_asks_the_server_and_compares_the_answer() {
    let (ca, mut client) = start(Options::default());
    let on = |http_port| {
        ca.set_validation(Validation::Real {
            http_port,
            tls_port: 1,
        });
    };
    let mut tried =
        |prepare: &dyn Fn(&str)| tried(&mut client, "www.example.test", "http-01", prepare);
    assert_eq!(
        problem(&tried(&|_key| on(free_port()))),
        ("invalid", "connection")
    );
    assert_eq!(
        problem(&tried(&|_key| on(web("404 Not Found", "none".into())))),
        ("invalid", "unauthorized")
    );
    assert_eq!(
        problem(&tried(&|_key| on(web("200 OK", "something".into())))),
        ("invalid", "unauthorized")
    );
    assert_eq!(
        problem(&tried(&|key| on(web("200 OK", format!("{key}\n"))))),
        ("ready", "")
    );
}

#[test]
fn tls_alpn_01_looks_at_the_certificate() {
    let (ca, mut client) = start(Options::default());
    let on = |tls_port| {
        ca.set_validation(Validation::Real {
            http_port: 1,
            tls_port,
        });
    };
    let name = "www.example.test";
    let mut tried =
        |name: &str, prepare: &dyn Fn(&str)| tried(&mut client, name, "tls-alpn-01", prepare);
    assert_eq!(
        problem(&tried(name, &|_key| on(free_port()))),
        ("invalid", "connection")
    );
    assert_eq!(
        problem(&tried(name, &|_key| on(tls(name, &[7; 32])))),
        ("invalid", "unauthorized")
    );
    assert_eq!(
        problem(&tried(name, &|key| on(tls("another.test", &sha256(key))))),
        ("invalid", "unauthorized")
    );
    assert_eq!(
        problem(&tried(name, &|key| on(tls(name, &sha256(key))))),
        ("ready", "")
    );
    assert_eq!(
        problem(&tried("127.0.0.1", &|key| on(tls(
            "127.0.0.1",
            &sha256(key)
        )))),
        ("ready", "")
    );
    assert_eq!(
        problem(&tried("::1", &|key| on(tls("::1", &sha256(key))))),
        ("ready", "")
    );
}

#[test]
fn dns_challenges_look_for_records() {
    let zone: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let records = zone.clone();
    let lookup = move |name: &str| {
        let records = records.lock().unwrap();
        records
            .iter()
            .filter(|(owner, _)| owner == name)
            .map(|(_, text)| text.clone())
            .collect()
    };
    let challenges = vec!["dns-01", "dns-persist-01"];
    let validation = Validation::Real {
        http_port: 1,
        tls_port: 1,
    };
    let options = Options {
        txt: Some(Arc::new(lookup)),
        challenges,
        validation,
        ..Options::default()
    };
    let (ca, mut client) = start(options);
    let add = |name: &str, text: String| zone.lock().unwrap().push((name.to_owned(), text));

    let order = tried(&mut client, "*.example.test", "dns-01", |_key| {
        add("_acme-challenge.example.test", "x".into());
    });
    assert_eq!(problem(&order), ("invalid", "unauthorized"));
    let order = tried(&mut client, "*.example.test", "dns-01", |key| {
        add(
            "_acme-challenge.example.test",
            URL_SAFE_NO_PAD.encode(sha256(key)),
        );
    });
    assert_eq!(problem(&order), ("ready", ""));

    let account = client.kid.clone().expect("an account");
    let ended = ca.now().as_second() - 1;
    for (text, status) in [
        (
            "ca.test; accounturi=https://another.test/1; policy=wildcard".to_owned(),
            "invalid",
        ),
        (
            format!("ca.test; accounturi={account}; policy=wildcard; persistUntil={ended}"),
            "invalid",
        ),
        (format!("ca.test; accounturi={account}"), "invalid"),
        (
            format!("ca.test; accounturi={account}; policy=wildcard"),
            "ready",
        ),
    ] {
        let order = tried(&mut client, "*.persist.test", "dns-persist-01", |_key| {
            add("_validation-persist.persist.test", text.clone());
        });
        assert_eq!(order["status"], status, "{text}");
    }
}

#[test]
fn a_name_can_have_its_own_way_of_validation() {
    let (ca, mut client) = start(Options::default());
    ca.set_validation_of(
        "bad.test",
        Validation::Fail(crate::support::chaos::Problem::new("caa", "forbidden")),
    );
    assert_eq!(
        problem(&tried(&mut client, "bad.test", "http-01", |_key| {})),
        ("invalid", "caa")
    );
    assert_eq!(
        problem(&tried(&mut client, "good.test", "http-01", |_key| {})),
        ("ready", "")
    );
}
