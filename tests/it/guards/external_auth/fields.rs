//! The fields of a request for the server, and those of its response for the app and the client.

use super::{
    HOST, Site, URL,
    server::{Reply, response},
};
use crate::support::{Answer, backend::field, eventually};

/// Returns the values of a field in the head that the app returns in its body.
fn seen(answer: &Answer, name: &str) -> Vec<String> {
    let text = answer.text();
    let lines = text.lines().filter_map(|line| {
        let (field, value) = line.split_once(':')?;
        let is_named = field.replace('_', "-").eq_ignore_ascii_case(name);
        is_named.then(|| value.trim().to_owned())
    });
    lines.collect()
}

#[test]
fn fields_of_the_client_never_pass_for_those_of_the_server() {
    let site = Site::start(
        &[URL, "auth-response-headers=X-User, X-Groups, Authorization"],
        response(200, &[("x-user", "ann"), ("X-Other", "1")]),
    );
    let spoofed = "X-User: eve\r\nx-USER: eve\r\nX_User: eve\r\nX-Groups: admins\r\n\
                   x_groups: admins\r\nAuthorization: Basic ZXZlOmV2ZQ==\r\nX-Mine: 1\r\n";
    let named = "Connection: x-user, x-groups\r\n";
    for more in ["", spoofed, named, &format!("{spoofed}{named}")] {
        let answer = site.get(more);
        assert_eq!(answer.status, 200, "{more}");
        assert_eq!(seen(&answer, "x-user"), ["ann"], "{more}");
        assert!(seen(&answer, "x-groups").is_empty(), "{more}");
        assert!(seen(&answer, "authorization").is_empty(), "{more}");
        assert!(seen(&answer, "x-other").is_empty(), "{more}");
        assert!(!answer.text().contains("eve"), "{more}");
    }
    assert_eq!(seen(&site.get(spoofed), "x-mine"), ["1"]);

    // Empty ones, several ones, and one that is not for the next hop.
    let fields = [
        ("X-User", ""),
        ("X-Groups", "a"),
        ("X-Groups", "b"),
        ("Authorization", "Bearer told"),
    ];
    site.auth.reply(response(200, &fields));
    let answer = site.get(spoofed);
    assert!(seen(&answer, "x-user").is_empty());
    assert_eq!(seen(&answer, "x-groups"), ["a", "b"]);
    assert_eq!(seen(&answer, "authorization"), ["Bearer told"]);

    let hop = [("X-User", "ann"), ("Connection", "x-user")];
    site.auth.reply(response(200, &hop));
    assert!(seen(&site.get(spoofed), "x-user").is_empty());
}

#[test]
fn the_server_sees_the_request_without_its_body() {
    let site = Site::start(
        &[
            &format!("{URL}?host=$host&uri=$request_uri&a=$arg_a&c=$cookie_c&h=$http_x_some"),
            "rewrite-target=/inside",
        ],
        response(200, &[]),
    );
    let more = "Content-Length: 5\r\nCookie: c=d\r\nX-Some: a b\r\nAuthorization: Bearer x\r\n\
                X-Original-URL: http://evil.example/\r\nX_Original_Url: http://evil.example/\r\n\
                X-Original-Method: PUT\r\nX-Auth-Request-Redirect: /evil\r\n\
                X-Forwarded-Uri: /evil\r\nX-Forwarded-For: 192.0.2.9\r\n\
                X-Forwarded-Host: evil.example\r\nContent-Type: text/plain\r\n\r\nhello";
    let answer = site.request("POST /x/%2e%2e/a%2Fb//c?a=1", more);
    assert_eq!(answer.status, 200);
    assert!(answer.text().starts_with("app\nPOST /inside?a=1 HTTP/1.1"));
    assert!(answer.text().ends_with("hello"));

    let head = site.auth.last();
    let line = "GET /verify?host=app.example.com&uri=/a%2Fb/c?a=1&a=1&c=d&h=a%20b HTTP/1.1";
    assert_eq!(head.lines().next(), Some(line));
    for (name, value) in [
        ("host", Some("auth.default.svc.cluster.local")),
        ("content-length", None),
        ("transfer-encoding", None),
        ("content-type", Some("text/plain")),
        ("cookie", Some("c=d")),
        ("authorization", Some("Bearer x")),
        ("x-original-url", Some("http://app.example.com/a%2Fb/c?a=1")),
        ("x-original-uri", Some("/a%2Fb/c?a=1")),
        ("x-original-method", Some("POST")),
        ("x-forwarded-method", Some("POST")),
        ("x-auth-request-redirect", Some("/a%2Fb/c?a=1")),
        ("x-sent-from", Some("gatelet")),
        ("x-forwarded-proto", None),
        ("x-forwarded-uri", None),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-host", Some(HOST)),
        ("x-real-ip", Some("127.0.0.1")),
    ] {
        assert_eq!(field(&head, name), value, "{name}: {head}");
    }
    assert!(!head.contains("evil"), "{head}");
    assert_eq!(
        field(&head, "x-request-id").map(str::to_owned),
        seen(&answer, "x-request-id").first().cloned()
    );
}

