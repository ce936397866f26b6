//! Kubernetes' own end-to-end suite, as far as it concerns kinds of the mini cluster and needs no
//! Pod.

use super::support::{Folder, Gatelet, peers, said};

/// The specs, one in a line, and why the others are left out.
const SPECS: &str = include_str!("../kubernetes/e2e/specs.txt");

#[test]
fn the_suite_of_kubernetes_passes_without_pods() {
    let Some(mut suite) = peers::e2e() else {
        return;
    };
    let (gatelet, folder) = (Gatelet::start(), Folder::new());
    // The suite begins by reading it, to learn the family of cluster addresses.
    gatelet.apply(
        "apiVersion: v1\n\
         kind: Service\n\
         metadata: { name: kubernetes, namespace: default }\n\
         spec: { clusterIP: None, ports: [{ name: https, port: 443 }] }\n",
    );

    let specs: Vec<&str> = SPECS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    let focus: Vec<String> = specs.iter().map(|spec| escaped(spec)).collect();
    suite
        .current_dir(folder.path())
        .arg(format!("--kubeconfig={}", gatelet.kubeconfig().display()))
        .args(["--provider=skeleton", "--ginkgo.no-color"])
        // There are no Pods to wait for.
        .args(["--allowed-not-ready-nodes=-1", "--minStartupPods=-1"])
        .args(["--ginkgo.timeout=10m", "--ginkgo.seed=1"])
        .arg(format!("--ginkgo.focus={}", focus.join("|")));

    let output = suite.output().expect("the suite starts");
    let said = said(&output);
    let expected = format!("{} Passed | 0 Failed", specs.len());
    assert!(
        output.status.success() && said.contains(&expected),
        "expected: {expected}\n{said}"
    );
}

/// Returns the text as a regular expression that matches it alone.
fn escaped(text: &str) -> String {
    let special = |c: char| r"\.+*?()|[]{}^$".contains(c);
    let mut out = String::new();
    for c in text.chars() {
        if special(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}
