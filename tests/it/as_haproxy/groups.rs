//! Groups of endpoints (blue-green), beside a HAProxy with the weights and rules that HAProxy
//! Ingress writes for them.

use std::{collections::BTreeMap, process::Command};

use super::{HOST, Haproxy, INGRESS, annotated_as, run};
use crate::support::{Backend, Gatelet, backend, eventually, gatelet::NODE};

/// Three endpoints in two groups, of gatelet and of HAProxy.
struct Groups {
    backends: Vec<Backend>,
    haproxy: Haproxy,
    gatelet: Gatelet,
}

impl Groups {
    /// Starts both; `None` without HAProxy. The weights are those of HAProxy's servers.
    fn start(annotations: &[&str], rules: &str, weights: [u16; 3]) -> Option<Self> {
        let names = ["blue", "green", "green"];
        let backends: Vec<Backend> = names.iter().map(|name| Backend::start(name)).collect();
        let servers = backends.iter().zip(weights).enumerate();
        let servers = servers.map(|(number, (backend, weight))| {
            format!(
                "  server s{number} 127.0.0.1:{} check inter 100 fall 1 rise 1 weight {weight} \
                 cookie c{number}\n",
                backend.port
            )
        });
        let rules = format!(
            "  balance roundrobin\n  option redispatch\n  retries 2\n{rules}\n{}",
            servers.collect::<String>()
        );
        let haproxy = Haproxy::with(&rules)?;

        let mut manifests = backend::service("app", "");
        for (number, (name, backend)) in names.iter().zip(&backends).enumerate() {
            manifests += &format!(
                "apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: app-{number}
  labels: {{kubernetes.io/service-name: app, group: {name}}}
  annotations: {{gatelet.dev/connect: loopback}}
addressType: IPv4
endpoints: [{{addresses: [192.0.2.1], nodeName: {NODE}}}]
ports: [{{name: main, port: {}}}]
---
",
                backend.port
            );
        }
        manifests += &backend::ingress("app", HOST, "");
        let named = annotations.iter().map(|one| format!("{INGRESS}{one}"));
        let gatelet = annotated_as(&manifests, &named.collect::<Vec<String>>());
        Some(Self {
            backends,
            haproxy,
            gatelet,
        })
    }