#[test]
fn fields_of_a_config_map_reach_the_server() {
    let headers = "auth-proxy-set-headers=default/fields";
    let site = Site::start(&[URL, headers], response(200, &[]));
    site.refuses(503, "GET /", "", "a request without the ConfigMap");

    let data = "{X-Key: s3cret, X-From: '$request_method $uri', Cookie: ''}";
    site.gatelet.apply(&format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: fields}}\ndata: {data}\n"
    ));
    let spoofed = "X-Key: mine\r\nX_Key: mine\r\nCookie: a=b\r\n";
    eventually("the ConfigMap is read", || {
        (site.get(spoofed).status == 200).then_some(())
    });

    let answer = site.request("POST /a?b=c", spoofed);
    let head = site.auth.last().to_ascii_lowercase();
    assert_eq!(field(&head, "x-key"), Some("s3cret"), "{head}");
    assert_eq!(field(&head, "x-from"), Some("post /a"), "{head}");
    assert!(
        !head.contains("mine") && !head.contains("cookie:"),
        "{head}"
    );

    // They are for the server alone.
    assert_eq!(seen(&answer, "cookie"), ["a=b"]);
    assert!(!answer.text().contains("s3cret"), "{}", answer.text());
}

#[test]
fn method_and_redirect_are_chosen_by_annotations() {
    let site = Site::start(
        &[
            URL,
            "auth-method=POST",
            "auth-request-redirect=https://$http_host$request_uri",
        ],
        response(200, &[]),
    );
    site.request("GET /a?b", "");
    let head = site.auth.last();
    assert!(head.starts_with("POST /verify HTTP/1.1\r\n"), "{head}");
    assert_eq!(field(&head, "content-length"), None, "{head}");
    let redirect = field(&head, "x-auth-request-redirect");
    assert_eq!(redirect, Some("https://app.example.com/a?b"));
}

#[test]
fn cookies_of_the_server_reach_the_client() {
    let cookies = [("Set-Cookie", "a=1; Path=/"), ("set-cookie", "b=2")];
    let got = |answer: &Answer| {
        let lines = answer.head.lines();
        let cookies = lines.filter(|line| line.to_lowercase().starts_with("set-cookie:"));
        cookies.count()
    };
    for (more, of_404, of_401) in [(None, 0, 0), (Some("auth-always-set-cookie=true"), 2, 2)] {
        let annotations: Vec<&str> = [URL].into_iter().chain(more).collect();
        let site = Site::start(&annotations, response(200, &cookies));
        assert_eq!(got(&site.get("")), 2);
        assert_eq!(got(&site.request("GET /status/404", "")), of_404);

        // The app is gone.
        site.app.stop();
        assert_eq!(got(&site.request("GET /", "")), of_404);

        site.auth.reply(response(401, &cookies));
        assert_eq!(got(&site.get("")), of_401);
    }

    let site = Site::start(&[URL, "auth-signin=/start"], response(401, &cookies));
    let answer = site.get("");
    let expected = format!("http://{HOST}/start?rd=http://{HOST}%2F");
    assert_eq!(answer.field("location"), Some(&*expected));
    assert_eq!((answer.status, got(&answer)), (302, 2));
}

#[test]
fn secrets_of_requests_are_in_no_log() {
    let mut gatelet = crate::support::Gatelet::prepare(&[]);
    gatelet.configure("[log]\nlevel = \"debug\"\n");
    gatelet.spawn();
    gatelet.wait_ready();
    let url = format!("nginx.ingress.kubernetes.io/{URL}?token=$cookie_token");
    let site = Site::with(gatelet, &[url], Reply::Last("HTTP/1.1 2".to_owned()));
    let more = "Cookie: token=hush-cookie\r\nAuthorization: Bearer hush-bearer\r\n";
    site.refuses(500, "GET /", more, "half a head");
    site.auth.stop();
    site.refuses(500, "GET /", more, "no server");

    let log = site.gatelet.log();
    assert!(log.contains("logins"), "{log}");
    assert!(!log.contains("hush"), "{log}");
}
