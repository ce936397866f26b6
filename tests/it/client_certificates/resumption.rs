//! Sessions that are resumed: no certificate is shown again, and the one of the session is verified
//! again.

use super::*;

/// Sends a request with `openssl s_client`, and returns its output.
fn openssl(site: &Site, name: &str, host: &str, more: &[String]) -> String {
    let request = format!("GET / HTTP/1.1\\r\\nHost: {host}\\r\\nConnection: close\\r\\n\\r\\n");
    let (address, more) = (site.gatelet.https_addr(), more.join(" "));
    let script = format!(
        "(printf '{request}'; sleep 1) | timeout 20 openssl s_client -connect {address} \
         -servername {name} -ign_eof {more} 2>&1"
    );
    run(Command::new("bash").args(["-c", &script]))
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn a_resumed_session_is_verified_again() {
    for version in ["-tls1_2", "-tls1_3"] {
        let site = Site::start("");
        let other = Authority::root("Other CA");
        let session = site.gatelet.folder.path().join("session");
        let shown = [
            vec![version.to_owned(), "-sess_out".to_owned()],
            vec![session.display().to_string()],
            arguments(&site.client)
                .iter()
                .map(|word| word.replace("--", "-"))
                .collect(),
        ]
        .concat();
        let resumed = words(&format!("{version} -sess_in {}", session.display()));
        let is = |output: &str, kind: &str, status: u16| {
            let is_right = output.contains(kind) && output.contains(&format!("HTTP/1.1 {status} "));
            assert!(is_right, "{version} {kind} {status}: {output}");
        };

        // A session without a certificate stays one.
        let without = words(&format!("{version} -sess_out {}", session.display()));
        is(&openssl(&site, HOST, HOST, &without), "New, ", 400);
        is(&openssl(&site, HOST, HOST, &resumed), "Reused, ", 400);

        is(&openssl(&site, HOST, HOST, &shown), "New, ", 200);
        let again = openssl(&site, HOST, HOST, &resumed);
        is(&again, "Reused, ", 200);
        assert!(again.contains("ssl-client-subject-dn: CN=ann"), "{again}");

        // A ticket for one host is none for another one.
        const SAME: &str = "same.example.com";
        site.gatelet.apply(&ingress("same", SAME, SECRET));
        eventually("the host asks", || {
            (site.curl(SAME, Some(&site.client), &[]).0 == 200).then_some(())
        });
        is(&openssl(&site, HOST, HOST, &shown), "New, ", 200);
        is(&openssl(&site, SAME, SAME, &resumed), "New, ", 400);

        // Its certificate is revoked in the meantime.
        let list = site.authority.revoked(&[1000], 2040);
        site.gatelet
            .apply(&secret("ca", &site.authority.pem(), &list));
        eventually("the list applies", || {
            (site.status(Some(&site.client)) == 400).then_some(())
        });
        is(&openssl(&site, HOST, HOST, &resumed), "Reused, ", 400);

        // With another authority the session is none.
        site.gatelet.apply(&secret("ca", &other.pem(), ""));
        eventually("the authority applies", || {
            let (_, body) = site.curl(HOST, Some(&site.client), &[]);
            body.contains("unable to verify the first certificate")
                .then_some(())
        });
        is(&openssl(&site, HOST, HOST, &resumed), "New, ", 400);
    }
}

#[test]
fn a_session_of_another_host_brings_no_certificate() {
    let site = Site::start("");
    const OPEN: &str = "open.example.com";
    site.gatelet.apply(&ingress("open", OPEN, "a.example/b: c"));
    eventually("the host is there", || {
        (site.curl(OPEN, None, &[]).0 == 200).then_some(())
    });

    let session = site.gatelet.folder.path().join("session");
    let shown = words(&format!("-sess_out {}", session.display()));
    let resumed = words(&format!("-sess_in {}", session.display()));
    assert!(openssl(&site, OPEN, OPEN, &shown).contains("HTTP/1.1 200 "));
    let output = openssl(&site, HOST, HOST, &resumed);
    assert!(
        output.contains("New, ") && output.contains("HTTP/1.1 400 "),
        "{output}"
    );
}
