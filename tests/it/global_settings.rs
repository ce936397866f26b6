//! The ConfigMap of ingress-nginx, which the settings name.

use super::support::{Backend, Gatelet, eventually, run};

const HOST: &str = "app.example.com";

#[test]
fn the_config_map_of_ingress_nginx_is_followed() {
    let backend = Backend::start("app");
    let gatelet = Gatelet::configured("nginx_configmap = \"default/controller\"\n");
    gatelet.apply(&backend.manifests("app", HOST));
    let becomes = |status: u16, why: &str| {
        eventually(&format!("{status}: {why}"), || {
            (gatelet.status_of(HOST, "/") == status).then_some(())
        });
    };
    let apply = |data: &str| {
        gatelet.apply(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: controller}}\ndata: {data}\n"
        ));
    };
    becomes(503, "its guards are not known");

    apply("{proxy-body-size: 1k, hide-headers: X-Name}");
    becomes(200, "there are none");
    let mut large = gatelet.curl(HOST, "/");
    large.args(["-o", "/dev/null", "-w", "%{http_code}", "-d"]);
    assert_eq!(run(large.arg("x".repeat(2000))), "413");

    apply("{denylist-source-range: 127.0.0.0/8}");
    becomes(403, "a list of addresses");
    apply("{block-user-agents: '~*curl'}");
    becomes(403, "a list of clients");
    let other = ["-A", "browser", "-o", "/dev/null", "-w", "%{http_code}"];
    assert_eq!(run(gatelet.curl(HOST, "/").args(other)), "200");

    let before = backend.count();
    apply("{enable-modsecurity: 'true'}");
    becomes(503, "a guard that is not supported");
    let findings = gatelet.status()["findings"].to_string();
    assert!(findings.contains("data[enable-modsecurity]"), "{findings}");
    assert!(backend.count() <= before + 2, "few requests came in before");

    apply("{use-http2: 'true'}");
    becomes(200, "a key without effect");
    gatelet.kubectl(&["delete", "configmap", "controller"]);
    becomes(503, "it is gone");
}

#[test]
fn the_parameters_of_a_class_are_followed() {
    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    let class = |parameters: &str| {
        gatelet.apply(&format!(
            "apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: own}}
spec:
  controller: gatelet.dev/ingress-controller
  {parameters}
"
        ));
    };
    class("");
    gatelet.serve(&backend.manifests("app", HOST), HOST);
    let patch = "{\"spec\":{\"ingressClassName\":\"own\"}}";
    gatelet.kubectl(&["patch", "ingress", "app", "--type=merge", "-p", patch]);

    let becomes = |status: u16, why: &str| {
        eventually(&format!("{status}: {why}"), || {
            (gatelet.status_of(HOST, "/") == status).then_some(())
        });
    };
    let apply = |data: &str| {
        gatelet.apply(&format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: options}}\ndata: {data}\n"
        ));
    };
    class("parameters: {kind: ConfigMap, name: options}");
    becomes(503, "its guards are not known");
    let findings = gatelet.status()["findings"].to_string();
    assert!(findings.contains("ConfigMap default/options"), "{findings}");
    let events = gatelet.kubectl(&["get", "events", "-o", "jsonpath={..message}"]);
    assert!(events.contains("ConfigMap default/options"), "{events}");

    apply("{denylist-source-range: 127.0.0.0/8}");
    becomes(403, "a list of addresses");
    let none = "haproxy-ingress.github.io/denylist-source-range=192.0.2.1";
    gatelet.kubectl(&["annotate", "ingress", "app", none]);
    becomes(200, "the Ingress has a list of its own");
    apply("{waf: modsecurity}");
    becomes(503, "a guard that is not supported");
    apply("{request-redirect: b.example.com}");
    becomes(302, "the name of the other controller on HAProxy");

    gatelet.kubectl(&["delete", "configmap", "options"]);
    becomes(503, "it is gone");
    class("parameters: null");
    becomes(200, "the class has no parameters any more");
}
