//! The process is gone at the worst moments, and another one goes on where it was.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use gatelet::{
    acme::{
        Timing,
        ca::http::{Http, HttpSettings},
        dns::{CommandSettings, Lookup, Provider, ProviderContext, ProviderSettings},
        issuer::ChallengeType,
        notice::NoticeReason,
        record::{self, StoredCertificate},
    },
    store,
};
use rustls::pki_types::UnixTime;

use super::{
    failpoint_store::Gate,
    harness::{End, Harness, PACE, Time, issuer, want},
};
use crate::support::{
    Folder,
    chaos::{Action, ChaosCa, Endpoint, Fault, Options},
    eventually,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn on_gate(gate: &Arc<Gate>, options: Options) -> Harness {
    Harness::on(ChaosCa::start(options), gate.clone(), Time::new(), PACE)
}

/// Waits for a scripted fault to happen, then ends the process.
fn crash_at_fault(harness: &mut Harness) {
    harness.call_comes();
    // What the CA does when it has the call takes no time to speak of.
    std::thread::sleep(Duration::from_millis(30));
    harness.ca.set_faults(Vec::new());
    harness.crash();
}

#[test]
fn after_every_write_another_process_goes_on_to_one_certificate() {
    let mut stops = 0;
    for commit in 1.. {
        let gate = Gate::new();
        gate.stop_after(commit);
        let mut harness = on_gate(&gate, Options::default());
        harness.want(&["a.example"]);
        let stopped = harness.until("it stops or gets there", || {
            let is_live = || {
                harness
                    .reports()
                    .first()
                    .is_some_and(|report| report.state == "valid")
            };
            gate.has_stopped()
                .then_some(true)
                .or_else(|| is_live().then_some(false))
        });
        if !stopped {
            // It may write once more, and must not wait for that when the harness goes.
            gate.go_on();
            break;
        }
        stops += 1;
        harness.stop();
        gate.go_on();
        harness.start_again();
        harness.want(&["a.example"]);
        assert_eq!(
            harness.settle(HOUR),
            End::Live,
            "after write {commit}: {:#?}",
            harness.ca.log()
        );
        assert_eq!(harness.issued(), 1, "after write {commit}");
        harness.assert_good();
    }
    // Account, its URL, order wanted, order made, certificate; and when the CA wants it renewed.
    assert!((5..=6).contains(&stops), "{stops}");
}

#[test]
fn before_and_after_every_call_another_process_goes_on_to_one_certificate() {
    for endpoint in [
        Endpoint::NewAccount,
        Endpoint::NewOrder,
        Endpoint::Authz,
        Endpoint::Challenge,
        Endpoint::Order,
        Endpoint::Finalize,
        Endpoint::Certificate,
    ] {
        for action in [Action::Delay(DAY), Action::HangAfterCommit] {
            let mut harness = Harness::with(
                Options::default(),
                vec![Fault::once(endpoint, action.clone())],
            );
            harness.want(&["a.example"]);
            crash_at_fault(&mut harness);
            assert_eq!(
                harness.settle(HOUR),
                End::Live,
                "{endpoint:?} {action:?}: {:#?}",
                harness.ca.log()
            );
            assert_eq!(harness.issued(), 1, "{endpoint:?} {action:?}");
            assert!(
                harness
                    .ca
                    .issued()
                    .iter()
                    .all(|one| one.account == harness.ca.issued()[0].account)
            );
            harness.assert_good();
        }
    }
}

#[test]
fn a_challenge_that_a_ca_looks_at_is_not_sent_again_after_a_crash() {
    // Pebble shows that it is at work, Boulder does not.
    for action in [Action::Stall(5), Action::StallUnseen(5)] {
        let ca = ChaosCa::start(Options::default());
        ca.set_faults(vec![Fault::once(Endpoint::Challenge, action.clone())]);
        let pace = Timing {
            poll_timeout: Duration::from_secs(30),
            ..PACE
        };
        let mut harness = Harness::on(ca, Gate::new(), Time::new(), pace);
        harness.want(&["a.example"]);
        crash_at_fault(&mut harness);
        assert_eq!(
            harness.settle(HOUR),
            End::Live,
            "{action:?}: {:#?}",
            harness.ca.log()
        );
        assert_eq!(
            (harness.issued(), harness.calls(Endpoint::Challenge)),
            (1, 1),
            "{action:?}: {:#?}",
            harness.ca.log()
        );
        harness.assert_good();
    }
}

#[test]
fn a_renewal_that_breaks_off_is_finished_without_a_second_one() {
    for endpoint in [
        Endpoint::NewOrder,
        Endpoint::Challenge,
        Endpoint::Finalize,
        Endpoint::Certificate,
    ] {
        let mut harness = Harness::new(Options::default());
        harness.want(&["a.example"]);
        assert_eq!(harness.settle(HOUR), End::Live);
        harness
            .ca
            .set_faults(vec![Fault::once(endpoint, Action::HangAfterCommit)]);
        harness.pass(DAY * 70);
        crash_at_fault(&mut harness);
        assert_eq!(
            harness.settle(HOUR),
            End::Live,
            "{endpoint:?}: {:#?}",
            harness.ca.log()
        );
        assert_eq!(harness.issued(), 2, "{endpoint:?}");
        harness.assert_good();
    }
}

#[test]
fn a_ca_that_was_set_up_anew_in_mid_order_is_registered_with_again() {
    for endpoint in [
        Endpoint::Authz,
        Endpoint::Challenge,
        Endpoint::Order,
        Endpoint::Finalize,
        Endpoint::Certificate,
    ] {
        let harness = Harness::with(
            Options::default(),
            vec![Fault::once(endpoint, Action::AccountUnknown)],
        );
        harness.want(&["a.example"]);
        assert_eq!(
            harness.settle(HOUR),
            End::Live,
            "{endpoint:?}: {:#?}",
            harness.ca.log()
        );
        harness.assert_good();
    }
}

#[test]
fn whichever_account_key_the_ca_has_after_a_crash_is_found_out() {
    // The CA has taken the new key, or never saw it.
    for action in [Action::HangAfterCommit, Action::Delay(DAY)] {
        let mut harness = Harness::new(Options::default());
        harness.want(&["a.example"]);
        assert_eq!(harness.settle(HOUR), End::Live);
        harness
            .ca
            .set_faults(vec![Fault::once(Endpoint::KeyChange, action.clone())]);
        let (engine, issuer) = (harness.engine.clone(), harness.issuer(|_| {}));
        let changing = harness.spawn(async move { engine.change_key(&issuer).await });
        harness.call_comes();
        std::thread::sleep(Duration::from_millis(30));
        changing.abort();
        harness.ca.set_faults(Vec::new());
        harness.crash();
        harness.pass(DAY * 70);
        assert_eq!(
            harness.settle(HOUR),
            End::Live,
            "{action:?}: {:#?}",
            harness.ca.log()
        );
        let issued = harness.ca.issued();
        assert_eq!(issued.len(), 2, "{action:?}");
        assert_eq!(issued[0].account, issued[1].account, "{action:?}");
        harness.assert_good();
    }
}

/// A provider that writes down what it is told.
fn provider(folder: &Folder) -> Provider {
    let script = folder.write(
        "dns",
        "#!/bin/sh\necho \"$@\" >> \"$(dirname \"$0\")/told\"\n",
    );
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    let time = Arc::new(UnixTime::now);
    let context = ProviderContext {
        lookup: Lookup::default(),
        follow_cname: false,
        http: Http::new(HttpSettings::new(time.clone())).unwrap(),
        time,
    };
    let command = CommandSettings {
        program: script,
        arguments: Vec::new(),
    };
    Provider::new(ProviderSettings::Command(command), context).unwrap()
}

/// What was published and not removed.
fn published(folder: &Folder) -> Vec<String> {
    let told = fs::read_to_string(folder.path().join("told")).unwrap_or_default();
    let of = |what: &str| -> Vec<String> {
        told.lines()
            .filter_map(|line| line.strip_prefix(what))
            .map(|rest| rest.trim().to_owned())
            .collect()
    };
    let removed = of("cleanup");
    of("present")
        .into_iter()
        .filter(|record| !removed.contains(record))
        .collect()
}

#[test]
fn records_in_dns_that_a_crash_left_over_are_removed_whether_or_not_the_wish_lives() {
    for goes_on in [true, false] {
        let folder = Folder::new();
        let pace = Timing {
            poll_timeout: Duration::from_millis(500),
            ..PACE
        };
        let ca = ChaosCa::start(Options::default());
        ca.set_faults(vec![Fault::once(Endpoint::Challenge, Action::Delay(DAY))]);
        let mut harness = Harness::on(ca, Gate::new(), Time::new(), pace);
        let dns = provider(&folder);
        let issuer = harness.issuer(|acme| {
            acme.challenges = vec![ChallengeType::Dns01];
            acme.dns = Some(dns);
        });
        let wildcard = want(&["*.a.example"], std::slice::from_ref(&issuer));
        harness.engine.want([wildcard.clone()].into());
        harness.call_comes();
        assert_eq!(published(&folder).len(), 1);
        harness.stop();
        harness.ca.set_faults(Vec::new());
        harness.start_again();
        let other = want(&["b.example"], &[issuer]);
        if goes_on {
            harness.engine.want([wildcard, other].into());
        } else {
            harness.engine.want([other].into());
        }
        harness.until("they are gone", || {
            published(&folder).is_empty().then_some(())
        });
        assert_eq!(harness.settle(HOUR), End::Live, "{:#?}", harness.ca.log());
        assert_eq!(published(&folder), [] as [String; 0]);
        assert_eq!(harness.issued(), if goes_on { 2 } else { 1 });
        harness.assert_good();
    }
}

#[test]
fn a_revocation_whose_answer_is_lost_is_asked_for_again_after_a_start() {
    // The CA has done it, or never heard of it.
    for action in [Action::HangAfterCommit, Action::Delay(DAY)] {
        let mut harness = Harness::new(Options::default());
        harness.want(&["a.example"]);
        assert_eq!(harness.settle(HOUR), End::Live);
        harness
            .ca
            .set_faults(vec![Fault::once(Endpoint::RevokeCert, action.clone())]);
        let engine = harness.engine.clone();
        let revoking = harness.spawn(async move { engine.revoke("a.example", Some(1)).await });
        harness.call_comes();
        std::thread::sleep(Duration::from_millis(30));
        revoking.abort();
        harness.ca.set_faults(Vec::new());
        harness.crash();
        harness.until("another one comes", || {
            (harness.issued() == 2).then_some(())
        });
        assert_eq!(harness.settle(HOUR), End::Live, "{action:?}");
        let revoked: Vec<_> = harness.ca.issued().iter().map(|one| one.revoked).collect();
        assert_eq!(revoked, [Some(1), None], "{action:?}");
        eventually("it is told", || {
            harness.was_told(NoticeReason::Revoked).then_some(())
        });
        assert!(
            harness.store.scan("acme/revocation/").unwrap().is_empty(),
            "{action:?}"
        );
        harness.assert_good();
    }
}

#[test]
fn a_revocation_that_no_ca_hears_goes_on_without_a_start_and_one_that_is_refused_ends() {
    let harness = Harness::new(Options::default());
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.ca.set_faults(vec![Fault::always(
        Endpoint::RevokeCert,
        Action::CloseBeforeCommit,
    )]);
    let error = harness
        .block_on(harness.engine.revoke("a.example", Some(7)))
        .unwrap_err();
    assert!(error.to_string().contains("asked again"), "{error}");
    assert_eq!(harness.store.scan("acme/revocation/").unwrap().len(), 1);
    harness.ca.set_faults(Vec::new());
    // There is no reason 7.
    harness.until("the CA refuses", || {
        harness
            .store
            .scan("acme/revocation/")
            .unwrap()
            .is_empty()
            .then_some(())
    });
    assert_eq!((harness.settle(HOUR), harness.issued()), (End::Live, 1));
    let error = harness
        .block_on(harness.engine.revoke("a.example", Some(7)))
        .unwrap_err();
    assert!(!error.to_string().contains("asked again"), "{error}");
    harness.assert_good();
}

/// A harness on a store in a folder, with a certificate.
fn on_disk(folder: &Folder) -> Harness {
    let ca = ChaosCa::start(Options::default());
    let harness = Harness::on(ca, store::open(folder.path()).unwrap().0, Time::new(), PACE);
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live, "{:#?}", harness.ca.log());
    harness
}

