use gatelet::{k8s, tls};
use serde_json::Value;

use super::{
    super::support::{Folder, Gatelet, backend, control_plane::ControlPlane, eventually, run},
    logs,
};

/// Two nodes of a real cluster, with the rights of `configs/k3s/gatelet.yaml`.
pub(super) struct Nodes {
    pub(super) real: ControlPlane,
    folder: Folder,
}

impl Nodes {
    pub(super) fn start() -> Option<Self> {
        let (real, folder) = (ControlPlane::start()?, Folder::new());
        real.kubectl(&[
            "apply",
            "-f",
            concat!(env!("CARGO_MANIFEST_DIR"), "/configs/k3s/gatelet.yaml"),
        ]);
        let token = real.kubectl(&["-n", "gatelet", "create", "token", "gatelet"]);
        folder.write(
            "kubeconfig",
            &format!(
                "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, \
                    context: {{cluster: c, user: u}}}}], \
                 clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:16443', \
                 certificate-authority: {}}}}}], \
                 users: [{{name: u, user: {{token: {}}}}}]}}",
                real.kubeconfig().with_file_name("pki/ca.crt").display(),
                token.trim()
            ),
        );
        Some(Self { real, folder })
    }

    pub(super) fn prepare(&self, node: &str, address: &str) -> Gatelet {
        let kubeconfig = self.folder.path().join("kubeconfig");
        let kubeconfig = kubeconfig.to_str().expect("a plain path");
        let namespace = ["--kubeconfig", kubeconfig, "--namespace", "gatelet"];
        Gatelet::prepare(&[&namespace[..], &["--node", node, "--address", address]].concat())
    }

    pub(super) fn spawn(&self, gatelet: &mut Gatelet) {
        gatelet.spawn_command(self.real.beside(&gatelet.run_command()));
    }

