//! Each challenge type.

use std::{
    io::{Read, Write},
    net::TcpListener,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::json;

use super::{Options, Pebble, Site, eventually, run};
use crate::support::{
    Gatelet,
    dns_server::{DnsServer, KEY, SECRET},
    free_port,
};

/// A site with one kind of challenge, which the CA validates without a pause.
fn at_once(challenge: &str) -> Site {
    Site::start(
        Options {
            environment: vec![("PEBBLE_VA_NOSLEEP", "1")],
            ..Options::default()
        },
        &format!("challenges = [\"{challenge}\"]"),
    )
}

#[test]
fn http_01_works_although_half_of_all_nonces_are_refused() {
    let site = Site::start(
        Options {
            environment: vec![("PEBBLE_WFE_NONCEREJECT", "50"), ("PEBBLE_VA_NOSLEEP", "1")],
            ..Options::default()
        },
        "challenges = [\"http-01\"]\ncontacts = [\"mailto:ops@gatelet.test\"]",
    );
    site.ingress(
        "web",
        &["a.gatelet.test", "b.gatelet.test"],
        "cert-manager.io/ip-sans: 127.0.0.1",
    );
    site.issued("default/web-tls");
    for host in ["a.gatelet.test", "b.gatelet.test"] {
        eventually("curl trusts it", || site.trusted(host).then_some(()));
    }
    let certificate = site.certificate("default/web-tls").unwrap();
    assert_eq!(
        certificate["hosts"],
        json!(["a.gatelet.test", "b.gatelet.test", "127.0.0.1"]),
        "{certificate}"
    );
    // Other requests below that path go to the backend as before.
    assert_eq!(
        site.gatelet
            .status_of("other.gatelet.test", "/.well-known/acme-challenge/token"),
        404
    );
}

#[test]
fn a_closed_ingress_gets_its_certificate() {
    let site = at_once("http-01");
    site.ingress(
        "web",
        &["a.gatelet.test"],
        "nginx.ingress.kubernetes.io/auth-url: basic",
    );
    site.issued("default/web-tls");
    eventually("curl trusts it", || {
        site.trusted("a.gatelet.test").then_some(())
    });
    assert_eq!(
        site.gatelet.status()["findings"][0]["reason"],
        "InvalidAnnotation"
    );
}

#[test]
fn a_login_does_not_keep_a_ca_away() {
    let site = at_once("http-01");
    site.ingress(
        "web",
        &["a.gatelet.test"],
        "gatelet.dev/auth-url: http://auth.invalid/, gatelet.dev/ssl-redirect: \"false\"",
    );
    site.issued("default/web-tls");
    assert_eq!(site.gatelet.status_of("a.gatelet.test", "/"), 500);
}

/// A frontend that redirects every request to HTTPS, as many routers and load balancers do. It
/// counts the requests.
fn to_https(port: u16, https: u16) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let length = (&stream).read(&mut head).unwrap_or(0);
            let text = String::from_utf8_lossy(&head[..length]).into_owned();
            let path = text.split(' ').nth(1).unwrap_or("/");
            let host = text
                .lines()
                .find_map(|line| line.strip_prefix("Host: "))
                .unwrap_or_default();
            let host = host.split(':').next().unwrap_or_default();
            count.fetch_add(1, Ordering::SeqCst);
            let _ = write!(
                &stream,
                "HTTP/1.1 301 Moved\r\nLocation: https://{host}:{https}{path}\r\n\
                Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
    });
    seen
}