/// Another process, after the database is lost. It serves the certificate before anything is
/// wanted.
fn without_database(harness: Harness, folder: &Folder) -> Harness {
    let (ca, time) = (harness.ca.clone(), harness.time.clone());
    drop(harness);
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    let harness = Harness::on(ca, store::open(folder.path()).unwrap().0, time, PACE);
    assert_eq!(harness.engine.served().borrow().certificates.len(), 1);
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live, "{:#?}", harness.ca.log());
    harness
}

#[test]
fn a_lost_database_comes_back_from_its_mirror_without_a_second_issuance() {
    let folder = Folder::new();
    let harness = on_disk(&folder);
    let harness = without_database(harness, &folder);
    assert_eq!(harness.issued(), 1);
    harness.pass(DAY * 70);
    assert_eq!(harness.settle(HOUR), End::Live);
    let issued = harness.ca.issued();
    assert_eq!((issued.len(), &issued[0].account), (2, &issued[1].account));
    harness.assert_good();
}

#[test]
fn an_order_that_is_lost_with_the_database_is_made_again_by_the_same_account() {
    for endpoint in [Endpoint::NewOrder, Endpoint::Challenge, Endpoint::Finalize] {
        let folder = Folder::new();
        let harness = on_disk(&folder);
        harness
            .ca
            .set_faults(vec![Fault::once(endpoint, Action::HangAfterCommit)]);
        harness.pass(DAY * 70);
        harness.call_comes();
        harness.ca.set_faults(Vec::new());
        let harness = without_database(harness, &folder);
        let issued = harness.ca.issued();
        assert!(
            issued.iter().all(|one| one.account == issued[0].account),
            "{endpoint:?}"
        );
        harness.assert_good();
    }
}

