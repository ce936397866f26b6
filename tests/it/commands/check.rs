//! `check`: the compiler's findings about files, without a gatelet or a network.

use std::{os::unix::fs::PermissionsExt, path::PathBuf};

use super::{
    super::support::{
        backend::{ingress, manifests, service},
        certificates::{Certificate, ECDSA},
    },
    *,
};

fn check(paths: &[PathBuf]) -> Output {
    program()
        .arg("check")
        .args(paths)
        .args(["-o", "json"])
        .output()
        .expect("gatelet runs")
}

#[test]
fn good_manifests_pass_in_files_and_folders() {
    let folder = Folder::new();
    let certificate = Certificate::make(&folder, "tls", &["app.example.com"], ECDSA);
    let manifests_dir = folder.path().join("manifests/app");
    std::fs::create_dir_all(&manifests_dir).expect("a folder");
    let tls = manifests("app", "app.example.com", 3000).replace(
        "spec:\n  rules:",
        "spec:\n  tls: [{hosts: [app.example.com], secretName: app-tls}]\n  rules:",
    );
    folder.write("manifests/app/app.yaml", &tls);
    folder.write("manifests/secret.yml", &certificate.secret("app-tls"));
    folder.write(
        "manifests/deployment.yaml",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: app}\n",
    );
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "listed"},
         "spec": {"ports": [{"port": 80}]}}]}"#;
    folder.write("manifests/list.json", list);
    folder.write("manifests/notes.txt", "not: [looked at");
    let report = json(check(&[folder.path().join("manifests")]));
    assert_eq!(
        (&report["objects"], &report["others"]),
        (&5.into(), &1.into()),
        "{report}"
    );
    assert_eq!(report["findings"], serde_json::json!([]));

    let mut command = program();
    let text = good(
        command
            .arg("check")
            .arg(folder.path().join("manifests/app/app.yaml"))
            .arg(folder.path().join("manifests/secret.yml"))
            .output()
            .expect("gatelet runs"),
    );
    assert_eq!(text, "4 objects checked, 0 warnings\n");
}

