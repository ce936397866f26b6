//! A cluster without an IngressClass of ours: the log reports it, with a command that creates one.

use std::process::{Command, Stdio};

use super::{
    super::support::{Gatelet, control_plane::ControlPlane, eventually, peers, run, said},
    following, logs,
};

const REPORT: &str =
    "no IngressClass is ours, so no Ingress that names a class is served; the command creates one";

/// Returns the response to `/readyz`, with its code in the last line.
fn readyz(gatelet: &Gatelet) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-m", "5", "-w", "%{http_code}"])
        .arg(format!("http://127.0.0.1:{}/readyz", gatelet.admin));
    curl
}

/// Returns the command in a note.
fn command(note: &str) -> &str {
    let (_what, command) = note.split_once("create one: ").expect("it has a command");
    command.trim()
}

/// Runs a line in a shell, with this kubeconfig and the newest kubectl.
fn shell(line: &str, kubeconfig: &std::path::Path) -> Command {
    let kubectl = peers::kubectl();
    let folder = std::path::Path::new(kubectl.get_program())
        .parent()
        .expect("a folder")
        .to_owned();
    let path = format!(
        "{}:{}",
        folder.display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let mut shell = Command::new("sh");
    shell
        .args(["-c", line])
        .env("PATH", path)
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null());
    shell
}

#[test]
fn without_a_class_of_ours_a_note_has_the_command() {
    let cluster = Gatelet::start();
    cluster.kubectl(&["delete", "ingressclass", "gatelet"]);
    let mut gatelet = following(&cluster.kubeconfig());
    gatelet.spawn();
    gatelet.wait_ready();

    // It serves nothing, which is allowed: `/readyz` returns 200 and says so.
    logs(&gatelet, REPORT);
    let ready = run(&mut readyz(&gatelet));
    assert!(
        ready.starts_with(
            "ok\nno IngressClass has the controller gatelet.dev/ingress-controller, so "
        ),
        "{ready}"
    );
    assert!(ready.ends_with("\n200"), "{ready}");
    let note = gatelet.status()["note"]
        .as_str()
        .expect("a text")
        .to_owned();
    assert!(ready.contains(&note), "{ready}");
    let status = said(&gatelet.command(&["status"]));
    assert!(
        status
            .lines()
            .any(|line| line.starts_with("note ") && line.ends_with(&note)),
        "{status}"
    );

    run(shell(command(&note), &cluster.kubeconfig()).env("HOME", cluster.folder.path()));
    logs(&gatelet, "an IngressClass is ours now");
    assert_eq!(gatelet.status()["note"], "");
    assert_eq!(run(&mut readyz(&gatelet)), "ok\n200");
    assert_eq!(
        gatelet.log().matches(REPORT).count(),
        1,
        "it is logged once"
    );
}

#[test]
fn settings_that_serve_classless_ingresses_need_no_class() {
    let cluster = Gatelet::start();
    cluster.kubectl(&["delete", "ingressclass", "gatelet"]);
    for setting in ["classless = true\n", "classes = [\"nginx\"]\n"] {
        let mut gatelet = following(&cluster.kubeconfig());
        gatelet.configure(setting);
        gatelet.spawn();
        gatelet.wait_ready();
        assert_eq!(run(&mut readyz(&gatelet)), "ok\n200", "{setting}");
        assert!(!gatelet.log().contains(REPORT), "{setting}");
    }
}

#[test]
fn the_command_makes_a_class_in_a_real_cluster() {
    let Some(real) = ControlPlane::start() else {
        return;
    };
    let mut gatelet = Gatelet::prepare(&[
        "--kubeconfig",
        real.kubeconfig().to_str().expect("a plain path"),
    ]);
    gatelet.spawn_command(real.beside(&gatelet.run_command()));
    logs(&gatelet, REPORT);
    let ready = eventually("it is ready", || {
        let ready = run(&mut real.beside(&readyz(&gatelet)));
        ready.ends_with("200").then_some(ready)
    });
    let note = ready.lines().nth(1).expect("a note");
    run(&mut real.beside(&shell(command(note), &real.kubeconfig())));
    logs(&gatelet, "an IngressClass is ours now");
    let controller = [
        "get",
        "ingressclass",
        "gatelet",
        "-o",
        "jsonpath={.spec.controller}",
    ];
    assert_eq!(real.kubectl(&controller), "gatelet.dev/ingress-controller");
}
