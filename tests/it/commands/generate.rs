//! Man pages and completions.

use std::{fs, process::Command};

use super::{bad, good};
use crate::support::{Folder, gatelet::program};

fn run(arguments: &[&str]) -> std::process::Output {
    program().args(arguments).output().expect("gatelet runs")
}

#[test]
fn each_command_has_a_man_page() {
    let folder = Folder::new();
    let pages = folder.path().join("share/man1");
    let pages_argument = pages.to_str().expect("a plain path");
    good(run(&["man", pages_argument]));
    let page = |name: &str| fs::read_to_string(pages.join(name)).expect("a page");
    for (name, words) in [
        ("gatelet.1", "Exit codes: 0 success"),
        ("gatelet-run.1", "\\-\\-state"),
        ("gatelet-certs-renew.1", "Renew a certificate now"),
        ("gatelet-man.1", "Write the man pages"),
    ] {
        let page = page(name);
        assert!(
            page.contains(".TH gatelet") && page.contains(words),
            "{page}"
        );
    }

    let file = folder.write("file", "");
    let refused = run(&["man", &format!("{}/below", file.display())]);
    assert!(bad(&refused, 1).contains("Not a directory"));
}

#[test]
fn shells_complete_commands_and_flags() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = good(run(&["completions", shell]));
        for word in ["new-account", "kubeconfig", "state"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert!(bad(&run(&["completions", "tcsh"]), 2).contains("possible values"));

    // bash itself completes `gatelet cer`.
    let script = folder.write("script", &good(run(&["completions", "bash"])));
    let asked = "source \"$0\"; COMP_WORDS=(gatelet cer); COMP_CWORD=1; \
                 _gatelet gatelet cer gatelet; echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    let completed = bash.args(["-c", asked]).arg(script).output();
    assert_eq!(good(completed.expect("bash")), "certs\n");
}
