//! The main job: from `kubectl apply` to a served request. Everything survives SIGKILL.

use super::support::{Backend, Gatelet, eventually};

#[test]
fn what_kubectl_applies_is_served_and_survives_sigkill() {
    let backend = Backend::start("first");
    let mut gatelet = Gatelet::start();
    let applied = gatelet.apply(&backend.manifests("first", "first.example.com"));
    assert!(
        applied.contains("ingress.networking.k8s.io/first created"),
        "{applied}"
    );
    eventually("the route is live", || {
        (gatelet.status_of("first.example.com", "/") == 200).then_some(())
    });
    let answer = gatelet.get("first.example.com", "/some/path?q=1");
    assert!(
        answer.starts_with("first\nGET /some/path?q=1 HTTP/1.1"),
        "{answer}"
    );
    assert_eq!(gatelet.status_of("other.example.com", "/"), 404);

    gatelet.kill();
    gatelet.spawn();
    gatelet.wait_ready();
    assert!(gatelet.get("first.example.com", "/").starts_with("first\n"));
    let listed = gatelet.kubectl(&["get", "ingress,service,endpointslice", "-o", "name"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
}
