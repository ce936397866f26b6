//! An engine on a harness: its own store, clock and CA.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use gatelet::{
    acme::{
        Engine, Parts, Timing,
        dns::Lookup,
        issuer::{AcmeIssuer, Issuer, IssuerKind},
        notice::{Notice, NoticeReason},
        report::Report,
        spec::CertificateSpec,
    },
    pki::{CertificateName, CertificateTerms},
    store::{Memory, Store},
    tls::LocalCa,
    util::{clock::Reading, time::UnixSeconds},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::{runtime::Runtime, sync::mpsc, task::JoinHandle};

use crate::support::chaos::{ChaosCa, Endpoint, Fault, Options};

/// In a hurry.
pub const PACE: Timing = Timing {
    gap: Duration::ZERO,
    poll_timeout: Duration::from_secs(5),
    poll_interval: Duration::from_millis(10),
    answer: Duration::from_secs(3),
    tick: Duration::from_millis(50),
    renewal_info: Duration::from_millis(300),
    advice: false,
    http: true,
    https: true,
};

/// Nobody is asked about names but where a test says whom.
pub const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
/// What the engine takes for its own.
pub const OWN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

/// A clock that the test moves.
#[derive(Debug)]
pub struct Time {
    start: Instant,
    /// Seconds that the wall clock is ahead of the machine's.
    wall: AtomicI64,
    /// Seconds that have passed beside those that really did.
    passed: AtomicI64,
}

impl Time {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            wall: AtomicI64::new(0),
            passed: AtomicI64::new(0),
        })
    }

    /// What the engine sees.
    pub fn reading(&self) -> Reading {
        let passed = self.passed.load(Ordering::SeqCst);
        let wall = UnixSeconds::now().plus_seconds(self.wall.load(Ordering::SeqCst) + passed);
        let monotonic =
            self.start.elapsed() + Duration::from_secs(u64::try_from(passed).unwrap_or(0));
        Reading { wall, monotonic }
    }

    /// The wall clock jumps; no time passes.
    pub fn jump(&self, seconds: i64) {
        self.wall.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every wish has a certificate that is not due.
    Live,
    /// A wish waits for a person.
    Blocked(String),
    /// A wish waits for a moment, which the run was not to pass.
    Waiting(String),
}

/// See the module.
pub struct Harness {
    pub ca: Arc<ChaosCa>,
    pub time: Arc<Time>,
    pub store: Arc<dyn Store>,
    pub engine: Arc<Engine>,
    notices: mpsc::Receiver<Notice>,
    told: Vec<Notice>,
    running: JoinHandle<Result<(), String>>,
    runtime: Runtime,
    pace: Timing,
    resolver: SocketAddr,
}

impl Harness {
    pub fn new(options: Options) -> Self {
        Self::with(options, Vec::new())
    }

    /// With faults from the start.
    pub fn with(options: Options, faults: Vec<Fault>) -> Self {
        let ca = ChaosCa::start(options);
        ca.set_faults(faults);
        Self::on(ca, Arc::new(Memory::default()), Time::new(), PACE)
    }

    /// On a store that may hold something already.
    pub fn on(
        ca: impl Into<Arc<ChaosCa>>,
        store: Arc<dyn Store>,
        time: Arc<Time>,
        pace: Timing,
    ) -> Self {
        Self::made_of(ca.into(), store, time, pace, NOBODY)
    }

    /// With a DNS server, which says what it knows of names that fail.
    pub fn asking(ca: ChaosCa, resolver: SocketAddr) -> Self {
        let pace = Timing {
            advice: true,
            ..PACE
        };
        Self::made_of(
            ca.into(),
            Arc::new(Memory::default()),
            Time::new(),
            pace,
            resolver,
        )
    }

    fn made_of(
        ca: Arc<ChaosCa>,
        store: Arc<dyn Store>,
        time: Arc<Time>,
        pace: Timing,
        resolver: SocketAddr,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        ca.freeze();
        let (engine, notices) = engine(&store, &time, pace, resolver);
        let running = runtime.spawn(engine.clone().run());
        Self {
            ca,
            time,
            store,
            engine,
            notices,
            told: Vec::new(),
            running,
            runtime,
            pace,
            resolver,
        }
    }

    /// The process is gone without a word, and another one starts on the same store.
    pub fn crash(&mut self) {
        let wants = self.engine.wants();
        self.stop();
        self.start_again();
        self.engine.want(wants);
    }

    /// Another process on the same store, which nobody has told anything yet.
    pub fn start_again(&mut self) {
        let (engine, notices) = engine(&self.store, &self.time, self.pace, self.resolver);
        (self.engine, self.notices) = (engine, notices);
        self.running = self.runtime.spawn(self.engine.clone().run());
    }

    /// Ends the engine where it is.
    pub fn stop(&mut self) {
        self.running.abort();
        let running = &mut self.running;
        let _aborted = self.runtime.block_on(running);
    }

    /// An issuer for this CA.
    pub fn issuer(&self, change: impl FnOnce(&mut AcmeIssuer)) -> Arc<Issuer> {
        issuer("chaos", &self.ca, change)
    }

    /// Wants one certificate of this CA for the names.
    pub fn want(&self, names: &[&str]) -> Arc<CertificateSpec> {
        let want = want(names, &[self.issuer(|_| {})]);
        self.engine.want([want.clone()].into());
        want
    }

    /// Time passes, for the engine and the CA.
    pub fn pass(&self, time: Duration) {
        self.time
            .passed
            .fetch_add(i64::try_from(time.as_secs()).unwrap(), Ordering::SeqCst);
        self.ca.advance(time);
        self.engine.look_again();
    }

