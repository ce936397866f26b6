//! Logins that another server checks, beside the `auth_request` of nginx.

use super::{HOST, nginx_with, program};
use crate::{
    guards::external_auth::server::{AuthServer, Reply, response},
    support::{Backend, Gatelet, backend::field, eventually, run},
};

const ANNOTATIONS: &str = "
    nginx.ingress.kubernetes.io/auth-url: http://auth.default.svc.cluster.local/verify
    nginx.ingress.kubernetes.io/auth-response-headers: X-User,X-Group
";

/// Returns the status, the fields that a client of a login looks at, and those that the app gets.
fn outcome(port: u16, path: &str, arguments: &[&str]) -> String {
    let mut curl = std::process::Command::new("curl");
    let format = "\n%{http_code} %{redirect_url} %header{www-authenticate} %header{set-cookie}";
    curl.args(["-sS", "-m", "20", "-w", format]);
    curl.args(["-H", &format!("Host: {HOST}")]).args(arguments);
    let text = run(curl.arg(format!("http://127.0.0.1:{port}{path}")));

    let is_shown = |line: &&str| {
        let line = line.to_lowercase();
        ["x-user:", "x-group:", "get ", "post "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    let (body, rest) = text.rsplit_once('\n').expect("a line of our own");
    let mut shown: Vec<&str> = body.lines().filter(is_shown).collect();
    shown.sort_unstable();
    format!("{rest} {shown:?}").replace(" HTTP/1.0", " HTTP/1.1")
}

/// Returns the fields about a request that a server that checks logins looks at.
fn asked(head: &str) -> Vec<Option<String>> {
    let names = [
        "x-original-url",
        "x-original-method",
        "x-auth-request-redirect",
        "x-real-ip",
        "x-forwarded-for",
        "x-forwarded-proto",
        "content-length",
        "content-type",
        "cookie",
        "authorization",
        "x-some",
    ];
    let line = head
        .lines()
        .next()
        .unwrap_or_default()
        .replace("1.0", "1.1");
    let fields = names.map(|name| field(head, name).map(str::to_owned));
    std::iter::once(Some(line)).chain(fields).collect()
}

/// Sends each request to both with each response of the server, and compares.
fn compare(more: &str, location: &str, replies: &[Reply], requests: &[(&str, &[&str])]) {
    if program().is_none() {
        return;
    }
    let app = Backend::start("app");
    let (ours, theirs) = (
        AuthServer::start(response(200, &[])),
        AuthServer::start(response(200, &[])),
    );

    let gatelet = Gatelet::start();
    gatelet.apply(&ours.manifests());
    let annotated = app.manifests("app", HOST).replace(
        "kind: Ingress\nmetadata: {name: app}",
        &format!("kind: Ingress\nmetadata:\n  name: app\n  annotations:{ANNOTATIONS}{more}"),
    );
    gatelet.apply(&annotated);
    eventually("the annotations apply", || {
        (gatelet.status_of(HOST, "/") == 200).then_some(())
    });

    let (backend, auth) = (app.port, theirs.port);
    let nginx = nginx_with(&format!(
        "location = /_auth {{
           internal;
           proxy_pass_request_body off;
           proxy_set_header Content-Length '';
           proxy_set_header X-Forwarded-Proto '';
           proxy_set_header Host auth;
           proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
           proxy_set_header X-Original-Method $request_method;
           proxy_set_header X-Real-IP $remote_addr;
           proxy_set_header X-Forwarded-For $remote_addr;
           proxy_set_header X-Auth-Request-Redirect $request_uri;
           set $target http://127.0.0.1:{auth}/verify;
           proxy_pass $target;
         }}
         location / {{
           auth_request /_auth;
           auth_request_set $cookie $upstream_http_set_cookie;
           add_header Set-Cookie $cookie;
           auth_request_set $user $upstream_http_x_user;
           auth_request_set $group $upstream_http_x_group;
           proxy_set_header X-User $user;
           proxy_set_header X-Group $group;
           {location}
           proxy_pass http://127.0.0.1:{backend};
         }}"
    ));

    for reply in replies {
        ours.reply(reply.clone());
        theirs.reply(reply.clone());
        for (path, arguments) in requests {
            let what = format!("{reply:?}: {path} {arguments:?}");
            let found = outcome(gatelet.http, path, arguments);
            assert_eq!(found, outcome(nginx.port, path, arguments), "{what}");
            let ours = ours.last().replace(&gatelet.http.to_string(), "PORT");
            let theirs = theirs.last().replace(&nginx.port.to_string(), "PORT");
            assert_eq!(asked(&ours), asked(&theirs), "{what}");
        }
    }
}

