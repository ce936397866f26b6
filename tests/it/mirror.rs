//! Copies of requests for a mirror. Whatever the mirror does, clients get the response of the
//! backend.

pub mod recorder;

use std::net::TcpListener;

use recorder::Recorder;

use crate::support::{
    Answer, Backend, Connection, Gatelet,
    backend::{field, service, slice},
    eventually, run,
};

const HOST: &str = "app.example.com";
const PREFIX: &str = "nginx.ingress.kubernetes.io/";
const TARGET: &str = "mirror-target=http://mirror.default.svc.cluster.local$request_uri";
/// The same with a path at which the mirror never responds.
const HANGS: &str = "mirror-target=http://mirror.default.svc.cluster.local/hang";
/// The same with a path at which it does not even read the body.
const STUCK: &str = "mirror-target=http://mirror.default.svc.cluster.local/stuck";

/// The most copies that are under way on a core.
const MOST_OF_CORE: u64 = 128;

/// A gatelet with an app.
struct Site {
    gatelet: Gatelet,
    app: Backend,
}

impl Site {
    /// Starts them with the manifests of a mirror, and annotations of ingress-nginx.
    fn start(mirror: &str, annotations: &[&str]) -> Self {
        let (gatelet, app) = (Gatelet::start(), Backend::start("app"));
        if !mirror.is_empty() {
            gatelet.apply(mirror);
        }
        let lines = annotations.iter().map(|one| {
            let (name, value) = one.split_once('=').expect("a value");
            format!("    {PREFIX}{name}: {value:?}\n")
        });
        let lines: String = lines.collect();
        let annotated = app.manifests("app", HOST).replace(
            "kind: Ingress\nmetadata: {name: app}",
            &format!("kind: Ingress\nmetadata:\n  name: app\n  annotations:\n{lines}"),
        );
        gatelet.apply(&annotated);
        let site = Self { gatelet, app };
        // An upgrade is not copied.
        eventually("the route is there", || {
            let answer = site.request("GET /", "Connection: upgrade\r\nUpgrade: x\r\n", "");
            (answer.status != 404).then_some(())
        });
        site
    }

    /// Sends a request with further lines and a body, and returns the response.
    fn request(&self, line: &str, more: &str, body: &str) -> Answer {
        let mut connection = Connection::open(self.gatelet.http_addr()).expect("a connection");
        let text = format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n{body}");
        connection.send(text.as_bytes()).expect("sent");
        connection.answer().expect("a response")
    }

    fn upload(&self, bytes: usize) -> Answer {
        let more = format!("Content-Length: {bytes}\r\n");
        self.request("POST /", &more, &"x".repeat(bytes))
    }

    /// Returns the number of copies with an outcome.
    fn copies(&self, outcome: &str) -> u64 {
        let metrics = self.gatelet.admin_page("/metrics").1;
        let start = format!("gatelet_copies_total{{outcome=\"{outcome}\"}} ");
        let mut values = metrics.lines().filter_map(|line| line.strip_prefix(&start));
        values.next().expect(&metrics).parse().expect("a number")
    }

    /// Waits for a number of copies with an outcome.
    fn counts(&self, outcome: &str, expected: u64) {
        eventually(&format!("{expected} copies are {outcome}"), || {
            (self.copies(outcome) == expected).then_some(())
        });
    }
}

/// Returns the manifests of a mirror on a port.
fn at(port: u16) -> String {
    service("mirror", "") + &slice("mirror", &[port])
}

