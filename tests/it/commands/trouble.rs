//! Busy ports, state directories in use, and nothing running at all.

use std::{net::TcpListener, path::Path, time::Duration};

use super::{
    super::support::backend::{ingress, service},
    *,
};

#[test]
fn the_owner_of_a_busy_port_and_the_setting_are_named() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("its address").to_string();
    let own = format!("(process {}) listens there; stop it", std::process::id());
    for flag in ["--http", "--https", "--api", "--admin"] {
        let folder = Folder::new();
        let mut command = program();
        command
            .args(["run", "--mode", "standalone", "--state"])
            .arg(folder.path().join("state"));
        for other in ["--http", "--https", "--api", "--admin"] {
            command.args([other, if other == flag { &taken } else { "off" }]);
        }
        // A child process of another test has our sockets too until it executes its program.
        let message = eventually("we are named", || {
            Some(bad(&command.output().expect("gatelet runs"), 1))
                .filter(|message| message.contains(&own))
        });
        assert!(
            message.contains(&format!("cannot listen on {taken}")),
            "{message}"
        );
        assert!(message.contains("choose another address with"), "{message}");
        assert!(message.contains(flag), "{message}");
    }
}

/// Two gatelets never share a port, although their sockets would allow it.
#[test]
fn a_second_gatelet_cannot_use_the_ports_or_state_of_the_first() {
    let gatelet = Gatelet::start();
    let second = |http: &str, state: &Path| {
        let mut command = program();
        command.args(["run", "--mode", "standalone", "--http", http]);
        for other in ["--https", "--api", "--admin"] {
            command.args([other, "off"]);
        }
        command.arg("--state").arg(state);
        bad(&command.output().expect("gatelet runs"), 1)
    };

    let elsewhere = gatelet.folder.path().join("elsewhere");
    let message = second(&format!("127.0.0.1:{}", gatelet.http), &elsewhere);
    assert!(
        message.contains(&format!(
            "gatelet (process {}) listens there",
            gatelet.pid()
        )),
        "{message}"
    );

    let message = second("127.0.0.1:0", &gatelet.state());
    let expected = format!(
        "the state directory {} is in use by another gatelet",
        gatelet.state().display()
    );
    assert!(
        message.contains(&expected) && message.contains("--state"),
        "{message}"
    );
    assert_eq!(
        gatelet.status_of("any.example.com", "/"),
        404,
        "the first one serves on"
    );
}

#[test]
fn commands_that_need_a_running_gatelet_say_that_there_is_none() {
    let port = free_port();
    let admin = format!("127.0.0.1:{port}");
    for command in [
        &["status"][..],
        &["status", "-o", "json"],
        &["explain", "app.example.com/"],
        &["certs", "list"],
    ] {
        let output = program()
            .args(command)
            .args(["--admin", &admin])
            .output()
            .expect("gatelet runs");
        let message = bad(&output, 3);
        assert!(
            message.contains(&format!("no gatelet answers on {admin}"))
                && message.contains("is it running?"),
            "{message}"
        );
        let output = program()
            .args(command)
            .args(["--admin", "off"])
            .output()
            .expect("gatelet runs");
        assert!(bad(&output, 2).contains("the admin address is off; name one with --admin"));
    }
    let folder = Folder::new();
    for command in [&["certs", "ca"][..], &["kubeconfig"]] {
        let output = program()
            .args(command)
            .arg("--state")
            .arg(folder.path())
            .output()
            .expect("gatelet runs");
        let message = bad(&output, 1);
        assert!(
            message.contains(&folder.path().display().to_string())
                && message.contains("it is written when gatelet runs"),
            "{message}"
        );
    }
}

#[test]
fn another_server_on_the_admin_address_is_recognized() {
    let stranger = Backend::start("stranger");
    let output = program()
        .args(["status", "--admin", &format!("127.0.0.1:{}", stranger.port)])
        .output()
        .expect("gatelet runs");
    assert!(
        bad(&output, 3).contains("is not a gatelet"),
        "{}",
        said(&output)
    );
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = silent.local_addr().expect("its address").to_string();
    let closing = std::thread::spawn(move || {
        let (stream, _) = silent.accept().expect("the command comes");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a socket");
    });
    let output = program()
        .args(["status", "--admin", &addr])
        .output()
        .expect("gatelet runs");
    assert!(!bad(&output, 3).is_empty());
    closing.join().expect("it ended");
}