    /// Lets time pass whenever the engine waits, until everything has a certificate, somebody has
    /// to act, or `most` has passed.
    pub fn settle(&self, most: Duration) -> End {
        let (began, mut passed) = (Instant::now(), Duration::ZERO);
        loop {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "no end: {:?}\n{:#?}",
                self.reports(),
                self.ca.log()
            );
            self.look();
            let reports = self.reports();
            if reports.is_empty()
                || reports
                    .iter()
                    .any(|report| report.doing.is_some() || report.state == "obtaining")
            {
                continue;
            }
            if let Some(blocked) = reports.iter().find(|report| report.state == "blocked") {
                return End::Blocked(blocked.why.clone());
            }
            // The first that has something to do.
            // One that is valid may be due and in trouble.
            let is_open = |report: &&Report| report.state != "valid" || report.problem.is_some();
            let waiting = reports
                .iter()
                .filter(is_open)
                .min_by_key(|report| report.next.clone());
            let Some(waiting) = waiting else {
                return End::Live;
            };
            let Some(next) = &waiting.next else { continue };
            let until: jiff::Timestamp = next.parse().unwrap();
            // The CA's clock is right.
            let wait =
                u64::try_from(until.as_second() - self.ca.now().as_second()).unwrap_or(0) + 1;
            passed += Duration::from_secs(wait);
            if passed > most {
                return End::Waiting(waiting.why.clone());
            }
            self.pass(Duration::from_secs(wait));
        }
    }

    /// Waits until the engine has looked at everything as it is now.
    pub fn look(&self) {
        let before = self.engine.turns();
        self.engine.look_again();
        // The turn that is going on may have begun before.
        crate::support::eventually("two turns", || {
            std::thread::sleep(Duration::from_millis(5));
            (self.engine.turns() >= before + 2 || self.running.is_finished()).then_some(())
        });
    }

    /// Waits until something is so.
    pub fn until<T>(&self, what: &str, ask: impl FnMut() -> Option<T>) -> T {
        crate::support::eventually(what, ask)
    }

    /// Waits until every fault has had its call.
    pub fn call_comes(&self) {
        self.until("the call comes", || {
            self.ca.faults_left().is_empty().then_some(())
        });
    }

    pub fn reports(&self) -> Vec<Report> {
        self.engine.report()
    }

    /// The only wish.
    pub fn report(&self) -> Report {
        self.reports().remove(0)
    }

    /// What was told so far.
    pub fn told(&mut self) -> &[Notice] {
        while let Ok(notice) = self.notices.try_recv() {
            self.told.push(notice);
        }
        &self.told
    }

    pub fn was_told(&mut self, reason: NoticeReason) -> bool {
        self.told().iter().any(|notice| notice.reason == reason)
    }

    /// Lets something of the engine's run.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(future)
    }

    /// Runs something of the engine's to its end.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Certificates that the CA issued.
    pub fn issued(&self) -> usize {
        self.ca.issued().len()
    }

    pub fn calls(&self, endpoint: Endpoint) -> usize {
        self.ca.calls(endpoint)
    }

    /// Ends with a look at what Let's Encrypt would have said, and at what is held.
    pub fn assert_good(&self) {
        assert_eq!(self.ca.violations(), [] as [String; 0]);
        for (id, pair) in &self.engine.served().borrow().certificates {
            // Reading it checks that the key is the certificate's.
            assert!(!pair.live.names().is_empty(), "{id}");
        }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn engine(
    store: &Arc<dyn Store>,
    time: &Arc<Time>,
    pace: Timing,
    resolver: SocketAddr,
) -> (Arc<Engine>, mpsc::Receiver<Notice>) {
    let (parts, told) = parts(store, time, pace, resolver);
    (Arc::new(Engine::load(parts).unwrap()), told)
}

/// What an engine is made of, and what it has to say.
pub fn parts(
    store: &Arc<dyn Store>,
    time: &Arc<Time>,
    pace: Timing,
    resolver: SocketAddr,
) -> (Parts, mpsc::Receiver<Notice>) {
    let (notices, told) = mpsc::channel(1_000);
    let time = time.clone();
    let parts = Parts {
        store: store.clone(),
        time: Arc::new(move || time.reading()),
        local_ca: Arc::new(LocalCa::generate("test").unwrap()),
        challenges: Arc::default(),
        lookup: Lookup {
            resolvers: vec![resolver],
            ..Lookup::default()
        },
        own_addresses: Arc::new(|| vec![OWN_ADDRESS]),
        shared: None,
        notices,
        pace,
    };
    (parts, told)
}

/// An issuer for a CA.
pub fn issuer(name: &str, ca: &ChaosCa, change: impl FnOnce(&mut AcmeIssuer)) -> Arc<Issuer> {
    let mut acme = AcmeIssuer {
        directory: ca.directory(),
        roots: CertificateDer::pem_slice_iter(ca.root_pem().as_bytes())
            .map(Result::unwrap)
            .collect(),
        ..AcmeIssuer::default()
    };
    change(&mut acme);
    Arc::new(Issuer {
        name: name.into(),
        kind: IssuerKind::Acme(Box::new(acme)),
    })
}

/// A wish; its id is that of its first name.
pub fn want(names: &[&str], issuers: &[Arc<Issuer>]) -> Arc<CertificateSpec> {
    let id = format!("default/{}", names[0]);
    let mut names: Vec<CertificateName> = names
        .iter()
        .map(|name| CertificateName::parse(name).unwrap())
        .collect();
    names.sort();
    Arc::new(CertificateSpec {
        id: id.into(),
        names: names.into(),
        issuers: issuers.into(),
        terms: CertificateTerms::default(),
    })
}
