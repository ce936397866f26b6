//! HTTPS with real clients: the choice of the certificate, kinds of keys, versions and protocols,
//! resumption, broken Secrets.

use std::process::Command;

use super::support::{
    Backend, Certificate, Connection, Gatelet, backend, certificates, eventually, run, said,
};

/// Kinds of keys besides those of [`certificates`].
const P384: &[&str] = &["ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
const ED25519: &[&str] = &["ed25519"];

/// An Ingress called `name` for NAME.example.com with a TLS Secret of that name, or none, and the
/// backend's Service.
fn ingress(name: &str, host: &str, secret: Option<&str>) -> String {
    let secret = secret
        .map(|secret| format!(", secretName: {secret}"))
        .unwrap_or_default();
    let tls = format!("  tls: [{{hosts: [{host:?}]{secret}}}]\n");
    backend::ingress(name, host, &tls)
        .replace(&format!("service: {{name: {name}"), "service: {name: tls")
}

fn service(backend: &Backend) -> String {
    format!(
        "{}{}",
        backend::service("tls", ""),
        backend::slice("tls", &[backend.port])
    )
}

/// Returns openssl's output about a handshake for a server name.
fn handshake(gatelet: &Gatelet, name: Option<&str>, arguments: &[&str]) -> String {
    let mut command = Command::new("openssl");
    command
        .args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{}", gatelet.https),
        ])
        .args(arguments);
    match name {
        Some(name) => command.args(["-servername", name]),
        None => command.arg("-noservername"),
    };
    said(
        &command
            .stdin(std::process::Stdio::null())
            .output()
            .expect("openssl"),
    )
}

/// Returns the status that curl gets when it trusts only this certificate.
fn trusted(gatelet: &Gatelet, host: &str, certificate: &Certificate) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}"]);
    command
        .args([
            "--resolve",
            &format!("{host}:{}:127.0.0.1", gatelet.https),
            "--cacert",
        ])
        .arg(&certificate.chain);
    command.arg(format!("https://{host}:{}/", gatelet.https));
    said(&command.output().expect("curl"))
}

#[test]
fn every_host_gets_its_certificate_whatever_kind_of_key_it_has() {
    let gatelet = Gatelet::start();
    let backend = Backend::start("tls");
    let hosts = [
        ("p256", "p256.example.com", certificates::ECDSA),
        ("p384", "p384.example.com", P384),
        ("rsa", "rsa.example.com", certificates::RSA),
        ("ed25519", "ed25519.example.com", ED25519),
        ("wild", "*.wild.example.com", certificates::ECDSA),
    ];
    let mut manifests = service(&backend);
    let mut made = Vec::new();
    for (name, host, kind) in hosts {
        let certificate = Certificate::make(&gatelet.folder, name, &[host], kind);
        manifests += &format!(
            "{}{}",
            certificate.secret(name),
            ingress(name, host, Some(name))
        );
        made.push(certificate);
    }
    // An exact host below the wildcard has its own certificate.
    manifests += &ingress("own", "own.wild.example.com", None);
    // An Ingress without `tls` is served with a certificate that fits.
    manifests += &backend::ingress("below", "below.wild.example.com", "")
        .replace("{name: below, port", "{name: tls, port");
    gatelet.apply(&manifests);
    eventually("the last one is served", || {
        gatelet.status()["certificates"]
            .to_string()
            .contains("own.wild.example.com")
            .then_some(())
    });
    for ((_, host, _), certificate) in hosts.iter().zip(&made) {
        let host = host.replace('*', "anything");
        assert_eq!(trusted(&gatelet, &host, certificate), "200", "{host}");
        assert_eq!(
            certificates::shown(gatelet.https, &host.to_uppercase()),
            certificate.serial,
            "{host}"
        );
    }
    assert_eq!(trusted(&gatelet, "below.wild.example.com", &made[4]), "200");
    let serials: Vec<_> = made
        .iter()
        .map(|certificate| certificate.serial.clone())
        .collect();
    for host in [
        "own.wild.example.com",
        "a.b.wild.example.com",
        "wild.example.com",
        "nobody.example.com",
    ] {
        assert!(
            !serials.contains(&certificates::shown(gatelet.https, host)),
            "{host}"
        );
    }
    // Hosts without a Secret get certificates of the local CA, whose root `certs ca` prints.
    let root = gatelet.command(&["certs", "ca"]);
    assert!(root.status.success(), "{root:?}");
    std::fs::write(gatelet.folder.path().join("printed.pem"), &root.stdout).expect("a file");
    let code = run(gatelet
        .curl_tls("own.wild.example.com", "/")
        .args(["-o", "/dev/null", "-w", "%{http_code}"])
        .arg("--cacert")
        .arg(gatelet.folder.path().join("printed.pem")));
    assert_eq!(code, "200");
    assert!(
        handshake(&gatelet, None, &[]).contains("gatelet local CA"),
        "a client that names no host is answered too"
    );
    let listed = said(&gatelet.command(&["certs", "list"]));
    for text in ["default/p256", "*.wild.example.com", "local CA"] {
        assert!(listed.contains(text), "{text}: {listed}");
    }
}