/// Sets up the service on a node of k3s, where only root may read the kubeconfig.
#[test]
fn an_unreadable_kubeconfig_of_k3s_is_reported() {
    if !can_mount() {
        return;
    }
    let mut gatelet = Gatelet::prepare(&["--mode", "auto"]);
    gatelet.environment("HOME", "/");
    gatelet.mounts(
        r#"mkdir "$STATE.etc"
        cp -a /etc/. "$STATE.etc"
        mkdir -p "$STATE.etc/rancher/k3s"
        mount --bind "$STATE.etc" /etc
        install -m 0600 /dev/null /etc/rancher/k3s/k3s.yaml
        chown 65534 "$STATE"
        mount -t tmpfs none /run
        touch /run/gatelet
        mount --bind "$0" /run/gatelet
        exec setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps -all /run/gatelet "$@""#,
    );
    gatelet.spawn();
    gatelet.wait_ready();
    eventually("the log says so", || {
        gatelet
            .log()
            .contains("k3s is installed, but its kubeconfig cannot be read")
            .then_some(())
    });
    let expected = "source mini cluster, because the kubeconfig of k3s cannot be read: \
        /etc/rancher/k3s/k3s.yaml: Permission denied";
    let status = good(gatelet.command(&["status"]));
    assert!(
        status.lines().any(|line| row(line).starts_with(expected)),
        "{status}"
    );
}

#[test]
fn one_wrong_issuer_does_not_stop_the_others() {
    const ISSUERS: &str = "[[issuers]]
name = \"odd\"
directory = \"letsencrypt\"
eab = { kid = \"k\", hmac = \"not+base64url/of anything!\" }
[[issuers]]
name = \"rootless\"
directory = \"https://ca.example.net\"
roots = \"/nowhere/ca.pem\"
[[issuers]]
name = \"good\"
kind = \"local-ca\"
";
    let gatelet = Gatelet::configured(ISSUERS);
    for issuer in ["odd", "rootless", "good"] {
        let host = format!("{issuer}.example.com");
        let tls = format!("  tls: [{{hosts: [{host}], secretName: {issuer}-tls}}]\n");
        let annotated =
            format!("metadata: {{name: {issuer}, annotations: {{gatelet.dev/issuer: {issuer}}}}}");
        let ingress = ingress(issuer, &host, &tls);
        let ingress = ingress.replace(&format!("metadata: {{name: {issuer}}}"), &annotated);
        gatelet.apply(&(service(issuer, "") + &ingress));
    }

    let certs = eventually("the good one is issued, the others are blocked", || {
        let certs = json(gatelet.command(&["certs", "-o", "json"]));
        let rows = certs["certificates"].as_array()?.clone();
        let states: Vec<&str> = rows
            .iter()
            .filter_map(|row| row["state"].as_str())
            .collect();
        (states == ["valid", "blocked", "blocked"]).then_some(rows)
    });
    for (row, reason) in [(1, "eab.hmac"), (2, "/nowhere/ca.pem: No such file")] {
        let why = certs[row]["why"].as_str().expect("a text");
        assert!(why.starts_with("issuer ") && why.contains(reason), "{why}");
    }

    // It is ready, and the findings name the issuers.
    assert_eq!(gatelet.admin_page("/readyz").0, 200);
    let findings = gatelet.status()["findings"].clone();
    let reported: Vec<&Value> = findings
        .as_array()
        .expect("a list")
        .iter()
        .filter(|one| one["reason"] == "InvalidIssuer")
        .map(|one| &one["object"])
        .collect();
    assert_eq!(reported, ["Issuer odd", "Issuer rootless"], "{findings}");
    assert!(gatelet.log().contains("/nowhere/ca.pem: No such file"));
    assert!(!gatelet.log().contains("base64url/of anything"));

    let file = gatelet.folder.write("empty.yaml", &service("web", ""));
    let output = program()
        .arg("check")
        .arg(file)
        .arg("--config")
        .arg(gatelet.folder.write("issuers.toml", ISSUERS))
        .output()
        .expect("gatelet runs");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("Issuer rootless") && text.contains("2 warnings"),
        "{text}"
    );
}