#[test]
fn each_response_of_the_server_has_the_effect_of_nginx() {
    let statuses = [
        200, 201, 202, 204, 206, 226, 300, 301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 405,
        407, 408, 409, 410, 418, 429, 500, 501, 502, 503, 504,
    ];
    let fields = [
        ("WWW-Authenticate", "Bearer realm=\"told\""),
        ("Set-Cookie", "a=b; Path=/"),
        ("Location", "http://b.example/"),
        ("X-User", "ann"),
    ];
    let mut replies: Vec<Reply> = statuses
        .iter()
        .map(|status| response(*status, &fields))
        .collect();
    replies.push(response(200, &[("X-User", ""), ("X-Group", "a")]));
    for text in ["", "hello\r\n\r\n", "HTTP/1.1 200 OK\r\nX-User: ann\r\n"] {
        replies.push(Reply::Last(text.to_owned()));
    }
    compare(
        "",
        "",
        &replies,
        &[
            ("/", &[]),
            ("/a?b=c", &["-H", "X-User: eve", "-H", "X-Group: eve"]),
            ("/status/404", &[]),
            ("/status/500", &[]),
        ],
    );
}

#[test]
fn the_server_is_asked_as_by_nginx() {
    compare(
        "",
        "",
        &[response(200, &[]), response(401, &[])],
        &[
            ("/a%20b%2Fc?d=%2F&e", &[]),
            ("/", &["-d", "body", "-H", "X-Some: thing"]),
            ("/", &["-X", "DELETE", "-u", "ann:secret"]),
            ("/", &["-H", "Cookie: a=b; c=d", "-H", "X-Original-URL: x"]),
        ],
    );
}

#[test]
fn a_sign_in_is_that_of_nginx() {
    let sign_in = "https://login.example/start?kind=$arg_kind&rd=$scheme://$host$request_uri";
    compare(
        &format!("    nginx.ingress.kubernetes.io/auth-signin: {sign_in:?}\n"),
        &format!("error_page 401 =302 {sign_in};"),
        &[
            response(200, &[]),
            response(401, &[]),
            response(403, &[]),
            response(500, &[]),
        ],
        &[("/", &[]), ("/a?kind=x&y=%20z", &[]), ("/a", &["-d", "b"])],
    );
}

#[test]
fn satisfy_decides_as_in_nginx() {
    for (annotation, list) in [
        (
            "allowlist-source-range: 127.0.0.0/8",
            "allow 127.0.0.0/8; deny all;",
        ),
        (
            "allowlist-source-range: 10.0.0.0/8",
            "allow 10.0.0.0/8; deny all;",
        ),
        ("denylist-source-range: 127.0.0.9", "deny 127.0.0.9;"),
        ("denylist-source-range: 10.0.0.1", "deny 10.0.0.1;"),
    ] {
        let prefix = "    nginx.ingress.kubernetes.io/";
        compare(
            &format!("{prefix}{annotation}\n{prefix}satisfy: any\n"),
            &format!("{list} satisfy any;"),
            &[response(200, &[]), response(401, &[]), response(403, &[])],
            &[
                ("/", &["--interface", "127.0.0.1"]),
                ("/", &["--interface", "127.0.0.9"]),
            ],
        );
    }
}
