//! Field managers in the mini cluster, compared with a real server over random writes: applies with
//! and without force, patches, replacements, and writes of the status.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::support::{Folder, Gatelet, control_plane::ControlPlane, peers, run};

/// The random writes that are compared: seeds, and the number of writes of each.
const SEEDS: u64 = 8;
const WRITES: &str = "60";

/// Returns the command that makes the writes of a seed on a server and prints the results.
fn writes(kubeconfig: &Path, seed: u64) -> Command {
    let mut command = peers::script("managers.py");
    command.arg(kubeconfig).arg(seed.to_string()).arg(WRITES);
    command
}

/// Writes the kubeconfig as JSON, with the certificates in it.
fn flat(folder: &Folder, name: &str, kubectl: &mut Command) -> PathBuf {
    let flags = ["config", "view", "--raw", "--flatten", "-o", "json"];
    folder.write(name, &run(kubectl.args(flags)))
}

#[test]
fn random_writes_have_the_managers_of_a_real_server() {
    let Some(real) = ControlPlane::start() else {
        return;
    };
    let (gatelet, folder) = (Gatelet::start(), Folder::new());
    let mine = flat(&folder, "mine", &mut gatelet.kubectl_command(&[]));
    let reals = flat(&folder, "real", &mut real.kubectl_command(&[]));

    for seed in 0..SEEDS {
        let found = run(&mut writes(&mine, seed));
        let expected = run(&mut real.beside(&writes(&reals, seed)));
        let different = found
            .lines()
            .zip(expected.lines())
            .position(|(a, b)| a != b);
        if let Some(line) = different {
            let (begin, end) = (line.saturating_sub(3), line + 1);
            let part = |text: &str| {
                let lines: Vec<&str> = text.lines().collect();
                lines[begin..end].join("\n")
            };
            let (found, expected) = (part(&found), part(&expected));
            panic!("seed {seed}: found\n{found}\nexpected\n{expected}");
        }
        assert_eq!(found.lines().count(), expected.lines().count());
    }
}
