//! The decisions that the responses of the server lead to, and its failures.

use super::{
    HOST, Site, URL,
    server::{Reply, response},
};
use crate::support::eventually;

#[test]
fn a_request_comes_in_with_2xx_alone() {
    let site = Site::start(&[URL], response(200, &[]));
    for status in [200, 201, 202, 204, 206, 299] {
        site.auth.reply(response(status, &[]));
        let answer = site.get("");
        assert_eq!(answer.status, 200, "{status}: {}", answer.head);
        assert!(answer.text().starts_with("app\n"), "{status}");
    }

    for status in [
        300, 301, 302, 304, 307, 400, 404, 407, 418, 429, 500, 502, 503, 504, 599,
    ] {
        let fields = [("Location", "http://b.example/"), ("X-Inside", "secret")];
        site.auth.reply(response(status, &fields));
        let answer = site.refuses(500, "GET /", "", &status.to_string());
        assert!(answer.field("location").is_none(), "{}", answer.head);
        assert!(answer.field("x-inside").is_none(), "{}", answer.head);
    }

    let basic = [("WWW-Authenticate", "Bearer"), ("X-Inside", "secret")];
    site.auth.reply(response(401, &basic));
    let answer = site.refuses(401, "GET /", "", "401");
    assert_eq!(answer.field("www-authenticate"), Some("Bearer"));
    assert!(answer.field("x-inside").is_none(), "{}", answer.head);

    site.auth.reply(response(403, &basic));
    let answer = site.refuses(403, "GET /", "", "403");
    assert!(
        answer.field("www-authenticate").is_none(),
        "{}",
        answer.head
    );
    assert!(site.findings().is_empty(), "{:?}", site.findings());
}

