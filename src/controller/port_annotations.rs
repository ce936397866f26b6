//! The annotations of Services that ask for ports.

use super::port_entries::{EntryError, ListenEntry};
use crate::{
    objects::RawObject,
    routing::{ProxyVersion, Transport},
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
/// The annotation with the most connections of a client at the same time.
const LIMIT_CONNECTIONS: &str = "gatelet.dev/limit-connections";
/// The most ports in one annotation.
const MAX_ENTRIES: usize = 100;

/// The annotations of a Service that asks for ports, as they are written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PortAnnotations {
    /// `metadata.creationTimestamp`
    pub(super) created: Box<str>,
    values: Box<[(&'static str, Box<str>)]>,
}

/// The ports that a Service asks for, and the terms of all of them.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Each with its transport and the field that asks for it.
    pub(super) entries: Vec<(Transport, String, Result<ListenEntry, EntryError>)>,
    pub(super) accepts_proxy: bool,
    pub(super) ends_tls: bool,
    pub(super) sends_proxy: Option<ProxyVersion>,
    /// The most connections of a client at the same time; `None` for no limit.
    pub(super) per_client: Option<u32>,
}

impl PortAnnotations {
    /// Takes the annotations about ports from a Service; `None` if it asks for none.
    pub(super) fn of(object: &RawObject) -> Option<Box<Self>> {
        let annotations = &object.meta.annotations;
        annotations
            .get(TCP_LISTEN)
            .or_else(|| annotations.get(UDP_LISTEN))?;
        let known = [
            TCP_LISTEN,
            UDP_LISTEN,
            TCP_ACCEPT_PROXY,
            TCP_SEND_PROXY,
            TCP_TLS,
            LIMIT_CONNECTIONS,
        ];
        let values = known
            .into_iter()
            .filter_map(|name| Some((name, annotations.get(name)?.clone())));
        Some(Box::new(Self {
            created: object.meta.creation_timestamp.clone(),
            values: values.collect(),
        }))
    }

    /// Reads the ports. A term that is not valid stands in place of the ports that it is for.
    pub(super) fn read(&self) -> Asked {
        let mut asked = Asked::default();
        let (mut wrong, mut invalid_limit) = (None, None);
        for (name, value) in &self.values {
            let field = format!("metadata.annotations[{name}]");
            let value = value.trim();
            let none_of = |known| EntryError::NoneOf(value.to_owned(), known);
            match (*name, value) {
                (TCP_ACCEPT_PROXY, "true") => asked.accepts_proxy = true,
                (TCP_TLS, "true") => asked.ends_tls = true,
                (TCP_ACCEPT_PROXY | TCP_TLS, "false") => {}
                (TCP_ACCEPT_PROXY | TCP_TLS, _) => wrong = Some((field, none_of("true, false"))),
                (TCP_SEND_PROXY, "v1") => asked.sends_proxy = Some(ProxyVersion::V1),
                (TCP_SEND_PROXY, "v2") => asked.sends_proxy = Some(ProxyVersion::V2),
                (TCP_SEND_PROXY, _) => wrong = Some((field, none_of("v1, v2"))),
                (LIMIT_CONNECTIONS, _) => match value.parse() {
                    Ok(most) => asked.per_client = Some(most).filter(|most| *most > 0),
                    Err(_) => invalid_limit = Some((field, none_of("a number; 0 for no limit"))),
                },
                (UDP_LISTEN, _) => asked.entries.extend(entries(Transport::Udp, &field, value)),
                _ => asked.entries.extend(entries(Transport::Tcp, &field, value)),
            }
        }

        if let Some((field, error)) = wrong {
            let is_udp = |(transport, ..): &(Transport, _, _)| *transport == Transport::Udp;
            asked.entries.retain(is_udp);
            asked.entries.push((Transport::Tcp, field, Err(error)));
        }
        if let Some((field, error)) = invalid_limit {
            asked.entries.clear();
            asked.entries.push((Transport::Tcp, field, Err(error)));
        }
        asked
    }
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
