//! gRPC-Web through both, to a gRPC server.

use std::{fs, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Traefik, is_there, lines};
use crate::support::{Folder, Gatelet, backend, eventually, peers::Server, run};

const HOST: &str = "grpc.example.com";
const ORIGIN: &str = "https://page.example.com";

/// A request of a page: its type, its path, its message and its origin.
type Request = (&'static str, &'static str, &'static [u8], &'static str);

const REQUESTS: &[Request] = &[
    ("application/grpc-web", "Echo", b"hello", ORIGIN),
    ("application/grpc-web+proto", "Echo", b"hello", ""),
    (
        "application/grpc-web+proto",
        "Echo",
        b"",
        "https://other.example.com",
    ),
    ("application/grpc-web-text", "Echo", b"hello", ORIGIN),
    ("application/grpc-web-text+proto", "Count", b"300", ORIGIN),
    ("application/grpc-web", "Count", b"300", ORIGIN),
    ("application/grpc-web", "Count", b"0", ORIGIN),
    ("application/grpc-web", "Fail", b"x", ORIGIN),
    ("application/grpc-web-text", "Fail", b"x", ORIGIN),
    ("application/grpc-web", "Unknown", b"x", ORIGIN),
];

/// Returns a message as gRPC frames it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a short one");
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// Returns the messages of a body with their flags. The lines of one with trailers have an order of
/// their own.
fn messages(mut body: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((head, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes(head[1..].try_into().expect("four bytes"));
        let (message, behind) = rest.split_at(length as usize);
        let message = match head[0] {
            0x80 => {
                let text = String::from_utf8(message.to_vec()).expect("text");
                let mut lines: Vec<&str> = text.split_inclusive("\r\n").collect();
                lines.sort_unstable();
                lines.concat().into_bytes()
            }
            _ => message.to_vec(),
        };
        // Traefik has one without trailers where the head says it all.
        if head[0] == 0 || !message.is_empty() {
            found.push((head[0], message));
        }
        body = behind;
    }
    assert!(body.is_empty(), "{found:?} {body:?}");
    found
}

/// Decodes Base64 with padding inside.
fn decoded(text: &[u8]) -> Vec<u8> {
    let groups = text
        .chunks(4)
        .map(|group| STANDARD.decode(group).expect("Base64"));
    groups.collect::<Vec<_>>().concat()
}

/// The status and the fields that a page gets, and the messages.
type Got = (Vec<String>, Vec<(u8, Vec<u8>)>);

/// Sends a request of a page with further arguments of curl.
fn ask(port: u16, folder: &Folder, arguments: &[&str], request: &Request) -> Got {
    let (content_type, path, message, origin) = *request;
    let is_text = content_type.contains("-text");
    let sent = match is_text {
        true => STANDARD.encode(framed(message)).into_bytes(),
        false => framed(message),
    };
    let [body, head, got] = ["body", "head", "got"].map(|name| folder.path().join(name));
    fs::write(&body, sent).expect("a file");

    let mut curl = Command::new("curl");
    curl.args(arguments)
        .args(["-sS", "-m", "20", "-o"])
        .arg(&got)
        .arg("-D")
        .arg(&head);
    curl.args(["-H", &format!("Host: {HOST}"), "-H", "X-Grpc-Web: 1"]);
    curl.args(["-H", &format!("Content-Type: {content_type}")]);
    if !origin.is_empty() {
        curl.args(["-H", &format!("Origin: {origin}")]);
    }
    curl.arg("--data-binary")
        .arg(format!("@{}", body.display()));
    run(curl.arg(format!("http://127.0.0.1:{port}/test.Peer/{path}")));

    let head = fs::read_to_string(head).expect("a head");
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut fields = lines(
        &head,
        &["date", "content-length", "transfer-encoding", "connection"],
    );
    for line in &mut fields {
        // Its names come in any order, Traefik has some twice, and counts Date and Vary at times.
        if let Some(names) = line.strip_prefix("access-control-expose-headers: ") {
            let mut names: Vec<String> = names.split(", ").map(str::to_lowercase).collect();
            names
                .retain(|name| !matches!(&**name, "date" | "vary") && !name.starts_with("access-"));
            names.sort_unstable();
            names.dedup();
            *line = format!("exposes {}", names.join(", "));
        }
    }
    fields.insert(0, status);
    let body = fs::read(got).expect("a body");
    let body = if is_text { decoded(&body) } else { body };
    (fields, messages(&body))
}

/// Returns the head of the response to a preflight request.
fn preflight(port: u16, fields: &[&str]) -> Vec<String> {
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "-i",
        "-m",
        "20",
        "-X",
        "OPTIONS",
        "-H",
        &format!("Host: {HOST}"),
    ]);
    for field in fields {
        curl.args(["-H", field]);
    }
    let head = run(curl.arg(format!("http://127.0.0.1:{port}/test.Peer/Echo")));
    let status = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let head = head.to_lowercase().replace(", ", ",");
    let mut found = lines(&head, &["date", "content-length", "connection"]);
    found.insert(0, status);
    found
}

#[test]
fn grpc_web_is_that_of_traefik() {
    let server = Server::start("grpc_server.py", &[]);
    let port = server.ports[0];
    let gatelet = Gatelet::start();
    let ingress = backend::ingress("peer", HOST, "");
    let annotated = "metadata:\n  name: peer\n  annotations:\n    \
                     traefik.ingress.kubernetes.io/router.middlewares: \
                     default-web@kubernetescrd";
    gatelet.apply(&format!(
        "{}{}{}apiVersion: traefik.io/v1alpha1\nkind: Middleware\nmetadata: {{name: web}}\nspec: \
         {{grpcWeb: {{allowOrigins: ['{ORIGIN}']}}}}\n",
        backend::service("peer", "appProtocol: kubernetes.io/h2c"),
        backend::slice("peer", &[port]),
        ingress.replace("metadata: {name: peer}", annotated),
    ));
    let traefik = Traefik::start(
        &format!(
            "http:
  services: {{peer: {{loadBalancer: {{servers: [{{url: 'h2c://127.0.0.1:{port}'}}]}}}}}}
  routers: {{peer: {{rule: 'Host(`{HOST}`)', service: peer, middlewares: [web]}}}}
  middlewares: {{web: {{grpcWeb: {{allowOrigins: ['{ORIGIN}']}}}}}}
"
        ),
        &[],
    );
    for port in [gatelet.http, traefik.port] {
        eventually("it has the host", || is_there(port, HOST).then_some(()));
    }

    let folder = Folder::new();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for request in REQUESTS {
            let ours = ask(gatelet.http, &folder, &[version], request);
            // Pages cannot send TE, Traefik does not add it, and the server asks for it.
            let arguments = [version, "-H", "TE: trailers"];
            let theirs = ask(traefik.port, &folder, &arguments, request);
            assert_eq!(ours, theirs, "{version} {request:?}");
        }
    }

    const ASKS: &str = "Access-Control-Request-Headers: content-type,x-grpc-web";
    let origin = format!("Origin: {ORIGIN}");
    for fields in [
        &["Access-Control-Request-Method: POST", ASKS, &origin][..],
        &["Access-Control-Request-Method: PUT", ASKS, &origin],
        &[
            "Access-Control-Request-Method: POST",
            ASKS,
            "Origin: https://other.example.com",
        ],
        &["Access-Control-Request-Method: POST", ASKS],
    ] {
        let ours = preflight(gatelet.http, fields);
        assert_eq!(ours, preflight(traefik.port, fields), "{fields:?}");
    }
}
