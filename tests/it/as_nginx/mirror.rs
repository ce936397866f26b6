//! Copies of requests, beside the `mirror` of nginx as ingress-nginx configures it.

use std::{thread::sleep, time::Duration};

use super::{HOST, nginx_with, program};
use crate::{
    mirror::recorder::Recorder,
    support::{Backend, Gatelet, eventually, run},
};

/// The fields that gatelet sends to every server, and those of one connection.
const OF_PROXIES: &[&str] = &[
    "cdn-loop",
    "connection",
    "x-forwarded-",
    "x-real-ip",
    "x-request-id",
    "x-scheme",
];

/// Returns the request line, the fields of the client with `Host`, and the body of a copy.
fn copied(recorder: &Recorder, at: usize) -> Vec<String> {
    let what = format!("copy {at} comes");
    let (head, body) = eventually(&what, || recorder.requests().get(at).cloned());
    let mut lines: Vec<String> = head.lines().skip(1).map(str::to_owned).collect();
    lines.retain(|line| {
        let line = line.to_lowercase();
        !OF_PROXIES.iter().any(|start| line.starts_with(start))
    });
    for line in &mut lines {
        let (name, value) = line.split_once(':').expect("a field");
        *line = format!("{}:{value}", name.to_lowercase());
    }
    lines.sort();
    let first = head.lines().next().unwrap_or_default();
    lines.insert(0, first.replace("HTTP/1.0", "HTTP/1.1"));
    lines.push(body);
    lines
}

/// Sends each request to both, and compares the copies.
fn compare(annotations: &str, location: &str, requests: &[(&str, &[&str])]) {
    if program().is_none() {
        return;
    }
    let (ours, theirs, app) = (Recorder::start(), Recorder::start(), Backend::start("app"));
    let gatelet = Gatelet::start();
    gatelet.apply(&ours.manifests());
    let annotated = app.manifests("app", HOST).replace(
        "kind: Ingress\nmetadata: {name: app}",
        &format!("kind: Ingress\nmetadata:\n  name: app\n  annotations:\n{annotations}"),
    );
    gatelet.apply(&annotated);
    eventually("the first copy comes", || {
        gatelet.status_of(HOST, "/");
        // Another request would have a copy too, which could come at any time.
        let mut waits = 0..100;
        waits.find_map(|_| {
            sleep(Duration::from_millis(10));
            (!ours.requests().is_empty()).then_some(())
        })
    });
    let before = ours.requests().len();

    let location = location.replace("PORT", &theirs.port.to_string());
    let nginx = nginx_with(&format!(
        "location = \"/_mirror-1\" {{ internal; {location} }}
         location / {{
           mirror /_mirror-1; mirror_request_body on;
           proxy_pass http://127.0.0.1:{};
         }}",
        app.port
    ));
    for (at, (path, arguments)) in requests.iter().enumerate() {
        for port in [gatelet.http, nginx.port] {
            let mut curl = std::process::Command::new("curl");
            curl.args(["-sS", "-m", "20", "-o", "/dev/null", "--path-as-is"]);
            curl.args(["-H", &format!("Host: {HOST}")]).args(*arguments);
            run(curl.arg(format!("http://127.0.0.1:{port}{path}")));
        }
        let what = format!("{annotations}: {path} {arguments:?}");
        assert_eq!(copied(&ours, before + at), copied(&theirs, at), "{what}");
    }
}

const REQUESTS: &[(&str, &[&str])] = &[
    ("/", &[]),
    (
        "/a%20b?c=%2F&d",
        &["-H", "X-Some: thing", "-H", "Cookie: a=b"],
    ),
    ("/x", &["-X", "DELETE", "-u", "ann:secret"]),
    ("/x", &["-d", "some=body"]),
    ("/x", &["-d", "chunks", "-H", "Transfer-Encoding: chunked"]),
    ("/x", &["-X", "PUT", "-d", ""]),
    (
        "/x?y",
        &["-H", "X-Original-URI: theirs", "-H", "Referer: http://a/"],
    ),
];

#[test]
fn copies_are_those_of_nginx() {
    let prefix = "    nginx.ingress.kubernetes.io/";
    let url = "http://mirror.default.svc.cluster.local";
    compare(
        &format!("{prefix}mirror-target: {url}$request_uri\n"),
        "proxy_set_header Host \"mirror.default.svc.cluster.local\";
         proxy_pass \"http://127.0.0.1:PORT$request_uri\";",
        REQUESTS,
    );
    compare(
        &format!("{prefix}mirror-target: {url}/base/\n{prefix}mirror-host: copy.$host\n"),
        "proxy_set_header Host \"copy.$host\";
         proxy_pass \"http://127.0.0.1:PORT/base/\";",
        REQUESTS,
    );
    compare(
        &format!("{prefix}mirror-target: {url}/base?path=$request_uri&x=$arg_c\n"),
        "proxy_set_header Host \"mirror.default.svc.cluster.local\";
         proxy_pass \"http://127.0.0.1:PORT/base?path=$request_uri&x=$arg_c\";",
        REQUESTS,
    );
}
