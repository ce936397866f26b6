//! Health checks, beside a HAProxy with those that HAProxy Ingress writes for them.

use std::{
    collections::BTreeSet,
    io::{BufReader, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
    thread,
};

use super::{HOST, Haproxy, INGRESS, annotated_as, run};
use crate::support::{backend, eventually, gatelet::NODE};

/// A backend that says what is asked of it about its health.
#[derive(Clone)]
struct Checked {
    port: u16,
    /// The status of its health.
    status: Arc<AtomicU16>,
    /// The first lines of the requests for it.
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Checked {
    fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let checked = Self {
            port: listener.local_addr().expect("its address").port(),
            status: Arc::new(AtomicU16::new(200)),
            asked: Arc::default(),
        };
        let own = checked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                thread::spawn(move || own.respond(stream, name));
            }
        });
        checked
    }

    fn respond(&self, mut stream: TcpStream, name: &str) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let head = backend::head(&mut reader)?;
        let line = head.lines().next()?;
        let mut status = 200;
        if line.contains("/health") {
            status = self.status.load(SeqCst);
            self.asked.lock().expect("no panic").insert(line.to_owned());
        }
        let text = format!(
            "HTTP/1.1 {status} Said\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{name}",
            name.len()
        );
        stream.write_all(text.as_bytes()).ok()
    }
}

/// Returns the names that respond to this many requests.
fn seen(port: u16) -> BTreeSet<String> {
    let one = |_| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-m", "20", "-H", &format!("Host: {HOST}")]);
        run(curl.arg(format!("http://127.0.0.1:{port}/")))
    };
    (0..8).map(one).collect()
}

#[test]
fn endpoints_are_down_as_in_haproxy() {
    let both = ["a", "b"].map(Checked::start);
    let servers = both.iter().zip(["a", "b"]).map(|(one, name)| {
        let port = one.port;
        format!("  server {name} 127.0.0.1:{port} check inter 500ms rise 1 fall 2\n")
    });
    let servers: String = servers.collect();
    let rules = format!("  balance roundrobin\n  option httpchk /health?x=y\n{servers}");
    let Some(haproxy) = Haproxy::with(&rules) else {
        return;
    };

    let mut manifests = backend::service("app", "");
    for (name, one) in ["a", "b"].iter().zip(&both) {
        manifests += &format!(
            "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: app-{name}
  labels: {{kubernetes.io/service-name: app}}
  annotations: {{gatelet.dev/connect: loopback}}
addressType: IPv4
endpoints: [{{addresses: [192.0.2.1], nodeName: {NODE}}}]
ports: [{{name: main, port: {}}}]
---
",
            one.port
        );
    }
    manifests += &backend::ingress("app", HOST, "");
    let annotations = [
        "health-check-uri=/health?x=y",
        "health-check-interval=500ms",
        "health-check-rise-count=1",
        "health-check-fall-count=2",
    ];
    let gatelet = annotated_as(
        &manifests,
        &annotations.map(|one| format!("{INGRESS}{one}")),
    );

    let ports = [gatelet.http, haproxy.port];
    let becomes = |names: &[&str]| {
        for port in ports {
            eventually(&format!("{names:?} of {port}"), || {
                seen(port).iter().eq(names).then_some(())
            });
        }
    };
    becomes(&["a", "b"]);
    both[1].status.store(500, SeqCst);
    becomes(&["a"]);
    let status = gatelet.status().to_string();
    assert!(status.contains("down: status 500"), "{status}");
    let (_, metrics) = gatelet.admin_page("/metrics");
    assert!(metrics.contains("gatelet_endpoints_down 1"), "{metrics}");

    both[1].status.store(301, SeqCst);
    becomes(&["a", "b"]);
    // If all are down, gatelet tries one nevertheless, and HAProxy none.
    both.iter().for_each(|one| one.status.store(404, SeqCst));
    eventually("all are down", || {
        let (_, metrics) = gatelet.admin_page("/metrics");
        metrics.contains("gatelet_endpoints_down 2").then_some(())
    });
    assert_eq!(seen(gatelet.http).len(), 2);

    // Both ask the same.
    let asked = both[0].asked.lock().expect("no panic").clone();
    assert_eq!(asked, ["OPTIONS /health?x=y HTTP/1.0".to_owned()].into());

    // Without the annotations nothing is asked any more.
    let names = ["uri", "interval", "rise-count", "fall-count"];
    let names = names.map(|name| format!("{INGRESS}health-check-{name}-"));
    let mut arguments = vec!["annotate", "ingress", "app"];
    arguments.extend(names.iter().map(String::as_str));
    gatelet.kubectl(&arguments);
    eventually("the checks end", || {
        let (_, metrics) = gatelet.admin_page("/metrics");
        metrics.contains("gatelet_endpoints_down 0").then_some(())
    });
}
