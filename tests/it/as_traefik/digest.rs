//! Logins by digests.

use std::process::Command;

use super::{OF_RESPONSES, Traefik, host, lines};
use crate::support::{Backend, Connection, Gatelet, backend, eventually, run};

/// Users with the password `secret`, two in the realm `traefik` and one in another.
const LINES: [&str; 3] = ["ann:traefik", "bob:traefik", "eve:other"];

const SPECS: [&str; 3] = [
    "digestAuth: {secret: digests}",
    "digestAuth: {secret: digests, removeHeader: true, headerField: X-WebAuth-User}",
    "digestAuth: {secret: digests, realm: other}",
];

/// Returns the lines of users with their digests.
fn users() -> Vec<String> {
    let lines = LINES.iter().map(|line| {
        let mut parts = line.split(':');
        let (name, realm) = (
            parts.next().expect("a name"),
            parts.next().expect("a realm"),
        );
        let script = format!("printf '%s' '{name}:{realm}:secret' | md5sum | cut -c1-32");
        let digest = run(Command::new("sh").args(["-c", &script]));
        format!("{name}:{realm}:{}", digest.trim())
    });
    lines.collect()
}

/// Returns the status, the challenge without what is random, and what the backend gets about the
/// user.
fn outcome(port: u16, host: &str, path: &str, arguments: &[&str]) -> Vec<String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-i", "-m", "20", "--path-as-is"]);
    curl.args(["-H", &format!("Host: {host}")]).args(arguments);
    let text = run(curl.arg(format!("http://127.0.0.1:{port}{path}")));

    // curl shows the first response too.
    let last = text.rfind("HTTP/1.1 ").expect("a response");
    let body = text.rfind("\r\n\r\n").map_or("", |at| &text[at + 4..]);
    let last = match body.starts_with("app\n") {
        // The request has the name of the protocol too.
        true => text[..last].rfind("HTTP/1.1 ").expect("a response"),
        false => last,
    };
    let (head, body) = text[last..].split_once("\r\n\r\n").expect("a head");
    let mut found = vec![head.split(' ').nth(1).expect("a status").to_owned()];
    found.extend(lines(head, OF_RESPONSES));
    found.extend(lines(body, OF_RESPONSES));
    found.retain(|line| {
        let names = ["www-authenticate", "authorization", "x-webauth-user"];
        !line.contains(": ") || names.iter().any(|name| line.starts_with(name))
    });
    for line in &mut found {
        // The standard has it without quotes.
        *line = line.replace("algorithm=\"MD5\"", "algorithm=MD5");
        for random in ["nonce=\"", "opaque=\"", "response=\"", "cnonce=\""] {
            let Some(at) = line.find(random).map(|at| at + random.len()) else {
                continue;
            };
            let length = line[at..].find('"').expect("its end");
            line.replace_range(at..at + length, "");
        }
    }
    found
}

#[test]
fn digests_let_in_those_whom_traefik_lets_in() {
    let (users, app, gatelet) = (users(), Backend::start("app"), Gatelet::start());
    let file: String = users.iter().map(|line| format!("    {line}\n")).collect();
    let mut objects = backend::service("app", "") + &backend::slice("app", &[app.port]);
    objects += &format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: digests}}\nstringData:\n  file: \
         |\n{file}---\n"
    );
    let (mut routers, mut middlewares) = (String::new(), String::new());
    for (number, spec) in SPECS.iter().enumerate() {
        objects += &format!(
            "apiVersion: traefik.io/v1alpha1\nkind: Middleware\nmetadata: {{name: \
             case{number}}}\nspec: {{{spec}}}\n---\n"
        );
        let annotated = format!(
            "metadata:\n  name: case{number}\n  annotations:\n    \
             traefik.ingress.kubernetes.io/router.middlewares: default-case{number}@kubernetescrd"
        );
        let ingress = backend::ingress("app", &host(number), "");
        objects += &ingress.replace("metadata: {name: app}", &annotated);
        routers += &format!(
            "    case{number}: {{rule: 'Host(`{}`)', service: app, middlewares: [case{number}]}}\n",
            host(number)
        );
        let spec = spec.replace("secret: digests", &format!("users: {users:?}"));
        middlewares += &format!("    case{number}: {{{spec}}}\n");
    }
    gatelet.apply(&objects);
    let traefik = Traefik::start(
        &format!(
            "http:
  services:
    app: {{loadBalancer: {{servers: [{{url: 'http://127.0.0.1:{}'}}]}}}}
  routers:
{routers}  middlewares:
{middlewares}",
            app.port
        ),
        &[],
    );

    for (number, spec) in SPECS.iter().enumerate() {
        let host = host(number);
        for port in [gatelet.http, traefik.port] {
            eventually("the host is there", || {
                let mut curl = Command::new("curl");
                curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]);
                curl.args(["-H", &format!("Host: {host}")]);
                let output = curl.arg(format!("http://127.0.0.1:{port}/")).output();
                (output.expect("curl").stdout == b"401").then_some(())
            });
        }
        for (path, arguments) in [
            ("/", &[][..]),
            ("/a%20b?c=d,e", &["--digest", "-u", "ann:secret"]),
            ("/", &["--digest", "-u", "ann:wrong"]),
            ("/", &["--digest", "-u", "bob:secret", "-d", "body"]),
            ("/", &["--digest", "-u", "eve:secret"]),
            ("/", &["--digest", "-u", "nobody:secret"]),
            ("/", &["-u", "ann:secret"]),
            ("/", &["-H", "Authorization: Digest"]),
            (
                "/",
                &["--digest", "-u", "ann:secret", "-H", "X-WebAuth-User: eve"],
            ),
        ] {
            let ours = outcome(gatelet.http, &host, path, arguments);
            let theirs = outcome(traefik.port, &host, path, arguments);
            assert_eq!(ours, theirs, "{spec}: {path} {arguments:?}");
        }
    }

    // A request that was overheard does not count again.
    let mut curl = Command::new("curl");
    curl.args([
        "-sS",
        "--digest",
        "-u",
        "ann:secret",
        "-H",
        &format!("Host: {}", host(0)),
    ]);
    let text = run(curl.arg(format!("http://127.0.0.1:{}/x", gatelet.http)));
    let login = backend::field(&text, "authorization")
        .expect("a login")
        .to_owned();
    let again = |path: &str| {
        let mut connection = Connection::open(gatelet.http_addr()).expect("a connection");
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: {login}\r\n\r\n",
            host(0)
        );
        connection.send(head.as_bytes()).expect("sent");
        let answer = connection.answer().expect("a response");
        let challenge = answer
            .field("www-authenticate")
            .unwrap_or_default()
            .to_owned();
        (answer.status, challenge.contains("stale=true"))
    };
    assert_eq!(again("/x"), (401, true));
    assert_eq!(again("/y"), (401, false));
}
