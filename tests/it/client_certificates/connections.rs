//! Connections that several hosts share, and those that were open when something changed.

use super::*;

#[test]
fn another_host_on_a_connection_asks_for_itself() {
    const SAME: &str = "same.example.com";
    const OTHER: &str = "other.example.com";
    const OPTIONAL: &str = "optional.example.com";
    const OPEN: &str = "open.example.com";

    let site = Site::start("");
    let other = Authority::root("Other CA");
    site.gatelet.apply(&secret("other", &other.pem(), ""));
    let optional = format!("{SECRET}\ngatelet.dev/auth-tls-verify-client: optional");
    for (name, host, annotations) in [
        ("same", SAME, SECRET),
        ("other", OTHER, "gatelet.dev/auth-tls-secret: other"),
        ("optional", OPTIONAL, &optional),
        ("open", OPEN, "a.example/b: c"),
    ] {
        site.gatelet.apply(&ingress(name, host, annotations));
    }
    eventually("the hosts are there", || {
        (site.curl(OPEN, None, &[]).0 == 200).then_some(())
    });

    let client = Some(&site.client);
    for (name, host, expected) in [
        (HOST, HOST, 200),
        (HOST, SAME, 200),
        (HOST, OPEN, 200),
        (HOST, OTHER, 421),
        (HOST, OPTIONAL, 421),
        (OPEN, HOST, 421),
        (OPEN, OPTIONAL, 421),
        (OPEN, OPEN, 200),
        (OPTIONAL, HOST, 421),
        (OTHER, HOST, 421),
        // Addresses are no server names.
        ("127.0.0.1", HOST, 421),
        ("127.0.0.1", OPEN, 200),
    ] {
        let mut connection = site.connect(name, client);
        let answer = connection.get(host, "/").expect("a response");
        assert_eq!(answer.status, expected, "{name}: {host}");
        // The client makes another connection.
        assert_eq!(answer.closes(), expected == 421, "{name}: {host}");
    }

    // The same over HTTP/2, where one connection is for many hosts.
    let fronted = |name, host: &str| {
        let field = format!("host: {host}");
        site.curl(name, client, &["--http2", "-H", &field]).0
    };
    assert_eq!(fronted(HOST, SAME), 200);
    assert_eq!(fronted(OPEN, HOST), 421);
    assert_eq!(fronted(OTHER, HOST), 421);

    // TLS of one host that is passed through changes nothing for others.
    let passed = "gatelet.dev/ssl-passthrough: 'true'";
    site.gatelet
        .apply(&ingress("passed", "passed.example.com", passed));
    let url = format!("tls://passed.example.com:{}", site.gatelet.https);
    eventually("TLS is passed through", || {
        let explained = site.gatelet.command(&["explain", &url]);
        let said = String::from_utf8_lossy(&explained.stdout).into_owned();
        said.contains("passed through").then_some(())
    });
    assert_eq!((site.status(client), site.status(None)), (200, 400));
}

#[test]
fn certificates_beyond_the_bounds_end_the_handshake() {
    let site = Site::start("");
    let folder = Folder::new();
    let own = std::fs::read_to_string(&site.client.chain).expect("a file");
    let with = |more: usize| ClientFiles {
        chain: folder.write(
            "many.crt",
            &format!("{own}{}", site.authority.pem().repeat(more)),
        ),
        key: site.client.key.clone(),
    };
    for (more, expected) in [(1, true), (15, true), (16, false), (90, false)] {
        let client = with(more);
        let mut curl = site.gatelet.curl_tls(HOST, "/");
        curl.args(arguments(&client))
            .args(["-f", "-o", "/dev/null"]);
        let status = curl.status().expect("curl");
        assert_eq!(status.success(), expected, "{more}");
    }
    assert_eq!(site.status(Some(&site.client)), 200);
}

