//! Middlewares of Traefik as its users write them.

use super::support::{Backend, Gatelet, backend, eventually, run};

const HOST: &str = "app.example.com";

/// Returns an Ingress that names middlewares.
fn naming(list: &str) -> String {
    backend::ingress("app", HOST, "").replace(
        "metadata: {name: app}",
        &format!(
            "metadata:
  name: app
  annotations:
    traefik.ingress.kubernetes.io/router.middlewares: {list}"
        ),
    )
}

#[test]
fn a_middleware_is_an_object_of_the_mini_cluster() {
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    gatelet.serve(&backend.manifests("app", HOST), HOST);
    gatelet.apply(&naming("default-test-stripprefix@kubernetescrd"));
    eventually("the paths are closed", || {
        (gatelet.status_of(HOST, "/foobar/x") == 503).then_some(())
    });
    let events = eventually("an Event names the Middleware", || {
        let events = gatelet.kubectl(&["get", "events"]);
        events
            .contains("default-test-stripprefix")
            .then_some(events)
    });
    assert!(events.contains("UnknownMiddleware"), "{events}");

    // As in the documentation of Traefik.
    let applied = gatelet.apply(
        "apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata:
  name: test-stripprefix
spec:
  stripPrefix:
    prefixes:
      - /foobar
      - /fiibar
",
    );
    let created = "middleware.traefik.io/test-stripprefix created";
    assert!(applied.contains(created), "{applied}");
    let head = eventually("the paths open", || {
        let text = gatelet.get(HOST, "/foobar/x?y=1");
        text.starts_with("app\n").then_some(text)
    });
    assert!(head.contains("GET /x?y=1 "), "{head}");
    let prefix = head
        .lines()
        .find(|line| line.eq_ignore_ascii_case("x-forwarded-prefix: /foobar"));
    assert!(prefix.is_some(), "{head}");

    let shown = gatelet.kubectl(&["get", "middlewares", "-A"]);
    assert!(shown.contains("test-stripprefix"), "{shown}");
    let yaml = gatelet.kubectl(&["get", "middleware", "test-stripprefix", "-o", "yaml"]);
    assert!(yaml.contains("    - /fiibar"), "{yaml}");
    let explained =
        run(&mut gatelet.command_line(&["explain", &format!("http://{HOST}/fiibar/z")]));
    assert!(
        explained.contains("Middleware default/test-stripprefix"),
        "{explained}"
    );
    assert!(explained.contains("the backend gets /z"), "{explained}");

    let patch = r#"{"spec":{"stripPrefix":{"prefixes":["/other"]}}}"#;
    let merge = [
        "patch",
        "middleware",
        "test-stripprefix",
        "--type=merge",
        "-p",
        patch,
    ];
    gatelet.kubectl(&merge);
    eventually("the change applies", || {
        let text = gatelet.get(HOST, "/foobar/x");
        text.contains("GET /foobar/x ").then_some(())
    });
    gatelet.kubectl(&["delete", "middleware", "test-stripprefix"]);
    eventually("the paths are closed again", || {
        (gatelet.status_of(HOST, "/other/x") == 503).then_some(())
    });
}

#[test]
fn requests_in_flight_of_all_clients_count_together() {
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    let objects = backend::service("app", "") + &backend::slice("app", &[backend.port]);
    gatelet.apply(&objects);
    gatelet.apply(
        "apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata:
  name: test-inflightreq
spec:
  inFlightReq:
    amount: 2
",
    );
    gatelet.apply(&naming("default-test-inflightreq@kubernetescrd"));
    eventually("the paths open", || {
        (gatelet.status_of(HOST, "/") == 200).then_some(())
    });

    let start = |address: &str| {
        let mut curl = gatelet.curl(HOST, "/hang");
        curl.args(["--interface", address]).spawn().expect("curl")
    };
    let before = backend.count();
    let mut waiting = [start("127.0.0.8"), start("127.0.0.9")];
    eventually("both are at the backend", || {
        (backend.count() >= before + 2).then_some(())
    });
    assert_eq!(gatelet.status_of(HOST, "/"), 429);

    let _ = waiting[0].kill();
    let _ = waiting[0].wait();
    eventually("one may come in again", || {
        (gatelet.status_of(HOST, "/") == 200).then_some(())
    });
    let _ = waiting[1].kill();
    let _ = waiting[1].wait();
}

#[test]
fn a_login_of_a_middleware_takes_the_secret_of_its_namespace() {
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    let objects = backend::service("app", "") + &backend::slice("app", &[backend.port]);
    gatelet.apply(&objects);
    gatelet.kubectl(&["create", "namespace", "logins"]);
    gatelet.apply(&naming("logins-test-auth@kubernetescrd"));
    // As in the documentation of Traefik, with a Secret of the type that it recommends.
    gatelet.apply(
        "apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: {name: test-auth, namespace: logins}
spec:
  basicAuth:
    secret: authsecret
---
apiVersion: v1
kind: Secret
metadata: {name: authsecret, namespace: default}
type: kubernetes.io/basic-auth
stringData: {username: eve, password: evil}
",
    );
    let events = eventually("an Event names the Secret", || {
        let events = gatelet.kubectl(&["get", "events"]);
        events.contains("SecretNotFound").then_some(events)
    });
    assert!(events.contains("Secret logins/authsecret"), "{events}");
    assert_eq!(gatelet.status_of(HOST, "/"), 503);

    gatelet.apply(
        "apiVersion: v1
kind: Secret
metadata: {name: authsecret, namespace: logins}
type: kubernetes.io/basic-auth
stringData: {username: ann, password: secret}
",
    );
    eventually("the login is asked for", || {
        (gatelet.status_of(HOST, "/") == 401).then_some(())
    });
    let text = run(gatelet.curl(HOST, "/").args(["-u", "ann:secret"]));
    assert!(
        text.starts_with("app\n") && text.contains("Basic YW5uOnNlY3JldA=="),
        "{text}"
    );
    let text = run(gatelet.curl(HOST, "/").args(["-u", "eve:evil"]));
    assert!(!text.starts_with("app\n"), "{text}");
}
