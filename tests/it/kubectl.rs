//! kubectl, newest and oldest, against the mini cluster. The expected output was recorded from a
//! real control plane (`kubectl/*.golden`), and is compared with a real control plane again if
//! there is one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::support::{Folder, Gatelet, control_plane::ControlPlane, peers, said};

#[test]
fn the_newest_kubectl_applies_and_creates() {
    plays(&peers::kubectl(), &["apply"]);
}

#[test]
fn the_newest_kubectl_reads_objects() {
    plays(&peers::kubectl(), &["read", "describe", "empty"]);
}

#[test]
fn the_newest_kubectl_works_with_endpoints() {
    plays(&peers::kubectl(), &["endpoints"]);
}

#[test]
fn the_newest_kubectl_changes_objects() {
    plays(&peers::kubectl(), &["change"]);
}

#[test]
fn the_newest_kubectl_applies_on_the_server() {
    plays(&peers::kubectl(), &["manage"]);
}

#[test]
fn the_newest_kubectl_deletes_owners_and_dependents() {
    plays(&peers::kubectl(), &["owners"]);
}

#[test]
fn the_newest_kubectl_receives_errors() {
    plays(&peers::kubectl(), &["refuse"]);
}

#[test]
fn the_newest_kubectl_sees_roles_and_refusals() {
    plays(&peers::kubectl(), &["access", "rights"]);
}

#[test]
fn the_oldest_kubectl_works_the_same() {
    let Some(kubectl) = peers::oldest_kubectl() else {
        return;
    };
    plays(&kubectl, &["apply", "read", "change"]);
}

/// The version of the real server is pinned, so by default one part is enough.
/// `GATELET_RECORDED=check` compares all parts, and `GATELET_RECORDED=write` records their output.
#[test]
fn a_real_server_gives_the_same_output() {
    let Some(real) = ControlPlane::start() else {
        return;
    };
    real.apply(
        "{apiVersion: networking.k8s.io/v1, kind: IngressClass, metadata: {name: gatelet}, \
         spec: {controller: gatelet.dev/ingress-controller}}",
    );

    let mode = std::env::var("GATELET_RECORDED").unwrap_or_default();
    let parts = if mode.is_empty() {
        &["change"][..]
    } else {
        &[
            "access",
            "rights",
            "apply",
            "change",
            "empty",
            "endpoints",
            "manage",
            "owners",
            "read",
            "refuse",
            "describe",
        ]
    };

    let folder = Folder::new();
    std::thread::scope(|scope| {
        for &part in parts {
            let play = real.beside(&play(&peers::kubectl(), part, &folder, &real.kubeconfig()));
            let write = mode == "write";
            scope.spawn(move || {
                let output = output(play);
                if write {
                    fs::write(recorded(part), &output).expect("it can be written");
                }
                assert_same(part, &output);
            });
        }
    });
}

fn plays(kubectl: &Command, parts: &[&str]) {
    let (gatelet, folder) = (Gatelet::start(), Folder::new());
    for part in parts {
        assert_same(
            part,
            &output(play(kubectl, part, &folder, &gatelet.kubeconfig())),
        );
    }
}

/// Returns the command that runs the steps of a part with this kubectl.
fn play(kubectl: &Command, part: &str, folder: &Folder, kubeconfig: &Path) -> Command {
    let programs = folder.path().join("bin");
    fs::create_dir_all(&programs).expect("a folder");
    let _there_already =
        std::os::unix::fs::symlink(kubectl.get_program(), programs.join("kubectl"));
    let path = format!(
        "{}:{}",
        programs.display(),
        std::env::var("PATH").unwrap_or_default()
    );

    let mut command = Command::new(here().join("play"));
    command
        .arg(here().join(format!("{part}.steps")))
        .arg(folder.path().join(part));
    command.env("PATH", path).env("KUBECONFIG", kubeconfig);
    command
}

fn output(mut command: Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .expect("it can be started");
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    said(&output)
}

/// Compares the output of a part with the recorded one, and shows the first step that differs.
fn assert_same(part: &str, output: &str) {
    let recorded = fs::read_to_string(recorded(part)).expect("the recording");
    if output == recorded {
        return;
    }

    let (found, expected) = (steps(output), steps(&recorded));
    let different = found
        .iter()
        .zip(&expected)
        .find(|(found, expected)| found != expected);
    match different {
        Some((found, expected)) => panic!("{part}: found\n{found}\nexpected\n{expected}"),
        None => panic!(
            "{part}: found {} steps, expected {}",
            found.len(),
            expected.len()
        ),
    }
}

/// Returns each step with its output.
fn steps(text: &str) -> Vec<&str> {
    let starts: Vec<usize> = text
        .match_indices("$ ")
        .map(|(at, _)| at)
        .filter(|at| begins_line(text, *at))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| &text[*start..end])
        .collect()
}

fn begins_line(text: &str, at: usize) -> bool {
    at == 0 || text.as_bytes()[at - 1] == b'\n'
}

fn recorded(part: &str) -> PathBuf {
    here().join(format!("{part}.golden"))
}

fn here() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/kubectl")
}
