//! The state of one data-plane core, and the state that all cores share.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::{
        Arc, Mutex, OnceLock, Weak as SyncWeak,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use ring::rand::SecureRandom;
use tokio::sync::watch;
use tokio_rustls::rustls::ClientConfig;

use super::{
    Settings,
    auth_cache::AuthCache,
    clock,
    copies::Copies,
    counters::{self, Counters, EndpointHealth},
    deadline::Deadlines,
    l4::{attached::AttachedEndpoints, mismatch::ProxyMismatches, splice::Pipes},
    logins::{Comparer, Logins},
    memory::{self, Memory, Pressure},
    nonces::Nonces,
    pulse::{Pulse, Stalled},
    request::{
        error::{Error, Side},
        loops::LoopId,
        outside::HttpsPorts,
    },
    spool::Spool,
    upstream::{
        checks::{self, CheckedBackends},
        condition::{Condition, Conditions, ConnectFailure, EndpointKey},
        dns::DnsCache,
        endpoints::KnownEndpoints,
        pool::{Upstream, UpstreamKey},
        session::SessionSecret,
    },
};
use crate::{
    balance::EjectPolicy,
    limit::{Breakers, Clients, Place, TooMany, network},
    routing::{
        Backend, BackendSettings, BackendTls, CertificateNames, ClientLimits, PortTable,
        RoutingTable, Verify,
    },
    tls::{Challenges, UpstreamConfigs, UpstreamTlsError, VerificationClock},
    util::{random, sync::lock},
};

/// The interval at which idle upstream connections are checked.
const SWEEP: Duration = Duration::from_secs(5);

/// The length of a date (RFC 9110 section 5.6.7).
const DATE: usize = 29;

/// The object with a limit, and the network of a client.
pub(crate) type ClientKey = (Arc<str>, IpAddr);

/// State that all cores and the control side share.
#[derive(Debug, Default)]
pub struct Shared {
    /// The current routing table.
    pub table: ArcSwap<RoutingTable>,
    /// The ports that are passed through, with their routes.
    pub ports: ArcSwap<PortTable>,
    /// The ports whose clients use the PROXY protocol otherwise than expected.
    pub mismatches: ProxyMismatches,
    /// The responses to CAs that validate names; they precede every redirect and route.
    pub challenges: Arc<Challenges>,
    /// Our name in `CDN-Loop`.
    pub(super) loop_id: LoopId,
    /// The port of the first HTTPS listener; 0 without one.
    pub(super) https_port: AtomicU16,
    counters: Mutex<Vec<Arc<Counters>>>,
    pulses: Mutex<Vec<Arc<Pulse>>>,
    ejected: Mutex<HashMap<SocketAddr, Instant>>,
    pub(super) comparer: Comparer,
    conditions: Conditions,
    /// The TLS settings towards endpoints.
    upstream_tls: UpstreamConfigs,
    /// The clients of routes with limits.
    pub(super) clients: Arc<Clients<ClientKey>>,
    /// The nonces of logins by digests.
    pub(super) nonces: Nonces,
    /// The circuit breakers of routes.
    pub(super) breakers: Breakers,
    /// The memory budget of the process.
    pub memory: Arc<Memory>,
    /// The secret of sticky sessions.
    pub(super) sessions: SessionSecret,
    /// The files of request bodies, once a core has begun.
    spool: OnceLock<Option<Arc<Spool>>>,
    /// The backends whose endpoints are checked.
    checked: watch::Sender<CheckedBackends>,
    /// True once the table has all objects.
    ready: watch::Sender<bool>,
}

/// The state of one core. Created on its thread, inside its runtime.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(super) settings: Arc<Settings>,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<Counters>,
    pub(super) dns: Rc<DnsCache>,
    pub(super) deadlines: Rc<Deadlines>,
    pub(super) logins: RefCell<Logins>,
    pub(super) auth_cache: RefCell<AuthCache>,
    /// The copies of requests that are under way.
    pub(super) copies: Rc<Copies>,
    /// The files of request bodies.
    pub(super) spool: Option<Arc<Spool>>,
    /// By the settings of the backend, then by address and name.
    upstreams: RefCell<BTreeMap<Arc<BackendSettings>, Upstreams>>,
    pub(super) endpoints: KnownEndpoints,
    /// The endpoints that connections of ports go to.
    pub(super) attached: AttachedEndpoints,
    /// The pipes that large transfers of ports go through.
    pub(super) pipes: Rc<Pipes>,
    random: Cell<u64>,
    /// The value of `Date`, and the time until which it is right.
    date: Cell<(Instant, [u8; DATE])>,
}

