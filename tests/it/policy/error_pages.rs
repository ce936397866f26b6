//! Pages of another backend in place of errors.

use crate::support::{Answer, Backend, Connection, Gatelet, backend, eventually};

const HOST: &str = "app.example.com";

/// A gatelet with an app, and pages for its errors.
struct Site {
    gatelet: Gatelet,
    app: Backend,
    pages: Backend,
}

impl Site {
    fn start(annotations: &str) -> Self {
        let (app, pages) = (Backend::start("app"), Backend::start("pages"));
        let gatelet = Gatelet::start();
        gatelet.apply(&format!(
            "{}{}",
            backend::service("pages", ""),
            backend::slice("pages", &[pages.port])
        ));
        let annotated = app.manifests("app", HOST).replace(
            "kind: Ingress\nmetadata: {name: app}",
            &format!("kind: Ingress\nmetadata: {{name: app, annotations: {{{annotations}}}}}"),
        );
        gatelet.apply(&annotated);
        eventually("the route is there", || {
            (gatelet.status_of(HOST, "/") != 404).then_some(())
        });
        Self {
            gatelet,
            app,
            pages,
        }
    }

    fn request(&self, line: &str, more: &str) -> Answer {
        let mut connection = Connection::open(self.gatelet.http_addr()).expect("a connection");
        let text = format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{more}\r\n");
        connection.send(text.as_bytes()).expect("sent");
        connection.answer().expect("a response")
    }
}

const BOTH: &str = "nginx.ingress.kubernetes.io/default-backend: pages, \
                    nginx.ingress.kubernetes.io/custom-http-errors: '404,502,503'";

#[test]
fn pages_replace_the_errors_of_a_backend() {
    let site = Site::start(BOTH);
    let more = "Accept: text/html\r\nX-Code: 1\r\nX_Service_Name: evil\r\nCookie: a=b\r\n";
    let answer = site.request(
        "POST /status/404?x=1",
        &format!("{more}Content-Length: 0\r\n"),
    );
    let text = answer.text();
    assert_eq!(answer.status, 200, "the pages set it");
    assert!(text.starts_with("pages\nGET /?x=1 HTTP/1.1\r\n"), "{text}");
    for (name, value) in [
        ("host", Some(HOST)),
        ("x-code", Some("404")),
        ("x-format", Some("text/html")),
        ("x-original-uri", Some("/status/404?x=1")),
        ("x-namespace", Some("default")),
        ("x-ingress-name", Some("app")),
        ("x-service-name", Some("app")),
        ("x-service-port", Some("80")),
        ("cookie", Some("a=b")),
        ("content-length", None),
    ] {
        assert_eq!(backend::field(&text, name), value, "{name}: {text}");
    }
    assert!(!text.contains("evil"), "{text}");

    // Other statuses, and responses that are no errors, stay as they are.
    assert_eq!(site.request("GET /status/500", "").status, 500);
    assert!(site.request("GET /", "").text().starts_with("app\n"));

    // Errors of gatelet itself about the backend.
    site.app.stop();
    let answer = site.request("GET /", "");
    assert_eq!(backend::field(&answer.text(), "x-code"), Some("502"));
    site.pages.stop();
    assert_eq!(site.request("GET /", "").status, 502, "no pages");
}

#[test]
fn pages_stand_in_for_a_service_without_endpoints() {
    let site = Site::start("gatelet.dev/default-backend: pages");
    site.gatelet.kubectl(&["delete", "endpointslice", "app-1"]);
    let text = eventually("the pages stand in", || {
        let answer = site
            .request("POST /x?y", "Content-Length: 2\r\n\r\nab")
            .text();
        answer.starts_with("pages\n").then_some(answer)
    });
    assert!(text.starts_with("pages\nPOST /x?y HTTP/1.1\r\n"), "{text}");
    assert!(text.ends_with("ab"), "{text}");
    assert_eq!(backend::field(&text, "x-code"), Some("503"));
    assert_eq!(backend::field(&text, "x-service-name"), Some("app"));

    // Without statuses, errors are passed on.
    site.gatelet.apply(&backend::slice("app", &[site.app.port]));
    eventually("the app is back", || {
        let answer = site.request("GET /status/404", "");
        (answer.status == 404).then_some(())
    });
}

#[test]
fn pages_of_a_guarded_service_are_not_used() {
    let site = Site::start(BOTH);
    let guarded = backend::service("pages", "").replace(
        "metadata: {name: pages}",
        "metadata: {name: pages, annotations: {haproxy.org/allow-list: 10.0.0.0/8}}",
    );
    site.gatelet.apply(&guarded);
    eventually("they are not used", || {
        (site.request("GET /status/404", "").status == 404).then_some(())
    });
    let status = site.gatelet.status();
    let message = status["findings"][0]["message"].as_str().expect("text");
    assert!(
        message.starts_with("Service pages restricts who may come in"),
        "{message}"
    );

    // It is followed, like every Service that a path leads to.
    site.gatelet.apply(&backend::service("pages", ""));
    eventually("they are used again", || {
        (site.request("GET /status/404", "").status == 200).then_some(())
    });
    site.gatelet.kubectl(&["delete", "service", "pages"]);
    eventually("they are gone", || {
        (site.request("GET /status/404", "").status == 404).then_some(())
    });
}

#[test]
fn a_refusal_before_the_backend_is_not_replaced() {
    let denied = format!("{BOTH}, nginx.ingress.kubernetes.io/denylist-source-range: 127.0.0.0/8");
    let site = Site::start(&denied.replace("'404,502,503'", "'401,403,404'"));
    let before = (site.app.count(), site.pages.count());
    assert_eq!(site.request("GET /status/404", "").status, 403);
    assert_eq!((site.app.count(), site.pages.count()), before);
}

#[test]
fn interception_can_be_disabled() {
    let off = "nginx.ingress.kubernetes.io/disable-proxy-intercept-errors: 'true'";
    let site = Site::start(&format!("{BOTH}, {off}"));
    assert_eq!(site.request("GET /status/404", "").status, 404);
    site.app.stop();
    assert_eq!(site.request("GET /", "").status, 200, "an error of gatelet");
}
