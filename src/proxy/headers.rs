//! Header fields: removes hop-by-hop fields and sets forwarded fields. Names are constants; values
//! are prepared per connection where possible.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, CONTENT_LENGTH, COOKIE, Entry, FORWARDED, HOST, TE, TRANSFER_ENCODING},
};

use ipnet::IpNet;

use super::{
    conn::ConnInfo,
    exchange::HeadWriter,
    outside::{Outside, X_FORWARDED_FOR, X_FORWARDED_PROTO, is_scheme_unclear},
};

const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");
/// Kept from a trusted peer, otherwise generated.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The facts about the client of a request that are forwarded to the backend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'a> {
    pub(super) conn: &'a ConnInfo,
    pub(super) trusted: &'a [IpNet],
    /// Host (and port) as the client wrote them.
    pub(super) host: &'a HeaderValue,
    pub(super) outside: Outside,
}

/// Removes the hop-by-hop fields. One pass over the names is much cheaper than a look-up of each
/// name, which is usually absent.
pub(super) fn strip(headers: &mut HeaderMap) {
    if !headers.keys().any(hop_by_hop) {
        return;
    }
    let named: Vec<HeaderName> = headers.get_all(CONNECTION).iter().flat_map(named).collect();
    for name in named {
        headers.remove(name);
    }
    drop_where(headers, hop_by_hop);
}

/// Returns the fields that a `Connection` field names, except the usual hop-by-hop ones.
pub(super) fn named(connection: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    const USUAL: [&[u8]; 5] = [
        b"keep-alive",
        b"close",
        b"Keep-Alive",
        b"upgrade",
        b"Upgrade",
    ];
    Some(connection.as_bytes())
        .filter(|value| !USUAL.contains(value))
        .into_iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        // A client must not remove framing and routing.
        .filter(|name| ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name))
}

/// Writes the fields of a request for an HTTP/1.1 endpoint, with the forwarded fields, but without
/// `Host`, the framing of the body, and the fields of the connection.
pub(super) fn write(
    head: &mut HeadWriter,
    headers: &mut HeaderMap,
    client: Client<'_>,
    request_id: HeaderValue,
) {
    let untrusted = !client.conn.trusted;
    let mut named = Vec::new();
    if untrusted {
        named.extend(headers.get_all(CONNECTION).iter().flat_map(self::named));
    } else {
        strip(headers);
        forwarded(headers, client, || request_id.clone());
    }

    for (name, value) in &*headers {
        let ours = *name == HOST || *name == CONTENT_LENGTH;
        if !ours && !(untrusted && (hop_by_hop(name) || about_client(name) || named.contains(name)))
        {
            head.field(name, value);
        }
    }
    if untrusted {
        let port = client.outside.port_field();
        forwarded_fields(client, &port, &request_id)
            .iter()
            .for_each(|(name, value)| head.field(name, value));
    }
}

/// Returns the forwarded fields for a client that is not trusted to send them.
fn forwarded_fields<'a>(
    client: Client<'a>,
    port: &'a HeaderValue,
    request_id: &'a HeaderValue,
) -> [(HeaderName, &'a HeaderValue); 8] {
    let scheme = client.outside.scheme.field();
    [
        (X_FORWARDED_FOR, &client.conn.client_ip),
        (X_REAL_IP, &client.conn.client_ip),
        (X_FORWARDED_HOST, client.host),
        (X_FORWARDED_PORT, port),
        (X_FORWARDED_PROTO, scheme),
        (X_FORWARDED_SCHEME, scheme),
        (X_SCHEME, scheme),
        (X_REQUEST_ID, request_id),
    ]
}

/// Returns true for fields about the client that only a trusted peer may send. All of
/// `X-Forwarded-*` counts: backends believe `X-Forwarded-Ssl` and `X-Forwarded-User` too.
fn about_client(name: &HeaderName) -> bool {
    let text = name.as_str();
    *name == FORWARDED
        || text.starts_with("x-")
            && (text.starts_with("x-forwarded-")
                || matches!(text, "x-real-ip" | "x-scheme" | "x-request-id"))
        || is_underscore_twin(name)
}

/// Returns true for fields of one connection only (RFC 9110 section 7.6.1), besides those that
/// `Connection` names. `Trailer` is passed on, because trailers are. The HTTP server handles
/// `Expect` itself when the body is first read.
pub(super) fn hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
            | "proxy"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "expect"
    )
}

