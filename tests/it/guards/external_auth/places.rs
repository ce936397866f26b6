//! The places where a login applies, the ways to its server, and the guards beside it.

use super::{
    HOST, Site, URL,
    server::{AuthServer, Reply, response},
};
use crate::support::{Connection, Gatelet, backend, eventually, run};

#[test]
fn no_spelling_of_the_path_is_a_way_around() {
    let site = Site::start(&[URL], Reply::Cookie);
    for path in [
        "/",
        "//",
        "/a",
        "//a",
        "/%61",
        "/./a",
        "/b/../a",
        "/b/%2e%2e/a",
        "/%2e%2e%2fa",
        "/a;b",
        "/a?b",
        "/A",
        "/.well-known/acme-challenge/x",
        "/.well-known/acme-challenge/../../a",
        "http://app.example.com/a",
        "http://APP.example.com:80/a",
    ] {
        let before = site.app.count();
        let answer = site.request(&format!("GET {path}"), "");
        assert!(
            matches!(answer.status, 400 | 401),
            "{path}: {}",
            answer.head
        );
        assert_eq!(site.app.count(), before, "{path}");
    }
    for method in ["HEAD", "OPTIONS", "POST", "DELETE", "PATCH", "TRACE", "X"] {
        let before = site.app.count();
        let mut curl = site.gatelet.curl(HOST, "/");
        curl.args([
            "-X",
            method,
            "-m",
            "5",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ]);
        if method == "HEAD" {
            curl.arg("-I");
        }
        assert!(run(&mut curl).ends_with("401"), "{method}");
        assert_eq!(site.app.count(), before, "{method}");
    }
}

#[test]
fn every_protocol_asks_for_the_login() {
    let site = Site::start(&[URL, "auth-response-headers=X-User"], Reply::Cookie);
    for flags in [
        &["--http1.1"][..],
        &["--http2"],
        &["--http2", "-H", "X-User: eve"],
        &["--http1.0"],
    ] {
        let ask = |cookie: &[&str]| {
            let mut curl = site.gatelet.curl_tls(HOST, "/");
            curl.args(flags).args(cookie);
            run(curl.args(["-w", "\n%{http_code}"]))
        };
        let before = site.app.count();
        assert!(ask(&[]).ends_with("\n401"), "{flags:?}");
        assert!(
            ask(&["-H", "Cookie: pass=no"]).ends_with("\n403"),
            "{flags:?}"
        );
        assert_eq!(site.app.count(), before, "{flags:?}");

        let answer = ask(&["-H", "Cookie: pass=yes"]);
        assert!(answer.ends_with("\n200"), "{flags:?}: {answer}");
        assert!(answer.contains("X-User: ann") && !answer.contains("eve"));
    }

    // An upgrade does not begin before the login is checked.
    let upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\n";
    site.refuses(401, "GET /", upgrade, "an upgrade");
    let head = site.auth.last().to_lowercase();
    assert!(!head.contains("upgrade"), "{head}");
    let before = site.app.count();
    site.request("GET /", &format!("{upgrade}Cookie: pass=yes\r\n"));
    assert_eq!(site.app.count(), before + 1);
}

#[test]
fn other_guards_work_together_with_a_login() {
    let users = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: users}}\nstringData: {{auth: \
         \"ann:{users}\"}}\n"
    );
    let basic = ["auth-type=basic", "auth-secret=users"];
    let login = "Authorization: Basic YW5uOnNlY3JldA==\r\n";
    let cookie = "Cookie: pass=yes\r\n";
    let both = format!("{login}{cookie}");
    let (inside, outside) = (
        "allowlist-source-range=127.0.0.0/8",
        "allowlist-source-range=10.0.0.0/8",
    );

    for (annotations, none, with_login, with_cookie, with_both) in [
        (&basic[..], 401, 401, 401, 200),
        (&["satisfy=any"], 401, 401, 200, 200),
        (&[&basic[..], &["satisfy=any"]].concat(), 401, 200, 200, 200),
        (&[inside, "satisfy=any"], 200, 200, 200, 200),
        (&[outside, "satisfy=any"], 401, 401, 200, 200),
        (&[inside], 401, 401, 200, 200),
        (&[outside], 403, 403, 403, 403),
        (&["denylist-source-range=127.0.0.1"], 403, 403, 403, 403),
        (
            &["denylist-source-range=10.0.0.1", "satisfy=any"],
            401,
            401,
            200,
            200,
        ),
        (
            &["denylist-source-range=127.0.0.1", "satisfy=any"],
            401,
            401,
            200,
            200,
        ),
    ] {
        let gatelet = Gatelet::start();
        gatelet.apply(&secret);
        let all = [&[URL][..], annotations].concat();
        let names = all
            .iter()
            .map(|one| format!("nginx.ingress.kubernetes.io/{one}"));
        let site = Site::with(gatelet, &names.collect::<Vec<_>>(), Reply::Cookie);
        for (more, status) in [
            ("", none),
            (login, with_login),
            (cookie, with_cookie),
            (&both, with_both),
        ] {
            let answer = site.get(more);
            assert_eq!(answer.status, status, "{annotations:?} {more:?}");
        }
    }
}

