//! The manifests folder of a running gatelet.

use super::support::{Gatelet, backend::Backend, eventually};

/// Prepares a gatelet whose manifests folder has these files before its first start.
fn with_files(extra: &[&str], files: &[(&str, &str)]) -> Gatelet {
    let mut gatelet = Gatelet::prepare(extra);
    let folder = gatelet.state().join("manifests");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    gatelet.spawn();
    gatelet.wait_ready();
    gatelet
}

fn write(gatelet: &Gatelet, name: &str, text: &str) {
    let path = gatelet.state().join("manifests").join(name);
    std::fs::write(path, text).unwrap();
}

/// Waits until a host is served with this status.
fn served(gatelet: &Gatelet, host: &str, status: u16) {
    eventually(host, || {
        (gatelet.status_of(host, "/") == status).then_some(())
    });
}

#[test]
fn files_are_served_from_the_start_and_after_each_change() {
    let backend = Backend::start("web");
    let web = backend.manifests("web", "web.example.com");
    let mut gatelet = with_files(&[], &[("web.yaml", &web)]);
    served(&gatelet, "web.example.com", 200);

    write(
        &gatelet,
        "more.yaml",
        &backend.manifests("more", "more.example.com"),
    );
    served(&gatelet, "more.example.com", 200);
    write(
        &gatelet,
        "more.yaml",
        &backend.manifests("more", "other.example.com"),
    );
    served(&gatelet, "other.example.com", 200);
    served(&gatelet, "more.example.com", 404);

    // A deleted file leaves its objects, also over a restart.
    std::fs::remove_file(gatelet.state().join("manifests/more.yaml")).unwrap();
    gatelet.kubectl(&["annotate", "ingress", "web", "note=mine"]);
    gatelet.kubectl(&["delete", "service", "web"]);
    served(&gatelet, "web.example.com", 503);
    gatelet.signal("TERM");
    gatelet.wait();
    let gatelet = gatelet.again(&[]);
    served(&gatelet, "web.example.com", 200);
    served(&gatelet, "other.example.com", 200);
    let note = gatelet.kubectl(&[
        "get",
        "ing",
        "web",
        "-o",
        "jsonpath={.metadata.annotations}",
    ]);
    assert!(note.contains("mine"), "{note}");
}

#[test]
fn a_file_that_fails_is_a_finding_until_it_is_right() {
    let backend = Backend::start("web");
    let web = backend.manifests("web", "web.example.com");
    let wrong = web.replace("pathType: Prefix", "pathType: Regex");
    let gatelet = with_files(&[], &[("web.yaml", &wrong), ("broken.yaml", "a: [")]);

    let finding = |object: &str| {
        eventually(object, || {
            let status = gatelet.status();
            let findings = status["findings"].as_array().unwrap().clone();
            findings.into_iter().find(|one| one["object"] == object)
        })
    };
    let refused = finding("web.yaml, document 3: Ingress web");
    assert_eq!(refused["reason"], "Invalid");
    assert_eq!(refused["severity"], "Warning");
    assert_eq!(refused["field"], "spec.rules[0].http.paths[0].pathType");
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .starts_with("Unsupported value"),
        "{refused}"
    );
    assert_eq!(finding("broken.yaml, document 1")["reason"], "Unreadable");

    let table = gatelet.command(&["status"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(
        table.contains("web.yaml, document 3: Ingress web"),
        "{table}"
    );
    assert!(
        gatelet.log().contains("web.yaml, document 3: Ingress web"),
        "{}",
        gatelet.log()
    );

    write(&gatelet, "web.yaml", &web);
    write(&gatelet, "broken.yaml", "# nothing\n");
    served(&gatelet, "web.example.com", 200);
    eventually("no findings", || {
        gatelet.status()["findings"]
            .as_array()
            .unwrap()
            .is_empty()
            .then_some(())
    });
}

#[test]
fn files_are_applied_without_the_api_and_are_audited() {
    let backend = Backend::start("web");
    let web = backend.manifests("web", "web.example.com");
    let audit = std::env::temp_dir().join(format!("manifests-audit-{}", std::process::id()));
    let mut gatelet = Gatelet::prepare(&["--api", "off"]);
    gatelet.configure(&format!("[log]\naudit = {audit:?}\n"));
    gatelet.spawn();
    gatelet.wait_ready();
    write(&gatelet, "web.yaml", &web);
    served(&gatelet, "web.example.com", 200);

    gatelet.signal("TERM");
    gatelet.wait();
    let lines = std::fs::read_to_string(&audit).unwrap();
    std::fs::remove_file(&audit).unwrap();
    let line = lines
        .lines()
        .find(|line| line.contains("\"ingresses\""))
        .expect(&lines);
    assert!(
        line.contains("\"username\":\"system:gatelet:manifests\""),
        "{line}"
    );
}