#[test]
fn a_server_that_fails_lets_nobody_in() {
    let site = Site::start(&[URL, "proxy-read-timeout=1"], response(200, &[]));
    assert_eq!(site.get("").status, 200);

    let long = format!("HTTP/1.1 200 OK\r\nX-A: {}\r\n\r\n", "a".repeat(200_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X-A: b\r\n".repeat(5000));
    for (what, text) in [
        ("nothing", ""),
        ("no HTTP", "hello\r\n\r\n"),
        ("half a status line", "HTTP/1.1 20"),
        ("half a head", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
        ("no status", "HTTP/1.1 OK\r\n\r\n"),
        ("a long head", &long),
        ("many fields", &many),
        (
            "half a body",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
        ),
        (
            "broken chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        ),
        ("an informational response", "HTTP/1.1 100 Continue\r\n\r\n"),
        (
            "another protocol",
            "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
        ("another version", "HTTP/2.0 200 OK\r\n\r\n"),
    ] {
        site.auth.reply(Reply::Last(text.to_owned()));
        site.refuses(500, "GET /", "", what);
    }

    // Nothing, half a head, and half a body, and then it waits.
    for (what, reply) in [
        ("silence", Reply::Silence),
        ("half a head", Reply::Raw("HTTP/1.1 200 OK\r\n".to_owned())),
        (
            "half a body",
            Reply::Raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab".to_owned()),
        ),
    ] {
        site.auth.reply(reply);
        site.refuses(500, "GET /", "", what);
    }

    site.auth.reply(response(200, &[]));
    assert_eq!(site.get("").status, 200);
    site.auth.stop();
    for _ in 0..3 {
        site.refuses(500, "GET /", "", "no server");
    }
}

#[test]
fn the_times_of_the_server_itself_hold() {
    let site = Site::start(&[URL], response(200, &[]));
    let named = "traefik.ingress.kubernetes.io/service.serverstransport=default-own@kubernetescrd";
    site.gatelet
        .kubectl(&["annotate", "service", "auth", named]);
    eventually("its ServersTransport is missing", || {
        (site.get("").status == 503).then_some(())
    });
    site.gatelet.apply(
        "apiVersion: traefik.io/v1alpha1
kind: ServersTransport
metadata: {name: own}
spec: {forwardingTimeouts: {responseHeaderTimeout: 1s}}
",
    );
    eventually("it applies", || (site.get("").status == 200).then_some(()));

    // The settings have a minute, for which this client does not wait.
    site.auth.reply(Reply::Silence);
    site.refuses(500, "GET /", "", "silence");
}

#[test]
fn informational_responses_of_the_server_stay_here() {
    let site = Site::start(&[URL], response(200, &[]));
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let late = "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n";
    site.auth.reply(Reply::Raw(format!("{early}{late}")));
    let answer = site.refuses(401, "GET /", "", "103 and 401");
    assert!(answer.field("link").is_none(), "{}", answer.head);
}

#[test]
fn a_server_that_disappears_closes_the_path() {
    let site = Site::start(&[URL], response(200, &[]));
    assert_eq!(site.get("").status, 200);

    site.gatelet.kubectl(&["delete", "endpointslice", "auth-1"]);
    eventually("it has no endpoints", || {
        (site.get("").status == 500).then_some(())
    });
    site.gatelet.apply(&site.auth.manifests());
    eventually("it is back", || (site.get("").status == 200).then_some(()));

    site.gatelet.kubectl(&["delete", "service", "auth"]);
    eventually("it does not exist", || {
        (site.get("").status == 503).then_some(())
    });
    let findings = site.findings();
    let expected = "UnknownService metadata.annotations[nginx.ingress.kubernetes.io/auth-url] \
                    Service default/auth does not exist: the paths return 503";
    assert_eq!(findings, [expected]);
    site.gatelet.apply(&site.auth.manifests());
    eventually("it is back", || (site.get("").status == 200).then_some(()));
}

#[test]
fn a_login_leads_to_the_sign_in() {
    let site = Site::start(
        &[
            URL,
            "auth-signin=https://login.example/start?kind=$arg_kind",
        ],
        Reply::Cookie,
    );
    let answer = site.refuses(302, "GET /a%20b?kind=x&y=1", "", "no cookie");
    let expected =
        format!("https://login.example/start?kind=x&rd=http://{HOST}%2Fa%2520b%3Fkind%3Dx%26y%3D1");
    assert_eq!(answer.field("location"), Some(&*expected));
    let body = "Content-Length: 2\r\n\r\n{}";
    site.refuses(302, "POST /", body, "a POST");

    // Only 401 asks for a login.
    site.refuses(403, "GET /", "Cookie: pass=no\r\n", "a wrong cookie");
    assert_eq!(site.get("Cookie: pass=yes\r\n").status, 200);
    site.auth.reply(response(500, &[]));
    site.refuses(500, "GET /", "", "an error");
    site.auth.stop();
    site.refuses(500, "GET /", "", "no server");
}

#[test]
fn responses_are_remembered_by_their_key() {
    let site = Site::start(
        &[
            URL,
            "auth-cache-key=$cookie_pass",
            "auth-response-headers=X-User",
        ],
        Reply::Cookie,
    );
    let asked = |more: &str| {
        let before = site.auth.count();
        let statuses = [(); 12].map(|()| site.get(more).status);
        assert!(statuses.iter().all(|status| *status == statuses[0]));
        (statuses[0], site.auth.count() - before)
    };

    // Each core asks once.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for (more, status) in [("Cookie: pass=yes\r\n", 200), ("Cookie: pass=\r\n", 403)] {
        let (found, asked) = asked(more);
        assert_eq!(found, status, "{more}");
        let is_remembered = status == 200;
        assert_eq!(asked <= cores, is_remembered, "{more}: asked {asked} times");
    }
    // Without the key, and for statuses without a time.
    assert_eq!(asked(""), (401, 12));
    assert_eq!(asked("Cookie: pass=no\r\n"), (403, 12));

    // The fields are remembered too, and those of the client still go.
    let answer = site.get("Cookie: pass=yes\r\nX-User: eve\r\n").text();
    assert!(answer.contains("\nX-User: ann\r\n"), "{answer}");
    assert!(!answer.contains("eve"), "{answer}");

    // What is remembered outlives the server, and nothing else does.
    site.auth.stop();
    assert_eq!(site.get("Cookie: pass=other\r\n").status, 500);
    site.refuses(500, "GET /", "", "no server");
}