/// The endpoints of one backend, by address and by the name that led there.
type Upstreams = BTreeMap<(SocketAddr, Option<Rc<str>>), Rc<Upstream>>;

impl Shared {
    /// Derives the secret of sticky sessions from another secret of this device, so that they
    /// outlive the process. Without it each process has its own.
    pub fn set_session_secret(&self, from: &[u8]) {
        self.sessions.derive(from);
    }

    /// Returns the clock by which certificates of backends are verified.
    pub fn backend_clock(&self) -> &VerificationClock {
        self.upstream_tls.clock()
    }

    /// Returns the counters of every core that has run.
    pub fn counters(&self) -> Vec<Arc<Counters>> {
        lock(&self.counters).clone()
    }

    /// Returns every endpoint that received requests lately, summed over the cores, in order of
    /// address.
    pub fn endpoints(&self) -> Vec<EndpointHealth> {
        counters::endpoints(&self.counters())
    }

    /// Returns the cores that have not run for too long.
    pub fn stalled(&self) -> Vec<Stalled> {
        let pulses = lock(&self.pulses);
        pulses.iter().filter_map(|pulse| pulse.stalled()).collect()
    }

    /// Returns the bytes of request bodies in files.
    pub fn spooled_bytes(&self) -> u64 {
        let spool = self.spool.get().and_then(Option::as_ref);
        spool.map_or(0, |spool| spool.used())
    }

    /// Returns the endpoints that no connection can be made to, with the reasons.
    pub fn failing(&self) -> HashMap<EndpointKey, ConnectFailure> {
        self.conditions.failing()
    }

    /// Returns the endpoints that are down by their health checks, with the reasons.
    pub fn down(&self) -> HashMap<EndpointKey, Box<str>> {
        self.conditions.down()
    }

    /// Lets the endpoints of these backends be checked, and of no others.
    pub fn check(&self, backends: Vec<SyncWeak<Backend>>) {
        self.checked.send_replace(backends.into());
    }

    /// Returns the backends whose endpoints are checked.
    pub(super) fn checked(&self) -> watch::Receiver<CheckedBackends> {
        self.checked.subscribe()
    }

    /// Changes whenever TLS with an endpoint starts failing, recovers, or fails for a different
    /// reason.
    pub fn tls_failures(&self) -> watch::Receiver<u64> {
        self.conditions.changes()
    }

    /// Lets the listeners begin whose connections can wait. The others do not wait for it.
    pub fn set_ready(&self) {
        self.ready.send_replace(true);
    }

    /// Waits until the table has all objects.
    pub(super) async fn ready(&self) {
        // It fails only without a sender, which this is.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    pub(super) fn condition(&self, key: EndpointKey) -> Arc<Condition> {
        self.conditions.of(key)
    }

    /// Returns the endpoints that at least one core has ejected now.
    pub fn ejected(&self) -> Vec<SocketAddr> {
        let now = Instant::now();
        let mut ejected = lock(&self.ejected);
        ejected.retain(|_, until| *until > now);
        ejected.keys().copied().collect()
    }
}

