//! A harness for one engine with its own store, clock and CA.

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
        Engine, LoopError, Parts, Timing,
        dns::Lookup,
        engine::{
            notice::{Notice, NoticeReason},
            report::Report,
        },
        issuer::{AcmeIssuer, Issuer, IssuerKind},
        spec::CertificateSpec,
    },
    pki::{CertificateName, CertificateTerms},
    store::{Areas, Memory, Store},
    tls::{Challenges, LocalCa},
    util::{clock::Reading, time::UnixSeconds},
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::{runtime::Runtime, sync::mpsc, task::JoinHandle};

use crate::support::{
    DnsServer,
    chaos::{ChaosCa, Endpoint, Fault, Options, Validation},
};

/// The areas of a store for the engine alone.
pub const AREAS: Areas = Areas::new(&[gatelet::acme::plan::record::AREAS]);

/// Short pauses and time limits.
pub const TIMING: Timing = Timing {
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

/// The resolver of tests without a DNS server: an address without a listener.
pub const NO_RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
/// The node's own address, as the engine knows it.
pub const OWN_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));

/// A clock that the test moves.
#[derive(Debug)]
pub struct Time {
    start: Instant,
    /// Seconds by which the wall clock is ahead of the machine's.
    wall: AtomicI64,
    /// Seconds that have passed in addition to the real ones.
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

    /// Returns the clocks as the engine sees them.
    pub fn reading(&self) -> Reading {
        let passed = self.passed.load(Ordering::SeqCst);
        let wall = UnixSeconds::now() + self.wall.load(Ordering::SeqCst) + passed;
        let monotonic =
            self.start.elapsed() + Duration::from_secs(u64::try_from(passed).unwrap_or(0));
        Reading { wall, monotonic }
    }

    /// Moves the wall clock without passing time.
    pub fn jump(&self, seconds: i64) {
        self.wall.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// The end of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Every spec has a certificate that is not due.
    Live,
    /// A spec waits for the operator.
    Blocked(String),
    /// A spec waits for a time after the end of the run.
    Waiting(String),
}

/// An engine with its surroundings; see the module.
pub struct Harness {
    pub ca: Arc<ChaosCa>,
    pub time: Arc<Time>,
    pub store: Arc<dyn Store>,
    pub engine: Arc<Engine>,
    /// The engine's responses to challenges.
    pub challenges: Arc<Challenges>,
    notices: mpsc::Receiver<Notice>,
    received: Vec<Notice>,
    running: JoinHandle<Result<(), LoopError>>,
    runtime: Runtime,
    timing: Timing,
    resolver: SocketAddr,
}

impl Harness {
    pub fn new(options: Options) -> Self {
        Self::with(options, Vec::new())
    }

    /// Creates a harness with faults from the start.
    pub fn with(options: Options, faults: Vec<Fault>) -> Self {
        let ca = ChaosCa::start(options);
        ca.set_faults(faults);
        Self::on(ca, Arc::new(Memory::default()), Time::new(), TIMING)
    }

    /// Creates a harness on a store, which may already contain records.
    pub fn on(
        ca: impl Into<Arc<ChaosCa>>,
        store: Arc<dyn Store>,
        time: Arc<Time>,
        timing: Timing,
    ) -> Self {
        Self::made_of(ca.into(), store, time, timing, NO_RESOLVER)
    }

