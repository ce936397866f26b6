//! The annotations of Services that ask for ports.

use std::time::Duration;

use super::{
    peers::{Meaning, PeerAnnotation},
    port_entries::{EntryError, ListenEntry},
};
use crate::{
    objects::RawObject,
    routing::{ProxyVersion, Transport},
    util::units,
};

/// The annotation with the TCP ports of a Service.
const TCP_LISTEN: &str = "gatelet.dev/tcp-listen";
/// The annotation with the UDP ports of a Service.
const UDP_LISTEN: &str = "gatelet.dev/udp-listen";
/// The annotation for ports whose clients send a header of the PROXY protocol.
const TCP_ACCEPT_PROXY: &str = "gatelet.dev/tcp-accept-proxy";
/// The annotation for endpoints that expect a header of the PROXY protocol.
const TCP_SEND_PROXY: &str = "gatelet.dev/tcp-send-proxy";
/// The annotation for TCP ports whose clients use TLS, which ends here.
const TCP_TLS: &str = "gatelet.dev/tcp-tls";
/// The annotation with the protocols that are chosen where TLS ends here (ALPN).
const TCP_ALPN: &str = "gatelet.dev/tcp-alpn";
/// The annotation for endpoints with TLS.
const TCP_SEND_TLS: &str = "gatelet.dev/tcp-send-tls";
/// The annotation with the time for a connection to an endpoint.
const TCP_CONNECT_TIMEOUT: &str = "gatelet.dev/tcp-connect-timeout";
/// The annotation with the time for which a connection may be silent.
const TCP_IDLE_TIMEOUT: &str = "gatelet.dev/tcp-idle-timeout";
/// The same for a session of datagrams.
const UDP_IDLE_TIMEOUT: &str = "gatelet.dev/udp-idle-timeout";
/// The annotation with the most connections of a client at the same time.
const LIMIT_CONNECTIONS: &str = "gatelet.dev/limit-connections";
/// The annotation with the most connections of all clients at the same time.
const LIMIT_TOTAL_CONNECTIONS: &str = "gatelet.dev/limit-total-connections";
/// The beginning of the annotations with the terms of TLS to endpoints.
const TLS_TERMS: &str = "gatelet.dev/proxy-ssl-";
/// The annotations about ports.
const KNOWN: &[&str] = &[
    TCP_LISTEN,
    UDP_LISTEN,
    TCP_ACCEPT_PROXY,
    TCP_SEND_PROXY,
    TCP_TLS,
    TCP_ALPN,
    TCP_SEND_TLS,
    TCP_CONNECT_TIMEOUT,
    TCP_IDLE_TIMEOUT,
    UDP_IDLE_TIMEOUT,
    LIMIT_CONNECTIONS,
    LIMIT_TOTAL_CONNECTIONS,
];
/// The most ports in one annotation.
const MAX_ENTRIES: usize = 100;
/// The most protocols in one annotation, and the longest name of one.
const MAX_PROTOCOLS: (usize, usize) = (16, 255);
/// The longest time: a year.
const MAX_TIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// The annotations of a Service that asks for ports, as they are written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PortAnnotations {
    /// `metadata.creationTimestamp`
    pub(super) created: Box<str>,
    /// The terms of TLS to endpoints.
    pub(super) tls_terms: Box<[(Box<str>, Box<str>)]>,
    values: Box<[(&'static str, Box<str>)]>,
}

/// The ports that a Service asks for, and the terms of all of them.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Each with its transport and the field that asks for it.
    pub(super) entries: Vec<(Transport, String, Result<ListenEntry, EntryError>)>,
    pub(super) terms: PortTerms,
}

/// The terms of a port.
#[derive(Clone, Debug, Default)]
pub(super) struct PortTerms {
    pub(super) accepts_proxy: bool,
    pub(super) ends_tls: Option<AskedTls>,
    /// The protocols that are chosen where TLS ends here.
    pub(super) protocols: Box<[Box<[u8]>]>,
    /// True if the endpoints have TLS.
    pub(super) sends_tls: bool,
    pub(super) sends_proxy: Option<ProxyVersion>,
    /// The most connections of a client at the same time; `None` for no limit.
    pub(super) per_client: Option<u32>,
    /// The most connections of all clients; `None` for no limit.
    pub(super) total: Option<u32>,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) tcp_idle_timeout: Option<Duration>,
    pub(super) udp_idle_timeout: Option<Duration>,
}

/// The certificate with which the TLS of clients ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AskedTls {
    /// That of the host which the client names.
    OfHosts,
    /// That of a Secret.
    Secret(Box<str>),
}

impl PortAnnotations {
    /// Takes the annotations about ports from a Service; `None` if it asks for none.
    pub(super) fn of(object: &RawObject) -> Option<Box<Self>> {
        let annotations = &object.meta.annotations;
        annotations
            .get(TCP_LISTEN)
            .or_else(|| annotations.get(UDP_LISTEN))?;
        let values = KNOWN
            .iter()
            .filter_map(|name| Some((*name, annotations.get(*name)?.clone())));
        let all = annotations.iter();
        let tls_terms = all.filter(|(name, _)| name.starts_with(TLS_TERMS));
        let tls_terms = tls_terms.map(|(name, value)| (name.clone(), value.clone()));
        Some(Box::new(Self {
            created: object.meta.creation_timestamp.clone(),
            tls_terms: tls_terms.collect(),
            values: values.collect(),
        }))
    }