impl Worker {
    /// Creates the worker of core `index` and starts its background tasks.
    pub(crate) fn new(index: usize, settings: Arc<Settings>, shared: Arc<Shared>) -> Rc<Self> {
        let counters = Arc::new(Counters::default());
        lock(&shared.counters).push(counters.clone());
        let pulse = Arc::new(Pulse::new(index));
        lock(&shared.pulses).push(pulse.clone());
        tokio::task::spawn_local(async move { pulse.run().await });

        memory::enter(shared.memory.clone());
        let pipes = Pipes::new(settings.pipes);
        let spool = shared.spool.get_or_init(|| Spool::of(&settings)).clone();
        let worker = Rc::new(Self {
            settings,
            shared,
            counters,
            dns: Rc::default(),
            deadlines: Rc::default(),
            logins: RefCell::default(),
            auth_cache: RefCell::default(),
            copies: Rc::default(),
            spool,
            upstreams: RefCell::default(),
            endpoints: KnownEndpoints::default(),
            attached: AttachedEndpoints::default(),
            pipes,
            random: Cell::new(seed()),
            date: Cell::new((clock::now(), [0; DATE])),
        });
        // The system's roots take a while to read: better now than during a request.
        for h2 in [false, true] {
            // The usual terms can be met.
            let _ = worker.tls(&BackendTls::default(), h2);
        }

        let deadlines = worker.deadlines.clone();
        tokio::task::spawn_local(async move { deadlines.run().await });
        tokio::task::spawn_local(follow_pressure(
            worker.shared.memory.clone(),
            worker.deadlines.clone(),
        ));
        let weak = Rc::downgrade(&worker);
        // One core is enough.
        if index == 0 {
            tokio::task::spawn_local(checks::run(weak.clone()));
        }
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                let Some(worker) = weak.upgrade() else { return };
                worker.sweep();
            }
        });
        worker
    }

    /// Returns this core's state of an endpoint.
    pub(super) fn upstream(
        &self,
        backend: &Arc<BackendSettings>,
        addr: SocketAddr,
        name: Option<Rc<str>>,
    ) -> Rc<Upstream> {
        let place = (addr, name);
        let mut upstreams = self.upstreams.borrow_mut();
        let of_backend = upstreams.get_mut(&**backend);
        if let Some(known) = of_backend.as_ref().and_then(|known| known.get(&place)) {
            return known.clone();
        }

        let key = UpstreamKey {
            addr,
            name: place.1.clone(),
            backend: backend.clone(),
        };
        let made = Upstream::new(key, &self.settings, &self.counters, &self.shared);
        match of_backend {
            Some(known) => known.insert(place, made.clone()),
            None => upstreams
                .entry(backend.clone())
                .or_default()
                .insert(place, made.clone()),
        };
        made
    }

    pub(super) fn policy(&self) -> EjectPolicy {
        EjectPolicy {
            after: self.settings.eject_after,
            first: self.settings.eject_for,
        }
    }

    /// Records that no connection could be made, for the reason in `error`, and may eject the
    /// endpoint. A fault of ours does not count against it.
    pub(super) fn failed(&self, upstream: &Upstream, error: &Error) {
        if error.side == Side::Us {
            return;
        }
        self.counters.connect_failures.add(1);
        upstream.stats.failures.add(1);

        let now = Instant::now();
        if upstream.outlier.borrow_mut().failed(now, self.policy()) {
            self.counters.ejections.add(1);
            upstream.stats.ejected.store(true, Relaxed);
            let reason = upstream
                .condition
                .failure()
                .map(|failure| failure.to_string());
            tracing::warn!(endpoint = %upstream.key.addr, reason, "endpoint ejected");

            let mut ejected = lock(&self.shared.ejected);
            if ejected.len() < 4096 {
                ejected.insert(upstream.key.addr, now + self.settings.eject_for);
            }
        }
    }

    /// Returns the settings for terms of TLS to endpoints.
    ///
    /// # Errors
    /// If the terms cannot be met.
    pub(super) fn tls(
        &self,
        tls: &BackendTls,
        h2: bool,
    ) -> Result<Arc<ClientConfig>, UpstreamTlsError> {
        self.shared
            .upstream_tls
            .get(tls.terms.as_ref(), self.verifies(tls), h2)
    }

    fn verifies(&self, tls: &BackendTls) -> bool {
        match tls.verify {
            Verify::Default => self.settings.verify_backends,
            Verify::Never => false,
            Verify::Always => true,
        }
    }

    /// Returns true if certificates of endpoints must have the name that is sent.
    pub(super) fn verifies_names(&self, tls: &BackendTls) -> bool {
        let by_authorities = tls
            .terms
            .as_ref()
            .filter(|terms| terms.authorities.is_some());
        let is_sent = by_authorities.is_none_or(|terms| terms.names == CertificateNames::Endpoint);
        self.verifies(tls) && is_sent
    }

    /// Returns the ports of HTTPS as they are now.
    pub(super) fn https_ports(&self) -> HttpsPorts {
        HttpsPorts {
            listener: Some(self.shared.https_port.load(Relaxed)).filter(|port| *port != 0),
            external: self.settings.external_https_port,
        }
    }

    /// Returns random bits, good enough to spread load and to identify requests, not for secrets.
    pub(super) fn random(&self) -> u64 {
        let state = self.random.get();
        self.random.set(state.wrapping_add(random::STEP));
        random::mix(state)
    }

    /// Returns a new `X-Request-ID`: 128 random bits in hexadecimal, the format of ingress-nginx.
    pub(super) fn request_id(&self) -> [u8; 32] {
        let mut id = [0; 32];
        for digits in id.chunks_exact_mut(16) {
            digits.copy_from_slice(&hex(self.random()));
        }
        id
    }

    /// Returns the value of `Date` now.
    pub(super) fn date(&self) -> [u8; DATE] {
        let (until, text) = self.date.get();
        if clock::now() < until {
            return text;
        }

        let now = SystemTime::now();
        let since = now.duration_since(SystemTime::UNIX_EPOCH).ok();
        let passed = since.map_or(0, |since| since.subsec_nanos());
        let until = clock::now() + Duration::from_secs(1) - Duration::from_nanos(passed.into());

        let mut text = [b' '; DATE];
        let formatted = httpdate::fmt_http_date(now);
        if let Some(room) = text.get_mut(..formatted.len()) {
            room.copy_from_slice(formatted.as_bytes());
        }
        self.date.set((until, text));
        text
    }

    /// Returns true with probability `share`: the request is written to the access log.
    pub(super) fn sampled(&self, share: f64) -> bool {
        share >= 1.0 || (self.random() as f64) < share * (u64::MAX as f64)
    }

    /// Admits a request or connection of a client, if its limits do. The place is `None` if there
    /// are none, or if they do not count what is in flight.
    ///
    /// # Errors
    /// If the client has too many.
    pub(super) fn admit(
        &self,
        limits: Option<&ClientLimits>,
        client: IpAddr,
    ) -> Result<Option<Box<Place<ClientKey>>>, TooMany> {
        let Some(limits) = limits.filter(|limits| !limits.exempt.contains(client)) else {
            return Ok(None);
        };
        let key = (limits.object.clone(), network(client));
        let clients = &self.shared.clients;
        let place = clients.admit(key, &limits.limits, clock::now())?;
        Ok(place.map(Box::new))
    }

    /// Returns the addresses of a name; see [`DnsCache`].
    pub(super) async fn resolve(&self, host: &str) -> Option<Rc<[IpAddr]>> {
        self.dns.resolve(host, self.settings.connect_timeout).await
    }

    fn sweep(&self) {
        self.endpoints.sweep();
        let now = Instant::now();
        if self.attached.sweep(now, self.settings.tcp_drain_timeout) {
            self.deadlines.wake_all();
        }
        self.upstreams.borrow_mut().retain(|_, of_backend| {
            of_backend.retain(|_, upstream| {
                let is_kept = upstream.sweep(now, &self.settings);
                if !is_kept {
                    // There must not be two pools for one endpoint.
                    self.endpoints.clear();
                }
                is_kept
            });
            !of_backend.is_empty()
        });
    }
}