    /// Creates a harness with a CA that validates by this DNS server and offers these challenges.
    pub fn with_dns(zone: &Arc<DnsServer>, challenges: &[&'static str]) -> Self {
        let asked = zone.clone();
        let ca = ChaosCa::start(Options {
            validation: Validation::Real {
                http_port: 1,
                tls_port: 1,
            },
            txt: Some(Arc::new(move |name| asked.ask(name, "TXT"))),
            challenges: challenges.to_vec(),
            ..Options::default()
        });
        Self::asking(ca, zone.address())
    }

    /// Creates a harness with a DNS server for advice on failed names.
    pub fn asking(ca: ChaosCa, resolver: SocketAddr) -> Self {
        let timing = Timing {
            advice: true,
            ..TIMING
        };
        Self::made_of(
            ca.into(),
            Arc::new(Memory::default()),
            Time::new(),
            timing,
            resolver,
        )
    }

    fn made_of(
        ca: Arc<ChaosCa>,
        store: Arc<dyn Store>,
        time: Arc<Time>,
        timing: Timing,
        resolver: SocketAddr,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        ca.freeze();
        let (parts, notices) = parts(&store, &time, timing, resolver);
        let challenges = parts.challenges.clone();
        let engine = Arc::new(Engine::load(parts).unwrap());
        let running = runtime.spawn(engine.clone().run());
        Self {
            ca,
            time,
            store,
            engine,
            challenges,
            notices,
            received: Vec::new(),
            running,
            runtime,
            timing,
            resolver,
        }
    }

    /// Ends the process at once and starts another one on the same store.
    pub fn crash(&mut self) {
        let specs = self.engine.specs();
        self.stop();
        self.start_again();
        self.engine.set_specs(specs);
    }

    /// Starts another process on the same store, which does not know the specs yet.
    pub fn start_again(&mut self) {
        let (parts, notices) = parts(&self.store, &self.time, self.timing, self.resolver);
        (self.challenges, self.notices) = (parts.challenges.clone(), notices);
        self.engine = Arc::new(Engine::load(parts).unwrap());
        self.running = self.runtime.spawn(self.engine.clone().run());
    }

    /// Stops the engine at once.
    pub fn stop(&mut self) {
        self.running.abort();
        let running = &mut self.running;
        let _aborted = self.runtime.block_on(running);
    }

    /// Returns an issuer for this CA.
    pub fn issuer(&self, change: impl FnOnce(&mut AcmeIssuer)) -> Arc<Issuer> {
        issuer("chaos", &self.ca, change)
    }

    /// Sets the specs to one certificate of this CA for the names.
    pub fn request(&self, names: &[&str]) -> Arc<CertificateSpec> {
        let spec = spec(names, &[self.issuer(|_| {})]);
        self.engine.set_specs([spec.clone()].into());
        spec
    }

    /// Lets time pass for the engine and the CA.
    pub fn pass(&self, time: Duration) {
        self.time
            .passed
            .fetch_add(i64::try_from(time.as_secs()).unwrap(), Ordering::SeqCst);
        self.ca.advance(time);
        self.engine.look_again();
    }

    /// Lets time pass whenever the engine waits, until every spec has a certificate, the operator
    /// has to act, or `most` has passed.
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
            // Find the spec that is due first. A valid certificate may be due and failing.
            let is_open = |report: &&Report| report.state != "valid" || report.problem.is_some();
            let waiting = reports
                .iter()
                .filter(is_open)
                .min_by_key(|report| report.next);
            let Some(waiting) = waiting else {
                return End::Live;
            };
            let Some(next) = waiting.next else { continue };
            // Use the CA's clock, which is right.
            let now = UnixSeconds::from(self.ca.now());
            let wait = next.saturating_since(now) + Duration::from_secs(1);
            passed += wait;
            if passed > most {
                return End::Waiting(waiting.why.clone());
            }
            self.pass(wait);
        }
    }

    /// Waits until the engine has seen the current state.
    pub fn look(&self) {
        let before = self.engine.turns();
        self.engine.look_again();
        // The current turn may have begun earlier.
        crate::support::eventually("two turns", || {
            std::thread::sleep(Duration::from_millis(5));
            (self.engine.turns() >= before + 2 || self.running.is_finished()).then_some(())
        });
    }

    /// Waits until `ask` returns something.
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

    /// Returns the report on the only spec.
    pub fn report(&self) -> Report {
        self.reports().remove(0)
    }

    /// Returns the notices so far.
    pub fn notified(&mut self) -> &[Notice] {
        while let Ok(notice) = self.notices.try_recv() {
            self.received.push(notice);
        }
        &self.received
    }

    pub fn was_notified(&mut self, reason: NoticeReason) -> bool {
        self.notified().iter().any(|notice| notice.reason == reason)
    }

    /// Spawns a future of the engine.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime.spawn(future)
    }

    /// Runs a future of the engine to its end.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Returns the number of certificates that the CA issued.
    pub fn issued(&self) -> usize {
        self.ca.issued().len()
    }

    pub fn calls(&self, endpoint: Endpoint) -> usize {
        self.ca.calls(endpoint)
    }

    /// Checks that Let's Encrypt would have refused nothing, and that the certificates are valid.
    pub fn assert_good(&self) {
        assert_eq!(self.ca.violations(), [] as [String; 0]);
        for (id, pair) in &self.engine.active().borrow().certificates {
            // Parsing has checked that the key belongs to the certificate.
            assert!(!pair.live.names().is_empty(), "{id}");
        }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Returns the parts of an engine, and the receiver of its notices.
pub fn parts(
    store: &Arc<dyn Store>,
    time: &Arc<Time>,
    timing: Timing,
    resolver: SocketAddr,
) -> (Parts, mpsc::Receiver<Notice>) {
    let (notices, received) = mpsc::channel(1_000);
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
        timing,
    };
    (parts, received)
}

/// Returns an issuer for a CA.
pub fn issuer(name: &str, ca: &ChaosCa, change: impl FnOnce(&mut AcmeIssuer)) -> Arc<Issuer> {
    let mut acme = AcmeIssuer {
        directory: ca.directory(),
        publishes_limits: true,
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

/// Returns a spec whose ID is made from its first name.
pub fn spec(names: &[&str], issuers: &[Arc<Issuer>]) -> Arc<CertificateSpec> {
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