/// Returns true if the client accepts trailers (`te: trailers`), which gRPC requires.
pub(super) fn wants_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .any(|value| has_token(value, b"trailers"))
}

/// Returns true if a list contains `token`, in any case.
pub(super) fn has_token(list: &HeaderValue, token: &[u8]) -> bool {
    let elements = list.as_bytes().split(|byte| *byte == b',');
    elements
        .map(<[u8]>::trim_ascii)
        .any(|element| element.eq_ignore_ascii_case(token))
}

/// Sets the forwarded fields. Those of an untrusted peer are replaced; those of a trusted peer are
/// kept and extended.
pub(super) fn forwarded(
    headers: &mut HeaderMap,
    client: Client<'_>,
    request_id: impl FnOnce() -> HeaderValue,
) {
    let Client {
        conn,
        trusted,
        host,
        outside,
    } = client;
    if !conn.trusted {
        drop_where(headers, about_client);
        for (name, value) in forwarded_fields(client, &outside.port_field(), &request_id()) {
            headers.insert(name, value.clone());
        }
        return;
    }

    drop_where(headers, is_underscore_twin);
    let before = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect::<Vec<_>>();
    let mut chain = before.join(&b", "[..]);
    let nearest = nearest_untrusted(&chain, trusted)
        .and_then(|addr| HeaderValue::try_from(addr.to_string()).ok());
    if !chain.is_empty() {
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(conn.client_ip.as_bytes());
    let chain = HeaderValue::from_bytes(&chain).unwrap_or_else(|_bad| conn.client_ip.clone());
    headers.insert(X_FORWARDED_FOR, chain);

    // Few backends read a list.
    let scheme = outside.scheme.field();
    if is_scheme_unclear(headers) {
        headers.insert(X_FORWARDED_PROTO, scheme.clone());
    }
    for (name, value) in [
        (X_REAL_IP, nearest.unwrap_or_else(|| conn.client_ip.clone())),
        (X_FORWARDED_HOST, host.clone()),
        (X_FORWARDED_PORT, outside.port_field()),
        (X_FORWARDED_PROTO, scheme.clone()),
        (X_FORWARDED_SCHEME, scheme.clone()),
        (X_SCHEME, scheme.clone()),
    ] {
        if let Entry::Vacant(entry) = headers.entry(name) {
            entry.insert(value);
        }
    }
    if let Entry::Vacant(entry) = headers.entry(X_REQUEST_ID) {
        entry.insert(request_id());
    }
}

/// Joins the `Cookie` fields of an HTTP/2 request, where each crumb may be its own field (RFC 9113
/// section 8.2.3). Must be done before fields are counted: the HTTP/2 library chooses their number,
/// not the client.
pub(super) fn join_cookies(headers: &mut HeaderMap, version: Version) {
    if version != Version::HTTP_2 {
        return;
    }
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }

    let all: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// Returns the last address of a chain that is not a trusted proxy: the client as the outermost
/// trusted proxy saw it. If all are trusted, the first. Ignores everything left of an element that
/// is not an address.
fn nearest_untrusted(chain: &[u8], trusted: &[IpNet]) -> Option<IpAddr> {
    let mut nearest = None;
    for part in chain.split(|byte| *byte == b',').rev() {
        let Some(addr) = address(part.trim_ascii()) else {
            break;
        };
        nearest = Some(addr);
        if !trusted.iter().any(|net| net.contains(&addr)) {
            break;
        }
    }
    nearest
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

/// Returns true for names like `X_Forwarded_For`, which become the same CGI variable as
/// `X-Forwarded-For`: a way to smuggle a client address, or a wrong length of the body.
fn is_underscore_twin(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    matches!(name, [b'x' | b'c' | b't', ..]) && name.contains(&b'_') && {
        let dashed: Vec<u8> = name
            .iter()
            .map(|byte| if *byte == b'_' { b'-' } else { *byte })
            .collect();
        let alone: [&[u8]; 5] = [
            b"x-real-ip",
            b"x-scheme",
            b"x-request-id",
            b"content-length",
            b"transfer-encoding",
        ];
        dashed.starts_with(b"x-forwarded-") || alone.contains(&&*dashed)
    }
}

fn drop_where(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| unwanted(name)).cloned() {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