#[test]
fn a_change_applies_to_connections_that_are_open() {
    let site = Site::start("");
    let client = Some(&site.client);
    let next = |connection: &mut Connection| connection.get(HOST, "/").expect("a response");
    let becomes = |expected: u16| {
        eventually("the change applies", || {
            (site.status(client) == expected).then_some(())
        });
    };
    let ca = site.authority.pem();

    // Its certificate is revoked.
    let mut connection = site.connect(HOST, client);
    assert_eq!(next(&mut connection).status, 200);
    let list = site.authority.revoked(&[1000], 2040);
    site.gatelet.apply(&secret("ca", &ca, &list));
    becomes(400);
    let refused = next(&mut connection);
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("certificate revoked"));
    let list = site.authority.revoked(&[7], 2040);
    site.gatelet.apply(&secret("ca", &ca, &list));
    becomes(200);

    // A list that is out of date shows nothing.
    let mut connection = site.connect(HOST, client);
    assert_eq!(next(&mut connection).status, 200);
    let list = site.authority.revoked(&[7], 2025);
    site.gatelet.apply(&secret("ca", &ca, &list));
    becomes(400);
    let refused = next(&mut connection);
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("CRL has expired"));
    let findings = site.gatelet.status()["findings"].to_string();
    assert!(findings.contains("CertificateExpired"), "{findings}");
    site.gatelet.apply(&secret("ca", &ca, ""));
    becomes(200);

    // Another authority: the client is asked again, on another connection.
    let mut connection = site.connect(HOST, client);
    assert_eq!(next(&mut connection).status, 200);
    let other = Authority::root("Other CA");
    site.gatelet.apply(&secret("ca", &other.pem(), ""));
    becomes(400);
    let misdirected = next(&mut connection);
    assert_eq!((misdirected.status, misdirected.closes()), (421, true));
    let own = other.issue(&site.gatelet.folder, "own", &of_client("ann"));
    assert_eq!(site.status(Some(&own)), 200);

    // The Secret cannot be used, or does not exist.
    for broken in [
        "kind: Secret\nmetadata: {name: ca}\nstringData: {ca.crt: nonsense}".to_owned(),
        secret("ca", &ca, "nonsense"),
    ] {
        let mut connection = site.connect(HOST, Some(&own));
        site.gatelet.kubectl(&["delete", "secret", "ca"]);
        let broken = match broken.starts_with("kind") {
            true => format!("apiVersion: v1\n{broken}\n"),
            false => broken,
        };
        site.gatelet.apply(&broken);
        eventually("the finding is there", || {
            let findings = site.gatelet.status()["findings"].to_string();
            let is_there = findings.contains("InvalidSecret")
                && findings.contains("metadata.annotations[gatelet.dev/auth-tls-secret]");
            is_there.then_some(())
        });
        assert_eq!(site.status(client), 503);
        assert_eq!(next(&mut connection).status, 503);
    }
    site.gatelet.kubectl(&["delete", "secret", "ca"]);
    eventually("the finding is there", || {
        let findings = site.gatelet.status()["findings"].to_string();
        findings.contains("SecretNotFound").then_some(())
    });
    assert_eq!(site.status(client), 503);

    // And back.
    site.gatelet.apply(&secret("ca", &ca, ""));
    becomes(200);
}

#[test]
fn a_host_that_begins_to_ask_asks_open_connections() {
    let site = Site::start("");
    const NEW: &str = "new.example.com";
    site.gatelet.apply(&ingress("new", NEW, "a.example/b: c"));
    eventually("the host is there", || {
        (site.curl(NEW, None, &[]).0 == 200).then_some(())
    });

    let mut connection = site.connect(NEW, Some(&site.client));
    assert_eq!(connection.get(NEW, "/").expect("a response").status, 200);
    site.gatelet.apply(&ingress("new", NEW, SECRET));
    eventually("the host asks", || {
        (site.curl(NEW, None, &[]).0 == 400).then_some(())
    });
    let answer = connection.get(NEW, "/").expect("a response");
    assert_eq!((answer.status, answer.closes()), (421, true));
    assert_eq!(site.curl(NEW, Some(&site.client), &[]).0, 200);
}
