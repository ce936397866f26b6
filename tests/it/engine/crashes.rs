//! The process is gone at the worst moments, and another one goes on where it was.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use gatelet::{
    acme::{
        Pace,
        ca::http::{Http, HttpSettings},
        dns::{CommandSettings, Lookup, Provider, ProviderContext, ProviderSettings},
        issuer::ChallengeType,
        notice::NoticeReason,
        record::{self, Held},
    },
    store,
};
use rustls::pki_types::UnixTime;

use super::{
    bench::{Bench, End, PACE, Time, issuer, want},
    gate::Gate,
};
use crate::support::{
    Folder,
    chaos::{Action, ChaosCa, Endpoint, Fault, Options},
    eventually,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

fn on_gate(gate: &Arc<Gate>, options: Options) -> Bench {
    Bench::on(ChaosCa::start(options), gate.clone(), Time::new(), PACE)
}

/// Waits for a scripted fault to happen, then ends the process.
fn crash_at_fault(bench: &mut Bench) {
    bench.call_comes();
    // What the CA does when it has the call takes no time to speak of.
    std::thread::sleep(Duration::from_millis(30));
    bench.ca.set_faults(Vec::new());
    bench.crash();
}

#[test]
fn after_every_write_another_process_goes_on_to_one_certificate() {
    let mut stops = 0;
    for commit in 1.. {
        let gate = Gate::new();
        gate.stop_after(commit);
        let mut bench = on_gate(&gate, Options::default());
        bench.want(&["a.example"]);
        let stopped = bench.until("it stops or gets there", || {
            let is_live = || {
                bench
                    .reports()
                    .first()
                    .is_some_and(|report| report.state == "valid")
            };
            gate.has_stopped()
                .then_some(true)
                .or_else(|| is_live().then_some(false))
        });
        if !stopped {
            // It may write once more, and must not wait for that when the bench goes.
            gate.go_on();
            break;
        }
        stops += 1;
        bench.stop();
        gate.go_on();
        bench.start_again();
        bench.want(&["a.example"]);
        assert_eq!(
            bench.settle(HOUR),
            End::Live,
            "after write {commit}: {:#?}",
            bench.ca.log()
        );
        assert_eq!(bench.issued(), 1, "after write {commit}");
        bench.assert_good();
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
            let mut bench = Bench::with(
                Options::default(),
                vec![Fault::once(endpoint, action.clone())],
            );
            bench.want(&["a.example"]);
            crash_at_fault(&mut bench);
            assert_eq!(
                bench.settle(HOUR),
                End::Live,
                "{endpoint:?} {action:?}: {:#?}",
                bench.ca.log()
            );
            assert_eq!(bench.issued(), 1, "{endpoint:?} {action:?}");
            assert!(
                bench
                    .ca
                    .issued()
                    .iter()
                    .all(|one| one.account == bench.ca.issued()[0].account)
            );
            bench.assert_good();
        }
    }
}

#[test]
fn a_challenge_that_a_ca_looks_at_is_not_sent_again_after_a_crash() {
    // Pebble shows that it is at work, Boulder does not.
    for action in [Action::Stall(5), Action::StallUnseen(5)] {
        let ca = ChaosCa::start(Options::default());
        ca.set_faults(vec![Fault::once(Endpoint::Challenge, action.clone())]);
        let pace = Pace {
            patience: Duration::from_secs(30),
            ..PACE
        };
        let mut bench = Bench::on(ca, Gate::new(), Time::new(), pace);
        bench.want(&["a.example"]);
        crash_at_fault(&mut bench);
        assert_eq!(
            bench.settle(HOUR),
            End::Live,
            "{action:?}: {:#?}",
            bench.ca.log()
        );
        assert_eq!(
            (bench.issued(), bench.calls(Endpoint::Challenge)),
            (1, 1),
            "{action:?}: {:#?}",
            bench.ca.log()
        );
        bench.assert_good();
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
        let mut bench = Bench::new(Options::default());
        bench.want(&["a.example"]);
        assert_eq!(bench.settle(HOUR), End::Live);
        bench
            .ca
            .set_faults(vec![Fault::once(endpoint, Action::HangAfterCommit)]);
        bench.pass(DAY * 70);
        crash_at_fault(&mut bench);
        assert_eq!(
            bench.settle(HOUR),
            End::Live,
            "{endpoint:?}: {:#?}",
            bench.ca.log()
        );
        assert_eq!(bench.issued(), 2, "{endpoint:?}");
        bench.assert_good();
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
        let bench = Bench::with(
            Options::default(),
            vec![Fault::once(endpoint, Action::AccountUnknown)],
        );
        bench.want(&["a.example"]);
        assert_eq!(
            bench.settle(HOUR),
            End::Live,
            "{endpoint:?}: {:#?}",
            bench.ca.log()
        );
        bench.assert_good();
    }
}

