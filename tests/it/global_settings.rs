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
