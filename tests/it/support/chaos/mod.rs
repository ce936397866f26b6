//! A certificate authority for tests: ACME (RFC 8555) with ARI (RFC 9773) and profiles, real
//! signatures, real validation, a clock of its own, and a script of faults. It counts as Let's
//! Encrypt does, and says what Let's Encrypt would have refused.

mod account;
mod certificate;
mod faults;
mod issue;
mod jws;
mod limits;
mod order;
mod problem;
mod server;
mod state;
mod validate;

use std::{
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;

pub use faults::{Action, Ari, Endpoint, Fault, Nth, RetryAfter, WrongChain};
pub use problem::Problem;
use state::State;
pub use state::{Identifier, Status};

/// A running CA, which ends when this value is dropped.
pub struct ChaosCa {
    shared: Arc<server::Shared>,
    doors: Option<tokio::sync::mpsc::Sender<server::DoorChange>>,
    thread: Option<JoinHandle<()>>,
    base: String,
    root_pem: String,
}

/// Returns the TXT records of a name.
pub type TxtLookup = Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// The behaviour of a CA.
#[derive(Clone)]
pub struct Options {
    pub validation: Validation,
    /// For the DNS challenges; no name has a record without it.
    pub txt: Option<TxtLookup>,
    /// The first one is the default.
    pub profiles: Vec<Profile>,
    /// Accounts must agree to terms of service.
    pub terms: bool,
    /// External account keys: names and secrets. Accounts need one if there are any.
    pub eab: Vec<(String, Vec<u8>)>,
    /// Each external account key is good for one account.
    pub eab_once: bool,
    /// Accounts that have ended are found by their key, as Pebble does it, instead of refused.
    pub finds_ended: bool,
    /// Kinds of challenges, in the order they are offered.
    pub challenges: Vec<&'static str>,
    /// The CA's clock minus the machine's.
    pub clock: SignedDuration,
    /// True if the limits refuse instead of only counting.
    pub enforce_limits: bool,
    /// Failures in a row after which a name is paused.
    pub pause_after: u32,
    /// True if open orders and valid authorizations are reused.
    pub reuse: bool,
}

/// The validation of challenges.
#[derive(Clone, Debug)]
pub enum Validation {
    AlwaysValid,
    /// Every challenge fails with this.
    Fail(Problem),
    /// Connects to 127.0.0.1 on these ports for every name.
    Real {
        http_port: u16,
        tls_port: u16,
    },
}

/// A kind of certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub name: &'static str,
    pub life: SignedDuration,
    pub order_life: SignedDuration,
    /// For pending authorizations.
    pub authz_life: SignedDuration,
    /// For valid authorizations.
    pub authz_reuse: SignedDuration,
    pub max_names: usize,
    /// Certificates for addresses are allowed.
    pub addresses: bool,
}

/// The treatment of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Accepts them and closes them before TLS.
    EndsHandshake,
    Open,
    Refuses,
    ShowsExpiredCertificate,
    /// Accepts them and sends nothing.
    Silent,
}

/// A call that the CA received.
#[derive(Clone, Debug)]
pub struct LogLine {
    pub endpoint: Endpoint,
    /// The URL of the account that signed it.
    pub account: Option<String>,
    pub names: Vec<String>,
    /// `None` if the connection ended instead.
    pub status: Option<u16>,
    /// The type of the problem in the response.
    pub problem: Option<String>,
    pub at: Timestamp,
}

/// A certificate that the CA has signed.
#[derive(Clone, Debug)]
pub struct Issued {
    /// RFC 9773 section 4.1.
    pub id: String,
    /// The account that ordered it.
    pub account: String,
    pub names: Vec<Identifier>,
    pub profile: &'static str,
    /// PEM, one for each root.
    pub chains: Vec<String>,
    pub der: CertificateDer<'static>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// The certificate that the order replaces, by its own statement.
    pub replaces: Option<String>,
    /// The reason, if it is revoked.
    pub revoked: Option<u64>,
    /// Signed before the CA lost its memory.
    pub forgotten: bool,
}

/// An order, as it is now.
#[derive(Clone, Debug)]
pub struct OrderView {
    pub url: String,
    pub names: Vec<Identifier>,
    pub profile: &'static str,
    pub replaces: Option<String>,
    pub status: Status,
    pub expires: Timestamp,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            validation: Validation::AlwaysValid,
            txt: None,
            profiles: Profile::lets_encrypt(),
            terms: true,
            eab: Vec::new(),
            eab_once: false,
            finds_ended: false,
            challenges: vec!["http-01", "dns-01", "tls-alpn-01"],
            clock: SignedDuration::ZERO,
            enforce_limits: false,
            pause_after: 1152,
            reuse: true,
        }
    }
}

impl Profile {
    /// The profiles of Let's Encrypt.
    pub fn lets_encrypt() -> Vec<Self> {
        let hours = SignedDuration::from_hours;
        let long = Self {
            name: "classic",
            life: hours(90 * 24),
            order_life: hours(7 * 24),
            authz_life: hours(7 * 24),
            authz_reuse: hours(30 * 24),
            max_names: 100,
            addresses: false,
        };
        let server = Self {
            name: "tlsserver",
            life: hours(45 * 24),
            order_life: hours(8),
            authz_life: hours(1),
            authz_reuse: hours(7),
            max_names: 25,
            addresses: false,
        };
        let short = Self {
            name: "shortlived",
            life: hours(160),
            addresses: true,
            ..server
        };
        vec![long, server, short]
    }