#[test]
fn whichever_account_key_the_ca_has_after_a_crash_is_found_out() {
    // The CA has taken the new key, or never saw it.
    for action in [Action::HangAfterCommit, Action::Delay(DAY)] {
        let mut bench = Bench::new(Options::default());
        bench.want(&["a.example"]);
        assert_eq!(bench.settle(HOUR), End::Live);
        bench
            .ca
            .set_faults(vec![Fault::once(Endpoint::KeyChange, action.clone())]);
        let (engine, issuer) = (bench.engine.clone(), bench.issuer(|_| {}));
        let changing = bench.spawn(async move { engine.change_key(&issuer).await });
        bench.call_comes();
        std::thread::sleep(Duration::from_millis(30));
        changing.abort();
        bench.ca.set_faults(Vec::new());
        bench.crash();
        bench.pass(DAY * 70);
        assert_eq!(
            bench.settle(HOUR),
            End::Live,
            "{action:?}: {:#?}",
            bench.ca.log()
        );
        let issued = bench.ca.issued();
        assert_eq!(issued.len(), 2, "{action:?}");
        assert_eq!(issued[0].account, issued[1].account, "{action:?}");
        bench.assert_good();
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
        let pace = Pace {
            patience: Duration::from_millis(500),
            ..PACE
        };
        let ca = ChaosCa::start(Options::default());
        ca.set_faults(vec![Fault::once(Endpoint::Challenge, Action::Delay(DAY))]);
        let mut bench = Bench::on(ca, Gate::new(), Time::new(), pace);
        let dns = provider(&folder);
        let issuer = bench.issuer(|acme| {
            acme.challenges = vec![ChallengeType::Dns01];
            acme.dns = Some(dns);
        });
        let wildcard = want(&["*.a.example"], std::slice::from_ref(&issuer));
        bench.engine.want([wildcard.clone()].into());
        bench.call_comes();
        assert_eq!(published(&folder).len(), 1);
        bench.stop();
        bench.ca.set_faults(Vec::new());
        bench.start_again();
        let other = want(&["b.example"], &[issuer]);
        if goes_on {
            bench.engine.want([wildcard, other].into());
        } else {
            bench.engine.want([other].into());
        }
        bench.until("they are gone", || {
            published(&folder).is_empty().then_some(())
        });
        assert_eq!(bench.settle(HOUR), End::Live, "{:#?}", bench.ca.log());
        assert_eq!(published(&folder), [] as [String; 0]);
        assert_eq!(bench.issued(), if goes_on { 2 } else { 1 });
        bench.assert_good();
    }
}

#[test]
fn a_revocation_whose_answer_is_lost_is_asked_for_again_after_a_start() {
    // The CA has done it, or never heard of it.
    for action in [Action::HangAfterCommit, Action::Delay(DAY)] {
        let mut bench = Bench::new(Options::default());
        bench.want(&["a.example"]);
        assert_eq!(bench.settle(HOUR), End::Live);
        bench
            .ca
            .set_faults(vec![Fault::once(Endpoint::RevokeCert, action.clone())]);
        let engine = bench.engine.clone();
        let revoking = bench.spawn(async move { engine.revoke("a.example", Some(1)).await });
        bench.call_comes();
        std::thread::sleep(Duration::from_millis(30));
        revoking.abort();
        bench.ca.set_faults(Vec::new());
        bench.crash();
        bench.until("another one comes", || (bench.issued() == 2).then_some(()));
        assert_eq!(bench.settle(HOUR), End::Live, "{action:?}");
        let revoked: Vec<_> = bench.ca.issued().iter().map(|one| one.revoked).collect();
        assert_eq!(revoked, [Some(1), None], "{action:?}");
        eventually("it is told", || {
            bench.was_told(NoticeReason::Revoked).then_some(())
        });
        assert!(
            bench.store.scan("acme/revocation/").unwrap().is_empty(),
            "{action:?}"
        );
        bench.assert_good();
    }
}

#[test]
fn a_revocation_that_no_ca_hears_goes_on_without_a_start_and_one_that_is_refused_ends() {
    let bench = Bench::new(Options::default());
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    bench.ca.set_faults(vec![Fault::always(
        Endpoint::RevokeCert,
        Action::CloseBeforeCommit,
    )]);
    let error = bench
        .block_on(bench.engine.revoke("a.example", Some(7)))
        .unwrap_err();
    assert!(error.to_string().contains("asked again"), "{error}");
    assert_eq!(bench.store.scan("acme/revocation/").unwrap().len(), 1);
    bench.ca.set_faults(Vec::new());
    // There is no reason 7.
    bench.until("the CA refuses", || {
        bench
            .store
            .scan("acme/revocation/")
            .unwrap()
            .is_empty()
            .then_some(())
    });
    assert_eq!((bench.settle(HOUR), bench.issued()), (End::Live, 1));
    let error = bench
        .block_on(bench.engine.revoke("a.example", Some(7)))
        .unwrap_err();
    assert!(!error.to_string().contains("asked again"), "{error}");
    bench.assert_good();
}

