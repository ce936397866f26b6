//! Advice on names whose validation failed, with a real DNS server.

use std::net::UdpSocket;

use gatelet::acme::engine::notice::NoticeReason;

use super::harness::{Harness, OWN_ADDRESS};
use crate::support::{
    DnsServer,
    chaos::{ChaosCa, Options, Problem, Validation},
};

const ZONE: (&str, &str) = (
    "example.test",
    "far A 203.0.113.7\nlan A 192.168.7.7\nshut A 203.0.113.7\nshut CAA 0 issue \"other.example\"",
);

fn failing() -> ChaosCa {
    let nobody = Problem::new("connection", "Connection refused");
    ChaosCa::start(Options {
        validation: Validation::Fail(nobody),
        challenges: vec!["http-01"],
        ..Options::default()
    })
}

/// Returns the advice, once the CA has refused a name.
fn helps(harness: &mut Harness, name: &str) -> String {
    harness.request(&[name]);
    let report = harness.until("the failure", || {
        let reports = harness.reports();
        reports
            .into_iter()
            .find(|report| report.hosts == [name] && report.state == "waiting")
    });
    // The time of the next attempt does not depend on the advice.
    assert!(report.next.is_some(), "{report:?}");
    let advice = report.problem.expect("a problem").advice;
    // The Event of the failure has the whole advice, and the other one only its beginning.
    let [failed, unseen] = [NoticeReason::Failed, NoticeReason::ChallengeNeverSeen].map(|reason| {
        let is_it = |notice: &&gatelet::acme::engine::notice::Notice| {
            notice.reason == reason && *notice.certificate == *format!("default/{name}")
        };
        let notice = harness.notified().iter().find(is_it);
        notice.expect("the notice").message.clone()
    });
    assert_eq!(failed.matches(&advice).count(), 1, "{failed}");
    assert!(advice.starts_with(&unseen), "{unseen}");
    assert!(!unseen.contains("in DNS"), "{unseen}");
    advice
}

#[test]
fn a_failed_name_is_compared_with_dns_and_the_node() {
    let zone = DnsServer::start(&[ZONE]);
    let mut harness = Harness::asking(failing(), zone.address());
    let unreached = "no request reached this device";
    for (name, expected) in [
        (
            "far.example.test",
            format!(
                "in DNS as seen from here: far.example.test points to 203.0.113.7; this node has \
                 {OWN_ADDRESS}; behind NAT 203.0.113.7 must be your router's address, and the \
                 router must forward port 80 to this node"
            ),
        ),
        (
            "lan.example.test",
            "192.168.7.7, which cannot be reached from the internet; this node has 198.51.100.7"
                .to_owned(),
        ),
        (
            "none.example.test",
            "none.example.test has neither an A nor an AAAA record".to_owned(),
        ),
        (
            "shut.example.test",
            "the CAA records of shut.example.test do not let ca.test issue".to_owned(),
        ),
    ] {
        let advice = helps(&mut harness, name);
        assert!(
            advice.contains(unreached) && advice.contains(&expected),
            "{advice}"
        );
    }
    harness.assert_good();
}

#[test]
fn a_silent_dns_server_delays_the_advice_only_briefly() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut harness = Harness::asking(failing(), silent.local_addr().unwrap());
    let advice = helps(&mut harness, "far.example.test");
    assert!(
        advice.contains("no reply within 5 s") || advice.contains("timed out"),
        "{advice}"
    );
}
