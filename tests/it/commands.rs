//! Every command of the binary against running gatelets, and their messages when something is
//! wrong.

mod check;
mod examples;
mod expose;
mod generate;
mod inspect;
mod reasons;
mod settings;
mod trouble;
mod users;

use std::process::Output;

use serde_json::Value;

use super::support::{
    Backend, Folder, Gatelet, can_mount, eventually, free_port, gatelet::program, said,
};

/// Returns the standard output of a command that must succeed.
fn good(output: Output) -> String {
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).expect("text")
}

/// Returns the standard error of a command that failed; checks its exit code.
fn bad(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", said(output));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: Output) -> Value {
    serde_json::from_str(&good(output)).expect("JSON")
}

fn yaml(output: Output) -> Value {
    serde_saphyr::from_str(&good(output)).expect("YAML")
}

/// Returns a row of a table, with single spaces between its cells.
fn row(line: &str) -> String {
    line.split_whitespace().collect::<Vec<&str>>().join(" ")
}

/// Returns the rows of the table below a title.
fn rows(text: &str, title: &str) -> Vec<String> {
    let from = text.lines().skip_while(|line| *line != title).skip(2);
    from.take_while(|line| !line.is_empty()).map(row).collect()
}

#[test]
fn version_and_help_list_every_command() {
    let version = good(program().arg("version").output().expect("gatelet runs"));
    assert_eq!(version, format!("gatelet {}\n", env!("CARGO_PKG_VERSION")));
    let help = good(program().arg("--help").output().expect("gatelet runs"));
    for command in [
        "run",
        "expose",
        "status",
        "explain",
        "check",
        "certs",
        "kubeconfig",
        "config",
        "man",
        "completions",
        "version",
    ] {
        assert!(
            help.lines()
                .any(|line| line.trim_start().starts_with(command)),
            "{command}: {help}"
        );
        let own = good(
            program()
                .args([command, "--help"])
                .output()
                .expect("gatelet runs"),
        );
        assert!(own.contains("Usage: gatelet"), "{own}");
    }
    assert!(help.contains("Exit codes: "), "{help}");
    assert!(
        bad(&program().arg("serve").output().expect("gatelet runs"), 2)
            .contains("unrecognized subcommand 'serve'")
    );
}
