//! What is said of a name that a CA did not accept, with a real DNS server.

use std::net::UdpSocket;

use gatelet::acme::notice::NoticeReason;

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

/// What helps, once the CA has refused a name.
fn helps(harness: &mut Harness, name: &str) -> String {
    harness.want(&[name]);
    let report = harness.until("the failure", || {
        let reports = harness.reports();
        reports
            .into_iter()
            .find(|report| report.hosts == [name] && report.state == "waiting")
    });
    // When it is tried again is what it always was.
    assert!(report.next.is_some(), "{report:?}");
    let advice = report.problem.expect("a problem").advice;
    // The same for those who look at the object.
    for reason in [NoticeReason::Failed, NoticeReason::ChallengeNeverSeen] {
        let is_it = |notice: &&gatelet::acme::notice::Notice| {
            notice.reason == reason && *notice.want == *format!("default/{name}")
        };
        let notice = harness
            .told()
            .iter()
            .find(is_it)
            .expect("it is told")
            .message
            .clone();
        assert!(notice.contains(&advice), "{notice}");
    }
    advice
}

#[test]
fn a_name_that_failed_is_held_against_what_dns_says_and_what_the_node_has() {
    let zone = DnsServer::start(&[ZONE]);
    let mut harness = Harness::asking(failing(), zone.address());
    let nobody = "nobody came to this device";
    for (name, expected) in [
        (
            "far.example.test",
            format!(
                "DNS says here: far.example.test points to 203.0.113.7; this node has {OWN_ADDRESS}; behind NAT \
                 203.0.113.7 must be your router's address, and port 80 of it lead here"
            ),
        ),
        (
            "lan.example.test",
            "192.168.7.7, which nobody outside reaches; this node has 198.51.100.7".to_owned(),
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
            advice.contains(nobody) && advice.contains(&expected),
            "{advice}"
        );
    }
    harness.assert_good();
}

#[test]
fn a_dns_server_that_says_nothing_is_not_waited_for_long_and_changes_nothing() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut harness = Harness::asking(failing(), silent.local_addr().unwrap());
    let advice = helps(&mut harness, "far.example.test");
    assert!(
        advice.contains("no answer within 5 s") || advice.contains("timed out"),
        "{advice}"
    );
}
