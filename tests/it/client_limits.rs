//! Limits of the requests of a client: so many pass, and nothing that a client sends makes it
//! another one.

use std::process::Command;

use super::support::{Backend, Folder, Gatelet, Nginx, eventually, nginx, run};

const HOST: &str = "app.example.com";
const NGINX: &str = "nginx.ingress.kubernetes.io/";

fn limited(settings: &str, annotations: &[&str]) -> (Gatelet, Backend) {
    let backend = Backend::start("app");
    let gatelet = Gatelet::configured(settings);
    gatelet.serve(&backend.manifests("app", HOST), HOST);
    annotate(&gatelet, annotations);
    (gatelet, backend)
}

/// Annotates the Ingress, and waits until that applies: a field of CORS is in its responses.
fn annotate(gatelet: &Gatelet, annotations: &[&str]) {
    let origin = format!("https://{}.example", annotations.len());
    let marks = [
        "enable-cors=true".to_owned(),
        format!("cors-allow-origin={origin}"),
    ];
    let names = annotations.iter().map(|one| (*one).to_owned()).chain(marks);
    let names: Vec<String> = names.map(|one| format!("{NGINX}{one}")).collect();
    let mut arguments = vec!["annotate", "--overwrite", "ingress", "app"];
    arguments.extend(names.iter().map(String::as_str));
    gatelet.kubectl(&arguments);
    // A preflight request is counted by no limit.
    eventually("the annotations apply", || {
        let mut curl = gatelet.curl(HOST, "/");
        curl.args(["-X", "OPTIONS", "-o", "/dev/null", "-w", "%{http_code}"]);
        (run(curl.args(["-H", &format!("Origin: {origin}")])) == "204").then_some(())
    });
}

/// The statuses of so many requests over one connection, one after the other.
fn statuses(mut curl: Command, count: usize, arguments: &[&str]) -> Vec<String> {
    let urls: Vec<String> = curl
        .get_args()
        .filter_map(|one| one.to_str().filter(|one| one.starts_with("http")))
        .map(str::to_owned)
        .collect();
    for _ in 1..count {
        curl.args(["-o", "/dev/null"]).args(&urls);
    }
    curl.args(["-o", "/dev/null", "-w", "%{http_code}\n"])
        .args(arguments);
    let said = run(&mut curl);
    said.lines().map(str::to_owned).collect()
}

fn count(statuses: &[String], status: &str) -> usize {
    statuses.iter().filter(|one| *one == status).count()
}

#[test]
fn a_burst_passes_and_the_rest_is_refused() {
    // One in a minute, so that none comes in the time of the test.
    let annotations = ["limit-rpm=1", "limit-burst-multiplier=4"];
    let (gatelet, backend) = limited("", &annotations);
    let before = backend.count();
    let first = statuses(gatelet.curl(HOST, "/"), 9, &[]);
    assert_eq!(
        (count(&first, "200"), count(&first, "503")),
        (5, 4),
        "{first:?}"
    );

    // Whatever its spelling, protocol and fields are, it is the same client.
    for arguments in [
        &["--http2"][..],
        &["-H", "X-Forwarded-For: 192.0.2.1"],
        &["-H", "X-Real-IP: 192.0.2.1"],
        &["-H", "Forwarded: for=192.0.2.1"],
        &["-d", "x"],
        &["-H", "Connection: upgrade", "-H", "Upgrade: websocket"],
    ] {
        for path in ["/", "//a", "/%2e/b"] {
            let refused = statuses(gatelet.curl_tls(HOST, path), 1, arguments);
            assert_eq!(refused, ["503"], "{arguments:?} {path}");
        }
    }
    assert_eq!(backend.count() - before, 5);

    // Another client has its own, and edits of other objects change nothing.
    let other = statuses(gatelet.curl(HOST, "/"), 1, &["--interface", "127.0.0.9"]);
    assert_eq!(other, ["200"]);
    gatelet.serve(
        &backend.manifests("other", "other.example.com"),
        "other.example.com",
    );
    assert_eq!(statuses(gatelet.curl(HOST, "/"), 1, &[]), ["503"]);
    assert_eq!(
        statuses(gatelet.curl("other.example.com", "/"), 9, &[]),
        vec!["200"; 9]
    );

    // Its own edit keeps the count too, unless it takes the limit away.
    annotate(
        &gatelet,
        &["limit-rpm=2", "limit-burst-multiplier=1", "limit-rps=100"],
    );
    assert_eq!(statuses(gatelet.curl(HOST, "/"), 1, &[]), ["503"]);
    annotate(
        &gatelet,
        &[
            "limit-rpm-",
            "limit-rps-",
            "limit-burst-multiplier-",
            "app-root-",
        ],
    );
    assert_eq!(statuses(gatelet.curl(HOST, "/"), 20, &[]), vec!["200"; 20]);
}

