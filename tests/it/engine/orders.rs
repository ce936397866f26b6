//! Orders side by side, orders at a private CA, and the accounts that they need.

use std::time::Duration;

use jiff::SignedDuration;

use super::harness::{End, Harness, spec};
use crate::support::chaos::{Options, Profile};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn certificates_of_a_minute_never_run_out() {
    let harness = Harness::new(Options {
        // Like other CAs, it backdates them by an hour.
        profiles: vec![Profile {
            name: "minute",
            life: SignedDuration::from_secs(3_600 + 60),
            ..Profile::of_a_day()
        }],
        ..Options::default()
    });
    let issuer = harness.issuer(|acme| acme.publishes_limits = false);
    harness
        .engine
        .set_specs([spec(&["a.example"], &[issuer])].into());
    assert_eq!(harness.settle(SECOND), End::Live);

    while harness.issued() < 60 {
        harness.pass(SECOND * 5);
        assert_eq!(harness.settle(SECOND), End::Live);
        assert_eq!(harness.report().state, "valid", "{:?}", harness.report());
    }

    // The operator may renew at any time, too.
    for renewal in 61..=70 {
        harness.block_on(harness.engine.renew("a.example")).unwrap();
        harness.until("it is renewed", || {
            (harness.issued() >= renewal).then_some(())
        });
    }
}
