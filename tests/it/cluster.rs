//! A real cluster instead of the mini cluster: followed through edits, restarts, lost rights and
//! broken objects. The API servers are another gatelet, a real control plane, and a server that
//! sends what neither would send.

mod classes;
mod middlewares;
mod real;
mod replicas;
mod shared_account;
mod strange;

use std::{fs, path::Path, process::Command, thread, time::Duration};

use gatelet::objects::Kind;

use super::support::{Backend, Gatelet, backend, eventually, run};

/// Returns an ExternalName Service, which needs no endpoints, and an Ingress for a host.
fn external(name: &str, host: &str, port: u16) -> String {
    let service = format!(
        "apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{type: ExternalName, externalName: localhost}}
---
"
    );
    service + &backend::ingress(name, host, "").replace("number: 80", &format!("number: {port}"))
}

/// Prepares a gatelet for the cluster of a kubeconfig. It accepts names that resolve to this
/// device.
fn following(kubeconfig: &Path) -> Gatelet {
    let mut gatelet =
        Gatelet::prepare(&["--kubeconfig", kubeconfig.to_str().expect("a plain path")]);
    gatelet.configure("[proxy]\nlocal_names = true\n");
    gatelet
}

/// Waits for a line in its log.
fn logs(gatelet: &Gatelet, line: &str) {
    eventually(line, || gatelet.log().contains(line).then_some(()));
}

#[test]
fn a_source_is_followed_across_its_restart_without_history() {
    let (mut cluster, backend) = (Gatelet::start(), Backend::start("other"));
    cluster.apply(&external("one", "one.example.com", backend.port));
    let copy = cluster.folder.path().join("copy");
    fs::copy(cluster.kubeconfig(), &copy).expect("a file");
    let mut gatelet = following(&copy);
    gatelet.spawn();
    gatelet.wait_ready();
    assert!(gatelet.get("one.example.com", "/").starts_with("other\n"));
    assert_eq!(
        gatelet.status()["source"],
        format!("the cluster of {}", copy.display())
    );

    // Each change takes effect when it is made.
    cluster.apply(&external("two", "two.example.com", backend.port));
    eventually("a new one", || {
        (gatelet.status_of("two.example.com", "/") == 200).then_some(())
    });
    cluster.kubectl(&["patch", "ingress", "two", "--type=json", "-p", CHANGE_HOST]);
    eventually("a changed one", || {
        (gatelet.status_of("new.example.com", "/") == 200).then_some(())
    });
    assert_eq!(gatelet.status_of("two.example.com", "/"), 404);
    cluster.kubectl(&["delete", "ingress", "two"]);
    eventually("a deleted one", || {
        (gatelet.status_of("new.example.com", "/") == 404).then_some(())
    });

    // While the server is away, gatelet serves the last known state, and the log says so once for
    // each kind.
    cluster.kill();
    logs(
        &gatelet,
        "the cluster does not respond; continuing to serve the last known state",
    );
    assert_eq!(gatelet.status_of("one.example.com", "/"), 200);
    eventually("each kind is named in the status", || {
        (gatelet.status()["unread"].as_array().expect("a list").len() == Kind::WATCHED.len())
            .then_some(())
    });
    let table = String::from_utf8_lossy(&gatelet.command(&["status"]).stdout).into_owned();
    assert!(
        table.contains("Not read from the cluster") && table.contains("Connection refused"),
        "{table}"
    );
    let counted = || {
        let mut curl = Command::new("curl");
        let metrics = run(curl.args([
            "-sf",
            &format!("http://127.0.0.1:{}/metrics", gatelet.admin),
        ]));
        let unread = |value| format!("gatelet_kind_unread{{kind=\"Secret\"}} {value}\n");
        (metrics.contains(&unread(0)), metrics.contains(&unread(1)))
    };
    assert_eq!(counted(), (false, true));
    cluster.spawn();
    cluster.wait_ready();
    logs(&gatelet, "the cluster responds again");
    eventually("no problem is reported any more", || {
        gatelet.status()["unread"]
            .as_array()
            .expect("a list")
            .is_empty()
            .then_some(())
    });
    assert_eq!(counted(), (true, false));

    // Changes that were made while the source was away, on a server that no longer has their
    // history.
    gatelet.signal("STOP");
    cluster.kubectl(&["delete", "ingress", "one"]);
    cluster.apply(&external("three", "three.example.com", backend.port));
    cluster.kill();
    cluster.spawn();
    cluster.wait_ready();
    gatelet.signal("CONT");
    eventually("what was made meanwhile", || {
        (gatelet.status_of("three.example.com", "/") == 200).then_some(())
    });
    eventually("what was deleted meanwhile", || {
        (gatelet.status_of("one.example.com", "/") == 404).then_some(())
    });
    let wait = [
        "wait",
        "ingress/three",
        "--for=jsonpath={.status.loadBalancer.ingress[0].ip}",
        "--timeout=20s",
    ];
    cluster.kubectl(&wait);
}