/// A bench on a store in a folder, with a certificate.
fn on_disk(folder: &Folder) -> Bench {
    let ca = ChaosCa::start(Options::default());
    let bench = Bench::on(ca, store::open(folder.path()).unwrap().0, Time::new(), PACE);
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live, "{:#?}", bench.ca.log());
    bench
}

/// Another process, after the database is lost. It serves the certificate before anything is
/// wanted.
fn without_database(bench: Bench, folder: &Folder) -> Bench {
    let (ca, time) = (bench.ca.clone(), bench.time.clone());
    drop(bench);
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    let bench = Bench::on(ca, store::open(folder.path()).unwrap().0, time, PACE);
    assert_eq!(bench.engine.served().borrow().certificates.len(), 1);
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live, "{:#?}", bench.ca.log());
    bench
}

#[test]
fn a_lost_database_comes_back_from_its_mirror_without_a_second_issuance() {
    let folder = Folder::new();
    let bench = on_disk(&folder);
    let bench = without_database(bench, &folder);
    assert_eq!(bench.issued(), 1);
    bench.pass(DAY * 70);
    assert_eq!(bench.settle(HOUR), End::Live);
    let issued = bench.ca.issued();
    assert_eq!((issued.len(), &issued[0].account), (2, &issued[1].account));
    bench.assert_good();
}

#[test]
fn an_order_that_is_lost_with_the_database_is_made_again_by_the_same_account() {
    for endpoint in [Endpoint::NewOrder, Endpoint::Challenge, Endpoint::Finalize] {
        let folder = Folder::new();
        let bench = on_disk(&folder);
        bench
            .ca
            .set_faults(vec![Fault::once(endpoint, Action::HangAfterCommit)]);
        bench.pass(DAY * 70);
        bench.call_comes();
        bench.ca.set_faults(Vec::new());
        let bench = without_database(bench, &folder);
        let issued = bench.ca.issued();
        assert!(
            issued.iter().all(|one| one.account == issued[0].account),
            "{endpoint:?}"
        );
        bench.assert_good();
    }
}

#[test]
fn orders_of_a_loop_of_crashes_are_counted_once_each() {
    let mut bench = Bench::new(Options::default());
    bench.want(&["a.example"]);
    assert_eq!(bench.settle(HOUR), End::Live);
    let hang = || vec![Fault::once(Endpoint::NewOrder, Action::HangAfterCommit)];
    bench.ca.set_faults(hang());
    bench.pass(DAY * 70);
    let orders = |bench: &Bench| {
        let (_, budget) = bench.store.scan("acme/budget/").unwrap().remove(0);
        let budget: serde_json::Value = serde_json::from_slice(&budget).unwrap();
        budget["record"]["orders"].as_array().unwrap().len()
    };
    for next in [hang(), hang(), Vec::new()] {
        bench.call_comes();
        bench.ca.set_faults(next);
        bench.pass(Duration::from_secs(60));
        bench.crash();
    }
    assert_eq!(bench.settle(HOUR), End::Live);
    // That of seventy days ago does not count any more.
    assert_eq!(orders(&bench), 4, "{:#?}", bench.ca.log());
    bench.assert_good();
}

#[test]
fn a_certificate_that_is_elsewhere_is_adopted_and_renewed_from_there() {
    let mut first = Bench::new(Options::default());
    first.want(&["a.example"]);
    assert_eq!(first.settle(HOUR), End::Live);
    first.stop();
    let (_, held) = record::all::<Held>(&*first.store).unwrap().remove(0);
    let bench = Bench::on(first.ca.clone(), Gate::new(), first.time.clone(), PACE);
    let issuer = issuer("chaos", &bench.ca, |_| {});
    let wish = want(&["a.example"], std::slice::from_ref(&issuer));
    assert!(bench.block_on(bench.engine.adopt(&wish, &issuer, &held.chain, &held.key)));
    assert!(
        !bench.block_on(bench.engine.adopt(&wish, &issuer, &held.chain, &held.key)),
        "it is there already"
    );
    bench.engine.want([wish].into());
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.issued(), 1);
    bench.pass(DAY * 70);
    assert_eq!(bench.settle(HOUR), End::Live);
    assert_eq!(bench.issued(), 2);
    bench.assert_good();
}