    /// Judges an annotation of a Service that its paths do not have: of those about ports, none is
    /// worth a note on a Service that asks for some.
    pub(super) fn judge(one: PeerAnnotation, has_ports: bool) -> Option<PeerAnnotation> {
        let is_note = !one.meaning.closes() && one.meaning != Meaning::Canary;
        let is_of_ports = KNOWN.contains(&&*one.name) || one.name.starts_with(TLS_TERMS);
        match is_note && is_of_ports {
            true if has_ports => None,
            true => Some(PeerAnnotation {
                meaning: Meaning::Detail("gatelet.dev/tcp-listen or gatelet.dev/udp-listen"),
                ..one
            }),
            false => Some(one),
        }
    }

    /// Reads the ports. A term that is not valid stands in place of the ports that it is for.
    pub(super) fn read(&self) -> Asked {
        let mut asked = Asked::default();
        let mut wrong = Vec::new();
        for (name, value) in &self.values {
            let field = format!("metadata.annotations[{name}]");
            let value = value.trim();
            let transport = match *name {
                UDP_LISTEN | UDP_IDLE_TIMEOUT => Some(Transport::Udp),
                LIMIT_CONNECTIONS | LIMIT_TOTAL_CONNECTIONS => None,
                _ => Some(Transport::Tcp),
            };
            match (*name, transport) {
                (TCP_LISTEN | UDP_LISTEN, Some(transport)) => {
                    asked.entries.extend(entries(transport, &field, value));
                }
                _ => {
                    if let Err(expected) = asked.terms.set(name, value) {
                        let error = EntryError::NoneOf(value.to_owned(), expected);
                        wrong.push((transport, field, error));
                    }
                }
            }
        }

        for (concerned, field, error) in wrong {
            let is_other = |transport: Transport| concerned.is_some_and(|one| one != transport);
            asked.entries.retain(|(transport, ..)| is_other(*transport));
            let transport = concerned.unwrap_or(Transport::Tcp);
            asked.entries.push((transport, field, Err(error)));
        }
        asked
    }
}

impl PortTerms {
    /// Sets the term of an annotation. The error says what it may be.
    fn set(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        match name {
            TCP_ACCEPT_PROXY => self.accepts_proxy = switch(value)?,
            TCP_SEND_TLS => self.sends_tls = switch(value)?,
            TCP_TLS => {
                self.ends_tls = match value {
                    "" => return Err("true, auto, false, the name of a Secret"),
                    "false" => None,
                    "true" | "auto" => Some(AskedTls::OfHosts),
                    secret => Some(AskedTls::Secret(secret.into())),
                };
            }
            TCP_ALPN => self.protocols = protocols(value).ok_or("names of protocols (ALPN)")?,
            TCP_SEND_PROXY => {
                self.sends_proxy = Some(match value {
                    "v1" => ProxyVersion::V1,
                    "v2" => ProxyVersion::V2,
                    _ => return Err("v1, v2"),
                });
            }
            LIMIT_CONNECTIONS => self.per_client = limit(value)?,
            LIMIT_TOTAL_CONNECTIONS => self.total = limit(value)?,
            TCP_CONNECT_TIMEOUT => self.connect_timeout = Some(time(value)?),
            TCP_IDLE_TIMEOUT => self.tcp_idle_timeout = Some(time(value)?),
            _ => self.udp_idle_timeout = Some(time(value)?),
        }
        Ok(())
    }
}

fn switch(value: &str) -> Result<bool, &'static str> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("true, false"),
    }
}

fn limit(value: &str) -> Result<Option<u32>, &'static str> {
    let most = value.parse().map_err(|_| "a number; 0 for no limit")?;
    Ok(Some(most).filter(|most| *most > 0))
}

fn time(value: &str) -> Result<Duration, &'static str> {
    let time = units::duration(value).ok();
    let time = time.filter(|time| !time.is_zero() && *time <= MAX_TIME);
    time.ok_or("a time (30s, 10m, 2h)")
}

/// Parses names of protocols, separated by commas.
fn protocols(value: &str) -> Option<Box<[Box<[u8]>]>> {
    let (most, longest) = MAX_PROTOCOLS;
    let names: Vec<&str> = value.split(',').map(str::trim).collect();
    let is_name = |name: &&str| {
        let is_visible = name.bytes().all(|byte| byte.is_ascii_graphic());
        is_visible && (1..=longest).contains(&name.len())
    };
    let is_valid = names.len() <= most && names.iter().all(is_name);
    let bytes = names.iter().map(|name| name.as_bytes().into());
    is_valid.then(|| bytes.collect())
}

fn entries(
    transport: Transport,
    field: &str,
    value: &str,
) -> Vec<(Transport, String, Result<ListenEntry, EntryError>)> {
    let entries = value.split(',').map(str::trim);
    let entries = entries.filter(|entry| !entry.is_empty());
    let entries = entries.enumerate().take(MAX_ENTRIES + 1);
    entries
        .map(|(count, entry)| match count {
            MAX_ENTRIES => Err(EntryError::TooMany(MAX_ENTRIES)),
            _ => entry.parse(),
        })
        .map(|entry| (transport, field.to_owned(), entry))
        .collect()
}