#[test]
fn protocols_and_versions_are_agreed_on() {
    let gatelet = Gatelet::start();
    let shows = |arguments: &[&str], text: &str| {
        let said = handshake(&gatelet, Some("a.example.com"), arguments);
        assert!(said.contains(text), "{arguments:?}: {said}");
    };
    shows(&["-alpn", "h2,http/1.1"], "ALPN protocol: h2");
    shows(&["-alpn", "http/1.1,h2"], "ALPN protocol: h2");
    shows(&["-alpn", "http/1.1"], "ALPN protocol: http/1.1");
    shows(&[], "No ALPN negotiated");
    shows(&["-alpn", "spdy/3"], "no application protocol");
    shows(&["-alpn", "acme-tls/1"], "no application protocol");
    shows(&["-alpn", "acme-tls/1,http/1.1"], "ALPN protocol: http/1.1");
    shows(&["-tls1_3"], "TLSv1.3");
    shows(&["-tls1_2"], "TLSv1.2");
    let old = handshake(
        &gatelet,
        Some("a.example.com"),
        &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
    );
    assert!(
        old.contains("alert") && old.contains("no peer certificate"),
        "{old}"
    );

    let gatelet = Gatelet::configured("[tls]\nmin_version = \"1.3\"\n");
    let old = handshake(&gatelet, Some("a.example.com"), &["-tls1_2"]);
    assert!(old.contains("alert protocol version"), "{old}");
    assert!(handshake(&gatelet, Some("a.example.com"), &["-tls1_3"]).contains("TLSv1.3"));
    // A client that does not speak TLS does no harm.
    let mut connection = Connection::open(gatelet.https_addr()).expect("a connection");
    connection
        .send(b"GET / HTTP/1.1\r\nHost: a.example.com\r\n\r\n")
        .expect("sent");
    assert!(connection.answer().is_err());
    assert!(handshake(&gatelet, Some("a.example.com"), &[]).contains("TLSv1.3"));
}

#[test]
fn sessions_are_resumed_also_after_a_certificate_was_swapped() {
    let gatelet = Gatelet::start();
    let backend = Backend::start("tls");
    let certificate = |file| {
        Certificate::make(
            &gatelet.folder,
            file,
            &["a.example.com"],
            certificates::ECDSA,
        )
    };
    let (first, second) = (certificate("first"), certificate("second"));
    gatelet.apply(&format!(
        "{}{}{}",
        service(&backend),
        first.secret("a"),
        ingress("a", "a.example.com", Some("a"))
    ));
    eventually("it is served", || {
        (certificates::shown(gatelet.https, "a.example.com") == first.serial).then_some(())
    });
    // Requests a page, so that the ticket arrives before the connection ends.
    let session = |version: &str, arguments: &str| {
        let script = format!(
            "printf 'GET / HTTP/1.1\\r\\nHost: a.example.com\\r\\nConnection: close\\r\\n\\r\\n' | \
                openssl s_client -connect \
             127.0.0.1:{} -servername a.example.com -ign_eof {version} {arguments} 2>&1",
            gatelet.https
        );
        let said = run(Command::new("sh").args(["-c", &script]));
        assert!(
            said.contains("HTTP/1.1 200 OK") || said.contains("HTTP/1.1 200 Said"),
            "{said}"
        );
        said
    };
    for version in ["-tls1_2", "-tls1_3"] {
        let file = gatelet.folder.path().join(format!("session{version}"));
        assert!(session(version, &format!("-sess_out {}", file.display())).contains("\nNew, "));
        let again = session(version, &format!("-sess_in {}", file.display()));
        assert!(again.contains("\nReused, "), "{version}: {again}");
    }
    gatelet.apply(&second.secret("a"));
    eventually("it is swapped", || {
        (certificates::shown(gatelet.https, "a.example.com") == second.serial).then_some(())
    });
    for version in ["-tls1_2", "-tls1_3"] {
        let file = gatelet.folder.path().join(format!("session{version}"));
        let again = session(version, &format!("-sess_in {}", file.display()));
        assert!(again.contains("\nReused, "), "{version}: {again}");
    }
}