#[test]
fn a_mirror_gets_each_request_as_its_backend_does() {
    let mirror = Recorder::start();
    let site = Site::start(
        &mirror.manifests(),
        &[
            TARGET,
            "rewrite-target=/inside",
            "upstream-vhost=other.example",
        ],
    );
    let more = "X-Some: thing\r\nX-Forwarded-For: 9.9.9.9\r\nCookie: a=b\r\n";
    let answer = site.request(
        "PUT /a%20b?c=%2F",
        &format!("{more}Content-Length: 4\r\n"),
        "body",
    );
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(text.starts_with("app\nPUT /inside?c=%2F"), "{text}");
    site.counts("sent", 1);

    let (head, body) = &mirror.requests()[0];
    assert!(head.starts_with("PUT /a%20b?c=%2F HTTP/1.1\r\n"), "{head}");
    assert_eq!(body, "body");
    for (name, value) in [
        ("host", Some("mirror.default.svc.cluster.local")),
        ("x-some", Some("thing")),
        ("cookie", Some("a=b")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-host", Some(HOST)),
        ("content-length", Some("4")),
        ("transfer-encoding", None),
    ] {
        assert_eq!(field(head, name), value, "{name}: {head}");
    }
    let id = field(head, "x-request-id");
    assert!(id.is_some() && id == field(&text, "x-request-id"), "{head}");
}

#[test]
fn chunks_and_http2_are_copied_with_a_length() {
    let mirror = Recorder::start();
    let site = Site::start(&mirror.manifests(), &[TARGET]);
    let chunked = "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n";
    let mut connection = Connection::open(site.gatelet.http_addr()).expect("a connection");
    let head = format!("POST /chunks HTTP/1.1\r\nHost: {HOST}\r\n{chunked}\r\n");
    connection.send(head.as_bytes()).expect("sent");
    assert!(connection.head().expect("a head").contains(" 100 "));
    let chunks = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    connection.send(chunks).expect("sent");
    assert_eq!(connection.answer().expect("a response").status, 200);

    let mut curl = site.gatelet.curl_tls(HOST, "/http2");
    curl.args(["--http2", "--insecure", "-d", "over http2"]);
    let text = run(curl.args(["-w", "%{http_version}"]));
    assert!(
        text.starts_with("app\nPOST /http2") && text.ends_with('2'),
        "{text}"
    );

    site.counts("sent", 2);
    let mut found = mirror.requests();
    found.sort();
    for ((head, body), (path, expected)) in found
        .iter()
        .zip([("/chunks", "abcde"), ("/http2", "over http2")])
    {
        assert!(head.starts_with(&format!("POST {path} HTTP/1.1")), "{head}");
        assert_eq!(body, expected);
        assert_eq!(field(head, "transfer-encoding"), None, "{head}");
        assert_eq!(field(head, "expect"), None, "{head}");
    }
}

#[test]
fn a_copy_can_have_no_body_and_another_host() {
    let mirror = Recorder::start();
    let site = Site::start(
        &mirror.manifests(),
        &[
            "mirror-target=http://mirror.default.svc/copies",
            "mirror-request-body=off",
            "mirror-host=copy.$host",
        ],
    );
    assert_eq!(
        site.request("PUT /x?y=z", "Content-Length: 4\r\n", "body")
            .status,
        200
    );
    site.counts("sent", 1);

    let (head, body) = &mirror.requests()[0];
    assert!(head.starts_with("PUT /copies?y=z HTTP/1.1\r\n"), "{head}");
    assert_eq!(body, "");
    assert_eq!(field(head, "host"), Some("copy.app.example.com"));
    assert_eq!(field(head, "content-length"), None, "{head}");
}

#[test]
fn what_is_not_forwarded_is_not_copied() {
    let mirror = Recorder::start();
    let networks = "denylist-source-range=127.0.0.9";
    let site = Site::start(&mirror.manifests(), &[TARGET, networks, "app-root=/app"]);
    assert_eq!(site.request("GET /", "", "").status, 302);
    let mut curl = site.gatelet.curl(HOST, "/x");
    curl.args([
        "--interface",
        "127.0.0.9",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
    ]);
    assert_eq!(run(&mut curl), "403");
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    assert_eq!(site.request("GET /x", upgrade, "").status, 200);

    // The copy of a later request is there, and no other.
    assert_eq!(site.request("GET /last", "", "").status, 200);
    site.counts("sent", 1);
    let heads: Vec<String> = mirror.requests().into_iter().map(|one| one.0).collect();
    assert!(
        heads.len() == 1 && heads[0].starts_with("GET /last "),
        "{heads:?}"
    );
    assert_eq!((site.copies("dropped"), site.copies("failed")), (0, 0));
}

#[test]
fn bodies_are_copied_up_to_a_bound() {
    let mirror = Backend::start("mirror");
    let site = Site::start(&at(mirror.port), &[TARGET]);
    assert_eq!(site.upload(64 * 1024).status, 200);
    site.counts("sent", 1);
    assert_eq!((mirror.count(), mirror.received()), (1, 64 * 1024));

    // Larger ones reach the backend alone, whether their length is known or not.
    assert_eq!(site.upload(64 * 1024 + 1).status, 200);
    site.counts("dropped", 1);
    assert_eq!(site.upload(10_000_000).status, 200);
    site.counts("dropped", 2);
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let chunks = chunk.repeat(3) + "0\r\n\r\n";
    let answer = site.request("POST /", "Transfer-Encoding: chunked\r\n", &chunks);
    assert_eq!(answer.status, 200);
    site.counts("dropped", 3);
    let all = 2 * 64 * 1024 + 1 + 10_000_000 + 3 * 0x8000;
    assert_eq!((mirror.count(), site.app.received()), (1, all));
    assert_eq!(site.copies("failed"), 0);
}

#[test]
fn a_thousand_requests_are_copied_once_each() {
    let mirror = Recorder::start();
    let site = Site::start(&mirror.manifests(), &[TARGET]);
    let before = site.app.count();
    let mut connection = Connection::open(site.gatelet.http_addr()).expect("a connection");
    for number in 0..1000 {
        let answer = connection.get(HOST, &format!("/{number}"));
        assert_eq!(answer.expect("a response").status, 200, "{number}");
        // No more are under way than fit.
        eventually("the copy has come", || {
            (mirror.requests().len() + 100 > number).then_some(())
        });
    }

    site.counts("sent", 1000);
    assert_eq!(site.app.count() - before, 1000);
    let found = mirror.requests();
    let mut paths: Vec<&str> = found
        .iter()
        .filter_map(|(head, _)| head.split(' ').nth(1))
        .collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!((found.len(), paths.len()), (1000, 1000));
}

#[test]
fn a_mirror_that_is_silent_costs_clients_nothing() {
    for target in [HANGS, STUCK] {
        let mirror = Backend::start("mirror");
        let site = Site::start(&at(mirror.port), &[target]);
        let cores = std::thread::available_parallelism().expect("cores").get() as u64;
        let most = MOST_OF_CORE * cores;
        for number in 0..1000 {
            let answer = site.request("POST /", "Content-Length: 4\r\n", "body");
            assert_eq!(answer.status, 200, "{number}: {}", answer.head);
        }
        eventually("the rest is left out", || {
            (site.copies("dropped") >= 1000 - most).then_some(())
        });
        assert!(mirror.count() <= most, "{}", mirror.count());
        assert_eq!((site.copies("sent"), site.copies("failed")), (0, 0));
    }
}

#[test]
fn a_slow_mirror_gets_its_copies() {
    let mirror = Backend::start("mirror");
    let target = "mirror-target=http://mirror.default.svc.cluster.local/slow/300";
    let site = Site::start(&at(mirror.port), &[target]);
    for _ in 0..20 {
        assert_eq!(site.request("GET /", "", "").status, 200);
    }
    site.counts("sent", 20);
    assert_eq!((mirror.count(), site.copies("failed")), (20, 0));
}

#[test]
fn a_mirror_that_is_down_costs_clients_nothing() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("its address").port();
    drop(listener);
    let site = Site::start(&at(port), &[TARGET]);
    for _ in 0..100 {
        assert_eq!(site.request("GET /", "", "").status, 200);
        assert_eq!(site.upload(10).status, 200);
    }
    site.counts("failed", 200);
    assert_eq!((site.copies("sent"), site.copies("dropped")), (0, 0));
}