    /// Returns the groups that responded to this many requests, and the last cookie.
    fn ask(port: u16, arguments: &[&str], times: u32) -> (BTreeMap<String, u32>, String) {
        let mut seen = BTreeMap::new();
        let mut cookie = String::new();
        for _ in 0..times {
            let mut curl = Command::new("curl");
            curl.args(["-sS", "-i", "-m", "20", "-H", &format!("Host: {HOST}")]);
            let text = run(curl
                .args(arguments)
                .arg(format!("http://127.0.0.1:{port}/")));
            let text = text.replace("\r\n", "\n");
            let (head, body) = text.split_once("\n\n").expect("a head");
            let status = head.split(' ').nth(1).expect("a status");
            let name = match status {
                "200" => body.lines().next().expect("a name"),
                other => other,
            };
            *seen.entry(name.to_owned()).or_default() += 1;
            let mut fields = head.lines().filter_map(|line| line.split_once(": "));
            let set = fields.find(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
            if let Some((_, set)) = set {
                set.split(';')
                    .next()
                    .expect("a cookie")
                    .clone_into(&mut cookie);
            }
        }
        (seen, cookie)
    }

    /// Asserts that both send the same part of 60 requests to each group.
    fn compare(&self, arguments: &[&str]) {
        let [ours, theirs] = [self.gatelet.http, self.haproxy.port].map(|port| {
            let (seen, _) = Self::ask(port, arguments, 60);
            seen
        });
        for name in ["blue", "green", "503"] {
            let [ours, theirs] = [&ours, &theirs].map(|seen| seen.get(name).copied());
            let (ours, theirs) = (ours.unwrap_or(0), theirs.unwrap_or(0));
            assert!(
                ours.abs_diff(theirs) <= 4,
                "{arguments:?}: {name} {ours} {theirs}"
            );
        }
    }
}

const BALANCE: &str = "blue-green-balance=group=blue=1,group=green=4";
const OF_GREEN: &[&str] = &["-H", "X-Server: green"];

#[test]
fn groups_have_their_part_as_in_haproxy() {
    // The weights of HAProxy Ingress: 1 for one endpoint, 4 for two.
    let Some(groups) = Groups::start(&[BALANCE], "", [128, 256, 256]) else {
        return;
    };
    groups.compare(&[]);
    let Some(groups) = Groups::start(&[BALANCE, "blue-green-mode=pod"], "", [1, 4, 4]) else {
        return;
    };
    groups.compare(&[]);
    let Some(groups) = Groups::start(&[BALANCE], "", [0, 0, 0]) else {
        return;
    };
    let none = format!("{INGRESS}blue-green-balance=group=blue=0,group=green=0");
    let gatelet = &groups.gatelet;
    gatelet.kubectl(&["annotate", "ingress", "app", "--overwrite", &none]);
    eventually("nothing has requests", || {
        (gatelet.status_of(HOST, "/") == 503).then_some(())
    });
    groups.compare(&[]);
}

/// The rules of HAProxy Ingress for requests that name a group.
fn rules() -> String {
    let labels = ["blue", "green", "green"];
    let of = |kind: &str| {
        let servers = labels.iter().enumerate();
        let rules = servers
            .map(|(number, label)| format!("  use-server s{number} if {{ {kind} {label} }}\n"));
        rules.collect::<String>()
    };
    of("req.hdr(X-Server)") + &of("req.cook(Server)")
}

#[test]
fn requests_name_groups_as_in_haproxy() {
    let annotations = [
        "blue-green-deploy=group=blue=1,group=green=0",
        "blue-green-header=X-Server:group",
        "blue-green-cookie=Server:group",
    ];
    let Some(groups) = Groups::start(&annotations, &rules(), [1, 0, 0]) else {
        return;
    };
    for arguments in [
        &[][..],
        OF_GREEN,
        &["-H", "X-Server: blue"],
        &["-H", "X-Server: Green"],
        &["-H", "X-Server: other"],
        &["-H", "X-Server: other, green"],
        &["-H", "X-Server: other", "-H", "X-Server: green"],
        &["-H", "X-Server;"],
        &["-H", "Cookie: Server=green"],
        &["-H", "Cookie: a=b; Server=green; c=d"],
        &["-H", "Cookie: server=green"],
        &["-H", "X-Server: blue", "-H", "Cookie: Server=green"],
        &["-H", "X-Server: other", "-H", "Cookie: Server=green"],
    ] {
        groups.compare(arguments);
    }

    // Without an endpoint that is well, the others have the requests.
    groups.backends[1..].iter().for_each(Backend::stop);
    let port = groups.haproxy.port;
    eventually("HAProxy finds out", || {
        let (seen, _) = Groups::ask(port, OF_GREEN, 1);
        seen.contains_key("blue").then_some(())
    });
    groups.compare(OF_GREEN);
}

#[test]
fn a_named_group_comes_before_a_session_as_in_haproxy() {
    let annotations = [
        "blue-green-balance=group=blue=1,group=green=0",
        "blue-green-header=X-Server:group",
        "affinity=cookie",
    ];
    let cookie = "  cookie INGRESSCOOKIE insert indirect nocache httponly\n";
    let rules = format!("{cookie}{}", rules());
    let Some(groups) = Groups::start(&annotations, &rules, [1, 0, 0]) else {
        return;
    };
    for port in [groups.gatelet.http, groups.haproxy.port] {
        let only = |arguments: &[&str]| {
            let (seen, cookie) = Groups::ask(port, arguments, 3);
            let mut names = seen.into_keys();
            (names.next().expect("a group"), names.next(), cookie)
        };
        let (first, other, blue) = only(&[]);
        assert_eq!((&*first, other), ("blue", None));
        let cookie = format!("Cookie: {blue}");
        let (first, other, _) = only(&[OF_GREEN, &["-H", &cookie]].concat());
        assert_eq!((&*first, other), ("green", None), "{cookie}");

        // No session begins there.
        let (.., green) = only(OF_GREEN);
        assert_eq!(green, "");
        let (first, other, _) = only(&["-H", &format!("Cookie: {blue}")]);
        assert_eq!((&*first, other), ("blue", None));
    }
}
