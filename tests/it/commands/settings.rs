//! Flags override variables, variables the file, and the file the defaults. Every wrong value is
//! explained.

use super::*;

/// Layers of settings: `--http`, `GATELET_HTTP` and `http` of the file, from the strongest on.
#[test]
fn a_running_gatelet_follows_flag_then_variable_then_file() {
    let ports = [free_port(), free_port(), free_port()];
    let addr = |port: u16| format!("127.0.0.1:{port}");
    for strongest in 0..3 {
        let mut gatelet = Gatelet::prepare(&[]);
        gatelet.configure(&format!(
            "http = \"{}\"\nnode = \"file\"\nhsts = \"max-age=5\"\n",
            addr(ports[2])
        ));
        let mut command = program();
        command
            .arg("run")
            .arg("--state")
            .arg(gatelet.state())
            .arg("--config")
            .arg(gatelet.folder.path().join("gatelet.toml"));
        command.args([
            "--https",
            "off",
            "--api",
            "off",
            "--mode",
            "standalone",
            "--admin",
            &addr(gatelet.admin),
        ]);
        if strongest <= 1 {
            command
                .env("GATELET_HTTP", addr(ports[1]))
                .env("GATELET_NODE", "variable");
        }
        if strongest == 0 {
            command.args(["--http", &addr(ports[0])]);
        }
        gatelet.spawn_command(command);
        gatelet.wait_ready();
        let status = gatelet.status();
        assert_eq!(
            status["http"],
            serde_json::json!([addr(ports[strongest])]),
            "{status}"
        );
        assert_eq!(
            status["node"],
            if strongest == 2 { "file" } else { "variable" }
        );
        assert_eq!(
            (&status["api"], &status["https"]),
            (&Value::Null, &serde_json::json!([]))
        );
    }
}

#[test]
fn config_print_says_where_each_value_comes_from() {
    let folder = Folder::new();
    let file = folder.write(
        "gatelet.toml",
        "node = \"pi1\"\nhttp = \"off\"\n\n[proxy]\n# often\nmax_attempts = 5\n",
    );
    let mut command = program();
    command
        .args([
            "config",
            "print",
            "-o",
            "json",
            "--http",
            "127.0.0.1:1",
            "--config",
        ])
        .arg(&file);
    command.env("GATELET_ADMIN", "127.0.0.1:2");
    let printed = json(command.output().expect("gatelet runs"));
    let setting = |key: &str| {
        let all = printed.as_array().expect("a list");
        let one = all
            .iter()
            .find(|one| one["key"] == key)
            .unwrap_or_else(|| panic!("{key} is missing"));
        (
            one["value"].clone(),
            one["from"].as_str().expect("text").to_owned(),
        )
    };
    let line = |number: usize| format!("{}, line {number}", file.display());
    assert_eq!(setting("node"), ("pi1".into(), line(1)));
    assert_eq!(setting("http"), ("127.0.0.1:1".into(), "--http".to_owned()));
    assert_eq!(
        setting("admin"),
        ("127.0.0.1:2".into(), "GATELET_ADMIN".to_owned())
    );
    assert_eq!(setting("proxy.max_attempts"), (5.into(), line(6)));
    assert_eq!(
        setting("proxy.max_headers"),
        (100.into(), "default".to_owned())
    );
    assert_eq!(setting("hsts"), (Value::Null, "default".to_owned()));

    let own = "[[issuers]]\nname = \"lab\"\ndirectory = \"letsencrypt\"\neab = { kid = \"k\", hmac \
        = \"geheim\" }\n";
    let own = folder.write("issuers.toml", own);
    let table = good(
        program()
            .args(["config", "print", "--config"])
            .arg(&own)
            .output()
            .expect("gatelet runs"),
    );
    let expected = format!("issuers[0].eab.hmac \"<hidden>\" {}, line 4", own.display());
    assert!(
        table.lines().any(|line| row(line) == expected) && !table.contains("geheim"),
        "{table}"
    );

    let table = good(
        program()
            .args(["config", "print", "--config"])
            .arg(&file)
            .output()
            .expect("gatelet runs"),
    );
    assert!(
        table
            .lines()
            .any(|line| row(line).starts_with("node \"pi1\" ")),
        "{table}"
    );
    let as_yaml = yaml(
        program()
            .args(["config", "print", "-o", "yaml"])
            .output()
            .expect("gatelet runs"),
    );
    assert_eq!(
        as_yaml.as_array().expect("a list").len(),
        printed.as_array().expect("a list").len()
    );
}

