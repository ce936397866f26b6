//! Invariants that hold whatever CA, disk and operator do, checked with random scripts.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gatelet::{
    acme::{
        engine::report::Report,
        plan::record::{self, Account, PendingOrder, StoredCertificate},
    },
    store::{Batch, Memory, Store, StoreError},
};
use tracing_subscriber::fmt::MakeWriter;

use super::{
    disk::{alone, folder_of_this_process},
    failpoint_store::Gate,
    harness::{End, Harness, TIMING, Time, spec},
};
use crate::support::{
    Folder,
    chaos::{
        Action, Ari, ChaosCa, Door, Endpoint, Fault, Nth, Options, Problem, RetryAfter, Validation,
        WrongChain,
    },
    run as run_to_end,
};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Random numbers that depend only on the seed (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % limit
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

fn fault(random: &mut Random) -> Fault {
    let endpoint = random.of(&[
        Endpoint::Any,
        Endpoint::Directory,
        Endpoint::NewNonce,
        Endpoint::NewAccount,
        Endpoint::NewOrder,
        Endpoint::Order,
        Endpoint::Authz,
        Endpoint::Challenge,
        Endpoint::Finalize,
        Endpoint::Certificate,
        Endpoint::RenewalInfo,
    ]);
    let problem = |kind: &str| Action::Problem(Problem::new(kind, "so it is"));
    let actions = [
        Action::CloseBeforeCommit,
        Action::CloseAfterCommit,
        Action::CutAfter(5),
        Action::BadNonce,
        Action::NoNonce,
        Action::GoAway,
        Action::AccountUnknown,
        Action::DirectoryMoved,
        Action::AuthzReuse,
        Action::AuthzOfAnother,
        Action::DuplicatedIdentifier,
        Action::ReplacesNotEchoed,
        Action::Stall(2),
        Action::TosChanged,
        Action::DateOffset(-40 * 86_400),
        Action::DateOffset(40 * 86_400),
        Action::RetryAfter(RetryAfter::Huge),
        Action::RetryAfter(RetryAfter::Garbage),
        Action::RetryAfter(RetryAfter::Seconds(0)),
        Action::OrderInvalid(Problem::new("serverInternal", "broken")),
        Action::OrderInvalid(Problem::new("unauthorized", "no")),
        Action::Chain(WrongChain::OtherKey),
        Action::Chain(WrongChain::OtherNames),
        Action::Chain(WrongChain::Expired),
        Action::Chain(WrongChain::OneDayLife),
        Action::Ari(Ari::Past),
        Action::Ari(Ari::Garbage),
        Action::Ari(Ari::BeyondExpiry),
        problem("serverInternal"),
        problem("malformed"),
        problem("unauthorized"),
        problem("rateLimited"),
        problem("rejectedIdentifier"),
        problem("alreadyReplaced"),
        problem("somethingNew"),
    ];
    let call = u32::try_from(random.below(4)).unwrap() + 1;
    let nth = if random.below(4) == 0 {
        Nth::Percent(call * 10)
    } else {
        Nth::Call(call)
    };
    Fault::new(endpoint, nth, random.of(&actions))
}

/// Checks that every waiting state has a time and every blocked one a reason.
fn check(reports: &[Report], what: &str) {
    for report in reports {
        let moves = report.next.is_some() || report.doing.is_some() || report.state == "clock";
        match report.state.as_str() {
            "blocked" => assert!(
                report.why.split_whitespace().count() >= 3,
                "{what}: {report:?}"
            ),
            _ => assert!(moves, "{what}: {report:?}"),
        }
    }
}

fn run(seed: u64) {
    let what = format!("seed {seed}");
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let gate = Gate::new();
    let mut harness = Harness::on(
        ChaosCa::start(Options::default()),
        gate.clone(),
        Time::new(),
        TIMING,
    );
    let issuer = harness.issuer(|_| {});
    let specs = [
        spec(&["a.example"], std::slice::from_ref(&issuer)),
        spec(&["b.example", "c.example"], std::slice::from_ref(&issuer)),
    ];
    harness.engine.set_specs(specs.clone().into());
    for round in 0..4 {
        harness
            .ca
            .set_faults((0..=random.below(4)).map(|_| fault(&mut random)).collect());
        match random.below(8) {
            0 => harness
                .ca
                .set_validation(Validation::Fail(Problem::new("connection", "nobody there"))),
            1 => harness.ca.set_door(Door::EndsHandshake),
            2 => gate.fails(gate.commits() + 2..gate.commits() + 5),
            3 => harness.crash(),
            4 => harness.engine.set_specs(
                [spec(
                    &["a.example", "d.example"],
                    std::slice::from_ref(&issuer),
                )]
                .into(),
            ),
            5 => drop(harness.block_on(harness.engine.renew("a.example"))),
            6 => drop(harness.block_on(harness.engine.revoke("a.example", None))),
            _ => harness.engine.set_specs(specs.clone().into()),
        }
        let days = u32::try_from(random.below(40)).unwrap();
        harness.settle(DAY * days.min(3));
        check(&harness.reports(), &format!("{what}, round {round}"));
        harness.pass(DAY * days);
        harness.ca.set_door(Door::Open);
        harness.ca.set_validation(Validation::AlwaysValid);
    }
    // All faults are over, and the operator has acted.
    harness.ca.set_faults(Vec::new());
    gate.fails(0..0);
    harness.engine.set_specs(specs.clone().into());
    harness.look();
    for spec in &specs {
        harness.block_on(harness.engine.renew(&spec.id)).unwrap();
    }
    let end = harness.settle(DAY * 12);
    assert_eq!(end, End::Live, "{what}: {:#?}", harness.reports());
    assert_eq!(harness.ca.violations(), [] as [String; 0], "{what}");
    harness.assert_good();
    let stored = record::all::<StoredCertificate>(&*harness.store).unwrap();
    assert!(stored.len() >= specs.len(), "{what}");
}

#[test]
fn random_faults_keep_the_limits_and_always_end() {
    for seed in 1..=6 {
        println!("seed {seed}");
        run(seed);
    }
}

/// Collects the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Collects the private keys that are written.
#[derive(Debug, Default)]
struct Keys(Memory, Mutex<Vec<String>>);

impl Store for Keys {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.get(key)
    }

    fn scan(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.0.scan(prefix)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.0.commit(batch)?;
        let mut keys = self.1.lock().unwrap();
        keys.extend(
            record::all::<Account>(&self.0)?
                .into_values()
                .map(|account| account.key),
        );
        keys.extend(
            record::all::<PendingOrder>(&self.0)?
                .into_values()
                .map(|pending| pending.key),
        );
        keys.extend(
            record::all::<StoredCertificate>(&self.0)?
                .into_values()
                .map(|stored| stored.key),
        );
        Ok(())
    }
}

