//! `gatelet backup` and `gatelet restore` with whole processes.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use super::support::{Gatelet, backend::Backend, control_plane::ControlPlane, eventually, run};

/// Returns the outcome of a command with its arguments, as text.
fn outcome(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn backup(gatelet: &Gatelet, name: &str) -> PathBuf {
    let file = gatelet.folder.path().join(name);
    let made = gatelet.command(&["backup", file.to_str().unwrap()]);
    assert_eq!(outcome(&made).0, Some(0), "{made:?}");
    file
}

/// Prepares a gatelet with other ports and an empty state directory, and restores a backup into it.
fn restored(file: &Path) -> Gatelet {
    let mut gatelet = Gatelet::prepare(&["--node", "other"]);
    let done = gatelet.command(&["restore", file.to_str().unwrap()]);
    assert_eq!(outcome(&done).0, Some(0), "{done:?}");
    gatelet.spawn();
    gatelet.wait_ready();
    gatelet
}

/// Returns all objects of some kinds as kubectl shows them.
fn objects(gatelet: &Gatelet) -> String {
    let kinds = "ns,ing,svc,endpointslices,cm,secrets,ingressclasses,clusterroles,serviceaccounts";
    gatelet.kubectl(&["get", kinds, "-A", "-o", "yaml", "--show-managed-fields"])
}

#[test]
fn a_running_gatelet_is_restored_on_another_device() {
    let backend = Backend::start("web");
    let mut gatelet = Gatelet::start();
    gatelet.serve(
        &backend.manifests("web", "web.example.com"),
        "web.example.com",
    );
    gatelet.kubectl(&["create", "secret", "generic", "s", "--from-literal=a=b"]);
    gatelet.kubectl(&["create", "namespace", "shop"]);

    eventually("what every namespace has", || {
        let made = gatelet.kubectl(&["get", "sa,cm", "-n", "shop", "-o", "name"]);
        (made.lines().count() == 2).then_some(())
    });

    let running = backup(&gatelet, "running");
    let mode = std::fs::metadata(&running).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = outcome(&gatelet.command(&["backup", running.to_str().unwrap()]));
    assert_eq!(again.0, Some(1));
    assert!(again.1.contains("never replaces a file"), "{}", again.1);
    let onto = outcome(&gatelet.command(&["restore", running.to_str().unwrap()]));
    assert_eq!(onto.0, Some(1));
    assert!(onto.1.contains("has a state"), "{}", onto.1);

    let before = objects(&gatelet);
    let root = std::fs::read_to_string(gatelet.state().join("ca.pem")).unwrap();
    gatelet.signal("TERM");
    gatelet.wait();
    let stopped = backup(&gatelet, "stopped");

    for file in [running, stopped] {
        let other = restored(&file);
        assert_eq!(objects(&other), before);
        let same = std::fs::read_to_string(other.state().join("ca.pem")).unwrap();
        assert_eq!(same, root, "the local CA");

        // A kubeconfig of the first device is good on the second.
        let mut kubectl = other.kubectl_command(&["get", "ns", "shop", "-o", "name"]);
        kubectl.arg("--kubeconfig").arg(gatelet.kubeconfig());
        kubectl
            .arg("--server")
            .arg(format!("https://127.0.0.1:{}", other.api));
        assert_eq!(run(&mut kubectl).trim(), "namespace/shop");
    }
}

#[test]
fn a_backup_passes_through_the_tool_age() {
    let gatelet = Gatelet::start();
    gatelet.kubectl(&["create", "secret", "generic", "s", "--from-literal=a=b"]);
    let path = |name: &str| gatelet.folder.path().join(name);
    let (key, file) = (path("key.txt"), path("gatelet.backup.age"));
    run(Command::new("age-keygen").arg("-o").arg(&key));
    let recipient = run(Command::new("age-keygen").arg("-y").arg(&key));

    let mut made = gatelet.command_line(&["backup", "-"]);
    let mut made = made.stdout(Stdio::piped()).spawn().unwrap();
    let mut age = Command::new("age");
    age.args(["-r", recipient.trim(), "-o"]).arg(&file);
    run(age.stdin(made.stdout.take().unwrap()));
    assert!(made.wait().unwrap().success());
    let encrypted = std::fs::read(&file).unwrap();
    assert!(encrypted.starts_with(b"age-encryption.org/v1\n"));

    // Through the pipe into another state directory.
    let restore = |gatelet: &Gatelet, file: &Path| {
        let mut age = Command::new("age");
        age.args(["-d", "-i"]).arg(&key).arg(file);
        let mut age = age.stdout(Stdio::piped()).spawn().unwrap();
        let mut command = gatelet.command_line(&["restore", "-"]);
        let done = command.stdin(age.stdout.take().unwrap()).output().unwrap();
        age.wait().unwrap();
        outcome(&done)
    };
    let mut other = Gatelet::prepare(&["--node", "other"]);
    let torn = path("torn.age");
    std::fs::write(&torn, &encrypted[..encrypted.len() - 1]).unwrap();
    assert_eq!(restore(&other, &torn).0, Some(1));
    assert!(!other.state().exists());

    assert_eq!(restore(&other, &file).0, Some(0));
    other.spawn();
    other.wait_ready();
    assert_eq!(objects(&other), objects(&gatelet));
}

#[cfg(not(feature = "age"))]
#[test]
fn options_of_age_name_the_feature_and_the_pipe() {
    let gatelet = Gatelet::prepare(&[]);
    let file = gatelet.folder.path().join("file");
    let name = file.to_str().unwrap();
    for option in [
        "--recipient=age1",
        "--recipients-file=list",
        "--passphrase-file=secret",
    ] {
        let (code, text) = outcome(&gatelet.command(&["backup", name, option]));
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("feature `age`"), "{text}");
        assert!(text.contains("gatelet backup - | age -r"), "{text}");
        assert!(!file.exists());
    }

    std::fs::write(&file, "age-encryption.org/v1\n-> X25519 x\n").unwrap();
    for option in [
        "--identity=key.txt",
        "--passphrase-file=secret",
        "--objects",
    ] {
        let (code, text) = outcome(&gatelet.command(&["restore", name, option]));
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains("feature `age`"), "{text}");
        assert!(text.contains("| gatelet restore -"), "{text}");
    }

    let both = [
        "backup",
        "-",
        "--recipient=age1",
        "--passphrase-file=secret",
    ];
    assert_eq!(outcome(&gatelet.command(&both)).0, Some(2));
    let both = ["restore", "-", "--identity=key", "--passphrase-file=secret"];
    assert_eq!(outcome(&gatelet.command(&both)).0, Some(2));
}