#[test]
fn each_kind_of_error_names_object_reason_and_field() {
    let folder = Folder::new();
    let own = Certificate::make(&folder, "own", &["other.example.com"], ECDSA);
    let secret = |text: &str| {
        format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: tls}}\n{text}\n---\n")
    };
    let with_tls = ingress("app", "app.example.com", "").replace(
        "spec:\n  rules:",
        "spec:\n  tls: [{hosts: [app.example.com], secretName: tls}]\n  rules:",
    );
    let (backed, other) = (service("app", ""), service("other", ""));
    let other_secret = secret("type: Opaque").replace("{name: tls}", "{name: other}");
    let annotated = |text: &str| {
        ingress("app", "app.example.com", "").replace(
            "metadata: {name: app}",
            &format!("metadata: {{name: app, annotations: {{{text}}}}}"),
        )
    };
    let app = "Ingress default/app";
    let path = "spec.rules[0].http.paths[0]";
    for (text, object, reason, field) in [
        (
            other.clone() + &ingress("app", "app.example.com", ""),
            app,
            "UnknownService",
            format!("{path}.backend.service"),
        ),
        (
            backed.clone()
                + &ingress("app", "app.example.com", "").replace("number: 80", "number: 81"),
            app,
            "UnknownPort",
            format!("{path}.backend.service"),
        ),
        (
            backed.clone()
                + &ingress("app", "app.example.com", "")
                    .replace("pathType: Prefix", "pathType: Begins"),
            app,
            "Invalid",
            format!("{path}.pathType"),
        ),
        (
            backed.clone()
                + &ingress("app", "app.example.com", "").replace("pathType: Prefix, ", ""),
            app,
            "Invalid",
            format!("{path}.pathType"),
        ),
        (
            backed.clone() + &ingress("app", "app.example.com", "").replace("pathType", "pathtype"),
            app,
            "UnknownField",
            format!("{path}.pathtype"),
        ),
        (
            backed.clone() + &ingress("app", "App_1.example.com", ""),
            app,
            "Invalid",
            "spec.rules[0].host".to_owned(),
        ),
        (
            backed.clone() + &other_secret + &with_tls,
            app,
            "SecretNotFound",
            "spec.tls[0].secretName".to_owned(),
        ),
        (
            backed.clone()
                + &with_tls
                + &secret(
                    "stringData: {tls.crt: none, tls.key: \
                none}\ntype: Opaque",
                ),
            app,
            "InvalidSecret",
            "spec.tls[0].secretName".to_owned(),
        ),
        (
            backed.clone() + &with_tls + &own.secret("tls"),
            app,
            "CertificateMismatch",
            "spec.tls[0].secretName".to_owned(),
        ),
        (
            backed.clone() + &annotated("gatelet.dev/ssl-redirect: 'maybe'"),
            app,
            "InvalidAnnotation",
            "metadata.annotations[gatelet.dev/ssl-redirect]".to_owned(),
        ),
        (
            backed.clone()
                + &with_tls.replace(
                    "{name: app}\n",
                    "{name: app, annotations: \
                    {gatelet.dev/issuer: nobody}}\n",
                ),
            app,
            "UnknownIssuer",
            "metadata.annotations[gatelet.dev/issuer]".to_owned(),
        ),
        (
            backed
                + &ingress("app", "app.example.com", "")
                + &ingress("copy", "app.example.com", "")
                    .replace("service: {name: copy", "service: {name: app"),
            "Ingress default/copy",
            "PathTaken",
            path.to_owned(),
        ),
        (
            service("app", "").replace("port: 80", "port: 80000"),
            "Service default/app",
            "Invalid",
            "spec.ports[0].port".to_owned(),
        ),
        (
            secret("type: kubernetes.io/tls\ndata: {}"),
            "Secret default/tls",
            "Invalid",
            "data[tls.crt]".to_owned(),
        ),
        (
            manifests("app", "app.example.com", 3000).replace("192.0.2.1", "127.0.0.1"),
            "EndpointSlice default/app-1",
            "Invalid",
            "endpoints[0].addresses[0]".to_owned(),
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: lab, labels: {gatelet.dev/issuer: \
                'true'}}\n\
             data: {issuer: 'directory = \"https://ca.example.net\"\n\n  roots = \
             \"/etc/shadow\"'}\n"
                .to_owned(),
            "ConfigMap default/lab",
            "InvalidIssuer",
            "data.issuer.roots".to_owned(),
        ),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: app}\nspec: {ports: \
                many}\n"
                .to_owned(),
            "Service default/app",
            "Undecodable",
            "spec.ports".to_owned(),
        ),
    ] {
        let file = folder.write("wrong.yaml", &text);
        let output = check(&[file]);
        assert_eq!(output.status.code(), Some(1), "{}", said(&output));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = report["findings"].as_array().expect("a list");
        let found = findings.iter().find(|one| {
            one["object"] == object && one["reason"] == reason && one["field"] == *field
        });
        let found = found.unwrap_or_else(|| {
            panic!(
                "no {reason} at {field} of {object}: \
            {report:#}\n{text}"
            )
        });
        assert_eq!(found["severity"], "Warning");
        assert!(!found["message"].as_str().expect("text").is_empty());
    }

    let file = folder.write(
        "wrong.yaml",
        &(other + &ingress("app", "app.example.com", "")),
    );
    let output = program()
        .arg("check")
        .arg(&file)
        .output()
        .expect("gatelet runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let expected = format!(
        "Warning {}:6 Ingress default/app UnknownService {path}.backend.service Service app does \
            not exist: 503 for this \
         path",
        file.display()
    );
    assert!(text.lines().any(|line| row(line) == expected), "{text}");
    assert!(text.ends_with("2 objects checked, 1 warning\n"), "{text}");
}