    pub(super) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.real.kubectl(&[arguments, &["-o", "json"]].concat()))
            .expect("JSON")
    }

    /// Null before the first candidate has written it.
    fn lease(&self) -> Value {
        let arguments = [
            "-n",
            "gatelet",
            "get",
            "lease",
            "gatelet",
            "--ignore-not-found",
            "-o",
            "json",
        ];
        serde_json::from_str::<Value>(&self.real.kubectl(&arguments))
            .map_or(Value::Null, |mut lease| lease["spec"].take())
    }

    fn holder(&self) -> String {
        self.lease()["holderIdentity"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    pub(super) fn led_by(&self, node: &str) {
        eventually(&format!("{node} leads"), || {
            self.holder().starts_with(&format!("{node}_")).then_some(())
        });
    }

    /// Waits until `status` shows this leader.
    fn says(&self, gatelet: &Gatelet, leader: &str) {
        eventually(&format!("the status says {leader:?}"), || {
            let status = run(&mut self.real.beside(&gatelet.command_line(&["status"])));
            let row = status.lines().find_map(|line| line.strip_prefix("leader"));
            (row.map(str::trim) == Some(leader)).then_some(())
        });
    }

    /// Waits until a node has announced its address.
    pub(super) fn announced(&self, node: &str) {
        let name = format!("gatelet-node-{node}");
        eventually(&format!("{node} is announced"), || {
            let lease = [
                "-n",
                "gatelet",
                "get",
                "lease",
                &name,
                "--ignore-not-found",
                "-o",
                "name",
            ];
            (!self.real.kubectl(&lease).is_empty()).then_some(())
        });
    }

    /// Returns the addresses of the Ingress.
    fn addresses(&self) -> Vec<String> {
        let ingress = self.json(&["get", "ingress", "web"]);
        let list = ingress["status"]["loadBalancer"]["ingress"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        list.iter()
            .filter_map(|one| one["ip"].as_str().map(str::to_owned))
            .collect()
    }

    fn has_addresses(&self, expected: &[&str]) {
        eventually(&format!("the addresses are {expected:?}"), || {
            (self.addresses() == expected).then_some(())
        });
    }

    /// Returns the Event of the finding.
    fn event(&self) -> Value {
        self.json(&["get", "events", "--field-selector=involvedObject.name=web"])["items"][0].take()
    }

    /// Waits until the Event was seen again after this time, without a higher count.
    fn goes_on(&self, before: &Value) {
        let event = eventually("the Event goes on", || {
            let event = self.event();
            (event["lastTimestamp"] != before["lastTimestamp"]).then_some(event)
        });
        assert_eq!(
            (&event["count"], &event["metadata"]["uid"]),
            (&1.into(), &before["metadata"]["uid"])
        );
    }

    /// Waits until the leader has renewed its Lease this many times.
    fn renewed(&self, times: usize) {
        for _ in 0..times {
            let before = self.lease()["renewTime"].clone();
            eventually("the Lease is renewed", || {
                (self.lease()["renewTime"] != before).then_some(())
            });
        }
    }
}

#[test]
fn another_replica_takes_over_after_a_stop_and_after_a_crash() {
    let Some(nodes) = Nodes::start() else { return };
    let ingress = backend::ingress("web", "web.example.com", "");
    nodes
        .real
        .apply(&ingress.replace("spec:\n", "spec:\n  ingressClassName: gatelet\n"));
    let mut one = nodes.prepare("node1", "192.0.2.1");
    nodes.spawn(&mut one);
    nodes.led_by("node1");
    nodes.has_addresses(&["192.0.2.1"]);
    eventually("the missing Service has an Event", || {
        (nodes.event()["count"] == 1).then_some(())
    });

    // The second replica adds its address and writes nothing else; a correct status is not written
    // again.
    let mut two = nodes.prepare("node2", "192.0.2.2");
    nodes.spawn(&mut two);
    nodes.has_addresses(&["192.0.2.1", "192.0.2.2"]);
    let (ingress, event) = (nodes.json(&["get", "ingress", "web"]), nodes.event());
    assert_eq!(
        (&event["count"], &event["source"]["host"]),
        (&1.into(), &"node1".into())
    );
    nodes.renewed(3);
    assert_eq!(nodes.json(&["get", "ingress", "web"]), ingress);
    assert_eq!(nodes.event(), event);
    assert_eq!(nodes.lease()["leaseTransitions"], 0);
    logs(&two, "UnknownService");
    assert!(!two.log().contains("this gatelet leads"));
    let holder = nodes.holder();
    nodes.says(&one, &format!("{holder} (this replica)"));
    nodes.says(&two, &holder);

    // After a stop the Lease is free as soon as the process has ended, and its address is gone.
    one.signal("TERM");
    assert!(one.wait().success());
    assert!(!nodes.holder().starts_with("node1_"));
    nodes.led_by("node2");
    nodes.says(&two, &format!("{} (this replica)", nodes.holder()));
    nodes.has_addresses(&["192.0.2.2"]);
    // The next leader reports again the findings that still hold: it is the same Event, and the
    // count stays.
    nodes.goes_on(&event);
    let event = nodes.event();
    assert_eq!(nodes.lease()["leaseTransitions"], 1);

    // After a crash the Lease has to expire first.
    nodes.spawn(&mut one);
    nodes.has_addresses(&["192.0.2.1", "192.0.2.2"]);
    assert!(nodes.holder().starts_with("node2_"));
    two.kill();
    nodes.led_by("node1");
    nodes.goes_on(&event);
    assert_eq!(nodes.lease()["leaseTransitions"], 2);

    // A leader that was frozen until another took over notices this and stops writing.
    nodes.spawn(&mut two);
    logs(&two, "UnknownService");
    one.signal("STOP");
    nodes.led_by("node2");
    one.signal("CONT");
    logs(&one, "this gatelet no longer leads");
    assert!(nodes.holder().starts_with("node2_"));
}

#[test]
fn accounts_that_replicas_write_at_once_are_all_kept() {
    let cluster = Gatelet::start();
    tls::install();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let kubeconfig = cluster.kubeconfig();
        let client = || k8s::connect(Some(&kubeconfig));
        let replica = k8s::AccountSecret::new(client().await.expect("a client"), "default");
        assert!(
            replica
                .load()
                .await
                .expect("it can be read")
                .accounts
                .is_empty()
        );
        let mut writing = tokio::task::JoinSet::new();
        for id in 0..4 {
            let replica = k8s::AccountSecret::new(client().await.expect("a client"), "default");
            writing.spawn(async move { replica.put(&format!("{id:016x}"), &[id; 100]).await });
        }
        while let Some(done) = writing.join_next().await {
            done.expect("no panic").expect("it is written");
        }
        replica
            .put(&format!("{:016x}", 0), b"another key")
            .await
            .expect("it is written");
        // A late reader gets the current content; a watcher sees each change.
        let there = replica
            .offer(&format!("{:016x}", 0), b"late")
            .await
            .expect("it is answered");
        assert_eq!(there, b"another key");
        let read = replica.load().await.expect("it can be read");
        let other = format!("{:016x}", 1);
        let (seen, put) = tokio::join!(replica.changed(&read), replica.put(&other, &[9; 100]));
        seen.expect("it is watched");
        put.expect("it is written");
        let found = replica.load().await.expect("it can be read").accounts;
        let sizes: Vec<usize> = found.values().map(Vec::len).collect();
        assert_eq!(sizes, [11, 100, 100, 100]);
        assert_eq!(
            cluster.kubectl(&["get", "secret", "gatelet-acme", "-o", "jsonpath={.type}"]),
            "Opaque"
        );
    });
}