#[test]
fn http_01_works_over_https_behind_a_redirecting_frontend() {
    let pebble = Pebble::start(Options {
        environment: vec![("PEBBLE_VA_NOSLEEP", "1")],
        ..Options::default()
    });
    let redirected = to_https(pebble.http_port, pebble.tls_port);
    let site = Site::listening(pebble, "challenges = [\"http-01\"]", free_port());
    site.ingress(
        "web",
        &["a.gatelet.test"],
        "gatelet.dev/ssl-redirect: \"true\"",
    );
    site.issued("default/web-tls");
    assert!(redirected.load(Ordering::SeqCst) > 0);

    // Our own redirect does not apply to challenges: the response is the same on both ports.
    let path = "/.well-known/acme-challenge/some-token";
    let answer = site.gatelet.get("a.gatelet.test", path);
    assert!(
        answer.starts_with("some-token.") && answer.len() == "some-token.".len() + 43,
        "{answer}"
    );
    assert_eq!(site.gatelet.status_of("a.gatelet.test", path), 200);
    assert_eq!(site.gatelet.status_of("a.gatelet.test", "/"), 308);
    // Foreign tokens go to the backend, also without TLS. Here there is no backend.
    assert_eq!(
        site.gatelet
            .status_of("a.gatelet.test", "/.well-known/acme-challenge/not.a.token"),
        503
    );
    let url = format!("http://a.gatelet.test:{}{path}", site.pebble.http_port);
    let mut curl = Command::new("curl");
    curl.args(["-sSL", "-m", "10", "--cacert"])
        .arg(site.root())
        .arg(&url);
    for port in [site.pebble.http_port, site.pebble.tls_port] {
        curl.args(["--resolve", &format!("a.gatelet.test:{port}:127.0.0.1")]);
    }
    assert_eq!(run(&mut curl), answer);
}

#[test]
fn tls_alpn_01_proves_names_and_addresses() {
    let site = at_once("tls-alpn-01");
    site.ingress(
        "web",
        &["a.gatelet.test"],
        "cert-manager.io/ip-sans: 127.0.0.1",
    );
    site.issued("default/web-tls");
    eventually("curl trusts it", || {
        site.trusted("a.gatelet.test").then_some(())
    });
}

#[test]
fn dns_01_proves_a_wildcard_through_a_real_dns_server() {
    let zone = DnsServer::start(&[("gatelet.test", "* A 127.0.0.1\n@ A 127.0.0.1")]);
    let pebble = Pebble::start(Options {
        environment: vec![("PEBBLE_VA_NOSLEEP", "1")],
        dns_server: Some(zone.address()),
        ..Options::default()
    });
    let dns = format!(
        "[issuers.dns]\nprovider = \"rfc2136\"\nserver = \"{0}\"\nresolvers = [\"{0}\"]\n\
        propagation = \"resolvers\"\n\
        key = {{ name = \"{KEY}\", algorithm = \"hmac-sha256\", secret = \"{SECRET}\" }}",
        zone.address()
    );
    let site = Site::with(pebble, &dns);
    site.ingress("wild", &["*.gatelet.test", "gatelet.test"], "");
    site.issued("default/wild-tls");
    eventually("curl trusts it", || {
        site.trusted("x.gatelet.test").then_some(())
    });
    // No record is left behind.
    assert_eq!(
        zone.ask("_acme-challenge.gatelet.test", "TXT"),
        [] as [String; 0]
    );
}

#[test]
fn an_external_account_is_bound_and_a_wrong_one_reported() {
    const HMAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let options = || Options {
        config: json!({
           "externalAccountBindingRequired": true,
           "externalAccountMACKeys": { "kid-1": HMAC },
        }),
        environment: vec![("PEBBLE_VA_NOSLEEP", "1")],
        ..Options::default()
    };
    let site = Site::start(
        options(),
        &format!("eab = {{ kid = \"kid-1\", hmac = \"{HMAC}\" }}"),
    );
    site.ingress("web", &["a.gatelet.test"], "");
    site.issued("default/web-tls");

    let site = Site::start(options(), "");
    site.ingress("web", &["a.gatelet.test"], "");
    let why = eventually("it is blocked", || {
        let one = site.certificate("default/web-tls")?;
        (one["state"] == "blocked").then(|| one["why"].as_str().unwrap().to_owned())
    });
    assert!(
        why.contains("externalAccountRequired") && why.contains("eab"),
        "{why}"
    );
    // The Events of the object have it too.
    let events = eventually("an Event", || {
        let events = site
            .gatelet
            .kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
        events.contains("CertificateBlocked").then_some(events)
    });
    assert!(!events.contains("CertificateIssued"), "{events}");
}