#[test]
fn a_preflight_request_needs_no_login() {
    let site = Site::start(&[URL, "enable-cors=true"], Reply::Cookie);
    let more = "Origin: https://b.example\r\nAccess-Control-Request-Method: PUT\r\n";
    assert_eq!(site.request("OPTIONS /", more).status, 204);
    assert_eq!(site.auth.count(), 1, "the first request alone");
    let answer = site.refuses(401, "GET /", more, "no preflight");
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
}

#[test]
fn the_same_host_can_have_the_server() {
    let site = Site::start(
        &[
            "auth-url=https://$host/oauth2/auth?x=1",
            "auth-signin=https://$host/oauth2/start",
        ],
        Reply::Cookie,
    );
    // There is no rule for it but the one that asks for the login.
    site.refuses(500, "GET /", "Cookie: pass=yes\r\n", "a circle");
    site.refuses(500, "GET /oauth2/auth", "", "a circle");

    let proxy = backend::ingress("auth", HOST, "").replace("path: /,", "path: /oauth2,");
    site.gatelet.apply(&proxy);
    eventually("the rule is there", || {
        (site.get("").status == 302).then_some(())
    });
    let answer = site.refuses(302, "GET /", "", "no cookie");
    let expected = format!("https://{HOST}/oauth2/start?rd=http://{HOST}%2F");
    assert_eq!(answer.field("location"), Some(&*expected));
    assert!(
        site.auth
            .last()
            .starts_with("GET /oauth2/auth?x=1 HTTP/1.1")
    );
    assert_eq!(site.get("Cookie: pass=yes\r\n").status, 200);

    // A rule that could refuse is not asked.
    site.gatelet.kubectl(&[
        "annotate",
        "ingress",
        "auth",
        "gatelet.dev/allowlist-source-range=10.0.0.0/8",
    ]);
    eventually("it is closed", || {
        (site.get("Cookie: pass=yes\r\n").status == 500).then_some(())
    });
}

