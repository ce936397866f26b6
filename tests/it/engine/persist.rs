//! dns-persist-01 in the engine, with a real DNS server.

use std::{sync::Arc, time::Duration};

use gatelet::acme::issuer::ChallengeType;

use super::harness::{End, Harness, spec};
use crate::support::{DnsServer, chaos::Endpoint};

const RECORD: &str = "_validation-persist.a.example.test";

#[test]
fn a_missing_or_expired_record_sends_nothing_to_the_ca() {
    let zone = Arc::new(DnsServer::start(&[("example.test", "a A 192.0.2.1")]));
    let harness = Harness::with_dns(&zone, &["http-01", "dns-01", "dns-persist-01"]);
    let issuer = harness.issuer(|acme| acme.challenges = vec![ChallengeType::DnsPersist01]);
    let spec = spec(&["a.example.test"], &[issuer]);
    harness.engine.set_specs([spec].into());
    let blocked = || match harness.settle(Duration::from_secs(60)) {
        End::Blocked(why) => why,
        other => panic!("{other:?}"),
    };
    let why = blocked();
    let value = why
        .split_once(&format!("{RECORD} with the value \""))
        .unwrap_or_else(|| panic!("{why}"))
        .1;
    let value = value.split('"').next().unwrap();
    assert!(!value.contains("policy"), "{value}");

    for other in [
        format!("{value}; persistUntil=1000000000"),
        value.replace("acct/", "acct/9"),
    ] {
        zone.add_txt("example.test", RECORD, &other);
        harness
            .block_on(harness.engine.renew("a.example.test"))
            .unwrap();
        assert_eq!(blocked(), why);
    }
    assert_eq!(harness.calls(Endpoint::Challenge), 0);

    zone.add_txt("example.test", RECORD, value);
    harness
        .block_on(harness.engine.renew("a.example.test"))
        .unwrap();
    assert_eq!(harness.settle(Duration::from_secs(60)), End::Live);
    assert_eq!(
        (harness.issued(), harness.calls(Endpoint::Challenge)),
        (1, 1)
    );
    harness.assert_good();
}
