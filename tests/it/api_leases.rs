//! The election of a leader by a Lease of the mini cluster, with client-go: two
//! kube-controller-managers, of which one leads.

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
};

use super::support::{Gatelet, eventually, peers};

/// A kube-controller-manager that stands for election. Killed with its test.
struct Candidate(Child);

impl Candidate {
    fn start(program: &Path, gatelet: &Gatelet, name: &str) -> Self {
        let log = gatelet.folder.path().join(name);
        let log = File::create(log).expect("a log");
        let mut command = Command::new(program);
        command.args(["kube-controller-manager", "--kubeconfig"]);
        command.arg(gatelet.kubeconfig()).args([
            "--leader-elect-lease-duration=3s",
            "--leader-elect-renew-deadline=2s",
            "--leader-elect-retry-period=500ms",
            "--controllers=pod-garbage-collector-controller",
            "--secure-port=0",
        ]);
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.stderr(log).spawn().expect("it starts"))
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Returns the holder of the Lease and the number of its changes; empty without a Lease.
fn holder(gatelet: &Gatelet) -> (String, String) {
    let holder = [
        "get",
        "lease",
        "kube-controller-manager",
        "--namespace=kube-system",
        "--ignore-not-found",
        "-o",
        "jsonpath={.spec.holderIdentity} {.spec.leaseTransitions}",
    ];
    let text = gatelet.kubectl(&holder);
    let (name, changes) = text.split_once(' ').unwrap_or_default();
    (name.to_owned(), changes.to_owned())
}

#[test]
fn a_second_candidate_leads_after_the_first_is_gone() {
    let Some(program) = peers::control_plane() else {
        return;
    };
    let gatelet = Gatelet::start();
    let first = Candidate::start(&program, &gatelet, "first");
    let leader = eventually("somebody leads", || {
        Some(holder(&gatelet)).filter(|(name, _changes)| !name.is_empty())
    });
    assert_eq!(leader.1, "0");

    let _second = Candidate::start(&program, &gatelet, "second");
    drop(first);
    let next = eventually("the other one leads", || {
        Some(holder(&gatelet)).filter(|(name, _changes)| *name != leader.0)
    });
    assert_eq!(next.1, "1");

    // Informers find no Pods, and are content with that.
    let log = gatelet.folder.path().join("second");
    eventually("its controller runs", || {
        let log = std::fs::read_to_string(&log).unwrap_or_default();
        log.contains("Caches are synced").then_some(())
    });
}
