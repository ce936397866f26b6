//! The process ends at the worst moments, and another one resumes its work.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use gatelet::{
    acme::{
        Timing,
        dns::{CommandSettings, Lookup, Provider, ProviderContext, ProviderSettings},
        engine::notice::NoticeReason,
        issuer::ChallengeType,
        plan::record::{self, StoredCertificate},
    },
    http_client::{Http, HttpSettings},
    store,
};
use rustls::pki_types::UnixTime;

use super::{
    failpoint_store::Gate,
    harness::{AREAS, End, Harness, TIMING, Time, issuer, spec},
};
use crate::support::{
    Folder,
    chaos::{Action, ChaosCa, Endpoint, Fault, Options},
    eventually,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn on_gate(gate: &Arc<Gate>, options: Options) -> Harness {
    Harness::on(ChaosCa::start(options), gate.clone(), Time::new(), TIMING)
}

/// Waits for a scripted fault, then ends the process.
fn crash_at_fault(harness: &mut Harness) {
    harness.call_comes();
    // The CA handles the call at once.
    std::thread::sleep(Duration::from_millis(30));
    harness.ca.set_faults(Vec::new());
    harness.crash();
}

#[test]
fn a_crash_after_any_write_still_ends_in_one_certificate() {
    let mut stops = 0;
    for commit in 1.. {
        let gate = Gate::new();
        gate.stop_after(commit);
        let mut harness = on_gate(&gate, Options::default());
        harness.request(&["a.example"]);
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
            // Let one more write through, or the harness would wait for it when it is dropped.
            gate.go_on();
            break;
        }
        stops += 1;
        harness.stop();
        gate.go_on();
        harness.start_again();
        harness.request(&["a.example"]);
        assert_eq!(
            harness.settle(HOUR),
            End::Live,
            "after write {commit}: {:#?}",
            harness.ca.log()
        );
        assert_eq!(harness.issued(), 1, "after write {commit}");
        harness.assert_good();
    }
    // The writes: account, its URL, pending order, its URL, certificate, and renewal window.
    assert!((5..=6).contains(&stops), "{stops}");
}

