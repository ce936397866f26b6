//! Middlewares of a cluster: followed, and without the right to read them.

use std::{thread, time::Duration};

use super::{
    super::support::{Backend, Folder, Gatelet, eventually},
    external, following,
};

const HOST: &str = "one.example.com";

/// A Middleware, and the Ingress that names it.
fn objects(port: u16) -> (String, String) {
    let annotation = "metadata:
  name: one
  annotations:
    traefik.ingress.kubernetes.io/router.middlewares: default-strip@kubernetescrd";
    let ingress = external("one", HOST, port);
    let (service, ingress) = ingress.split_once("---\n").expect("two documents");
    let ingress = ingress.replace("metadata: {name: one}", annotation);
    let middleware = "apiVersion: traefik.io/v1alpha1
kind: Middleware
metadata: {name: strip}
spec: {stripPrefix: {prefixes: [/foo]}}
";
    (middleware.to_owned(), format!("{service}---\n{ingress}"))
}

#[test]
fn a_middleware_of_a_cluster_is_followed() {
    let (mut cluster, backend) = (Gatelet::start(), Backend::start("app"));
    let (middleware, ingress) = objects(backend.port);
    cluster.apply(&ingress);
    let mut gatelet = following(&cluster.kubeconfig());
    gatelet.spawn();
    gatelet.wait_ready();
    assert_eq!(gatelet.status_of(HOST, "/foo/x"), 503);

    cluster.apply(&middleware);
    eventually("the paths open", || {
        let text = gatelet.get(HOST, "/foo/x");
        text.contains("GET /x ").then_some(())
    });
    let events = cluster.kubectl(&["get", "events"]);
    assert!(events.contains("UnknownMiddleware"), "{events}");

    // It is in the local copy, which is written every five seconds.
    thread::sleep(Duration::from_secs(6));
    cluster.kill();
    gatelet.kill();
    gatelet.spawn();
    gatelet.wait_ready();
    eventually("it is served from the copy", || {
        let text = gatelet.get(HOST, "/foo/x");
        text.contains("GET /x ").then_some(())
    });
}

#[test]
fn without_the_right_to_read_middlewares_the_rest_is_served() {
    let (cluster, backend) = (Gatelet::start(), Backend::start("app"));
    let (middleware, ingress) = objects(backend.port);
    cluster.apply(&(middleware + "---\n" + &ingress));
    cluster.apply(&external("two", "two.example.com", backend.port));
    cluster.kubectl(&[
        "create",
        "clusterrole",
        "old",
        "--verb=list,watch",
        "--resource=services,secrets,configmaps,ingresses.networking.k8s.io,\
         ingressclasses.networking.k8s.io,endpointslices.discovery.k8s.io",
    ]);
    let made = cluster.command(&["kubeconfig", "--user", "follower", "--role", "old"]);
    assert!(made.status.success(), "{made:?}");
    let folder = Folder::new();
    let kubeconfig = folder.write("kubeconfig", &String::from_utf8_lossy(&made.stdout));

    let mut gatelet = following(&kubeconfig);
    gatelet.spawn();
    gatelet.wait_ready();
    eventually("others are served", || {
        (gatelet.status_of("two.example.com", "/") == 200).then_some(())
    });
    assert_eq!(gatelet.status_of(HOST, "/foo/x"), 503);
    let status = eventually("the status says what is missing", || {
        let status = gatelet.status();
        let unread = status["unread"].to_string();
        unread.contains("Middleware").then_some(status)
    });
    let findings = status["findings"].to_string();
    let what = "the cluster does not show Middlewares: grant list and watch of";
    assert!(findings.contains(what), "{findings}");

    let grant = r#"[{"op":"add","path":"/rules/-","value":{"apiGroups":["traefik.io"],
        "resources":["middlewares"],"verbs":["list","watch"]}}]"#;
    cluster.kubectl(&["patch", "clusterrole", "old", "--type=json", "-p", grant]);
    eventually("the paths open", || {
        let text = gatelet.get(HOST, "/foo/x");
        text.contains("GET /x ").then_some(())
    });
}
