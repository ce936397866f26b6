//! Engines of several replicas, which share their accounts.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use gatelet::{
    acme::{
        Engine, LoopError, SharedAccounts, SharedAccountsError, issuer::Issuer,
        plan::failure::Class,
    },
    store::Memory,
    tls::Challenges,
};
use tokio::{runtime::Runtime, task::JoinHandle};

use super::harness::{NO_RESOLVER, TIMING, Time, issuer, parts, spec};
use crate::support::{
    chaos::{Action, ChaosCa, Endpoint, Fault, Options, Problem},
    eventually,
};

const NAME: &str = "a.example";

/// The accounts that the replicas share.
#[derive(Default)]
struct Shelf {
    accounts: Mutex<BTreeMap<String, Vec<u8>>>,
    /// True while writes fail.
    is_away: AtomicBool,
}

impl Shelf {
    fn write(
        &self,
        id: &str,
        account: Vec<u8>,
        over: bool,
    ) -> Result<Vec<u8>, SharedAccountsError> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(SharedAccountsError("connection refused".to_owned()));
        }
        let mut accounts = self.accounts.lock().unwrap();
        if over {
            accounts.insert(id.to_owned(), account.clone());
            return Ok(account);
        }
        Ok(accounts.entry(id.to_owned()).or_insert(account).clone())
    }
}

impl SharedAccounts for Shelf {
    fn offer<'a>(
        &'a self,
        id: &'a str,
        account: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<Vec<u8>, SharedAccountsError>> + Send + 'a>> {
        Box::pin(async move { self.write(id, account, false) })
    }

    fn put<'a>(
        &'a self,
        id: &'a str,
        account: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<(), SharedAccountsError>> + Send + 'a>> {
        Box::pin(async move { self.write(id, account, true).map(drop) })
    }
}

struct Replica {
    engine: Arc<Engine>,
    challenges: Arc<Challenges>,
    running: JoinHandle<Result<(), LoopError>>,
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Replica {
    fn start(runtime: &Runtime, shelf: &Arc<Shelf>) -> Self {
        let (mut parts, _notices) = parts(
            &(Arc::new(Memory::default()) as _),
            &Time::new(),
            TIMING,
            NO_RESOLVER,
        );
        let challenges = parts.challenges.clone();
        parts.shared = Some(shelf.clone());
        let engine = Arc::new(Engine::load(parts).unwrap());
        let running = runtime.spawn(engine.clone().run());
        Self {
            engine,
            challenges,
            running,
        }
    }

    fn request(&self, issuers: &[Arc<Issuer>]) {
        self.engine.set_specs([spec(&[NAME], issuers)].into());
    }

    fn is_live(&self) {
        eventually("it has a certificate", || {
            self.engine
                .report()
                .first()
                .is_some_and(|one| one.state == "valid")
                .then_some(())
        });
    }

    /// Returns the account with which it responds to a CA.
    fn answers_by(&self) -> Option<String> {
        let answer = self
            .challenges
            .http(NAME, "token", IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        Some(answer.trim_start_matches("token.").to_owned())
    }

    /// Adopts the shared accounts, as a replica that watches them does.
    fn take_in(&self, runtime: &Runtime, shelf: &Shelf) {
        let shared = shelf.accounts.lock().unwrap().clone();
        for (id, account) in shared {
            runtime.block_on(self.engine.adopt_account(&id, &account));
        }
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn an_account_is_shared_before_any_ca_sees_it() {
    let (runtime, shelf, ca) = (
        runtime(),
        Arc::new(Shelf::default()),
        ChaosCa::start(Options::default()),
    );
    let issuers = [issuer("chaos", &ca, |_| {})];
    shelf.is_away.store(true, Ordering::SeqCst);
    let one = Replica::start(&runtime, &shelf);
    one.request(&issuers);
    let problem = eventually("it fails", || one.engine.report().first()?.problem.clone());
    assert!(
        problem.class == Class::Store && problem.message.contains("connection refused"),
        "{problem:?}"
    );
    assert_eq!(ca.calls(Endpoint::NewAccount), 0);
    shelf.is_away.store(false, Ordering::SeqCst);
    runtime.block_on(one.engine.renew(NAME)).unwrap();
    one.is_live();

    // A leader with an empty store.
    let two = Replica::start(&runtime, &shelf);
    two.request(&issuers);
    two.is_live();
    assert_eq!(two.answers_by(), one.answers_by());
    assert_eq!(shelf.accounts.lock().unwrap().len(), 1);
}

#[test]
fn the_next_issuers_account_responds_on_all_replicas() {
    let (runtime, shelf) = (runtime(), Arc::new(Shelf::default()));
    let [first, second] = [(); 2].map(|()| ChaosCa::start(Options::default()));
    let rejected = Problem::new("rejectedIdentifier", "not here").status(400);
    first.set_faults(vec![Fault::always(
        Endpoint::NewOrder,
        Action::Problem(rejected),
    )]);
    let issuers = [
        issuer("first", &first, |_| {}),
        issuer("second", &second, |_| {}),
    ];
    let follower = Replica::start(&runtime, &shelf);
    follower.engine.lead(false);
    follower.request(&issuers);
    let leader = Replica::start(&runtime, &shelf);
    leader.request(&issuers);
    leader.is_live();
    follower.take_in(&runtime, &shelf);
    assert!(leader.answers_by().is_some());
    assert_eq!(follower.answers_by(), leader.answers_by());

    // The first issuer again, once it is preferred.
    let rejected = Problem::new("rejectedIdentifier", "not here").status(400);
    second.set_faults(vec![Fault::always(
        Endpoint::NewOrder,
        Action::Problem(rejected),
    )]);
    first.set_faults(Vec::new());
    let only = [
        issuers[0].clone(),
        issuer("second", &second, |acme| {
            acme.profile = Some("shortlived".to_owned());
        }),
    ];
    let before = leader.answers_by();
    for replica in [&follower, &leader] {
        replica.request(&only);
    }
    runtime.block_on(leader.engine.renew(NAME)).unwrap();
    eventually("another one issues", || {
        (leader.engine.stored(&format!("default/{NAME}"))?.issuer == "first").then_some(())
    });
    follower.take_in(&runtime, &shelf);
    assert_eq!(follower.answers_by(), leader.answers_by());
    assert_ne!(leader.answers_by(), before);
}