#[test]
fn private_keys_are_in_no_log_line() {
    // The log's subscriber is global for the process.
    if folder_of_this_process().is_none() {
        let folder = Folder::new();
        run_to_end(&mut alone(
            "properties::private_keys_are_in_no_log_line",
            folder.path(),
        ));
        return;
    }
    let (lines, store) = (Lines::default(), Arc::new(Keys::default()));
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(lines.clone())
        .init();
    let ca = ChaosCa::start(Options::default());
    ca.set_faults(vec![
        Fault::once(
            Endpoint::Finalize,
            Action::Problem(Problem::new("serverInternal", "broken")),
        ),
        Fault::once(Endpoint::NewOrder, Action::CutAfter(7)),
    ]);
    let harness = Harness::on(ca, store.clone(), Time::new(), TIMING);
    harness.request(&["a.example"]);
    assert_eq!(harness.settle(HOUR), End::Live);
    harness
        .block_on(harness.engine.change_key(&harness.issuer(|_| {})))
        .unwrap();
    harness.pass(DAY * 70);
    assert_eq!(harness.settle(HOUR), End::Live);
    drop(harness);
    let log = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    assert!(log.contains("CertificateIssued"), "{log}");
    let mut keys = store.1.lock().unwrap().clone();
    keys.sort();
    keys.dedup();
    assert!(keys.len() >= 4, "{}", keys.len());
    for key in &keys {
        let body: String = key
            .lines()
            .filter(|line| !line.starts_with("---"))
            .collect();
        // The secret number itself is in the middle of a PKCS#8 document.
        for part in body.as_bytes().chunks(24).skip(2).take(3) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!log.contains(part), "a key is in the log");
        }
    }
    assert!(!log.contains("PRIVATE KEY"));
}