/// Runs a check with a text as standard input.
fn piped(arguments: &[&str], text: &str) -> Output {
    use std::{io::Write, process::Stdio};
    let mut command = program();
    command
        .arg("check")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = command.spawn().expect("gatelet runs");
    running
        .stdin
        .take()
        .expect("a pipe")
        .write_all(text.as_bytes())
        .expect("it is read");
    running.wait_with_output().expect("it ends")
}

#[test]
fn exit_codes_follow_from_the_findings_in_standard_input() {
    let text = service("app", "") + &ingress("app", "app.example.com", "");
    assert_eq!(
        good(piped(&["-"], &text)),
        "2 objects checked, 0 warnings\n"
    );
    // A note is not a failure: a cluster may have an object that the text lacks.
    let note = good(piped(&["-"], &ingress("app", "app.example.com", "")));
    assert!(
        row(note.lines().nth(1).expect("a row"))
            .starts_with("Normal standard input:1 Ingress default/app "),
        "{note}"
    );
    assert!(note.ends_with("1 object checked, 0 warnings\n"), "{note}");

    let wrong = piped(&["-"], &text.replace("number: 80", "number: 81"));
    assert_eq!(wrong.status.code(), Some(1), "{}", said(&wrong));
    let guarded = text.replace(
        "kind: Ingress\nmetadata: {name: app}",
        "kind: Ingress\nmetadata: {name: app, annotations: \
            {nginx.ingress.kubernetes.io/modsecurity-snippet: basic}}",
    );
    assert_ne!(guarded, text);
    let closed = piped(&["-"], &guarded);
    assert_eq!(closed.status.code(), Some(1), "{}", said(&closed));
    assert!(
        String::from_utf8_lossy(&closed.stdout).contains(" UnsupportedGuard "),
        "{}",
        said(&closed)
    );
    assert_eq!(piped(&["-"], "a: [").status.code(), Some(1));
    assert_eq!(piped(&[], "").status.code(), Some(2));
    assert_eq!(
        piped(&["-", "--config", "/nowhere"], "").status.code(),
        Some(2)
    );
    assert_eq!(piped(&["/nowhere"], "").status.code(), Some(1));
    let help = good(
        program()
            .args(["check", "--help"])
            .output()
            .expect("gatelet runs"),
    );
    assert!(help.contains("Exit codes: 0 no warnings"), "{help}");
}

#[test]
fn unchecked_objects_are_listed_in_their_own_lines() {
    let folder = Folder::new();
    let other = |version: &str, kind: &str, name: &str| {
        format!("---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}}}\n")
    };
    let text = other("traefik.io/v1alpha1", "IngressRoute", "a")
        + &other("traefik.io/v1alpha1", "TraefikService", "auth")
        + &other("apps/v1", "Deployment", "web")
        + &other("extensions/v1beta1", "Ingress", "old");
    folder.write("all.yaml", &text);
    let values = folder.write("values.yaml", "replicas: 1\n");
    let output = program()
        .arg("check")
        .arg(folder.path())
        .output()
        .expect("gatelet runs");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let [_columns, old, rest @ ..] = &lines[..] else {
        panic!("{text}")
    };
    assert!(row(old).contains(
        "Ingress default/old OldVersion apiVersion Kubernetes 1.22 removed extensions/v1beta1"
    ));
    assert_eq!(
        rest,
        [
            "Not served, of Traefik: 1 IngressRoute (default/a), 1 TraefikService (default/auth)",
            "Other kinds: 1 Deployment",
            &format!("No objects in: {}", values.display()),
            "0 objects checked, 1 warning",
        ]
    );
}

