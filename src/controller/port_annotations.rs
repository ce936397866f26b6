//! The annotations of Services that ask for ports.

use super::port_entries::{EntryError, ListenEntry};
use crate::{objects::RawObject, routing::ProxyVersion};

/// The annotation with the TCP ports of a Service.
const TCP_LISTEN: &str = "gatelet.dev/tcp-listen";
/// The annotation for ports whose clients send a header of the PROXY protocol.
const TCP_ACCEPT_PROXY: &str = "gatelet.dev/tcp-accept-proxy";
/// The annotation for endpoints that expect a header of the PROXY protocol.
const TCP_SEND_PROXY: &str = "gatelet.dev/tcp-send-proxy";
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
    /// Each with the field that asks for it.
    pub(super) entries: Vec<(String, Result<ListenEntry, EntryError>)>,
    pub(super) accepts_proxy: bool,
    pub(super) sends_proxy: Option<ProxyVersion>,
}

impl PortAnnotations {
    /// Takes the annotations about ports from a Service; `None` if it asks for none.
    pub(super) fn of(object: &RawObject) -> Option<Box<Self>> {
        let annotations = &object.meta.annotations;
        annotations.get(TCP_LISTEN)?;
        let known = [TCP_LISTEN, TCP_ACCEPT_PROXY, TCP_SEND_PROXY].into_iter();
        let values = known.filter_map(|name| Some((name, annotations.get(name)?.clone())));
        Some(Box::new(Self {
            created: object.meta.creation_timestamp.clone(),
            values: values.collect(),
        }))
    }

    /// Reads the ports. If a term is not valid, it stands in place of them.
    pub(super) fn read(&self) -> Asked {
        let mut asked = Asked::default();
        let mut wrong = None;
        for (name, value) in &self.values {
            let field = format!("metadata.annotations[{name}]");
            let value = value.trim();
            let none_of = |known| EntryError::NoneOf(value.to_owned(), known);
            match (*name, value) {
                (TCP_ACCEPT_PROXY, "true") => asked.accepts_proxy = true,
                (TCP_ACCEPT_PROXY, "false") => {}
                (TCP_ACCEPT_PROXY, _) => wrong = Some((field, Err(none_of("true, false")))),
                (TCP_SEND_PROXY, "v1") => asked.sends_proxy = Some(ProxyVersion::V1),
                (TCP_SEND_PROXY, "v2") => asked.sends_proxy = Some(ProxyVersion::V2),
                (TCP_SEND_PROXY, _) => wrong = Some((field, Err(none_of("v1, v2")))),
                _ => asked.entries = entries(&field, value),
            }
        }

        if let Some(wrong) = wrong {
            asked.entries = vec![wrong];
        }
        asked
    }
}

fn entries(field: &str, value: &str) -> Vec<(String, Result<ListenEntry, EntryError>)> {
    let entries = value.split(',').map(str::trim);
    let entries = entries.filter(|entry| !entry.is_empty());
    let entries = entries.enumerate().take(MAX_ENTRIES + 1);
    entries
        .map(|(count, entry)| match count {
            MAX_ENTRIES => Err(EntryError::TooMany(MAX_ENTRIES)),
            _ => entry.parse(),
        })
        .map(|entry| (field.to_owned(), entry))
        .collect()
}
