//! `configs/k3s/kustomization.yaml`: the pod of an upgrade takes the place of the one before it.

use std::{fs, process::Command};

use super::{
    super::support::{Folder, control_plane::ControlPlane, eventually, peers, run},
    POD, json,
    pod::{Pod, backend_service, start_backend},
};

/// Four clients that ask all the time, each time over a new connection. Ends once a file is gone,
/// and says how many responses there were, and what failed.
const CLIENTS: &str = "
import collections, http.client, os, sys, threading
address, marker = sys.argv[1:]
seen = collections.Counter()
def ask():
    while os.path.exists(marker):
        try:
            connection = http.client.HTTPConnection(address, 80, timeout=20)
            connection.request('GET', '/', headers={'Host': 'app.example.com'})
            outcome = str(connection.getresponse().status)
            connection.close()
        except OSError as error:
            outcome = repr(error)
        seen[outcome] += 1
threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(dict(seen))
";

#[test]
fn the_pod_of_an_upgrade_loses_no_request() {
    let Some(real) = ControlPlane::start() else {
        return;
    };
    let folder = Folder::new();
    let _backend = start_backend(&real, &folder);
    let configs = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/k3s");
    real.kubectl(&["apply", "-k", configs]);
    let daemon_set = json(&real, &["-n", "gatelet", "get", "daemonset", "gatelet"]);
    let strategy = &daemon_set["spec"]["updateStrategy"]["rollingUpdate"];
    assert_eq!(
        (&strategy["maxSurge"], &strategy["maxUnavailable"]),
        (&1.into(), &0.into())
    );
    let template = &daemon_set["spec"]["template"]["spec"];
    assert_eq!(template["hostNetwork"], true);
    // Otherwise one pod of a node alone could be there.
    assert!(template["containers"][0]["ports"].is_null());

    let node = Folder::new();
    let mut before = Pod::on_node(&real, template, &node);
    let service = backend_service("app", "");
    real.apply(&format!(
        "{service}
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: app}}
spec:
  ingressClassName: gatelet
  defaultBackend: {{service: {{name: app, port: {{number: 80}}}}}}
"
    ));
    eventually("the Ingress is served", || {
        let mut curl = Command::new("curl");
        let curl = curl.args(["-sf", "-m", "20", &format!("http://{POD}/")]);
        let served = real.beside(curl).output().expect("curl");
        (served.stdout == b"the backend\n").then_some(())
    });

    let marker = folder.write("marker", "");
    let mut clients = peers::python();
    clients.args(["-c", CLIENTS, POD]).arg(&marker);
    let mut clients = real.beside(&clients);
    let clients = std::thread::spawn(move || run(&mut clients));

    let mut after = Pod::on_node(&real, template, &node);
    eventually("the pod of before has given its place", || {
        let waits = "waits for the end of its pod";
        before.log().contains(waits).then_some(())
    });
    // A container that ends is started again, also in a pod that is about to be deleted.
    assert!(before.is_running());
    before.terminate();
    eventually("it ends", || (!before.is_running()).then_some(()));

    fs::remove_file(marker).expect("removed");
    let seen = clients.join().expect("they end");
    assert!(
        seen.starts_with("{'200': ") && !seen.contains(','),
        "{seen}"
    );
    assert!(after.is_running());
}