/// Wakes all that waits when the memory budget is all but used up, so that some of it ends. Runs as
/// long as the worker.
async fn follow_pressure(memory: Arc<Memory>, deadlines: Rc<Deadlines>) {
    let mut changes = memory.changes();
    while changes.changed().await.is_ok() {
        while *changes.borrow_and_update() == Pressure::Critical {
            deadlines.wake_all();
            tokio::time::sleep(memory::SHARE).await;
            memory.pressure(Instant::now());
        }
    }
}

/// Returns the 16 hexadecimal digits of a number, lowest first. Computes all at once, four bits in
/// each of 16 bytes.
fn hex(bits: u64) -> [u8; 16] {
    let spread = |half: u64| {
        let pairs = (half | half << 16) & 0x0000_ffff_0000_ffff;
        let bytes = (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff;
        let nibbles = (bytes | bytes << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        // 1 in each byte whose digit is a letter.
        let letters = ((nibbles + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
        nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'0' - 10)
    };
    let [low, high] = [bits & 0xffff_ffff, bits >> 32].map(spread);
    (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
}

fn seed() -> u64 {
    let mut bytes = [0; 8];
    // Without the system's randomness the worst case is an uneven spread.
    let _ = ring::rand::SystemRandom::new().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_has_every_digit_in_its_place() {
        assert_eq!(&hex(0xfedc_ba98_7654_3210), b"0123456789abcdef");
        assert_eq!(&hex(0), &[b'0'; 16]);
    }
}