#[test]
fn a_backup_between_writes_is_of_one_moment() {
    let gatelet = Gatelet::start();
    gatelet.apply(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {number: '0'}\n---\n\
         apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {number: '0'}\n",
    );

    // One writer raises `a` before `b`, so `b` is never ahead, and behind by one at the most.
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 1..=15 {
                for name in ["a", "b"] {
                    let patch = format!("{{\"data\":{{\"number\":\"{number}\"}}}}");
                    gatelet.kubectl(&["patch", "cm", name, "--type=merge", "-p", &patch]);
                }
            }
        });
        let mut number = 0;
        while !writer.is_finished() {
            let file = backup(&gatelet, &format!("backup-{number}"));
            let text = std::fs::read_to_string(file).unwrap();
            let value = |name: &str| {
                let key = format!("\"key\":\"cluster/object/configmaps/default/{name}\"");
                let line = text.lines().find(|line| line.contains(&key)).unwrap();
                let rest = line
                    .split("\\\"data\\\":{\\\"number\\\":\\\"")
                    .nth(1)
                    .unwrap();
                rest.split('\\').next().unwrap().parse::<u32>().unwrap()
            };
            let (a, b) = (value("a"), value("b"));
            assert!(a == b || a == b + 1, "{a} {b}");
            number += 1;
        }
        writer.join().unwrap();
    });
}

#[test]
fn an_interrupted_restore_prevents_a_start() {
    let mut gatelet = Gatelet::prepare(&[]);
    std::fs::create_dir_all(gatelet.state()).unwrap();
    std::fs::write(gatelet.state().join("restore.incomplete"), "").unwrap();
    gatelet.spawn();
    assert_eq!(gatelet.wait().code(), Some(1));
    assert!(
        gatelet.log().contains("a restore was interrupted"),
        "{}",
        gatelet.log()
    );
}

#[test]
fn the_objects_of_a_backup_apply_to_a_real_cluster() {
    let Some(cluster) = ControlPlane::start() else {
        return;
    };
    let backend = Backend::start("web");
    let gatelet = Gatelet::start();
    gatelet.serve(
        &backend.manifests("web", "web.example.com"),
        "web.example.com",
    );
    for example in [
        "access",
        "annotations",
        "endpoints",
        "external-name",
        "this-device",
        "paths",
    ] {
        let path = format!(
            "{}/configs/examples/{example}.yaml",
            env!("CARGO_MANIFEST_DIR")
        );
        gatelet.kubectl(&["apply", "-f", &path]);
    }

    let file = backup(&gatelet, "backup");
    let list = gatelet.command(&["restore", "--objects", file.to_str().unwrap()]);
    let list = String::from_utf8(list.stdout).unwrap();
    cluster.apply(&list);
    let of_cluster = |kinds: &str| cluster.kubectl(&["get", kinds, "-A", "-o", "name"]);
    for kinds in ["ing", "secrets", "ingressclasses"] {
        let of_gatelet = gatelet.kubectl(&["get", kinds, "-A", "-o", "name"]);
        assert_eq!(of_cluster(kinds), of_gatelet, "{kinds}");
    }
    let again = cluster.apply(&list);
    assert!(!again.contains("created"), "{again}");
}
