//! The lifecycle of certificates: renewals, revocation, crashes, CAs that come and go, and foreign
//! Secrets.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::{Options, Pebble, Site, eventually, run};
use crate::support::{
    Backend, backend,
    certificates::{Certificate, ECDSA},
    free_port,
};

fn quick() -> Options {
    Options {
        environment: vec![("PEBBLE_VA_NOSLEEP", "1")],
        ..Options::default()
    }
}

/// An Ingress for a TCP port has no paths for requests. Its certificate is ordered all the same.
#[test]
fn a_tcp_port_has_a_certificate_of_the_issuer() {
    let site = Site::start(quick(), "");
    let port = free_port();
    let annotation = format!("gatelet.dev/tcp-service-port: \"{port}\"");
    site.gatelet.apply(&backend::service("web", ""));
    let endpoint = Backend::start("web");
    site.gatelet.apply(&backend::slice("web", &[endpoint.port]));
    site.ingress("mqtt", &["mqtt.gatelet.test"], &annotation);
    site.issued("default/mqtt-tls");

    let root = site.root();
    eventually("it is served at the port", || {
        let mut curl = Command::new("curl");
        let resolve = format!("mqtt.gatelet.test:{port}:127.0.0.1");
        curl.args(["-sSf", "-m", "20", "--resolve", &resolve, "--cacert"]);
        curl.arg(&root)
            .arg(format!("https://mqtt.gatelet.test:{port}/"));
        let output = curl.output().expect("curl");
        output.status.success().then_some(())
    });
}

#[test]
fn a_certificate_survives_sigkill_and_is_renewed_and_revoked() {
    let mut site = Site::start(quick(), "");
    site.ingress("web", &["a.gatelet.test"], "");
    let first = site.issued("default/web-tls");
    eventually("it is served", || {
        (site.served("a.gatelet.test") == first).then_some(())
    });

    // A handshake with ourselves verifies it, and the metrics show it.
    eventually("a handshake", || {
        site.gatelet
            .log()
            .contains("a handshake shows the new certificate")
            .then_some(())
    });
    let url = format!("http://127.0.0.1:{}/metrics", site.gatelet.admin);
    let metrics = run(Command::new("curl").args(["-sSf", &url]));
    for line in [
        r#"gatelet_certificate_state{name="default/web-tls",state="valid"} 1"#,
        concat!(
            r#"certmanager_certificate_ready_status{name="web-tls",namespace="default","#,
            r#"issuer_name="pebble",issuer_kind="ClusterIssuer",issuer_group="cert-manager.io","#,
            r#"condition="True"} 1"#
        ),
    ] {
        assert!(
            metrics.lines().any(|metric| metric == line),
            "{line}\n{metrics}"
        );
    }
    assert!(
        metrics.contains("\ncertmanager_certificate_expiration_timestamp_seconds{name=\"web-tls\""),
        "{metrics}"
    );

    // The Secret contains it too, with our label.
    let secret = eventually("the Secret", || {
        let output = site
            .gatelet
            .kubectl_command(&["get", "secret", "web-tls", "-o", "json"])
            .output()
            .ok()?;
        serde_json::from_slice::<Value>(&output.stdout).ok()
    });
    assert_eq!(secret["type"], "kubernetes.io/tls");
    assert_eq!(secret["metadata"]["labels"]["gatelet.dev/managed"], "true");
    assert_eq!(
        secret["metadata"]["annotations"]["cert-manager.io/issuer-name"],
        "pebble"
    );
    let reasons = eventually("an Event", || {
        let reasons = site
            .gatelet
            .kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
        reasons.contains("CertificateIssued").then_some(reasons)
    });
    assert!(!reasons.contains("SecretNotFound"), "{reasons}");

    site.gatelet.kill();
    site.gatelet.spawn();
    site.gatelet.wait_ready();
    assert_eq!(site.served("a.gatelet.test"), first);
    assert_eq!(site.issuances(), 1);

    let renewed = site.gatelet.command(&["certs", "renew", "a.gatelet.test"]);
    let when = String::from_utf8_lossy(&renewed.stdout).into_owned();
    assert!(
        renewed.status.success() && when.contains("default/web-tls is being renewed now"),
        "{renewed:?}"
    );
    let second = site.reissued("default/web-tls", &first);
    eventually("it is served", || {
        (site.served("a.gatelet.test") == second).then_some(())
    });

    let revoked = site
        .gatelet
        .command(&["certs", "revoke", "default/web-tls", "--reason", "4"]);
    assert!(revoked.status.success(), "{revoked:?}");
    let third = site.reissued("default/web-tls", &second);
    eventually("it is served", || {
        (site.served("a.gatelet.test") == third).then_some(())
    });

    let changed = site.gatelet.command(&["certs", "change-key", "pebble"]);
    assert!(changed.status.success(), "{changed:?}");
    assert!(
        site.gatelet
            .command(&["certs", "renew", "a.gatelet.test"])
            .status
            .success()
    );
    let fourth = site.reissued("default/web-tls", &third);

    let made = site.gatelet.command(&["certs", "new-account", "pebble"]);
    assert!(made.status.success(), "{made:?}");
    assert!(
        site.gatelet
            .command(&["certs", "renew", "a.gatelet.test"])
            .status
            .success()
    );
    site.reissued("default/web-tls", &fourth);
    let unknown = site
        .gatelet
        .command(&["certs", "renew", "nobody.gatelet.test"]);
    assert!(
        !unknown.status.success()
            && String::from_utf8_lossy(&unknown.stderr).contains("nobody.gatelet.test")
    );
}