    /// The profile of a private CA: certificates that live for a day.
    pub fn of_a_day() -> Self {
        Self {
            name: "day",
            life: SignedDuration::from_hours(24),
            ..Self::lets_encrypt().remove(0)
        }
    }
}

impl ChaosCa {
    pub fn start(options: Options) -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        listener
            .set_nonblocking(true)
            .expect("a listener that does not block");
        let base = format!("https://{}", listener.local_addr().expect("its address"));
        let key = rcgen::KeyPair::generate().expect("a key");
        let root = issue::ca("Chaos Web Root", rcgen::BasicConstraints::Unconstrained);
        let root_pem = root.self_signed(&key).expect("a root").pem();
        let [good, expired] = [false, true].map(|expired| issue::web_server(expired, &root, &key));
        let shared = Arc::new(server::Shared::new(
            State::new(options, base.clone()),
            good,
            expired,
        ));
        let (doors, changes) = tokio::sync::mpsc::channel(1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let served = shared.clone();
        let thread = std::thread::spawn(move || {
            runtime.block_on(server::run(served, listener, changes));
            // Lookups of the test may hang; nothing waits for them.
            runtime.shutdown_background();
        });
        Self {
            shared,
            doors: Some(doors),
            thread: Some(thread),
            base,
            root_pem,
        }
    }

    /// The directory's URL.
    pub fn directory(&self) -> String {
        format!("{}/directory", self.base)
    }

    /// The root of the CA's own web server.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// The roots of the certificates it signs, the default one first: "Chaos Root X1" and "Chaos
    /// Root X2".
    pub fn issuer_roots(&self) -> Vec<String> {
        self.shared.state().authority.roots()
    }

    /// Replaces the script of faults, and counts calls from zero again.
    pub fn set_faults(&self, faults: Vec<Fault>) {
        self.shared.state().script = faults::Script::new(faults);
    }

    /// Faults of the script that have not happened.
    pub fn faults_left(&self) -> Vec<Fault> {
        self.shared.state().script.left()
    }

    /// Validates all names in this way from now on.
    pub fn set_validation(&self, validation: Validation) {
        self.shared.state().options.validation = validation;
    }

    /// Validates one name in another way.
    pub fn set_validation_of(&self, name: &str, validation: Validation) {
        self.shared
            .state()
            .validation_of
            .insert(name.to_owned(), validation);
    }

    /// Treats connections in this way from now on; existing ones end.
    pub fn set_door(&self, door: Door) {
        let (done, wait) = mpsc::channel();
        let doors = self.doors.as_ref().expect("there until the value goes");
        doors.blocking_send((door, done)).expect("the server runs");
        wait.recv().expect("the server runs");
    }

    /// Moves the CA's clock on.
    pub fn advance(&self, time: Duration) {
        let mut state = self.shared.state();
        state.options.clock += SignedDuration::try_from(time).expect("less than ages");
    }

    /// Stops the CA's clock; only `advance` moves it from now on.
    pub fn freeze(&self) {
        self.shared.state().frozen = Some(Timestamp::now());
    }

    /// The CA's clock.
    pub fn now(&self) -> Timestamp {
        self.shared.state().now()
    }

    /// Forgets accounts, orders and certificates, like a CA that was set up again.
    pub fn forget(&self) {
        self.shared.state().forget();
    }

    /// Ends the pause, like the link in a "paused" response.
    pub fn unpause(&self, name: &str) {
        self.shared.state().limits.unpause(name);
    }

    /// Returns the requests that Let's Encrypt would have refused.
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().limits.violations.clone()
    }

    /// Every call so far.
    pub fn log(&self) -> Vec<LogLine> {
        self.shared.state().log.clone()
    }

    /// Calls to an endpoint so far.
    pub fn calls(&self, endpoint: Endpoint) -> usize {
        self.shared
            .state()
            .log
            .iter()
            .filter(|line| line.endpoint == endpoint)
            .count()
    }

    /// Every certificate so far, oldest first.
    pub fn issued(&self) -> Vec<Issued> {
        self.shared.state().issued.values().cloned().collect()
    }

    /// Every order that the CA remembers, oldest first.
    pub fn orders(&self) -> Vec<OrderView> {
        let state = self.shared.state();
        let view = |(id, order): (&u64, &state::Order)| OrderView {
            url: state.url(format_args!("order/{id}")),
            names: order.identifiers.clone(),
            profile: order.profile.name,
            replaces: order.replaces.clone(),
            status: order.status,
            expires: order.expires,
        };
        state.orders.iter().map(view).collect()
    }
}

impl Drop for ChaosCa {
    fn drop(&mut self) {
        self.doors = None;
        if let Some(thread) = self.thread.take() {
            // Its panic has been printed already, and the test fails by its effects.
            let _ = thread.join();
        }
    }
}
