//! `gatelet kubeconfig --user`, and the rights of its users.

use std::process::{Command, Output};

use super::{bad, good};
use crate::support::{Gatelet, peers, said};

/// Runs kubectl with a kubeconfig.
fn kubectl(gatelet: &Gatelet, kubeconfig: &str, arguments: &[&str]) -> Output {
    let file = gatelet.folder.write("user.kubeconfig", kubeconfig);
    let mut kubectl: Command = peers::kubectl();
    kubectl
        .arg("--kubeconfig")
        .arg(file)
        .args(arguments)
        .env("HOME", gatelet.folder.path());
    kubectl.output().expect("kubectl runs")
}

#[test]
fn a_new_user_has_the_rights_of_its_role() {
    let gatelet = Gatelet::start();
    gatelet.kubectl(&["create", "namespace", "shop"]);
    let arguments = [
        "kubeconfig",
        "--user",
        "ann",
        "--role",
        "view",
        "-n",
        "shop",
    ];
    let made = gatelet.command(&arguments);
    assert!(
        said(&made).contains("rolebinding/ann-view created"),
        "{}",
        said(&made)
    );
    let ann = good(made);

    let whoami = kubectl(
        &gatelet,
        &ann,
        &["auth", "whoami", "-o", "jsonpath={.status.userInfo}"],
    );
    assert!(good(whoami).contains(r#""groups":["system:authenticated"]"#));
    // The namespace of the role is that of the kubeconfig.
    let services = kubectl(&gatelet, &ann, &["get", "services"]);
    assert!(said(&services).contains("No resources found in shop namespace"));
    for refused in [
        &["get", "secrets"][..],
        &["get", "services", "-n", "default"],
        &["create", "configmap", "x"],
        &["auth", "can-i", "delete", "services"],
    ] {
        let output = kubectl(&gatelet, &ann, refused);
        assert!(!output.status.success(), "{refused:?}: {}", said(&output));
    }

    let again = gatelet.command(&arguments);
    assert!(said(&again).contains("unchanged"));
    assert_ne!(good(again), ann, "the key is a new one");
    gatelet.kubectl(&["delete", "rolebinding", "ann-view", "-n", "shop"]);
    assert!(
        !kubectl(&gatelet, &ann, &["get", "services"])
            .status
            .success()
    );
}

#[test]
fn a_new_user_without_a_namespace_has_its_role_everywhere() {
    let gatelet = Gatelet::start();
    let arguments = [
        "kubeconfig",
        "--user",
        "ci",
        "--role",
        "edit",
        "--days",
        "1",
    ];
    let ci = good(gatelet.command(&arguments));
    good(kubectl(&gatelet, &ci, &["create", "configmap", "x"]));
    good(kubectl(&gatelet, &ci, &["get", "services", "-A"]));
    assert!(
        !kubectl(&gatelet, &ci, &["get", "clusterroles"])
            .status
            .success()
    );
}

#[test]
fn a_wrong_new_user_is_refused_with_a_reason() {
    let gatelet = Gatelet::start();
    let absent = gatelet.command(&["kubeconfig", "--user", "ann", "--role", "absent"]);
    assert!(bad(&absent, 1).contains("there is no ClusterRole absent"));
    let reserved = gatelet.command(&["kubeconfig", "--user", "system:admin", "--role", "view"]);
    assert!(bad(&reserved, 1).contains("reserved"));
    bad(&gatelet.command(&["kubeconfig", "--role", "view"]), 2);
    bad(
        &gatelet.command(&["kubeconfig", "--user", "ann", "--days", "0"]),
        2,
    );

    let other = [
        "create",
        "clusterrolebinding",
        "ann-view",
        "--clusterrole=edit",
        "--user=ann",
    ];
    gatelet.kubectl(&other);
    let taken = gatelet.command(&["kubeconfig", "--user", "ann", "--role", "view"]);
    assert!(bad(&taken, 1).contains("ann-view exists"));
}

#[test]
fn writes_are_in_the_audit_log_if_one_is_set() {
    let mut gatelet = Gatelet::prepare(&[]);
    let path = gatelet.folder.path().join("audit.log");
    gatelet.configure(&format!(
        "[log]\naudit = {:?}\n",
        path.display().to_string()
    ));
    gatelet.spawn();
    gatelet.wait_ready();
    gatelet.kubectl(&["create", "configmap", "seen", "--from-literal=a=hidden"]);
    gatelet.signal("TERM");
    gatelet.wait();

    let text = std::fs::read_to_string(path).expect("the log");
    let lines: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let line = lines
        .iter()
        .find(|line| line["objectRef"]["name"] == "seen");
    let line = line.expect("the line");
    assert_eq!(line["user"]["username"], "gatelet-admin");
    assert_eq!(line["sourceIPs"][0], "127.0.0.1");
    assert!(!text.contains("hidden"));
}