#[test]
fn a_crash_around_any_call_still_ends_in_one_certificate() {
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
            harness.request(&["a.example"]);
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
fn a_challenge_is_not_triggered_again_after_a_crash() {
    // Pebble reports that it is validating, Boulder does not.
    for action in [Action::Stall(5), Action::StallUnseen(5)] {
        let ca = ChaosCa::start(Options::default());
        ca.set_faults(vec![Fault::once(Endpoint::Challenge, action.clone())]);
        let timing = Timing {
            poll_timeout: Duration::from_secs(30),
            ..TIMING
        };
        let mut harness = Harness::on(ca, Gate::new(), Time::new(), timing);
        harness.request(&["a.example"]);
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
fn an_interrupted_renewal_is_finished_without_another() {
    for endpoint in [
        Endpoint::NewOrder,
        Endpoint::Challenge,
        Endpoint::Finalize,
        Endpoint::Certificate,
    ] {
        let mut harness = Harness::new(Options::default());
        harness.request(&["a.example"]);
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
fn a_ca_that_was_reset_mid_order_is_registered_with_again() {
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
        harness.request(&["a.example"]);
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
fn a_crash_during_a_key_change_finds_the_valid_key() {
    // The CA has taken the new key, or never saw it.
    for action in [Action::HangAfterCommit, Action::Delay(DAY)] {
        let mut harness = Harness::new(Options::default());
        harness.request(&["a.example"]);
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

/// Creates a provider that logs its calls.
fn provider(folder: &Folder) -> Provider {
    let script = folder.write(
        "dns",
        "#!/bin/sh\necho \"$@\" >> \"$(dirname \"$0\")/calls\"\n",
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

/// Returns the records that were published and not removed.
fn published(folder: &Folder) -> Vec<String> {
    let calls = fs::read_to_string(folder.path().join("calls")).unwrap_or_default();
    let of = |what: &str| -> Vec<String> {
        calls
            .lines()
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
fn orphaned_dns_records_are_removed_after_a_crash() {
    for goes_on in [true, false] {
        let folder = Folder::new();
        let timing = Timing {
            poll_timeout: Duration::from_millis(500),
            ..TIMING
        };
        let ca = ChaosCa::start(Options::default());
        ca.set_faults(vec![Fault::once(Endpoint::Challenge, Action::Delay(DAY))]);
        let mut harness = Harness::on(ca, Gate::new(), Time::new(), timing);
        let dns = provider(&folder);
        let issuer = harness.issuer(|acme| {
            acme.challenges = vec![ChallengeType::Dns01];
            acme.dns = Some(dns);
        });
        let wildcard = spec(&["*.a.example"], std::slice::from_ref(&issuer));
        harness.engine.set_specs([wildcard.clone()].into());
        harness.call_comes();
        assert_eq!(published(&folder).len(), 1);
        harness.stop();
        harness.ca.set_faults(Vec::new());
        harness.start_again();
        let other = spec(&["b.example"], &[issuer]);
        if goes_on {
            harness.engine.set_specs([wildcard, other].into());
        } else {
            harness.engine.set_specs([other].into());
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
fn a_revocation_without_a_response_is_repeated_after_a_start() {
    // The CA has carried out the request, or never received it.
    for action in [Action::HangAfterCommit, Action::Delay(DAY)] {
        let mut harness = Harness::new(Options::default());
        harness.request(&["a.example"]);
        assert_eq!(harness.settle(HOUR), End::Live);
        harness
            .ca
            .set_faults(vec![Fault::once(Endpoint::RevokeCert, action.clone())]);
        let engine = harness.engine.clone();
        let revoking = harness.spawn(async move { engine.revoke("a.example", Some(1)).await });
        harness.call_comes();
        std::thread::sleep(Duration::from_millis(30));
        // The loop first: it would repeat the request as soon as this one is aborted.
        let specs = harness.engine.specs();
        harness.stop();
        revoking.abort();
        harness.ca.set_faults(Vec::new());
        harness.start_again();
        harness.engine.set_specs(specs);
        harness.until("another one comes", || {
            (harness.issued() == 2).then_some(())
        });
        assert_eq!(harness.settle(HOUR), End::Live, "{action:?}");
        let revoked: Vec<_> = harness.ca.issued().iter().map(|one| one.revoked).collect();
        assert_eq!(revoked, [Some(1), None], "{action:?}");
        eventually("the notice", || {
            harness.was_notified(NoticeReason::Revoked).then_some(())
        });
        assert!(
            harness.store.scan("acme/revocation/").unwrap().is_empty(),
            "{action:?}"
        );
        harness.assert_good();
    }
}

#[test]
fn revocations_are_repeated_until_confirmed_or_refused() {
    let harness = Harness::new(Options::default());
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness.ca.set_faults(vec![Fault::always(
        Endpoint::RevokeCert,
        Action::CloseBeforeCommit,
    )]);
    let error = harness
        .block_on(harness.engine.revoke("a.example", Some(7)))
        .unwrap_err();
    assert!(error.to_string().contains("is repeated"), "{error}");
    assert_eq!(harness.store.scan("acme/revocation/").unwrap().len(), 1);
    harness.ca.set_faults(Vec::new());
    // RFC 5280 has no reason 7.
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
    assert!(!error.to_string().contains("is repeated"), "{error}");
    harness.assert_good();
}

/// A harness on a store in a folder, with a certificate.
fn on_disk(folder: &Folder) -> Harness {
    let ca = ChaosCa::start(Options::default());
    let harness = Harness::on(
        ca,
        store::open(folder.path(), AREAS).unwrap().0,
        Time::new(),
        TIMING,
    );
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live, "{:#?}", harness.ca.log());
    harness
}

/// Starts another process after the loss of the database. It serves the certificate before the
/// specs are known.
fn without_database(harness: Harness, folder: &Folder) -> Harness {
    let (ca, time) = (harness.ca.clone(), harness.time.clone());
    drop(harness);
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    let harness = Harness::on(
        ca,
        store::open(folder.path(), AREAS).unwrap().0,
        time,
        TIMING,
    );
    assert_eq!(harness.engine.active().borrow().certificates.len(), 1);
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live, "{:#?}", harness.ca.log());
    harness
}

#[test]
fn a_lost_database_is_restored_without_a_second_issuance() {
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
fn an_order_lost_with_the_database_is_created_again() {
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
fn orders_of_a_crash_loop_are_counted_once_each() {
    let mut harness = Harness::new(Options::default());
    harness.request(&["a.example"]);
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
    // The certificate of seventy days ago no longer counts.
    assert_eq!(orders(&harness), 4, "{:#?}", harness.ca.log());
    harness.assert_good();
}

#[test]
fn an_existing_certificate_is_adopted_and_renewed() {
    let mut first = Harness::new(Options::default());
    first.request(&["a.example"]);
    assert_eq!(first.settle(HOUR), End::Live);
    first.stop();
    let (_, stored) = record::all::<StoredCertificate>(&*first.store)
        .unwrap()
        .pop_first()
        .unwrap();
    let harness = Harness::on(first.ca.clone(), Gate::new(), first.time.clone(), TIMING);
    let issuer = issuer("chaos", &harness.ca, |_| {});
    let spec = spec(&["a.example"], std::slice::from_ref(&issuer));
    assert!(
        harness.block_on(
            harness
                .engine
                .adopt(&spec, &issuer, &stored.chain, &stored.key)
        )
    );
    assert!(
        !harness.block_on(
            harness
                .engine
                .adopt(&spec, &issuer, &stored.chain, &stored.key)
        ),
        "it is there already"
    );
    harness.engine.set_specs([spec].into());
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 1);
    harness.pass(DAY * 70);
    assert_eq!(harness.settle(HOUR), End::Live);
    assert_eq!(harness.issued(), 2);
    harness.assert_good();
}