#[test]
fn a_backend_that_is_down_takes_no_body_for_a_copy() {
    let mirror = Recorder::start();
    let site = Site::start(&mirror.manifests(), &[TARGET]);
    site.app.stop();
    // A connection that was open takes a body once more.
    eventually("a copy is dropped", || {
        assert!(site.upload(10).status >= 500);
        (site.copies("dropped") > 0).then_some(())
    });

    let sent = site.copies("sent");
    assert!(site.request("GET /", "", "").status >= 500);
    eventually("a copy without a body is sent", || {
        (site.copies("sent") > sent).then_some(())
    });
}

#[test]
fn a_mirror_that_cannot_be_found_is_a_finding() {
    let site = Site::start("", &[TARGET]);
    assert_eq!(site.request("GET /", "", "").status, 200);
    let text = site.gatelet.status()["findings"].to_string();
    let why = "Service default/mirror does not exist: requests are not copied";
    assert!(
        text.contains("UnknownService") && text.contains(why),
        "{text}"
    );

    // Once the Service is there, copies are made.
    let mirror = Recorder::start();
    site.gatelet.apply(&mirror.manifests());
    eventually("a copy has come", || {
        assert_eq!(site.request("GET /", "", "").status, 200);
        (!mirror.requests().is_empty()).then_some(())
    });
    let output = site
        .gatelet
        .command(&["explain", &format!("http://{HOST}/")]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("$request_uri gets a copy"), "{text}");
}