#[test]
fn clients_without_a_known_host_get_the_default_certificate() {
    let gatelet = Gatelet::start();
    let backend = Backend::start("tls");
    let certificate = Certificate::make(
        &gatelet.folder,
        "all",
        &["fallback.example.com"],
        certificates::ECDSA,
    );
    let all = "apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: all}
spec: {defaultBackend: {service: {name: tls, port: {number: 80}}}, tls: [{secretName: all}]}
---
";
    gatelet.apply(&format!(
        "{}{}{all}{}",
        service(&backend),
        certificate.secret("all"),
        ingress("own", "own.example.com", None)
    ));
    eventually("it is the default", || {
        (certificates::shown(gatelet.https, "nobody.example.com") == certificate.serial)
            .then_some(())
    });
    let nameless = handshake(&gatelet, None, &[]);
    assert!(
        nameless.contains("BEGIN CERTIFICATE") && !nameless.contains("gatelet local CA"),
        "{nameless}"
    );
    assert_ne!(
        certificates::shown(gatelet.https, "own.example.com"),
        certificate.serial
    );
    assert_eq!(
        trusted(&gatelet, "fallback.example.com", &certificate),
        "200"
    );
    assert_eq!(gatelet.status_of("fallback.example.com", "/"), 308);
}

#[test]
fn unknown_names_are_refused_where_that_is_set() {
    let gatelet = Gatelet::configured("[tls]\nunknown_sni = \"refuse\"\n");
    let backend = Backend::start("tls");
    gatelet.apply(&format!(
        "{}{}",
        service(&backend),
        ingress("known", "known.example.com", None)
    ));
    eventually("the known one is answered", || {
        handshake(&gatelet, Some("known.example.com"), &[])
            .contains("gatelet local CA")
            .then_some(())
    });
    let refused = handshake(&gatelet, Some("unknown.example.com"), &[]);
    assert!(
        refused.contains("no peer certificate available"),
        "{refused}"
    );
    assert!(refused.contains("alert"), "an alert says why: {refused}");
    assert!(
        handshake(&gatelet, None, &[]).contains("gatelet local CA"),
        "health checks by address name nothing"
    );
}

