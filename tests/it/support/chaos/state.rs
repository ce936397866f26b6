//! The state of the CA.

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::rand::SecureRandom;
use serde_json::{Value, json};

use super::{
    Issued, LogLine, Options, Profile, Validation, faults::Script, issue::Authority, jws::Key,
    limits::Limits, problem::Problem, validate::Job,
};

/// A name or an address in an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identifier {
    /// May begin with `*.`.
    Dns(String),
    Ip(IpAddr),
}

pub(super) struct Account {
    pub(super) key: Key,
    pub(super) contact: Value,
    pub(super) deactivated: bool,
    /// The version of the terms of service agreed to.
    pub(super) agreed: u32,
}

/// The state of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
}

pub(super) struct Order {
    pub(super) account: u64,
    pub(super) identifiers: Vec<Identifier>,
    pub(super) authzs: Vec<u64>,
    pub(super) profile: Profile,
    /// The profile as the response names it.
    pub(super) profile_shown: Option<String>,
    pub(super) replaces: Option<String>,
    pub(super) replaces_shown: bool,
    pub(super) status: Status,
    pub(super) expires: Timestamp,
    pub(super) certificate: Option<u64>,
    pub(super) error: Option<Problem>,
    /// Polls that still see it processing.
    pub(super) stall: u32,
    pub(super) duplicated: bool,
}

pub(super) struct Authz {
    pub(super) account: u64,
    /// With `*.` if it is for a wildcard.
    pub(super) identifier: Identifier,
    /// Only `Pending`, `Processing` (a challenge is being tried), `Valid` or `Invalid`.
    pub(super) status: Status,
    pub(super) deactivated: bool,
    pub(super) expires: Timestamp,
    /// The time during which a valid authorization is used again.
    pub(super) reuse: SignedDuration,
    pub(super) token: String,
    pub(super) kinds: Vec<&'static str>,
    /// The kind that was tried, with the problem.
    pub(super) tried: Option<(&'static str, Option<Problem>)>,
    /// Polls that still see it pending.
    pub(super) stall: u32,
    /// The challenge stays pending during validation, instead of processing.
    pub(super) is_stall_unseen: bool,
}

/// Everything behind the lock.
pub(super) struct State {
    pub(super) options: Options,
    /// `https://127.0.0.1:port`
    pub(super) base: String,
    pub(super) authority: Authority,
    pub(super) script: Script,
    pub(super) limits: Limits,
    pub(super) log: Vec<LogLine>,
    pub(super) issued: BTreeMap<u64, Issued>,
    pub(super) accounts: BTreeMap<u64, Account>,
    /// Names of the external account keys that have an account.
    pub(super) bound: HashSet<String>,
    pub(super) orders: BTreeMap<u64, Order>,
    pub(super) authzs: BTreeMap<u64, Authz>,
    pub(super) nonces: HashSet<String>,
    /// Part of the URLs for new things.
    pub(super) moved: u32,
    /// The version of the terms of service.
    pub(super) terms: u32,
    /// Validations to begin.
    pub(super) jobs: Vec<Job>,
    /// The validation of single names, instead of the general one.
    pub(super) validation_of: BTreeMap<String, Validation>,
    /// The machine's time at which the clock stopped.
    pub(super) frozen: Option<Timestamp>,
    last_id: u64,
}

impl State {
    pub(super) fn new(options: Options, base: String) -> Self {
        Self {
            authority: Authority::new(),
            options,
            base,
            script: Script::default(),
            limits: Limits::default(),
            log: Vec::new(),
            issued: BTreeMap::new(),
            accounts: BTreeMap::new(),
            bound: HashSet::new(),
            orders: BTreeMap::new(),
            authzs: BTreeMap::new(),
            nonces: HashSet::new(),
            moved: 0,
            terms: 1,
            jobs: Vec::new(),
            validation_of: BTreeMap::new(),
            frozen: None,
            last_id: 0,
        }
    }

    /// The CA's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.frozen.unwrap_or_else(Timestamp::now) + self.options.clock
    }

    pub(super) fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn url(&self, rest: impl std::fmt::Display) -> String {
        format!("{}/{rest}", self.base)
    }

    pub(super) fn nonce(&mut self) -> String {
        let nonce = token();
        self.nonces.insert(nonce.clone());
        nonce
    }

    /// Forgets everything except the records for the test.
    pub(super) fn forget(&mut self) {
        self.accounts.clear();
        self.bound.clear();
        self.orders.clear();
        self.authzs.clear();
        self.nonces.clear();
        for issued in self.issued.values_mut() {
            issued.forgotten = true;
        }
    }

    /// The validation of a name.
    pub(super) fn validation(&self, name: &Identifier) -> Validation {
        self.validation_of
            .get(&name.base())
            .unwrap_or(&self.options.validation)
            .clone()
    }
}

impl Identifier {
    /// Returns a name as it is usually written.
    pub fn of(text: &str) -> Self {
        text.parse()
            .map_or_else(|_name| Self::Dns(text.to_ascii_lowercase()), Self::Ip)
    }

    pub fn text(&self) -> String {
        match self {
            Self::Dns(name) => name.clone(),
            Self::Ip(address) => address.to_string(),
        }
    }

    /// The validated name: a wildcard's parent.
    pub(super) fn base(&self) -> String {
        self.text().trim_start_matches("*.").to_owned()
    }

    pub(super) fn is_wildcard(&self) -> bool {
        matches!(self, Self::Dns(name) if name.starts_with("*."))
    }

    /// The registered domain, by which a limit counts: every public suffix has one label here.
    pub(super) fn registered(&self) -> String {
        match self {
            Self::Dns(name) => name.rsplit('.').take(2).collect::<Vec<_>>().join("."),
            Self::Ip(IpAddr::V4(address)) => address.to_string(),
            Self::Ip(IpAddr::V6(address)) => format!("{:x?}/64", &address.segments()[..4]),
        }
    }

    pub(super) fn json(&self) -> Value {
        let kind = if matches!(self, Self::Dns(_)) {
            "dns"
        } else {
            "ip"
        };
        json!({"type": kind, "value": self.text()})
    }
}

impl Status {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Processing => "processing",
            Self::Valid => "valid",
            Self::Invalid => "invalid",
        }
    }

    /// Returns whether the order may still lead to a certificate.
    pub fn is_open(self) -> bool {
        !matches!(self, Self::Valid | Self::Invalid)
    }
}

/// 128 random bits.
pub(super) fn token() -> String {
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .expect("randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}
