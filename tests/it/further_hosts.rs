//! Further hosts of an Ingress, and redirects between spellings of hosts and paths.

use super::support::{Backend, Gatelet, eventually, run};

const HOST: &str = "app.example.com";

/// An Ingress for a path of a host, with annotations.
fn ingress(name: &str, host: &str, path: &str, annotations: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: {name}
  annotations: {{{annotations}}}
spec:
  rules:
  - host: {host}
    http:
      paths:
      - path: {path}
        pathType: ImplementationSpecific
        backend: {{service: {{name: app, port: {{number: 80}}}}}}
---
"
    )
}

fn start(backend: &Backend) -> Gatelet {
    let gatelet = Gatelet::start();
    gatelet.serve(&backend.manifests("app", HOST), HOST);
    gatelet
}

/// Returns the status and the target of the redirect for a path.
fn outcome(gatelet: &Gatelet, host: &str, path: &str) -> String {
    let mut curl = gatelet.curl(host, path);
    let format = "%{http_code} %header{location}";
    let text = run(curl.args(["-o", "/dev/null", "-w", format]));
    text.trim().to_owned()
}

#[test]
fn another_name_has_all_rules_of_its_host() {
    let backend = Backend::start("app");
    let gatelet = start(&backend);
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: users}\n\
                  stringData: {auth: 'ann:{PLAIN}one'}\n---\n";
    let login = "nginx.ingress.kubernetes.io/auth-type: basic, \
                 nginx.ingress.kubernetes.io/auth-secret: users";
    gatelet.apply(&(secret.to_owned() + &ingress("login", HOST, "/login", login)));
    gatelet.kubectl(&[
        "annotate",
        "ingress",
        "app",
        "nginx.ingress.kubernetes.io/server-alias=alias.example.com, *.alias.example.com",
    ]);

    eventually("the names are served", || {
        let served = gatelet.status_of("alias.example.com", "/") == 200;
        (served && gatelet.status_of(HOST, "/login") == 401).then_some(())
    });
    assert_eq!(gatelet.status_of("a.alias.example.com", "/"), 200);
    assert_eq!(gatelet.status_of("a.b.alias.example.com", "/"), 404);
    assert_eq!(gatelet.status_of("alias.example.com", "/login"), 401);
    assert_eq!(gatelet.status_of("a.alias.example.com", "//login"), 401);
    run(&mut gatelet.curl_tls("alias.example.com", "/"));

    // The rules of another Ingress for the name take it.
    gatelet.apply(&ingress("own", "alias.example.com", "/own", ""));
    eventually("its own rule has the name", || {
        (gatelet.status_of("alias.example.com", "/") == 404).then_some(())
    });
    let findings = gatelet.status()["findings"].to_string();
    assert!(
        findings.contains("alias.example.com is the host of a rule"),
        "{findings}"
    );

    gatelet.kubectl(&["delete", "ingress", "own"]);
    eventually("it is another name again", || {
        (gatelet.status_of("alias.example.com", "/login") == 401).then_some(())
    });
    gatelet.kubectl(&["delete", "ingress", "login"]);
    eventually("an edit of the host is one of the name", || {
        (gatelet.status_of("alias.example.com", "/login") == 200).then_some(())
    });
    gatelet.kubectl(&["delete", "ingress", "app"]);
    eventually("the name is gone", || {
        (gatelet.status_of("alias.example.com", "/") == 404).then_some(())
    });
}

#[test]
fn names_with_and_without_www_lead_to_the_host() {
    let backend = Backend::start("app");
    let gatelet = start(&backend);
    let www = "nginx.ingress.kubernetes.io/from-to-www-redirect: 'true'";
    gatelet.apply(&ingress("bare", "bare.example.com", "/", www));
    gatelet.apply(&ingress("www", "www.other.example.com", "/", www));
    eventually("the redirects are there", || {
        let found = outcome(&gatelet, "other.example.com", "/");
        found.starts_with("308").then_some(())
    });
    for (host, path, expected) in [
        (
            "www.bare.example.com",
            "/x?y=1",
            "308 http://bare.example.com/x?y=1",
        ),
        (
            "www.bare.example.com:8080",
            "/",
            "308 http://bare.example.com:8080/",
        ),
        (
            "other.example.com",
            "/",
            "308 http://www.other.example.com/",
        ),
        ("www.other.example.com", "/", "200"),
        ("bare.example.com", "/", "200"),
        ("www.www.other.example.com", "/", "404"),
    ] {
        assert_eq!(outcome(&gatelet, host, path), expected, "{host}{path}");
    }

    gatelet.apply(&ingress("own", "www.bare.example.com", "/", ""));
    eventually("its own rule has the host", || {
        (outcome(&gatelet, "www.bare.example.com", "/") == "200").then_some(())
    });
}

#[test]
fn a_path_without_its_slash_leads_to_the_one_with_it() {
    let backend = Backend::start("app");
    let gatelet = start(&backend);
    let relative = "nginx.ingress.kubernetes.io/relative-redirects: 'true'";
    gatelet.apply(&ingress("dir", "dir.example.com", "/dir/", ""));
    gatelet.apply(&ingress(
        "relative",
        "dir.example.com",
        "/relative/",
        relative,
    ));
    eventually("it is served", || {
        (gatelet.status_of("dir.example.com", "/relative/") == 200).then_some(())
    });
    for (path, expected) in [
        ("/dir", "301 http://dir.example.com/dir/"),
        ("/dir?a=b", "301 http://dir.example.com/dir/?a=b"),
        ("/relative?a", "301 /relative/?a"),
        ("/dir/", "200"),
        ("/dirs", "404"),
    ] {
        assert_eq!(
            outcome(&gatelet, "dir.example.com", path),
            expected,
            "{path}"
        );
    }

    gatelet.apply(&ingress("exact", "dir.example.com", "/dir", ""));
    eventually("a rule for the path itself has it", || {
        (outcome(&gatelet, "dir.example.com", "/dir") == "200").then_some(())
    });
}