#[test]
fn a_broken_secret_is_a_finding_and_harms_no_other_host() {
    let gatelet = Gatelet::start();
    let backend = Backend::start("tls");
    let good = Certificate::make(
        &gatelet.folder,
        "good",
        &["good.example.com"],
        certificates::ECDSA,
    );
    let other = Certificate::make(
        &gatelet.folder,
        "other",
        &["other.example.com"],
        certificates::ECDSA,
    );
    let mismatch = Certificate {
        key: other.key.clone(),
        ..good.clone()
    };
    let junk = |name: &str, text: &str| {
        let path = gatelet.folder.write(name, text);
        Certificate {
            chain: path.clone(),
            key: path,
            serial: String::new(),
        }
    };
    let text = junk("text", "this is no certificate");
    let empty = junk("empty", "");
    let cut = std::fs::read_to_string(&good.chain)
        .expect("a file")
        .replace("-----END CERTIFICATE-----", "");
    let cut = Certificate {
        chain: gatelet.folder.write("cut", &cut),
        ..good.clone()
    };
    let broken = [
        ("missing", None, "SecretNotFound"),
        ("text", Some(&text), "InvalidSecret"),
        ("empty", Some(&empty), "InvalidSecret"),
        ("cut", Some(&cut), "InvalidSecret"),
        ("mismatch", Some(&mismatch), "InvalidSecret"),
        ("stranger", Some(&other), "CertificateMismatch"),
    ];
    let mut manifests = service(&backend);
    manifests += &format!(
        "{}{}",
        good.secret("good"),
        ingress("good", "good.example.com", Some("good"))
    );
    for (name, certificate, _) in &broken {
        if let Some(certificate) = certificate {
            manifests += &certificate.secret(name);
        }
        manifests += &ingress(name, &format!("{name}.example.com"), Some(name));
    }
    // A Secret of a type other than TLS.
    manifests +=
        "apiVersion: v1\nkind: Secret\nmetadata: {name: opaque}\nstringData: {a: b}\n---\n";
    manifests += &ingress("opaque", "opaque.example.com", Some("opaque"));
    gatelet.apply(&manifests);
    let found = |name: &str, reason: &str| {
        let findings = gatelet.status()["findings"].clone();
        let findings = findings.as_array().expect("a list");
        findings.iter().any(|finding| {
            finding["object"]
                .as_str()
                .is_some_and(|object| object.contains(&format!("default/{name}")))
                && finding["reason"] == reason
        })
    };
    for (name, certificate, reason) in &broken {
        eventually(&format!("{name}: {reason}"), || {
            found(name, reason).then_some(())
        });
        let host = format!("{name}.example.com");
        let code = if *reason == "CertificateMismatch" {
            // Other controllers serve such a certificate, and so does gatelet.
            let certificate = certificate.expect("it is there");
            assert_eq!(
                certificates::shown(gatelet.https, &host),
                certificate.serial
            );
            run(gatelet
                .curl_tls(&host, "/")
                .args(["-k", "-o", "/dev/null", "-w", "%{http_code}"]))
        } else {
            run(gatelet
                .curl_tls(&host, "/")
                .args(["-o", "/dev/null", "-w", "%{http_code}"]))
        };
        assert_eq!(code, "200", "{host} is answered");
    }
    assert!(found("opaque", "InvalidSecret"));
    assert_eq!(trusted(&gatelet, "good.example.com", &good), "200");
    let described = eventually("an Event tells of it", || {
        let described = gatelet.kubectl(&["describe", "ingress", "mismatch"]);
        described.contains("InvalidSecret").then_some(described)
    });
    assert!(
        described.contains("not the key of the first certificate"),
        "{described}"
    );
    let private = std::fs::read_to_string(&other.key).expect("a file");
    let private = private.lines().nth(1).expect("the key");
    assert!(
        !gatelet.log().contains(private) && !described.contains(private),
        "never a key in a log"
    );

    // Each Secret is repaired while gatelet runs; a deleted Secret takes its certificate with it.
    for (name, ..) in &broken {
        let host = format!("{name}.example.com");
        let mended = Certificate::make(
            &gatelet.folder,
            &format!("mended-{name}"),
            &[&host],
            certificates::ECDSA,
        );
        gatelet.apply(&mended.secret(name));
        eventually(&host, || {
            (certificates::shown(gatelet.https, &host) == mended.serial).then_some(())
        });
        assert_eq!(trusted(&gatelet, &host, &mended), "200", "{host}");
    }
    eventually("no finding is left but the opaque one", || {
        let findings = gatelet.status()["findings"].clone();
        (findings.as_array().expect("a list").len() == 1).then_some(())
    });
    gatelet.kubectl(&["delete", "secret", "good"]);
    eventually("the local CA steps in", || {
        let output = gatelet
            .curl_tls("good.example.com", "/")
            .output()
            .expect("curl");
        output.status.success().then_some(())
    });
}

/// rustls cannot read v1, so the key was once reported as not belonging to the certificate.
#[test]
fn a_certificate_of_x509_v1_is_served() {
    let gatelet = Gatelet::start();
    let backend = Backend::start("tls");
    let certificate = Certificate::old(&gatelet.folder, "v1");
    gatelet.apply(
        &(service(&backend)
            + &certificate.secret("v1")
            + &ingress("v1", "v1.example.com", Some("v1"))),
    );
    eventually("its certificate is served", || {
        (certificates::shown(gatelet.https, "v1.example.com") == certificate.serial).then_some(())
    });
    let findings = gatelet.status()["findings"].clone();
    assert_eq!(findings[0]["reason"], "CertificateMismatch", "{findings}");
    let message = findings[0]["message"].as_str().expect("text");
    assert!(
        message.contains("its certificate names no host"),
        "{message}"
    );
}
