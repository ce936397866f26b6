//! A server that is killed while clients write and watch.

use std::{collections::BTreeSet, process::Stdio};

use super::support::{Gatelet, backend::ingress, eventually};

const ROUNDS: usize = 10;
const OBJECTS: usize = 25;

fn name(round: usize, number: usize) -> String {
    format!("r{round}-{number}")
}

/// Returns the hosts that a gatelet serves.
fn hosts(gatelet: &Gatelet) -> BTreeSet<String> {
    let status = gatelet.status();
    let hosts = status["hosts"].as_array().unwrap().iter();
    hosts
        .map(|host| host["host"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_watcher_misses_nothing_over_ten_kills_of_the_server() {
    let mut server = Gatelet::start();
    let kubeconfig = server.kubeconfig();
    let kubeconfig = kubeconfig.to_str().unwrap();
    let follower = Gatelet::with(&["--kubeconfig", kubeconfig, "--api", "off"]);

    let mut expected = BTreeSet::new();
    for round in 0..ROUNDS {
        let host = |number| format!("{}.example.com", name(round, number));
        let manifests: String = (0..OBJECTS)
            .map(|number| ingress(&name(round, number), &host(number), ""))
            .collect();
        let file = server.folder.write(&format!("{round}.yaml"), &manifests);
        let apply = ["apply", "-f", file.to_str().unwrap()];

        // It is killed while a client writes.
        let mut writing = server.kubectl_command(&apply);
        let writing = writing.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut writing = writing.unwrap();
        eventually("some are written", || {
            hosts(&server).contains(&host(3)).then_some(())
        });
        let written = hosts(&server);
        server.kill();
        writing.wait().unwrap();
        server.spawn();
        server.wait_ready();
        let kept = hosts(&server);
        assert!(written.is_subset(&kept), "{:?}", &written - &kept);

        server.kubectl(&apply);
        server.kubectl(&["delete", "ingress", &name(round, 0)]);
        expected.extend((1..OBJECTS).map(host));
    }

    for gatelet in [&server, &follower] {
        eventually("the same state", || {
            (hosts(gatelet) == expected).then_some(())
        });
    }
}