#[test]
fn a_class_is_checked_as_if_it_were_ours() {
    let nginx = ingress("app", "app.example.com", "")
        .replace("spec:\n", "spec:\n  ingressClassName: nginx\n");
    let text = service("app", "") + &nginx.replace("number: 80", "number: 81");
    let notes = "Not served: 1 Ingress of class nginx (see docs/migrating.md, and `gatelet check \
        --class nginx`)";
    assert!(good(piped(&["-"], &text)).lines().any(|line| line == notes));
    let output = piped(&["--class", "other", "--class", "nginx", "-"], &text);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains(" UnknownPort "),
        "{}",
        said(&output)
    );
}

#[test]
fn unreadable_documents_are_reported_and_hide_no_others() {
    let folder = Folder::new();
    let broken = folder.write("a.yaml", "kind: [\n");
    folder.write(
        "b.yaml",
        &(service("other", "") + &ingress("app", "app.example.com", "")),
    );
    folder.write("c.yaml", "metadata: {name: app}\nspec: {}\n");
    folder.write("d.yaml", "just: text\n");
    let output = check(&[folder.path().to_owned()]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings: Vec<(String, String)> = report["findings"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            (
                one["object"].to_string(),
                one["reason"].as_str().expect("text").to_owned(),
            )
        })
        .collect();
    let reasons: Vec<&str> = findings.iter().map(|(_, reason)| &**reason).collect();
    assert_eq!(
        reasons,
        ["Unreadable", "Unreadable", "UnknownService"],
        "{report:#}"
    );
    assert!(
        findings[0].0.contains(&broken.display().to_string()),
        "{findings:?}"
    );
    let missing = folder.path().join("missing.yaml");
    let output = check(std::slice::from_ref(&missing));
    assert!(bad(&output, 1).contains(&missing.display().to_string()));
}

/// The check touches no state directory, no network, and nothing else on the machine.
#[test]
fn checking_needs_nothing_but_the_files() {
    let folder = Folder::new();
    let home = folder.path().join("home");
    std::fs::create_dir(&home).expect("a folder");
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o500)).expect("its mode");
    let file = folder.write("good.yaml", &service("app", ""));
    let mut command = std::process::Command::new("unshare");
    command
        .args(["--net"])
        .arg(env!("CARGO_BIN_EXE_gatelet"))
        .arg("check")
        .arg(file)
        .env("HOME", &home);
    match command.output() {
        Ok(output) if said(&output).contains("unshare failed") => {
            eprintln!("LEFT OUT: no network namespace can be made here");
        }
        Ok(output) => assert_eq!(good(output), "1 object checked, 0 warnings\n"),
        Err(error) => eprintln!("LEFT OUT: unshare: {error}"),
    }
    assert_eq!(std::fs::read_dir(&home).expect("it is there").count(), 0);
}

#[test]
fn issuers_of_a_configuration_are_known_to_the_check() {
    let folder = Folder::new();
    let tls = "metadata: {name: app, annotations: {gatelet.dev/issuer: lab}}\nspec:\n  tls: \
        [{hosts: [app.example.com], secretName: tls}]\n";
    let text = ingress("app", "app.example.com", "").replace("metadata: {name: app}\nspec:\n", tls);
    let file = folder.write("app.yaml", &(service("app", "") + &text));
    let config = folder.write(
        "gatelet.toml",
        "[[issuers]]\nname = \"lab\"\nkind = \"local-ca\"\n",
    );
    let check = |flags: &[&str]| {
        program()
            .arg("check")
            .arg(&file)
            .args(flags)
            .output()
            .expect("gatelet runs")
    };
    assert!(bad(&check(&["--config", "/nowhere"]), 2).contains("/nowhere"));
    let output = check(&[]);
    assert!(
        String::from_utf8_lossy(&output.stdout)
            .contains("issuer lab does not exist (the known ones are letsencrypt,")
    );
    assert_eq!(
        good(check(&["--config", &config.display().to_string()])),
        "2 objects checked, 0 warnings\n"
    );
}
