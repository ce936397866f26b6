//! Certificates that are valid for a minute, from a real Pebble, over many renewals in real time.
//! A client never receives one that has expired.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use serde_json::json;

use super::support::{Backend, Gatelet, Pebble, eventually, pebble::Options, run};

const HOST: &str = "minute.gatelet.test";
/// The time for which each certificate is valid, in seconds.
const VALID: u64 = 60;
/// The number of renewals, about one in half a minute. With the first certificate they are more
/// than Let's Encrypt issues for the same names in a week, and take as long as the other soak test.
const RENEWALS: usize = 10;

/// Returns the serial number of the certificate that a client receives, once it is one of Pebble's.
/// Fails if that has expired.
fn served(gatelet: &Gatelet) -> Option<String> {
    let script = format!(
        "openssl s_client -connect 127.0.0.1:{} -servername {HOST} </dev/null 2>/dev/null \
        | openssl x509 -noout -issuer -serial -checkend 0; true",
        gatelet.https
    );
    let shown = run(Command::new("sh").args(["-c", &script]));
    let is_pebbles = shown.contains("Pebble");
    assert!(
        !is_pebbles || shown.contains("will not expire"),
        "an expired certificate is served: {shown}\n{}",
        gatelet.log()
    );
    let serial = shown.lines().find(|line| line.starts_with("serial="))?;
    is_pebbles.then(|| serial.to_owned())
}

#[test]
#[ignore = "takes five minutes: tests/run runs it beside the other tests"]
fn certificates_of_a_minute_are_renewed_in_time() {
    let pebble = Pebble::start(Options {
        config: json!({"certificateValidityPeriod": VALID}),
        environment: vec![("PEBBLE_VA_NOSLEEP", "1")],
        ..Options::default()
    });
    let mut gatelet = Gatelet::prepare(&[]);
    (gatelet.http, gatelet.https) = (pebble.http_port, pebble.tls_port);
    gatelet.configure(&format!(
        "default_issuer = \"pebble\"\n\
        [[issuers]]\n\
        name = \"pebble\"\n\
        directory = \"{}\"\n\
        roots = \"{}\"\n",
        pebble.directory(),
        pebble.root().display(),
    ));
    gatelet.spawn();
    gatelet.wait_ready();
    let backend = Backend::start("minute");
    gatelet.apply(&backend.manifests("minute", HOST));
    gatelet.kubectl(&[
        "patch",
        "ingress",
        "minute",
        "--type=merge",
        "-p",
        &json!({"spec": {"tls": [{"hosts": [HOST], "secretName": "minute-tls"}]}}).to_string(),
    ]);

    let mut serials = vec![eventually("the first certificate", || served(&gatelet))];
    let mut last = Instant::now();
    while serials.len() <= RENEWALS {
        let serial = served(&gatelet).expect("there was one before");
        if serials.last() != Some(&serial) {
            serials.push(serial);
            last = Instant::now();
        }
        assert!(
            last.elapsed() < Duration::from_secs(VALID),
            "no renewal: {}",
            gatelet.log()
        );
        std::thread::sleep(Duration::from_secs(1));
    }
}
