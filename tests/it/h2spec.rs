//! The conformance tests of h2spec: every rule of RFC 9113 and RFC 7541 that can be tested on a
//! server.

use super::support::{Backend, Gatelet, eventually, peers, said};

#[test]
fn h2spec_finds_nothing_over_tls_or_with_prior_knowledge() {
    let (Some(mut plain), Some(mut secure)) = (peers::h2spec(), peers::h2spec()) else {
        return;
    };
    let gatelet = Gatelet::start();
    let backend = Backend::start("h2spec");
    // h2spec sends the address as the host.
    gatelet.apply(&backend.manifests("h2spec", ""));
    eventually("every host is served", || {
        (gatelet.status_of("127.0.0.1", "/") == 200).then_some(())
    });
    // All tests but that of the preface: the plain port also accepts HTTP/1.1 there.
    plain.args([
        "generic/1",
        "generic/2",
        "generic/3",
        "generic/4",
        "generic/5",
        "hpack",
    ]);
    plain.args(["http2/4", "http2/5", "http2/6", "http2/7", "http2/8"]);
    plain.args([
        "-h",
        "127.0.0.1",
        "-o",
        "20",
        "-p",
        &gatelet.http.to_string(),
    ]);
    secure.args([
        "-h",
        "127.0.0.1",
        "-o",
        "20",
        "-p",
        &gatelet.https.to_string(),
        "-t",
        "-k",
    ]);
    for command in [&mut plain, &mut secure] {
        let output = command.output().expect("h2spec");
        let said = said(&output);
        assert!(
            output.status.success() && said.contains(" passed, 0 skipped, 0 failed"),
            "{said}"
        );
    }
}
