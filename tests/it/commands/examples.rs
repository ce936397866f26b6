//! The files in `configs/`, which users start from.

use std::path::{Path, PathBuf};

use gatelet::{controller::ANNOTATIONS, objects::Kind};

use super::*;

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

/// Returns every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

#[test]
fn every_file_of_configs_is_valid_alone_and_with_the_others() {
    // `tests/run` runs the scripts.
    let scripts = configs().join("release");
    let all = files(&configs()).into_iter();
    for file in all.filter(|file| !file.starts_with(&scripts)) {
        let (command, flag): (&[&str], &[&str]) =
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("yaml") => (&["check"], &[]),
                Some("toml") => (&["config", "check"], &["--config"]),
                _ => panic!("nothing checks {}", file.display()),
            };
        let text = good(
            program()
                .args(command)
                .args(flag)
                .arg(&file)
                .output()
                .expect("gatelet runs"),
        );
        assert!(
            text.ends_with(" 0 warnings\n") || text.ends_with(": valid\n"),
            "{}: {text}",
            file.display()
        );
    }
    let report = json(
        program()
            .arg("check")
            .arg(configs())
            .args(["-o", "json"])
            .output()
            .expect("gatelet runs"),
    );
    assert_eq!(report["findings"], serde_json::json!([]), "{report:#}");
}

#[test]
fn the_examples_show_every_kind_and_every_annotation() {
    let examples: String = files(&configs().join("examples"))
        .iter()
        .map(|file| std::fs::read_to_string(file).expect("text"))
        .collect();
    // Programs write these, not people.
    for kind in Kind::ALL
        .into_iter()
        .filter(|kind| !matches!(kind, Kind::Node | Kind::Event | Kind::Lease))
    {
        assert!(
            examples
                .lines()
                .any(|line| line == format!("kind: {}", kind.name())),
            "{}",
            kind.name()
        );
    }
    for annotation in ANNOTATIONS
        .iter()
        .flat_map(|table| table.rows)
        .filter(|annotation| annotation.prefixes[0] == "gatelet.dev/")
    {
        assert!(
            examples.contains(&format!("    gatelet.dev/{}: ", annotation.name)),
            "{}",
            annotation.name
        );
    }
}

#[test]
fn kubectl_applies_the_examples_and_they_are_served() {
    let gatelet = Gatelet::start();
    gatelet.kubectl(&[
        "apply",
        "-f",
        configs().join("examples").to_str().expect("a plain path"),
    ]);
    // 503 where the backend is valid and has no endpoints here; the default backend takes all other
    // requests.
    for (host, status) in [
        ("secure.example.com", 308),
        ("trusted.example.com", 308),
        ("strict.example.com", 302),
        ("plain.example.com", 503),
        ("any.apps.example.com", 503),
        ("nobody.example.com", 503),
    ] {
        eventually(host, || {
            (gatelet.status_of(host, "/") == status).then_some(())
        });
    }
    // The examples are for a cluster: here no Pods match a selector. There is no other finding.
    eventually("all is well", || {
        let status = gatelet.status();
        let findings = status["findings"].as_array().expect("a list");
        findings
            .iter()
            .all(|finding| finding["reason"] == "SelectorWithoutPods")
            .then_some(())
    });
    let explained = gatelet.command(&["explain", "http://any.apps.example.com/", "-o", "json"]);
    assert_eq!(json(explained)["candidates"][0]["ingress"], "default/apps");
}