/// Returns openssl's description of a handshake in which the client knows only RSA.
fn rsa_handshake(site: &Site, host: &str) -> String {
    let address = format!("127.0.0.1:{}", site.gatelet.https);
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &address, "-servername", host]);
    command.args(["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]);
    let output = command.stdin(Stdio::null()).output().expect("openssl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_client_that_knows_only_rsa_gets_an_rsa_certificate() {
    let site = Site::start(quick(), "key_type = \"rsa2048\"");
    let never = "cert-manager.io/private-key-rotation-policy: Never";
    site.ingress("old", &["old.gatelet.test"], never);
    site.ingress("new", &["new.gatelet.test"], "gatelet.dev/key-type: p256");

    let first = site.issued("default/old-tls");
    site.issued("default/new-tls");
    eventually("it is served", || {
        (site.served("old.gatelet.test") == first).then_some(())
    });
    let handshake = rsa_handshake(&site, "old.gatelet.test");
    assert!(handshake.contains("Cipher is ECDHE-RSA"), "{handshake}");
    assert!(handshake.contains("public key is 2048 bit"), "{handshake}");
    let refused = rsa_handshake(&site, "new.gatelet.test");
    assert!(
        refused.contains("no peer certificate available"),
        "{refused}"
    );

    // A renewal keeps the key.
    let key = || {
        let path = "jsonpath={.metadata.resourceVersion} {.data.tls\\.key}";
        let secret = ["get", "secret", "old-tls", "-o", path];
        let secret = site.gatelet.kubectl_command(&secret).output().ok()?;
        let secret = String::from_utf8(secret.stdout).ok()?;
        let (version, key) = secret.split_once(' ')?;
        (!key.is_empty()).then(|| (version.to_owned(), key.to_owned()))
    };
    let (version, before) = eventually("the Secret", key);
    let renewed = site.gatelet.command(&["certs", "renew", "default/old-tls"]);
    assert!(renewed.status.success(), "{renewed:?}");
    site.reissued("default/old-tls", &first);
    let after = eventually("the Secret is written again", || {
        key().filter(|(now, _)| *now != version)
    });
    assert_eq!(after.1, before);
}

#[test]
fn a_ca_that_forgets_an_order_gets_another() {
    let mut site = Site::start(
        Options {
            environment: vec![("PEBBLE_VA_SLEEPTIME", "3")],
            ..Options::default()
        },
        "",
    );
    site.ingress("web", &["a.gatelet.test"], "");
    eventually("it validates", || {
        (site.certificate("default/web-tls")?["doing"].as_str()? == "validating").then_some(())
    });
    site.pebble.stop();
    site.pebble.go_on();
    site.gatelet.command(&["certs", "renew", "a.gatelet.test"]);
    site.issued("default/web-tls");
    eventually("curl trusts it", || {
        site.trusted("a.gatelet.test").then_some(())
    });
}

#[test]
fn a_ca_that_hangs_mid_order_is_waited_for() {
    let site = Site::start(
        Options {
            environment: vec![("PEBBLE_VA_SLEEPTIME", "2")],
            ..Options::default()
        },
        "",
    );
    site.ingress("web", &["a.gatelet.test"], "");
    eventually("it validates", || {
        (site.certificate("default/web-tls")?["doing"].as_str()? == "validating").then_some(())
    });
    site.pebble.freeze(true);
    std::thread::sleep(Duration::from_secs(20));
    // Everything else keeps working during that.
    assert_eq!(site.gatelet.status_of("a.gatelet.test", "/"), 308);
    site.pebble.freeze(false);
    site.issued("default/web-tls");
    assert_eq!(site.issuances(), 1);
}

#[test]
fn a_sigkill_mid_order_costs_no_second_certificate() {
    let mut site = Site::start(
        Options {
            environment: vec![("PEBBLE_VA_SLEEPTIME", "2")],
            ..Options::default()
        },
        "",
    );
    site.ingress("web", &["a.gatelet.test"], "");
    let order = eventually("an order is open", || {
        let one = site.certificate("default/web-tls")?;
        one["order"].as_str().map(str::to_owned)
    });
    site.gatelet.kill();
    site.gatelet.spawn();
    site.gatelet.wait_ready();
    // The order is resumed, and may be finished before the next check.
    let mut missed = false;
    eventually("the certificate comes by the same order", || {
        let one = site.certificate("default/web-tls")?;
        if one["state"] == "waiting" {
            // The CA connected while the process was down, so there is a second order: do not wait
            // until it is due.
            missed = true;
            site.gatelet.command(&["certs", "renew", "default/web-tls"]);
        }
        assert!(
            missed || one["order"].is_null() || one["order"] == *order,
            "{one}"
        );
        (one["state"] == "valid").then_some(())
    });
    site.issued("default/web-tls");
    assert_eq!(site.issuances(), 1);
}

#[test]
fn foreign_secrets_are_served_and_never_written() {
    let site = Site::start(quick(), "");
    let theirs = Certificate::make(&site.gatelet.folder, "theirs", &["a.gatelet.test"], ECDSA);
    site.gatelet.kubectl(&[
        "create",
        "secret",
        "tls",
        "web-tls",
        "--cert",
        theirs.chain.to_str().unwrap(),
        "--key",
        theirs.key.to_str().unwrap(),
    ]);
    site.ingress("web", &["a.gatelet.test"], "");
    site.ingress("mine", &["b.gatelet.test"], "");
    site.issued("default/mine-tls");
    assert!(site.certificate("default/web-tls").is_none());
    let before = site.served("a.gatelet.test");
    assert_eq!(site.issuances(), 1);
    let (_, metrics) = site.gatelet.admin_page("/metrics");
    let end = "gatelet_secret_certificate_not_after_timestamp_seconds{secret=\"default/web-tls\"} ";
    assert!(metrics.contains(end), "{metrics}");

    // Once it is handed over, it is replaced: it is self-signed, so the issuer that it names has
    // not issued it. (It was adopted, and kept until its end.)
    site.gatelet.kubectl(&[
        "annotate",
        "secret",
        "web-tls",
        "cert-manager.io/issuer-name=pebble",
    ]);
    site.gatelet
        .kubectl(&["label", "secret", "web-tls", "gatelet.dev/managed=true"]);
    let ours = site.issued("default/web-tls");
    assert_ne!(ours, before);
    eventually("it is served", || {
        (site.served("a.gatelet.test") == ours).then_some(())
    });
    assert_eq!(site.issuances(), 2);
}

#[test]
fn a_renamed_secret_and_a_moved_ingress_stay_trusted() {
    let mut site = Site::start(quick(), "");
    site.ingress("web", &["a.gatelet.test"], "");
    let first = site.issued("default/web-tls");
    eventually("it is served", || {
        (site.served("a.gatelet.test") == first).then_some(())
    });

    // No other certificate can be issued.
    site.pebble.stop();
    site.ingress("other", &["a.gatelet.test"], "");
    site.gatelet.kubectl(&["delete", "ingress", "web"]);
    eventually("the other name is served with it", || {
        let one = site.certificate("default/other-tls")?;
        let served = "pebble (certificate default/web-tls)";
        (one["served"] == served && one["fingerprint"] == *first).then_some(())
    });
    assert_eq!(site.served("a.gatelet.test"), first);

    site.gatelet.kubectl(&["create", "namespace", "moved"]);
    site.gatelet.kubectl(&["delete", "ingress", "other"]);
    site.gatelet.apply(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\n\
         metadata: {name: web, namespace: moved}\n\
         spec:\n  tls: [{hosts: [a.gatelet.test], secretName: web-tls}]\n  \
         defaultBackend: {service: {name: web, port: {number: 80}}}\n",
    );
    eventually("the other namespace is served with it", || {
        let one = site.certificate("moved/web-tls")?;
        (one["fingerprint"] == *first).then_some(())
    });
    assert_eq!(site.served("a.gatelet.test"), first);
}

#[test]
fn a_takeover_from_cert_manager_orders_nothing() {
    // By default it issues for five years.
    let pebble = Pebble::start(Options {
        config: json!({ "certificateValidityPeriod": 7_776_000 }),
        ..quick()
    });
    let letsencrypt = format!(
        "[[issuers]]\nname = \"letsencrypt\"\ndirectory = \"{}\"\nroots = \"{}\"",
        pebble.directory(),
        pebble.root().display()
    );
    let site = Site::with(pebble, &letsencrypt);

    // The Secret as cert-manager leaves it: without our marks, and with another name of the issuer.
    let alias = "cert-manager.io/cluster-issuer: letsencrypt-prod";
    site.ingress("first", &["a.gatelet.test"], alias);
    eventually("a certificate", || {
        let one = site.certificate("default/first-tls")?;
        (one["state"] == "valid" && one["served"] == "letsencrypt").then_some(())
    });
    let text = eventually("the Secret", || {
        let mut get = site
            .gatelet
            .kubectl_command(&["get", "secret", "first-tls", "-o", "json"]);
        serde_json::from_slice::<Value>(&get.output().ok()?.stdout).ok()
    });
    let theirs = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "web-tls",
            "annotations": {
                "cert-manager.io/issuer-kind": "ClusterIssuer",
                "cert-manager.io/issuer-name": "letsencrypt-prod",
            },
        },
        "type": text["type"],
        "data": text["data"],
    });
    site.gatelet.apply(&theirs.to_string());
    site.ingress("web", &["a.gatelet.test"], alias);
    assert!(site.certificate("default/web-tls").is_none());

    site.gatelet
        .kubectl(&["label", "secret", "web-tls", "gatelet.dev/managed=true"]);
    eventually("it is taken over", || {
        let one = site.certificate("default/web-tls")?;
        (one["state"] == "valid" && one["issuer"] == "letsencrypt").then_some(())
    });
    assert_eq!(site.issuances(), 1);
}