#[test]
fn oauth2_proxy_is_asked_on_the_same_host() {
    const HAPROXY: &str = "haproxy-ingress.github.io";
    let annotations = [
        format!("{HAPROXY}/oauth=oauth2_proxy"),
        format!("{HAPROXY}/oauth-headers=X-User"),
    ];
    let site = Site::with(Gatelet::start(), &annotations, Reply::Cookie);
    site.refuses(302, "GET /", "Cookie: pass=yes\r\n", "nobody to ask");

    // Its path may stand in the same Ingress, and needs no login there.
    let backend = r#"{"service":{"name":"auth","port":{"number":80}}}"#;
    let path = format!(r#"{{"path":"/oauth2","pathType":"Prefix","backend":{backend}}}"#);
    let patch =
        format!(r#"-p=[{{"op":"add","path":"/spec/rules/0/http/paths/-","value":{path}}}]"#);
    site.gatelet
        .kubectl(&["patch", "ingress", "app", "--type=json", &patch]);
    eventually("the rule is there", || {
        (site.get("Cookie: pass=yes\r\n").status == 200).then_some(())
    });
    let answer = site.refuses(302, "GET /a?b=c", "", "no cookie");
    let expected = "/oauth2/start?rd=%2Fa%3Fb%3Dc";
    let location = answer.field("location").expect("a target");
    assert!(location.ends_with(expected), "{location}");
    assert!(site.auth.last().starts_with("HEAD /oauth2/auth HTTP/1.1"));
    let wrong = "Cookie: pass=no\r\n";
    site.refuses(302, "GET /", wrong, "a wrong cookie");
    for spelling in ["/oauth2x", "//a", "/oauth2/../a", "/%6fauth2/%2e%2e/a"] {
        let line = format!("GET {spelling}");
        site.refuses(302, &line, "", spelling);
    }

    let answer = site.get("Cookie: pass=yes\r\nX-User: eve\r\n");
    assert_eq!(answer.status, 200);
    let seen = String::from_utf8_lossy(&answer.body).to_lowercase();
    assert!(
        seen.contains("x-user: ann") && !seen.contains("eve"),
        "{seen}"
    );
    let before = site.auth.count();
    assert_eq!(site.request("GET /oauth2/start", "").status, 401);
    assert_eq!(site.auth.count(), before + 1, "the server itself");
}

#[test]
fn clients_do_not_choose_the_server_by_their_host() {
    let site = Site::start(&["auth-url=https://$host/oauth2/auth"], response(200, &[]));
    site.gatelet.kubectl(&[
        "patch",
        "ingress",
        "app",
        "--type=json",
        r#"-p=[{"op":"replace","path":"/spec/rules/0/host","value":"*.example.com"}]"#,
    ]);
    eventually("it is closed", || {
        (site.get("").status == 503).then_some(())
    });
    let findings = site.findings();
    assert!(
        findings[0].contains("$host in auth-url lets clients of *.example.com choose"),
        "{findings:?}"
    );
}

/// The host by which a server that checks logins is reached through the gatelet itself.
const INSIDE: &str = "auth.default.svc.cluster.local";

#[test]
fn a_circle_through_ourselves_lets_nobody_in() {
    let site = Site::start(&[URL], response(200, &[]));
    let annotation = format!("gatelet.dev/{}", URL.replace('=', ": "));
    let circle = site.app.manifests("circle", INSIDE).replace(
        "kind: Ingress\nmetadata: {name: circle}",
        &format!("kind: Ingress\nmetadata: {{name: circle, annotations: {{{annotation}}}}}"),
    );
    site.gatelet.apply(&circle);
    site.gatelet
        .apply(&backend::slice("auth", &[site.gatelet.http]));
    eventually("the server is the gatelet", || {
        (site.get("").status == 500).then_some(())
    });

    let before = (site.app.count(), site.auth.count());
    site.refuses(500, "GET /", "", "a circle");
    site.refuses(500, "GET /", "CDN-Loop: other\r\n", "a circle");
    assert_eq!((site.app.count(), site.auth.count()), before);
}

#[test]
fn a_server_may_speak_tls_as_a_service() {
    // The gatelet's own listener speaks TLS with a certificate that no root vouches for.
    let url = "auth-url=https://auth.default.svc.cluster.local:80/verify";
    let site = Site::start(&[url], Reply::Cookie);
    let login =
        backend::ingress("login", INSIDE, "").replace("name: login, port", "name: at, port");
    let at = format!(
        "{}{}",
        backend::service("at", ""),
        backend::slice("at", &[site.auth.port])
    );
    site.gatelet.apply(&format!("{at}{login}"));
    site.gatelet
        .apply(&backend::slice("auth", &[site.gatelet.https]));
    eventually("it is asked", || (site.get("").status == 401).then_some(()));
    assert_eq!(site.get("Cookie: pass=yes\r\n").status, 200);
    let host = backend::field(&site.auth.last(), "x-forwarded-host").map(str::to_owned);
    assert_eq!(host.as_deref(), Some("auth.default.svc.cluster.local:80"));

    // A server that is known by its name alone must prove it.
    let gatelet = Gatelet::configured("[proxy]\nlocal_names = true\n");
    let url = format!(
        "gatelet.dev/auth-url=https://127.0.0.1:{}/verify",
        site.gatelet.https
    );
    let other = Site::with(gatelet, &[url], response(200, &[]));
    let before = site.auth.count();
    other.refuses(500, "GET /", "Cookie: pass=yes\r\n", "no certificate");
    assert_eq!(site.auth.count(), before);
}

#[test]
fn an_address_of_this_device_is_not_asked_by_default() {
    let server = AuthServer::start(response(200, &[]));
    let url = format!(
        "nginx.ingress.kubernetes.io/auth-url=http://127.0.0.1:{}/",
        server.port
    );
    let site = Site::with(
        Gatelet::start(),
        std::slice::from_ref(&url),
        response(200, &[]),
    );
    site.refuses(500, "GET /", "", "loopback");
    assert_eq!(server.count(), 0);

    let gatelet = Gatelet::configured("[proxy]\nlocal_names = true\n");
    let site = Site::with(gatelet, &[url], response(500, &[]));
    assert_eq!(site.get("").status, 200);
    assert!(server.count() > 0);
}

#[test]
fn a_url_that_leads_nowhere_closes_its_path_alone() {
    for (url, message) in [
        ("basic", "is not a URL"),
        ("http://auth.example/?x=$upstream_addr", "$upstream_addr"),
        ("http://$arg_server/", "other variables do not choose"),
        ("http://auth/verify", "NAME.NAMESPACE.svc"),
        ("http://auth.default.svc:81/", "has no port 81"),
        ("http://auth.other.svc/", "other/auth does not exist"),
        ("svc://other/auth:80/", "of the same namespace"),
    ] {
        let site = Site::start(&[&format!("auth-url={url}")], response(200, &[]));
        site.refuses(503, "GET /", "", url);
        let open = site.app.manifests("open", "open.example.com");
        site.gatelet.serve(&open, "open.example.com");
        let findings = site.findings();
        assert_eq!(findings.len(), 1, "{url}: {findings:?}");
        assert!(findings[0].contains(message), "{url}: {findings:?}");
        assert_eq!(site.auth.count(), 0, "{url}");
    }
}

#[test]
fn annotations_of_haproxy_pass_on_what_the_server_says() {
    let of_haproxy = |annotations: &[&str], reply| {
        let names = annotations.iter();
        let names = names.map(|one| format!("haproxy-ingress.github.io/{one}"));
        Site::with(Gatelet::start(), &names.collect::<Vec<_>>(), reply)
    };
    let site = of_haproxy(
        &["auth-url=svc://auth:80/verify"],
        response(200, &[("X-User", "ann"), ("Date", "x"), ("Server", "y")]),
    );
    let answer = site.get("X-User: eve\r\nDate: mine\r\n").text();
    assert!(
        answer.contains("X-User: ann") && !answer.contains("eve"),
        "{answer}"
    );
    assert!(answer.contains("Date: mine"), "{answer}");

    let page = "HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nX-A: b\r\n\
                Content-Length: 4\r\n\r\npage";
    site.auth.reply(Reply::Raw(page.to_owned()));
    let answer = site.refuses(302, "GET /", "", "a redirect");
    assert_eq!(answer.field("location"), Some("https://login.example/"));
    assert_eq!((answer.field("x-a"), &*answer.text()), (Some("b"), "page"));
    site.auth.stop();
    site.refuses(500, "GET /", "", "no server");

    let site = of_haproxy(
        &[
            "auth-url=svc://auth:80/verify",
            "auth-signin=https://login.example/",
            "auth-headers-request=Cookie",
            "auth-headers-succeed=X-User-*",
            "auth-method=*",
        ],
        response(403, &[]),
    );
    let more = "Cookie: a=b\r\nX-User-Name: eve\r\nX-Some: 1\r\n";
    let answer = site.refuses(302, "PUT /", more, "the sign-in");
    assert_eq!(answer.field("location"), Some("https://login.example/"));
    let head = site.auth.last().to_lowercase();
    assert!(head.starts_with("put /verify http/1.1\r\n"), "{head}");
    assert!(
        head.contains("\ncookie: a=b\r\n") && !head.contains("eve"),
        "{head}"
    );
    site.auth.reply(response(200, &[("X-User-Id", "7")]));
    let answer = site.get(more).text();
    assert!(answer.contains("X-User-Id: 7") && answer.contains("X-Some: 1"));
    assert!(!answer.contains("eve"), "{answer}");

    // It reads its annotations on Services too.
    let app = backend::service("app", "").replace(
        "metadata: {name: app}",
        "metadata: {name: app, annotations: {haproxy-ingress.github.io/auth-url: \
         'svc://auth:80/'}}",
    );
    let gatelet = Gatelet::start();
    let site = Site::with(
        gatelet,
        &["example.com/note=x".to_owned()],
        response(401, &[]),
    );
    site.gatelet.apply(&app);
    eventually("it is closed", || {
        (site.get("").status == 401).then_some(())
    });
    site.auth.reply(response(200, &[]));
    assert_eq!(site.get("").status, 200);
}

#[test]
fn explain_shows_the_login() {
    let site = Site::start(&[URL, "auth-signin=/start"], Reply::Cookie);
    let output = site.gatelet.command(&["explain", HOST]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let effect = "comes in if http://auth.default.svc.cluster.local/verify returns 2xx; else a \
                  redirect to the login, 403 or 500";
    assert!(
        text.contains("external login") && text.contains(effect),
        "{text}"
    );
}

#[test]
fn one_connection_has_many_logins() {
    let site = Site::start(&[URL], Reply::Cookie);
    let mut connection = Connection::open(site.gatelet.http_addr()).expect("a connection");
    for (cookie, status) in [("no", 403), ("yes", 200), ("no", 403), ("yes", 200)] {
        let text = format!(
            "POST / HTTP/1.1\r\nHost: {HOST}\r\nCookie: pass={cookie}\r\nContent-Length: \
             2\r\n\r\nab"
        );
        connection.send(text.as_bytes()).expect("sent");
        assert_eq!(connection.answer().expect("a response").status, status);
    }
}
