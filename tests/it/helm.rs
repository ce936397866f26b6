//! Helm on the mini cluster: the life of a release of a chart. Helm deletes old revisions with a
//! body in protobuf.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::support::{Backend, Gatelet, eventually, peers, run};

/// The number of revisions that Helm keeps by default.
const KEPT: usize = 10;

/// Helm with a mini cluster of its own.
struct Helm {
    gatelet: Gatelet,
    helm: std::process::Command,
}

impl Helm {
    /// Starts gatelet; returns `None` and prints a note if Helm is not installed.
    fn start() -> Option<Self> {
        Some(Self {
            helm: peers::helm()?,
            gatelet: Gatelet::start(),
        })
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut helm = std::process::Command::new(self.helm.get_program());
        helm.args(arguments)
            .env("KUBECONFIG", self.gatelet.kubeconfig());
        run(helm.env("HOME", self.gatelet.folder.path()))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[arguments, &["-o", "json"]].concat())).expect("JSON")
    }

    /// Returns the stored revisions, oldest first.
    fn revisions(&self) -> Vec<u64> {
        let history = self.json(&["history", "web"]);
        history
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["revision"].as_u64().expect("a number"))
            .collect()
    }

    fn words(&self) -> String {
        self.gatelet
            .kubectl(&["get", "configmap", "web", "-o", "jsonpath={.data.words}"])
    }
}

fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/helm/chart")
}

#[test]
fn helm_installs_upgrades_rolls_back_and_uninstalls() {
    let Some(helm) = Helm::start() else { return };
    let backend = Backend::start("web");
    let chart = chart();
    let chart = chart.to_str().expect("a plain path");
    let port = format!("port={}", backend.port);
    helm.run(&[
        "install",
        "web",
        chart,
        "--server-side=false",
        "--wait",
        "--timeout=60s",
        "--set",
        &port,
    ]);
    eventually("the release is served", || {
        (helm.gatelet.status_of("web.example.com", "/") == 200).then_some(())
    });
    assert_eq!(helm.words(), "first");

    let kinds = [
        "service/web",
        "endpointslice/web-1",
        "ingress/web",
        "configmap/web",
        "secret/web",
    ];
    helm.gatelet.kubectl(&[&["get"], &kinds[..]].concat());

    // From the eleventh revision on, each upgrade deletes the oldest one.
    for number in 2..=13 {
        let words = format!("words=number {number}");
        helm.run(&[
            "upgrade",
            "web",
            chart,
            "--wait",
            "--timeout=60s",
            "--set",
            &port,
            "--set",
            &words,
        ]);
    }
    assert_eq!(helm.words(), "number 13");
    assert_eq!(helm.revisions(), (4..=13).collect::<Vec<_>>());

    let hook = [
        "get",
        "configmap",
        "web-before",
        "-o",
        "jsonpath={.data.revision}",
    ];
    assert_eq!(helm.gatelet.kubectl(&hook), "13");

    let releases = helm.json(&["list"]);
    assert_eq!(
        (&releases[0]["name"], &releases[0]["revision"]),
        (&"web".into(), &"13".into()),
        "{releases}"
    );
    assert_eq!(helm.json(&["status", "web"])["info"]["status"], "deployed");
    assert_eq!(helm.json(&["get", "values", "web"])["words"], "number 13");
    assert!(
        helm.run(&["get", "notes", "web"])
            .contains("http://web.example.com/")
    );

    let account = "--as=system:serviceaccount:default:web";
    let may = ["auth", "can-i", "list", "ingresses", account];
    assert_eq!(helm.gatelet.kubectl(&may).trim(), "yes");

    helm.run(&["rollback", "web", "5", "--wait", "--timeout=60s"]);
    assert_eq!(helm.words(), "number 5");
    assert_eq!(helm.revisions().len(), KEPT);
    assert_eq!(helm.gatelet.status_of("web.example.com", "/"), 200);

    helm.run(&["uninstall", "web", "--wait", "--timeout=60s"]);
    let left = [
        "get",
        "service,endpointslice,ingress,secret,configmap,role,rolebinding",
        "-o",
        "name",
    ];
    // Helm never deletes the objects of hooks.
    assert_eq!(
        helm.gatelet.kubectl(&left),
        "configmap/kube-root-ca.crt\nconfigmap/web-before\n"
    );

    eventually("it is not served any more", || {
        (helm.gatelet.status_of("web.example.com", "/") == 404).then_some(())
    });
}

#[test]
fn helm_applies_on_the_server_by_default() {
    let Some(helm) = Helm::start() else { return };
    let chart = chart();
    let chart = chart.to_str().expect("a plain path");
    // On a real server too, a port without a protocol cannot be applied a second time.
    let wait = ["--wait", "--timeout=60s", "--set", "protocol=TCP"];
    helm.run(&[&["install", "web", chart], &wait[..]].concat());
    let managers = [
        "get",
        "ingress",
        "web",
        "--show-managed-fields",
        "-o",
        "jsonpath={.metadata.managedFields[*].operation}",
    ];
    assert!(helm.gatelet.kubectl(&managers).starts_with("Apply"));

    // A field that somebody else changed is a conflict, until Helm forces it.
    let edit = r#"{"data":{"words":"edited"}}"#;
    let edit = ["patch", "configmap", "web", "--type=merge", "-p", edit];
    helm.gatelet.kubectl(&edit);
    let upgrade = [
        "upgrade",
        "web",
        chart,
        "--set",
        "words=second,protocol=TCP",
    ];
    let mut refused = std::process::Command::new(helm.helm.get_program());
    refused
        .args(upgrade)
        .env("HOME", helm.gatelet.folder.path());
    let refused = refused
        .env("KUBECONFIG", helm.gatelet.kubeconfig())
        .output();
    let text = super::support::said(&refused.expect("helm"));
    assert!(text.contains("conflict with \"kubectl-patch\""), "{text}");

    helm.run(&[&upgrade[..], &["--force-conflicts", "--wait"]].concat());
    assert_eq!(helm.words(), "second");
    helm.run(&["rollback", "web", "1", "--force-conflicts"]);
    assert_eq!(helm.words(), "first");
    helm.run(&["uninstall", "web", "--wait", "--timeout=60s"]);
}
