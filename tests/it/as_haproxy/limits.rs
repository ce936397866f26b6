//! The limits of clients, on a Service that two Ingresses lead to, beside a HAProxy with the rules
//! that its controllers write for them: they have one backend for both.

use std::{
    process::{Child, Command},
    time::{Duration, Instant},
};

use super::{HOST, Haproxy, INGRESS, TECHNOLOGIES, run};
use crate::support::{Backend, Gatelet, backend, eventually};

const OTHER: &str = "other.example.com";
/// The hosts of both Ingresses, in turn.
const TEN: [&str; 10] = [
    HOST, OTHER, HOST, OTHER, OTHER, HOST, HOST, OTHER, HOST, OTHER,
];

/// Both, before the same backend.
struct Both {
    backend: Backend,
    haproxy: Haproxy,
    gatelet: Gatelet,
}

impl Both {
    /// Starts them; `None` without HAProxy. The annotations are those of the Service.
    fn start(prefix: &str, annotations: &[&str], rules: &str) -> Option<Self> {
        let backend = Backend::start("app");
        let haproxy = Haproxy::start(rules, "", backend.port)?;

        let pairs = annotations.iter().map(|one| {
            let (name, value) = one.split_once('=').expect("a value");
            format!("{prefix}{name}: {value:?}")
        });
        let pairs: Vec<String> = pairs.collect();
        let metadata = format!(
            "kind: Service\nmetadata: {{name: app, annotations: {{{}}}}}",
            pairs.join(", ")
        );
        let manifests = backend.manifests("app", HOST);
        let other = backend::ingress("other", OTHER, "");
        let gatelet = Gatelet::start();
        gatelet.apply(&manifests.replace("kind: Service\nmetadata: {name: app}", &metadata));
        gatelet.apply(&other.replace("service: {name: other", "service: {name: app"));
        // From an address that no test has.
        eventually("both hosts are served", || {
            let statuses = statuses(gatelet.http, 250, &[HOST, OTHER]);
            statuses.iter().all(|one| *one != "404").then_some(())
        });
        Some(Self {
            backend,
            haproxy,
            gatelet,
        })
    }

    fn ports(&self) -> [u16; 2] {
        [self.gatelet.http, self.haproxy.port]
    }
}

/// Adds the arguments for a request of the client 127.0.0.`client`.
fn request(curl: &mut Command, port: u16, client: u8, host: &str, path: &str) {
    curl.args(["-sS", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}\n"]);
    curl.args(["--interface", &format!("127.0.0.{client}")]);
    curl.args(["-H", &format!("Host: {host}")]);
    curl.arg(format!("http://127.0.0.1:{port}{path}"));
}

/// Returns the statuses of requests for these hosts, one after the other.
fn statuses(port: u16, client: u8, hosts: &[&str]) -> Vec<String> {
    let mut curl = Command::new("curl");
    for (number, host) in hosts.iter().enumerate() {
        if number > 0 {
            curl.arg("--next");
        }
        request(&mut curl, port, client, host, "/");
    }
    run(&mut curl).lines().map(str::to_owned).collect()
}

/// Starts a request that takes a place until it is ended.
fn hanging(port: u16, client: u8, host: &str) -> Child {
    let mut curl = Command::new("curl");
    request(&mut curl, port, client, host, "/hang");
    curl.stdout(std::process::Stdio::null());
    curl.spawn().expect("curl")
}

#[test]
fn a_rate_of_a_service_refuses_as_many_as_in_haproxy() {
    let rules = "  stick-table type ip size 200k expire 5m store conn_cur,conn_rate(1s)
  http-request track-sc1 src
  acl wlist_conn src 127.0.0.200
  http-request deny deny_status 429 if !wlist_conn { sc1_conn_rate gt 3 }";
    let annotations = ["limit-rps=3", "limit-whitelist=127.0.0.200"];
    let Some(both) = Both::start(INGRESS, &annotations, rules) else {
        return;
    };
    let [ours, theirs] = both.ports().map(|port| {
        // A third of a second later there is place for another one: a slow attempt shows nothing.
        let mut clients = 2..100;
        eventually("the requests are sent at once", || {
            let began = Instant::now();
            let found = statuses(port, clients.next().expect("a client"), &TEN);
            (began.elapsed() < Duration::from_millis(300)).then_some(found)
        })
    });
    assert_eq!(ours, theirs);
    assert_eq!(ours[2..4], ["200", "429"]);

    let [ours, theirs] = both.ports().map(|port| statuses(port, 200, &TEN));
    assert_eq!(ours, vec!["200"; 10]);
    assert_eq!(ours, theirs);
}

#[test]
fn places_of_a_service_are_those_of_haproxy() {
    let rules = "  stick-table type ip size 200k expire 5m store conn_cur,conn_rate(1s)
  http-request track-sc1 src
  http-request deny deny_status 429 if { sc1_conn_cur gt 2 }";
    let Some(both) = Both::start(INGRESS, &["limit-connections=2"], rules) else {
        return;
    };
    let [ours, theirs] = both.ports().map(|port| {
        let before = both.backend.count();
        let mut waiting = [HOST, OTHER].map(|host| hanging(port, 2, host));
        eventually("both are at the backend", || {
            (both.backend.count() >= before + 2).then_some(())
        });
        let full = statuses(port, 2, &TEN[..4]);
        let of_another = statuses(port, 3, &TEN[..4]);

        for one in &mut waiting {
            one.kill().expect("curl ends");
            one.wait().expect("curl ends");
        }
        eventually("the places are free", || {
            (statuses(port, 2, &[OTHER]) == ["200"]).then_some(())
        });
        (full, of_another, statuses(port, 2, &TEN))
    });
    assert_eq!(ours, theirs);
    assert_eq!(ours.0, vec!["429"; 4]);
    assert_eq!(ours.1, vec!["200"; 4]);
}

#[test]
fn requests_in_a_period_are_refused_as_in_haproxy() {
    let rules = "  stick-table type ip size 100k store http_req_rate(1h)
  http-request track-sc0 src
  http-request deny deny_status 429 if { sc0_http_req_rate gt 3 } !{ src 127.0.0.200 }";
    let annotations = [
        "rate-limit-requests=3",
        "rate-limit-period=1h",
        "rate-limit-status-code=429",
        "rate-limit-whitelist=127.0.0.200",
    ];
    let Some(both) = Both::start(TECHNOLOGIES, &annotations, rules) else {
        return;
    };
    for client in [2, 3, 200] {
        let [ours, theirs] = both.ports().map(|port| statuses(port, client, &TEN));
        assert_eq!(ours, theirs, "{client}");
        let refused = ours.iter().filter(|one| *one == "429").count();
        assert_eq!(refused, if client == 200 { 0 } else { 7 }, "{client}");
    }
}