const CHANGE_HOST: &str =
    r#"[{"op": "replace", "path": "/spec/rules/0/host", "value": "new.example.com"}]"#;

#[test]
fn gatelet_waits_for_a_cluster_that_is_away_at_the_start() {
    let mut cluster = Gatelet::start();
    let backend = Backend::start("late");
    cluster.apply(&external("late", "late.example.com", backend.port));
    let copy = cluster.folder.path().join("copy");
    fs::copy(cluster.kubeconfig(), &copy).expect("a file");
    cluster.kill();
    let mut gatelet = following(&copy);
    gatelet.spawn();
    logs(&gatelet, "the cluster does not respond");
    let ready = || gatelet.admin_page("/readyz").0;
    assert_eq!(ready(), 503);
    cluster.spawn();
    eventually("it is ready", || (ready() == 200).then_some(()));
    assert!(gatelet.get("late.example.com", "/").starts_with("late\n"));
}

#[test]
fn renewed_credentials_are_used_without_a_restart() {
    let (cluster, backend) = (Gatelet::start(), Backend::start("renewed"));
    cluster.apply(&external("one", "one.example.com", backend.port));
    let good = fs::read_to_string(cluster.kubeconfig()).expect("a file");
    let copy = cluster.folder.path().join("copy");
    let outdated = good
        .lines()
        .filter(|line| !line.contains("client-"))
        .map(|line| match line.split_once("token: ") {
            Some((indent, _token)) => format!("{indent}token: outdated\n"),
            None => format!("{line}\n"),
        });
    fs::write(&copy, outdated.collect::<String>()).expect("a file");
    let mut gatelet = following(&copy);
    gatelet.spawn();
    logs(
        &gatelet,
        "the cluster does not accept the credentials: renew them, they are read again",
    );
    fs::write(&copy, &good[..good.len() / 2]).expect("a file");
    logs(&gatelet, "the credentials cannot be read again");
    fs::write(&copy, &good).expect("a file");
    gatelet.wait_ready();
    assert!(gatelet.get("one.example.com", "/").starts_with("renewed\n"));
    assert_eq!(
        gatelet
            .log()
            .matches("the credentials were read again and are accepted")
            .count(),
        1
    );
}

#[test]
fn config_maps_are_followed_when_annotations_name_them() {
    let (mut cluster, backend) = (Gatelet::start(), Backend::start("other"));
    let map = |name: &str, value: &str| {
        let data = format!("data: {{X-Custom: {value}}}");
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n{data}\n---\n")
    };
    let plain = external("one", "one.example.com", backend.port);
    cluster.apply(&(map("first", "one") + &map("second", "two") + &plain));
    let mut gatelet = following(&cluster.kubeconfig());
    gatelet.spawn();
    gatelet.wait_ready();
    let restart = |gatelet: &mut Gatelet| {
        gatelet.kill();
        gatelet.spawn();
        gatelet.wait_ready();
    };
    let shows = |gatelet: &Gatelet, value: &str| {
        let text = run(gatelet.curl("one.example.com", "/").arg("-i"));
        text.to_ascii_lowercase()
            .contains(&format!("x-custom: {value}\r\n"))
    };

    // The follower lists again when another one is named, and sees its changes.
    let name = |map: &str| {
        let annotation = format!("nginx.ingress.kubernetes.io/custom-headers={map}");
        cluster.kubectl(&["annotate", "--overwrite", "ingress", "one", &annotation]);
    };
    name("first");
    eventually("the first", || shows(&gatelet, "one").then_some(()));
    cluster.apply(&map("first", "changed"));
    eventually("its change", || shows(&gatelet, "changed").then_some(()));
    name("second");
    eventually("the second", || shows(&gatelet, "two").then_some(()));

    // It is in the local copy, which is written every five seconds: after a restart it is there
    // from the first response on, with and without the API server.
    thread::sleep(Duration::from_secs(6));
    restart(&mut gatelet);
    assert!(shows(&gatelet, "two"));

    cluster.kill();
    restart(&mut gatelet);
    assert!(shows(&gatelet, "two"));
}