#[test]
fn the_client_is_the_one_that_a_trusted_proxy_names() {
    let annotations = [
        "limit-rpm=1",
        "limit-burst-multiplier=1",
        "limit-allowlist=192.0.2.7",
    ];
    let settings = "[proxy]\ntrusted_proxies = [\"127.0.0.1/32\"]\nlimit_status = 429\n";
    let (gatelet, _backend) = limited(settings, &annotations);
    let from = |address: &str, number: usize| {
        let field = format!("X-Forwarded-For: {address}");
        let all = statuses(gatelet.curl(HOST, "/"), number, &["-H", &field]);
        (count(&all, "200"), count(&all, "429"))
    };
    assert_eq!(from("192.0.2.1", 5), (2, 3));
    assert_eq!(from("192.0.2.2", 2), (2, 0));
    assert_eq!(from("6.6.6.6, 192.0.2.2", 1), (0, 1), "the last counts");
    assert_eq!(from("192.0.2.7", 9), (9, 0), "it is exempt");
    // Addresses of one /64 are one client.
    assert_eq!(from("2001:db8::1", 2), (2, 0));
    assert_eq!(from("2001:db8::2", 2), (0, 2));
    assert_eq!(from("2001:db8:0:1::1", 2), (2, 0));
}

#[test]
fn requests_in_flight_are_counted_until_their_end() {
    let (gatelet, backend) = limited("", &["limit-connections=2"]);
    let start = || {
        let mut curl = gatelet.curl(HOST, "/hang");
        curl.spawn().expect("curl")
    };
    // It has had requests already, by which the test saw that the annotations apply.
    let earlier = backend.count();
    let mut waiting = [start(), start()];
    eventually("both are at the backend", || {
        (backend.count() >= earlier + 2).then_some(())
    });
    let before = backend.count();
    assert_eq!(statuses(gatelet.curl(HOST, "/"), 3, &[]), vec!["503"; 3]);
    let over_h2 = statuses(gatelet.curl_tls(HOST, "/"), 2, &["--http2"]);
    assert_eq!(over_h2, vec!["503"; 2]);
    let other = statuses(gatelet.curl(HOST, "/"), 1, &["--interface", "127.0.0.9"]);
    assert_eq!(other, ["200"]);
    assert_eq!(backend.count() - before, 1);

    // The place of a client that disconnects is free again.
    for one in &mut waiting {
        one.kill().expect("curl ends");
        one.wait().expect("curl ends");
    }
    eventually("the places are free", || {
        (statuses(gatelet.curl(HOST, "/"), 1, &[]) == ["200"]).then_some(())
    });
    assert_eq!(statuses(gatelet.curl(HOST, "/"), 9, &[]), vec!["200"; 9]);
}

#[test]
fn a_response_is_sent_at_its_pace_and_whole() {
    let (gatelet, _backend) = limited("", &["limit-rate=64", "limit-rate-after=32"]);
    for (arguments, seconds) in [(&[][..], 1.0), (&["--http2"], 1.0)] {
        let mut curl = gatelet.curl_tls(HOST, "/bytes/180000");
        curl.args(["-o", "/dev/null", "-w", "%{size_download} %{time_total}"]);
        let said = run(curl.args(arguments));
        let (size, time) = said.split_once(' ').expect("two numbers");
        assert_eq!(size, "180000", "{arguments:?}");
        // 32 KB before the pace, and a second's worth ahead: 80 KB are left at 64 KB a second.
        let time: f64 = time.parse().expect("a number");
        assert!(time >= seconds, "{arguments:?}: {time}");
    }
    let whole = run(&mut gatelet.curl(HOST, "/"));
    assert!(whole.starts_with("app\n"), "{whole}");
    let mut head = gatelet.curl(HOST, "/bytes/100");
    let head = run(head.args(["-I", "-m", "5"]));
    assert!(
        head.to_ascii_lowercase().contains("content-length: 100"),
        "{head}"
    );
}

#[test]
fn a_rate_admits_as_many_as_in_nginx() {
    if nginx::program().is_none() {
        return;
    }
    // So slow that none is added while the test runs.
    let zone = "limit_req_zone $binary_remote_addr zone=z:1m rate=1r/m; limit_req_status 503;";
    for (annotations, burst) in [
        (&["limit-rpm=1"][..], 5),
        (&["limit-rpm=1", "limit-burst-multiplier=2"], 2),
        (&["limit-rpm=1", "limit-burst-multiplier=9"], 9),
    ] {
        let (gatelet, backend) = limited("", annotations);
        let server = format!(
            "location / {{ limit_req zone=z burst={burst} nodelay; \
             proxy_pass http://127.0.0.1:{}; }}",
            backend.port
        );
        let nginx = Nginx::start_with(Folder::new(), zone, &server);

        for client in ["127.0.0.2", "127.0.0.3"] {
            let from = ["--interface", client];
            let mut curl = Command::new("curl");
            curl.args(["-sS", "-m", "20"]);
            curl.arg(format!("http://127.0.0.1:{}/", nginx.port));
            let theirs = statuses(curl, 14, &from);
            let ours = statuses(gatelet.curl(HOST, "/"), 14, &from);
            assert_eq!(ours, theirs, "{annotations:?}");
            assert_eq!(count(&ours, "200"), burst + 1);
        }
    }
}
