//! Entries about ports, as Services and ConfigMaps have them.

use std::{fmt, str::FromStr};

use crate::routing::ProxyVersion;

/// One port that a Service asks for: `PORT` or `PORT:TARGET`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ListenEntry {
    /// The port that clients connect to.
    pub(super) listen: u16,
    /// The port of the Service that it leads to.
    pub(super) target: Target,
}

/// The destination of a port in a ConfigMap as ingress-nginx has it:
/// `NAMESPACE/SERVICE:PORT[:PROXY[:PROXY]]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MapEntry {
    pub(super) namespace: Box<str>,
    pub(super) service: Box<str>,
    pub(super) target: Target,
    pub(super) accepts_proxy: bool,
    /// ingress-nginx sends version 1.
    pub(super) sends_proxy: Option<ProxyVersion>,
}

/// A port of a Service, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// By its number.
    Number(u16),
    /// By its name.
    Name(Box<str>),
}

/// The reason why an entry opens no port.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum EntryError {
    #[error("{0:?} is not a port from 1 to 65535, or PORT:PORT-OF-THE-SERVICE")]
    NotListen(String),
    #[error("{0:?} is not a port from 1 to 65535")]
    NotPort(String),
    #[error("{0:?} is not NAMESPACE/SERVICE:PORT, with :PROXY or :PROXY:PROXY behind it")]
    NotDestination(String),
    #[error("{0:?} is not one of {1}: no port is opened")]
    NoneOf(String, &'static str),
    #[error("more than {0} ports")]
    TooMany(usize),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Target {
    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "" => None,
            name if name.bytes().any(|byte| byte.is_ascii_alphabetic()) => {
                Some(Self::Name(name.into()))
            }
            text => port(text).map(Self::Number),
        }
    }
}

impl FromStr for ListenEntry {
    type Err = EntryError;

    fn from_str(entry: &str) -> Result<Self, EntryError> {
        let (listen, target) = entry.split_once(':').unwrap_or((entry, entry));
        let parsed = port(listen.trim()).zip(Target::parse(target));
        let (listen, target) = parsed.ok_or_else(|| EntryError::NotListen(entry.to_owned()))?;
        Ok(Self { listen, target })
    }
}

impl FromStr for MapEntry {
    type Err = EntryError;

    fn from_str(entry: &str) -> Result<Self, EntryError> {
        let invalid = || EntryError::NotDestination(entry.to_owned());
        let mut parts = entry.trim().split(':');
        let name = parts.next().and_then(|name| name.split_once('/'));
        let (namespace, service) = name.ok_or_else(invalid)?;
        let target = parts.next().and_then(Target::parse).ok_or_else(invalid)?;

        let mut proxy = || match parts.next().map(str::trim) {
            None | Some("") => Ok(false),
            Some(word) if word.eq_ignore_ascii_case("PROXY") => Ok(true),
            Some(_) => Err(invalid()),
        };
        let (accepts_proxy, sends_proxy) = (proxy()?, proxy()?);
        if namespace.is_empty() || service.is_empty() || parts.next().is_some() {
            return Err(invalid());
        }

        Ok(Self {
            namespace: namespace.into(),
            service: service.into(),
            target,
            accepts_proxy,
            sends_proxy: sends_proxy.then_some(ProxyVersion::V1),
        })
    }
}

/// Parses the number of a port.
pub(super) fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_plain && *port != 0)
}