#[test]
fn config_check_names_file_line_field_and_what_is_allowed() {
    let folder = Folder::new();
    for (text, line, parts) in [
        (
            "node = \"pi1\"\nhtpp = \"off\"\n",
            2,
            &["unknown field `htpp`", "`http`", "`https`"][..],
        ),
        (
            "\n\nmode = \"cluster\"\n",
            3,
            &["`cluster`", "`auto`", "`kubernetes`", "`standalone`"],
        ),
        (
            "[tls]\nmin_version = \"1.1\"\n",
            2,
            &["`1.1`", "`1.2`", "`1.3`", "min_version"],
        ),
        (
            "[proxy]\nbalance = \"random\"\n",
            2,
            &["`random`", "`round-robin`", "`least-request`", "balance"],
        ),
        (
            "[proxy]\nconnect_timeout = \"soon\"\n",
            2,
            &["\"soon\" is not a duration", "500ms", "connect_timeout"],
        ),
        (
            "http = \"80\"\n",
            1,
            &["\"80\" is neither an address", "off", "http = "],
        ),
        ("publish = [\"here\"]\n", 1, &["publish", "IP address"]),
        ("node = \n", 1, &["node"]),
    ] {
        let file = folder.write("gatelet.toml", text);
        for command in [
            &["config", "check"][..],
            &["config", "print"],
            &["run"],
            &["status"],
            &["kubeconfig"],
        ] {
            let output = program()
                .args(command)
                .arg("--config")
                .arg(&file)
                .output()
                .expect("gatelet runs");
            let message = bad(&output, 2);
            assert!(
                message.contains(&format!("{}, line {line}: ", file.display())),
                "{message}"
            );
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
    for (text, parts) in [
        (
            "[log]\nlevel = \"loud\"\n",
            &["log.level", "\"loud\"", "trace"][..],
        ),
        (
            "[proxy]\nmax_attempts = 0\n",
            &["proxy.max_attempts", "at least 1"],
        ),
        (
            "default_backend = \"web\"\n",
            &["default_backend", "namespace/service:port"],
        ),
    ] {
        let file = folder.write("gatelet.toml", text);
        let output = program()
            .args(["config", "check", "--config"])
            .arg(&file)
            .output()
            .expect("gatelet runs");
        let message = bad(&output, 2);
        let named = message.contains(&file.display().to_string());
        assert!(
            named && parts.iter().all(|part| message.contains(part)),
            "{message}"
        );
    }
    let file = folder.write(
        "gatelet.toml",
        "[[issuers]]\nname = \"letsencrypt\"\nroots = \"/nowhere/ca.pem\"\n",
    );
    let output = program()
        .args(["config", "check", "--config"])
        .arg(&file)
        .output()
        .expect("gatelet runs");
    let expected = format!(
        "{}: issuer letsencrypt: roots: /nowhere/ca.pem: No such file",
        file.display()
    );
    assert!(bad(&output, 2).contains(&expected), "{}", said(&output));
    let file = folder.write("gatelet.toml", "node = \"pi1\"\n");
    let output = program()
        .args(["config", "check", "--config"])
        .arg(&file)
        .output()
        .expect("gatelet runs");
    assert_eq!(good(output), format!("{}: valid\n", file.display()));
    let output = program()
        .args(["config", "check", "--config", "/nowhere/gatelet.toml"])
        .output()
        .expect("gatelet runs");
    assert!(
        bad(&output, 2).contains("/nowhere/gatelet.toml: No such file"),
        "{}",
        said(&output)
    );
    let output = program()
        .args(["run", "--http", "80"])
        .output()
        .expect("gatelet runs");
    assert!(
        bad(&output, 2).contains("\"80\" is neither an address with a port"),
        "{}",
        said(&output)
    );
    let output = program()
        .arg("run")
        .env("GATELET_WORKERS", "many")
        .output()
        .expect("gatelet runs");
    assert!(
        bad(&output, 2).contains("--workers <N>"),
        "{}",
        said(&output)
    );
}
