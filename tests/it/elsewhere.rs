//! Redirects to other URLs, the `Host` of backends, and the limits of a route, by annotations of
//! ingress-nginx.

use super::support::{Backend, Gatelet, eventually, run};

const HOST: &str = "app.example.com";

/// Starts a gatelet that serves a backend at `HOST` with these annotations, and waits until a
/// request has this status.
fn annotated(annotations: &[&str], status: u16) -> (Gatelet, Backend) {
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    gatelet.serve(&backend.manifests("app", HOST), HOST);
    annotate(&gatelet, annotations);
    eventually("the annotations apply", || {
        (gatelet.status_of(HOST, "/") == status).then_some(())
    });
    (gatelet, backend)
}

fn annotate(gatelet: &Gatelet, annotations: &[&str]) {
    let names = annotations.iter();
    let names: Vec<String> = names
        .map(|one| format!("nginx.ingress.kubernetes.io/{one}"))
        .collect();
    let mut arguments = vec!["annotate", "--overwrite", "ingress", "app"];
    arguments.extend(names.iter().map(String::as_str));
    gatelet.kubectl(&arguments);
}

/// Returns the status and `Location` of a response.
fn target(gatelet: &Gatelet, path: &str) -> String {
    let format = "%{http_code} %{redirect_url}";
    run(gatelet
        .curl(HOST, path)
        .args(["-o", "/dev/null", "-w", format]))
}

#[test]
fn a_redirect_of_everything_reaches_no_backend() {
    let url = "permanent-redirect=https://new.example.com$request_uri";
    let (gatelet, backend) = annotated(&[url], 301);
    let before = backend.count();
    assert_eq!(
        target(&gatelet, "/a?b=c"),
        "301 https://new.example.com/a?b=c"
    );
    let upgrade = ["-H", "Connection: upgrade", "-H", "Upgrade: websocket"];
    let status = ["-o", "/dev/null", "-w", "%{http_code}"];
    for arguments in [&["--http2-prior-knowledge"][..], &upgrade, &["-d", "x"]] {
        let mut curl = gatelet.curl(HOST, "/");
        assert_eq!(
            run(curl.args(status).args(arguments)),
            "301",
            "{arguments:?}"
        );
    }
    annotate(&gatelet, &["temporal-redirect=https://now.example.com/"]);
    eventually("the temporal one precedes it", || {
        (target(&gatelet, "/a") == "302 https://now.example.com/").then_some(())
    });

    // Nobody is redirected who may not come in, and a broken URL opens nothing.
    annotate(&gatelet, &["denylist-source-range=127.0.0.0/8"]);
    eventually("it is closed", || {
        (gatelet.status_of(HOST, "/") == 403).then_some(())
    });
    annotate(
        &gatelet,
        &[
            "denylist-source-range-",
            "temporal-redirect=new.example.com",
        ],
    );
    eventually("it is closed", || {
        (gatelet.status_of(HOST, "/") == 503).then_some(())
    });
    assert_eq!(backend.count(), before);
}

#[test]
fn the_root_of_an_application_is_another_path() {
    let (gatelet, _backend) = annotated(&["app-root=/app", "upstream-vhost=inside:81"], 302);
    let port = gatelet.http;
    let host = format!("{HOST}:{port}");
    let location =
        run(gatelet
            .curl(&host, "/?a=b")
            .args(["-o", "/dev/null", "-w", "%{redirect_url}"]));
    assert_eq!(location, format!("http://{host}/app"));
    assert_eq!(target(&gatelet, "/"), format!("302 http://{HOST}/app"));

    let echoed = gatelet.get(HOST, "/app").to_lowercase();
    assert!(echoed.contains("\nhost: inside:81"), "{echoed}");
    assert!(
        echoed.contains("\nx-forwarded-host: app.example.com"),
        "{echoed}"
    );
}

#[test]
fn a_body_above_the_size_of_its_route_is_refused() {
    let (gatelet, _backend) = annotated(&["proxy-body-size=1k"], 200);
    let large = "x".repeat(1025);
    let status = |body: &str, arguments: &[&str]| {
        let mut curl = gatelet.curl(HOST, "/");
        let status = ["-o", "/dev/null", "-w", "%{http_code}", "-d", body];
        run(curl.args(status).args(arguments))
    };
    eventually("it applies", || {
        (status(&large, &[]) == "413").then_some(())
    });
    assert_eq!(status(&large, &["-H", "Transfer-Encoding: chunked"]), "413");
    assert_eq!(status(&large[1..], &[]), "200");
    annotate(&gatelet, &["proxy-body-size=0"]);
    eventually("there is no limit", || {
        (status(&large, &[]) == "200").then_some(())
    });
}

#[test]
fn pages_of_listed_origins_may_read_responses() {
    let annotations = [
        "enable-cors=true",
        "cors-allow-origin=https://*.example.com",
        "cors-max-age=60",
        "denylist-source-range=192.0.2.1",
    ];
    let (gatelet, backend) = annotated(&annotations, 200);
    let head = |arguments: &[&str]| {
        let mut curl = gatelet.curl(HOST, "/");
        run(curl.args(["-i", "-o", "-"]).args(arguments)).to_lowercase()
    };
    let allowed = "access-control-allow-origin: https://a.example.com\r\n";
    eventually("it applies", || {
        head(&["-H", "Origin: https://a.example.com"])
            .contains(allowed)
            .then_some(())
    });
    let of_evil = head(&["-H", "Origin: https://a.example.com.evil"]);
    assert!(!of_evil.contains("access-control"), "{of_evil}");
    assert!(of_evil.contains("vary: origin\r\n"), "{of_evil}");

    // A preflight request never reaches the backend, and needs no login.
    gatelet.apply(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: users}\nstringData: {auth: 'a:{PLAIN}b'}\n",
    );
    annotate(&gatelet, &["auth-type=basic", "auth-secret=users"]);
    eventually("it asks for a login", || {
        (gatelet.status_of(HOST, "/") == 401).then_some(())
    });
    let before = backend.count();
    let preflight = head(&["-X", "OPTIONS", "-H", "Origin: https://a.example.com"]);
    assert!(preflight.starts_with("http/1.1 204"), "{preflight}");
    for field in [
        allowed,
        "access-control-max-age: 60\r\n",
        "access-control-allow-methods: get, ",
    ] {
        assert!(preflight.contains(field), "{preflight}");
    }
    let asked = head(&["-H", "Origin: https://a.example.com"]);
    assert!(
        asked.starts_with("http/1.1 401") && asked.contains(allowed),
        "{asked}"
    );
    let of_evil = head(&["-X", "OPTIONS", "-H", "Origin: https://evil.example"]);
    assert!(of_evil.starts_with("http/1.1 401"), "{of_evil}");
    assert_eq!(backend.count(), before);
}
