//! Kinds that need a kubelet or controllers, in the mini cluster: what kubectl says when it creates
//! them. `kubectl/empty.steps` has what it says otherwise.

use std::process::Stdio;

use super::support::{Gatelet, said};

const MIXED: &str = "\
{apiVersion: v1, kind: ConfigMap, metadata: {name: mixed}, data: {a: b}}
---
{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {replicas: 1}}
---
{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: web}}
---
{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}
";

const ADVICE: &str = "this mini cluster runs no workloads; start the program on a device, and \
                      point a Service at it with an EndpointSlice or with `gatelet expose`";

/// Returns the output of a kubectl that must fail.
fn refused(gatelet: &Gatelet, arguments: &[&str]) -> String {
    let mut kubectl = gatelet.kubectl_command(arguments);
    let output = kubectl.stdin(Stdio::null()).output().expect("kubectl");
    assert!(!output.status.success(), "{}", said(&output));
    said(&output)
}

#[test]
fn a_mixed_file_is_applied_but_for_the_kinds_not_served() {
    let gatelet = Gatelet::start();
    let file = gatelet.folder.write("mixed.yaml", MIXED);
    let file = file.to_str().expect("a plain path");
    for verb in ["created", "unchanged"] {
        let text = refused(&gatelet, &["apply", "-f", file]);
        assert!(text.contains(&format!("configmap/mixed {verb}")), "{text}");
        assert!(text.contains(&format!("service/web {verb}")), "{text}");
        assert!(
            text.contains(&format!("deployments.apps cannot be created: {ADVICE}")),
            "{text}"
        );
        assert!(
            text.contains("persistentvolumeclaims cannot be created: "),
            "{text}"
        );
    }

    for arguments in [
        &["create", "deployment", "web", "--image=web"][..],
        &["run", "web", "--image=web"],
        &["create", "job", "web", "--image=web"],
    ] {
        assert!(refused(&gatelet, arguments).contains(ADVICE));
    }
    let quota = refused(&gatelet, &["create", "quota", "few", "--hard=pods=1"]);
    assert!(quota.contains("does not enforce quotas"), "{quota}");
}

#[test]
fn get_all_sends_one_request_for_each_kind_it_shows() {
    let gatelet = Gatelet::start();
    gatelet.kubectl(&["get", "all"]);
    let mut kubectl = gatelet.kubectl_command(&["get", "all", "-v=6"]);
    let text = said(&kubectl.output().expect("kubectl"));
    assert_eq!(text.matches("GET").count(), 10, "{text}");
}
