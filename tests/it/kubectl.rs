//! kubectl, newest and oldest, against the mini cluster. What it must say was recorded from a real
//! control plane (`kubectl/*.golden`), and is compared with a real control plane again where there is
//! one.

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
fn the_newest_kubectl_reads() {
    plays(&peers::kubectl(), &["read", "describe"]);
}

#[test]
fn the_newest_kubectl_works_with_endpoints() {
    plays(&peers::kubectl(), &["endpoints"]);
}

#[test]
fn the_newest_kubectl_changes() {
    plays(&peers::kubectl(), &["change"]);
}

#[test]
fn the_newest_kubectl_is_refused_what_is_wrong() {
    plays(&peers::kubectl(), &["refuse"]);
}

#[test]
fn the_oldest_kubectl_does_the_same() {
    let Some(kubectl) = peers::oldest_kubectl() else {
        return;
    };
    plays(&kubectl, &["apply", "read", "change"]);
}

/// Its version is pinned, so part of it is enough each time. `GATELET_RECORDED=check` compares
/// everything, and `GATELET_RECORDED=write` writes down what it says instead.
#[test]
fn the_real_server_says_the_same() {
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
        &["apply", "change", "endpoints", "read", "refuse", "describe"]
    };
    let folder = Folder::new();
    std::thread::scope(|scope| {
        for &part in parts {
            let play = real.beside(&play(&peers::kubectl(), part, &folder, &real.kubeconfig()));
            let write = mode == "write";
            scope.spawn(move || {
                let said = output(play);
                if write {
                    fs::write(recorded(part), &said).expect("it can be written");
                }
                same(part, &said);
            });
        }
    });
}

fn plays(kubectl: &Command, parts: &[&str]) {
    let (gatelet, folder) = (Gatelet::start(), Folder::new());
    for part in parts {
        same(
            part,
            &output(play(kubectl, part, &folder, &gatelet.kubeconfig())),
        );
    }
}

/// The command that plays a part with this kubectl.
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

fn same(part: &str, said: &str) {
    let expected = fs::read_to_string(recorded(part)).expect("the recording");
    if said == expected {
        return;
    }
    let (found, wanted): (Vec<&str>, Vec<&str>) = (steps(said), steps(&expected));
    let different = found
        .iter()
        .zip(&wanted)
        .find(|(found, wanted)| found != wanted);
    match different {
        Some((found, wanted)) => panic!("{part}: said\n{found}\nand not\n{wanted}"),
        None => panic!("{part}: {} steps and not {}", found.len(), wanted.len()),
    }
}

/// Each step with what was said.
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