#[test]
fn orders_of_a_loop_of_crashes_are_counted_once_each() {
    let mut harness = Harness::new(Options::default());
    harness.want(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    let hang = || vec![Fault::once(Endpoint::NewOrder, Action::HangAfterCommit)];
    harness.ca.set_faults(hang());
    harness.pass(DAY * 70);
    let orders = |harness: &Harness| {
        let (_, budget) = harness.store.scan("acme/budget/").unwrap().remove(0);
        let budget: serde_json::Value = serde_json::from_slice(&budget).unwrap();
        budget["record"]["orders"].as_array().unwrap().len()
    };
    for next in [hang(), hang(), Vec::new()] {
        harness.call_comes();
        harness.ca.set_faults(next);
        harness.pass(Duration::from_secs(60));
        harness.crash();
    }
    assert_eq!(harness.settle(HOUR), End::Live);
    // That of seventy days ago does not count any more.
    assert_eq!(orders(&harness), 4, "{:#?}", harness.ca.log());
    harness.assert_good();
}

#[test]
fn a_certificate_that_is_elsewhere_is_adopted_and_renewed_from_there() {
    let mut first = Harness::new(Options::default());
    first.want(&["a.example"]);
    assert_eq!(first.settle(HOUR), End::Live);
    first.stop();
    let (_, held) = record::all::<StoredCertificate>(&*first.store)
        .unwrap()
        .remove(0);
    let harness = Harness::on(first.ca.clone(), Gate::new(), first.time.clone(), PACE);
    let issuer = issuer("chaos", &harness.ca, |_| {});
    let wish = want(&["a.example"], std::slice::from_ref(&issuer));
    assert!(harness.block_on(harness.engine.adopt(&wish, &issuer, &held.chain, &held.key)));
    assert!(
        !harness.block_on(harness.engine.adopt(&wish, &issuer, &held.chain, &held.key)),
        "it is there already"
    );
    harness.engine.want([wish].into());
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 1);
    harness.pass(DAY * 70);
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 2);
    harness.assert_good();
}
