//! The fields of a request as they go to an endpoint: without those of the client's connection, and
//! with the forwarded fields.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
};

use http::{HeaderName, HeaderValue};
use ipnet::IpNet;

use super::{
    fields::{Field, FieldName, Fields, elements},
    outside::{Outside, is_scheme_unclear},
};
use crate::{
    proxy::conn::ConnInfo,
    routing::{FieldNames, SetField, SetText, is_same_name},
};

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
#[derive(Clone, Debug, Default)]
pub(crate) struct Changes {
    /// True if `Authorization` is for us and not for the backend.
    pub(crate) hides_authorization: bool,
    /// `Host` for the backend, in place of the client's.
    pub(crate) host: Option<HeaderValue>,
    /// The fields in place of those of the client.
    pub(crate) set: Vec<Arc<SetField>>,
    /// Further ones, which `set` precedes. Of several with the same name the first counts.
    pub(crate) replaced: Vec<Replaced>,
    /// Fields beside those with the same names.
    pub(crate) added: Vec<Arc<SetField>>,
    /// The only fields of the client that are sent, besides those about it; `None` for all.
    pub(crate) only: Option<Arc<FieldNames>>,
}

/// Fields in place of those of the client with certain names.
#[derive(Clone, Debug)]
pub(crate) struct Replaced {
    /// The names. The client's fields are removed, whether others take their place or not.
    pub(crate) names: Arc<FieldNames>,
    /// The fields.
    pub(crate) fields: Fields,
}

impl Replaced {
    /// Returns true if fields of the client with this name are removed. If all names were meant,
    /// nothing would be left: then it is those that are replaced.
    fn has(&self, name: &[u8]) -> bool {
        if self.names.is_all() {
            return self.fields.iter().any(|own| is_same_name(own.name, name));
        }
        self.names.has(name)
    }
}

impl Changes {
    /// Returns true if a step decides about fields with this name.
    #[inline]
    fn sets(&self, name: &[u8]) -> bool {
        // Most routes set none, and this is asked for each field.
        !(self.set.is_empty() && self.replaced.is_empty())
            && (self.sets_alone(name) || self.replaced.iter().any(|one| one.has(name)))
    }

    /// Returns true if a step sets a field with this name, whatever the client or a server says.
    fn sets_alone(&self, name: &[u8]) -> bool {
        let is = |field: &Arc<SetField>| is_same_name(field.name.as_str().as_bytes(), name);
        self.set.iter().any(is)
    }
}

impl Changes {
    /// Sets a field, in place of those of the client and of those that steps before this one set.
    pub(crate) fn set(&mut self, field: Arc<SetField>) {
        let name = field.name.as_str().as_bytes();
        let is = |other: &Arc<SetField>| is_same_name(other.name.as_str().as_bytes(), name);
        self.set.retain(|other| !is(other));
        self.added.retain(|other| !is(other));
        self.set.push(field);
    }

    /// Adds what earlier steps have changed, as far as the names that are sent allow.
    pub(crate) fn add(&mut self, earlier: &Self) {
        let only = self.only.clone();
        let is_sent = |name: &[u8]| only.as_ref().is_none_or(|only| only.has(name));
        self.hides_authorization |= earlier.hides_authorization;

        let set = earlier.set.iter();
        let set = set.filter(|field| is_sent(field.name.as_str().as_bytes()));
        self.set.extend(set.cloned());
        let added = earlier.added.iter();
        let added = added.filter(|field| is_sent(field.name.as_str().as_bytes()));
        self.added.extend(added.cloned());
        for replaced in &earlier.replaced {
            let mut replaced = replaced.clone();
            replaced.fields.retain(|field| is_sent(field.name));
            self.replaced.push(replaced);
        }
    }

    /// Sets a field to a text that depends on the request; removes it if the text is empty.
    pub(crate) fn set_text(&mut self, field: &SetText, text: &[u8]) {
        match HeaderValue::from_bytes(text) {
            Ok(value) if !text.is_empty() => self.set(Arc::new(SetField {
                from: field.from.clone(),
                name: field.name.clone(),
                value,
            })),
            _ => self.remove(&field.name),
        }
    }

    /// Removes the fields with a name.
    pub(crate) fn remove(&mut self, name: &HeaderName) {
        let name = name.as_str();
        let is = |other: &[u8]| is_same_name(other, name.as_bytes());
        for fields in [&mut self.set, &mut self.added] {
            fields.retain(|field| !is(field.name.as_str().as_bytes()));
        }
        for replaced in &mut self.replaced {
            replaced.fields.retain(|field| !is(field.name));
        }
        self.replaced.push(Replaced {
            names: Arc::new(FieldNames::of(name)),
            fields: Fields::default(),
        });
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
            && client
                .changes
                .only
                .as_ref()
                .is_none_or(|only| only.has(field.name))
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
    let replaced = &client.changes.replaced;
    for (at, one) in replaced.iter().enumerate() {
        let is_earlier = |name: &[u8]| replaced[..at].iter().any(|earlier| earlier.has(name));
        for field in one.fields.iter() {
            if !client.changes.sets_alone(field.name) && !is_earlier(field.name) {
                write(field.name, field.value);
            }
        }
    }
    for field in client.changes.set.iter().chain(&client.changes.added) {
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

/// Returns the address at a place of `X-Forwarded-For`, counted from its end. `None` if it is no
/// address, and for a client that is no trusted proxy.
pub(crate) fn address_at(fields: &Fields, conn: &ConnInfo, depth: NonZeroUsize) -> Option<IpAddr> {
    let chain = conn.trusted.then(|| forwarded_for(fields))?;
    let part = chain
        .split(|byte| *byte == b',')
        .rev()
        .nth(depth.get() - 1)?;
    address(part.trim_ascii())
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
