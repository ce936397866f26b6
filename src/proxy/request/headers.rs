//! The fields of a request as they go to an endpoint: without those of the client's connection, and
//! with the forwarded fields.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use http::HeaderValue;
use ipnet::IpNet;

use super::{
    fields::{Field, FieldName, Fields, elements},
    outside::{Outside, is_scheme_unclear},
};
use crate::{proxy::conn::ConnInfo, routing::SetField};

/// The facts about the client of a request that are forwarded to the backend.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    pub(crate) conn: &'a ConnInfo,
    pub(crate) trusted: &'a [IpNet],
    /// Host (and port) as the client wrote them.
    pub(crate) host: &'a [u8],
    pub(crate) outside: Outside,
    /// The id of the request, unless a trusted peer has sent one.
    pub(crate) request_id: &'a [u8],
    /// Our name in `CDN-Loop`.
    pub(crate) loop_id: &'a [u8],
    pub(crate) changes: &'a Changes,
}

/// The changes that the steps of a route make to the fields of a request.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// True if `Authorization` is for us and not for the backend.
    pub(crate) hides_authorization: bool,
    /// `Host` for the backend, in place of the client's.
    pub(crate) host: Option<HeaderValue>,
    /// The fields in place of those of the client.
    pub(crate) set: Vec<Arc<SetField>>,
}

impl Changes {
    /// Returns true if a field with this name is set by a step.
    fn sets(&self, name: &[u8]) -> bool {
        let is = |field: &Arc<SetField>| {
            let own = field.name.as_str().as_bytes();
            own.eq_ignore_ascii_case(name)
        };
        !self.set.is_empty() && self.set.iter().any(is)
    }
}

/// Calls `write` with the name and value of each field that goes to the endpoint, except `Host` and
/// the framing of the body. Forwarded fields of an untrusted peer are replaced; those of a trusted
/// peer are kept and extended.
pub(crate) fn write(fields: &Fields, client: Client<'_>, mut write: impl FnMut(&[u8], &[u8])) {
    let named: Vec<&[u8]> = fields.all(FieldName::Connection).flat_map(named).collect();
    let passes = |field: &Field<'_>| {
        let is_hidden = field.id == FieldName::Authorization && client.changes.hides_authorization;
        !matches!(field.id, FieldName::Host | FieldName::ContentLength)
            && !is_hidden
            && !client.changes.sets(field.name)
            && !field.id.is_hop_by_hop()
            && !named
                .iter()
                .any(|name| field.name.eq_ignore_ascii_case(name))
    };

    let replaced = |id: FieldName| {
        if client.conn.trusted {
            id == FieldName::UnderscoreTwin
                || id == FieldName::XForwardedFor
                || id == FieldName::XForwardedProto && is_scheme_unclear(fields)
        } else {
            id.is_about_client()
        }
    };
    for field in fields.iter() {
        if passes(&field) && !replaced(field.id) {
            write(field.name, field.value);
        }
    }

    let present = |id: FieldName| {
        client.conn.trusted
            && fields
                .iter()
                .any(|field| field.id == id && passes(&field) && !replaced(id))
    };
    forwarded(fields, client, present, write);
}

/// Calls `write` with each forwarded field that is not `present`.
fn forwarded(
    fields: &Fields,
    client: Client<'_>,
    present: impl Fn(FieldName) -> bool,
    mut write: impl FnMut(&[u8], &[u8]),
) {
    let ours = client.conn.client_ip.as_bytes();
    let mut nearest = None;
    let mut chain = Vec::new();
    if client.conn.trusted {
        chain = forwarded_for(fields);
        let (client, _) = walk(&chain, client.trusted);
        nearest = client.map(|addr| addr.to_string());
        if !chain.is_empty() {
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(ours);
    }

    let mut buffer = [0; 5];
    let port = client.outside.port_text(&mut buffer);
    let scheme = client.outside.scheme.as_str().as_bytes();
    let chain = if chain.is_empty() { ours } else { &chain };
    let real = nearest.as_ref().map_or(ours, |addr| addr.as_bytes());
    for (id, name, value) in [
        (FieldName::XForwardedFor, "x-forwarded-for", chain),
        (FieldName::XRealIp, "x-real-ip", real),
        (FieldName::XForwardedHost, "x-forwarded-host", client.host),
        (FieldName::XForwardedPort, "x-forwarded-port", port),
        (FieldName::XForwardedProto, "x-forwarded-proto", scheme),
        (FieldName::XForwardedScheme, "x-forwarded-scheme", scheme),
        (FieldName::XScheme, "x-scheme", scheme),
        (FieldName::XRequestId, "x-request-id", client.request_id),
    ] {
        if !present(id) && !client.changes.sets(name.as_bytes()) {
            write(name.as_bytes(), value);
        }
    }
    for field in &client.changes.set {
        write(field.name.as_str().as_bytes(), field.value.as_bytes());
    }
    // Further names may be in fields that came.
    write(b"cdn-loop", client.loop_id);
}

/// Returns the fields that a `Connection` field names, except the usual hop-by-hop ones, and
/// framing and routing: a client must not remove those.
pub(crate) fn named(connection: &[u8]) -> impl Iterator<Item = &[u8]> {
    elements(connection).filter(|name| {
        let id = FieldName::of(name);
        let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        !id.is_hop_by_hop()
            && !matches!(id, FieldName::Host | FieldName::ContentLength)
            && !is("close")
            && !name.is_empty()
    })
}

/// Returns the address of the client of a request: behind trusted proxies the one that they name,
/// otherwise that of the connection. `None` if the trusted proxies name something that is no
/// address, so that the client is not known.
pub(crate) fn client_address(
    fields: &Fields,
    conn: &ConnInfo,
    trusted: &[IpNet],
) -> Option<IpAddr> {
    let direct = conn.client.ip().to_canonical();
    if !conn.trusted || !fields.contains(FieldName::XForwardedFor) {
        return Some(direct);
    }

    match walk(&forwarded_for(fields), trusted) {
        (client, true) => client,
        (_, false) => None,
    }
}

/// Returns the chain of addresses that the fields of a request name, as one value.
fn forwarded_for(fields: &Fields) -> Vec<u8> {
    let chain: Vec<&[u8]> = fields.all(FieldName::XForwardedFor).collect();
    chain.join(&b", "[..])
}

/// Walks a chain from its end to the last address that is not a trusted proxy: the client as the
/// outermost trusted proxy saw it. If all are trusted, it is the first. Returns it, and false if
/// the walk ended before, at an element that is no address.
fn walk(chain: &[u8], trusted: &[IpNet]) -> (Option<IpAddr>, bool) {
    let mut nearest = None;
    for part in chain.split(|byte| *byte == b',').rev() {
        let Some(addr) = address(part.trim_ascii()) else {
            return (nearest, false);
        };
        nearest = Some(addr);
        if !trusted.iter().any(|network| network.contains(&addr)) {
            break;
        }
    }
    (nearest, true)
}

/// Parses an address as proxies write it: of either family, with or without brackets and port.
/// IPv4-mapped IPv6 becomes IPv4.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let socket = || text.parse::<SocketAddr>().ok().map(|addr| addr.ip());
    let brackets = || {
        text.strip_prefix('[')?
            .strip_suffix(']')?
            .parse::<Ipv6Addr>()
            .ok()
            .map(IpAddr::V6)
    };

    let addr = text
        .parse::<IpAddr>()
        .ok()
        .or_else(socket)
        .or_else(brackets)?;
    Some(addr.to_canonical())
}

#[cfg(test)]
mod tests;