#[test]
fn a_secret_comes_back_however_often_it_is_changed() {
    let site = Site::start(quick(), "");
    site.ingress("web", &["a.gatelet.test"], "");
    site.issued("default/web-tls");
    let secret = || {
        let mut get = site
            .gatelet
            .kubectl_command(&["get", "secret", "web-tls", "-o", "json"]);
        serde_json::from_slice::<Value>(&get.output().ok()?.stdout).ok()
    };
    let parts = |secret: &Value| {
        (
            secret["data"].clone(),
            secret["metadata"]["labels"]["gatelet.dev/managed"].clone(),
        )
    };
    let whole = parts(&eventually("the Secret", secret));
    assert_eq!(whole.1, "true");

    let delete: &[&str] = &["delete", "secret", "web-tls"];
    let edit = r#"{"data": {"tls.key": "bm8ga2V5"}}"#;
    let empty = r#"{"data": {"tls.crt": "", "tls.key": ""}}"#;
    let pruned = r#"{"metadata": {"labels": null, "annotations": null}}"#;
    for change in [
        delete,
        delete,
        &["patch", "secret", "web-tls", "-p", edit],
        &["patch", "secret", "web-tls", "-p", empty],
        &["label", "secret", "web-tls", "gatelet.dev/managed-"],
        &["patch", "secret", "web-tls", "-p", pruned],
    ] {
        site.gatelet.kubectl(change);
        eventually(&format!("it is back after {change:?}"), || {
            (parts(&secret()?) == whole).then_some(())
        });
        assert_eq!(
            site.certificate("default/web-tls").unwrap()["state"],
            "valid"
        );
    }
    eventually("the removed label is an Event", || {
        let events = site
            .gatelet
            .kubectl(&["get", "events", "-o", "jsonpath={.items[*].reason}"]);
        events.contains("SecretLabelRemoved").then_some(())
    });
    assert_eq!(site.issuances(), 1);
}

#[test]
fn local_issuers_need_no_external_ca() {
    let site = Site::start(quick(), "");
    site.ingress(
        "local",
        &["local.gatelet.test"],
        "gatelet.dev/issuer: local-ca",
    );
    site.ingress(
        "selfish",
        &["selfish.gatelet.test"],
        "gatelet.dev/issuer: self-signed",
    );
    for (name, issuer) in [
        ("default/local-tls", "local-ca"),
        ("default/selfish-tls", "self-signed"),
    ] {
        eventually(name, || {
            let one = site.certificate(name)?;
            (one["state"] == "valid" && one["served"] == issuer).then_some(())
        });
    }
    let mut curl = site.gatelet.curl_tls("local.gatelet.test", "/");
    assert!(
        curl.output().unwrap().status.success(),
        "the root of `certs ca` is enough"
    );
    assert_eq!(site.issuances(), 0);
}