#[test]
fn the_newest_pebble_has_profiles_and_renewal_information() {
    let Some(pebble) = Pebble::start_newest(Options {
        config: json!({ "profiles": {
            "default": { "description": "ninety days", "validityPeriod": 7_776_000 },
            "shortlived": { "description": "six days", "validityPeriod": 518_400 },
        }}),
        environment: vec![("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_WFE_NONCEREJECT", "10")],
        ..Options::default()
    }) else {
        return;
    };
    let site = Site::with(pebble, "profile = \"shortlived\"");
    site.ingress("web", &["a.gatelet.test"], "");
    site.issued("default/web-tls");
    let one = site.certificate("default/web-tls").unwrap();
    let at = |key: &str| {
        one[key]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
            .as_second()
    };
    assert!(
        (at("not_after") - at("not_before") - 518_400).abs() < 10,
        "{one}"
    );
    // A renewal names the certificate that it replaces, which this CA checks.
    let before = one["fingerprint"].as_str().unwrap();
    assert!(
        site.gatelet
            .command(&["certs", "renew", "a.gatelet.test"])
            .status
            .success()
    );
    site.reissued("default/web-tls", before);
    let log = site.gatelet.log();
    assert!(
        !log.contains("without naming the replaced certificate"),
        "{log}"
    );
}

#[test]
fn dns_advice_appears_in_certs_and_events() {
    let Some(zone) = DnsServer::at_port_53(&[("gatelet.test", "a A 127.0.0.1")]) else {
        return;
    };
    let pebble = Pebble::start(Options {
        environment: vec![("PEBBLE_VA_NOSLEEP", "1")],
        dns_server: Some(zone.address()),
        ..Options::default()
    });
    // The port that the CA connects to has no listener.
    let mut gatelet = Gatelet::prepare(&[]);
    zone.resolves_for(&mut gatelet);
    let site = Site::of(pebble, gatelet, "challenges = [\"http-01\"]");
    site.ingress("web", &["a.gatelet.test"], "");
    eventually("it fails", || {
        (site.certificate("default/web-tls")?["problem"]["class"] == "validation").then_some(())
    });
    let said = "a.gatelet.test points to 127.0.0.1, which cannot be reached from the internet";
    for arguments in [
        &["certs", "-o", "wide"][..],
        &["certs", "show", "a.gatelet.test"],
    ] {
        let output = site.gatelet.command(arguments);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains(said), "{text}");
    }
    for (reason, part) in [
        ("ChallengeNeverSeen", "no request reached this device"),
        ("CertificateFailed", said),
    ] {
        eventually("the Event", || {
            let path = format!("jsonpath={{.items[?(@.reason==\"{reason}\")].message}}");
            site.gatelet
                .kubectl(&["get", "events", "-o", &path])
                .contains(part)
                .then_some(())
        });
    }
}

#[test]
fn dns_persist_01_proves_a_wildcard_with_one_record() {
    let Some(zone) = DnsServer::at_port_53(&[("gatelet.test", "* A 127.0.0.1\n@ A 127.0.0.1")])
    else {
        return;
    };
    let Some(pebble) = Pebble::start_newest(Options {
        environment: vec![("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")],
        dns_server: Some(zone.address()),
        ..Options::default()
    }) else {
        return;
    };
    let mut gatelet = Gatelet::prepare(&[]);
    (gatelet.http, gatelet.https) = (pebble.http_port, pebble.tls_port);
    zone.resolves_for(&mut gatelet);
    let site = Site::of(pebble, gatelet, "challenges = [\"dns-persist-01\"]");
    site.ingress("wild", &["gatelet.test", "*.gatelet.test"], "");
    let why = eventually("it waits for the operator", || {
        let one = site.certificate("default/wild-tls")?;
        (one["state"] == "blocked").then(|| one["why"].as_str().unwrap().to_owned())
    });
    // One record is enough for both names.
    let record = "create the TXT record _validation-persist.gatelet.test with the value \"";
    let value = why
        .split_once(record)
        .unwrap_or_else(|| panic!("{why}"))
        .1
        .split('"')
        .next()
        .unwrap();
    assert!(
        value.contains("; accounturi=https://") && value.ends_with("; policy=wildcard"),
        "{value}"
    );
    zone.add_txt("gatelet.test", "_validation-persist.gatelet.test", value);

    assert!(
        site.gatelet
            .command(&["certs", "renew", "default/wild-tls"])
            .status
            .success()
    );
    let first = site.issued("default/wild-tls");
    eventually("curl trusts it", || {
        site.trusted("x.gatelet.test").then_some(())
    });
    assert!(
        site.gatelet
            .command(&["certs", "renew", "default/wild-tls"])
            .status
            .success()
    );
    site.reissued("default/wild-tls", &first);
    assert_eq!(zone.ask("_validation-persist.gatelet.test", "TXT").len(), 1);
    assert_eq!(site.pebble.log().matches(" accounts in memory").count(), 1);
}
