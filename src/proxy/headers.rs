//! Header fields: hop-by-hop fields go, forwarded fields are set. Names are constants; values are prepared per
//! connection where they can be.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, CONTENT_LENGTH, COOKIE, Entry, FORWARDED, HOST, TE, TRANSFER_ENCODING},
};

use ipnet::IpNet;

use super::conn::ConnInfo;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
/// The scheme that the client used, as a trusted proxy says.
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const X_SCHEME: HeaderName = HeaderName::from_static("x-scheme");
/// Kept from a trusted peer, else made here.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Removes the hop-by-hop fields of a request or an answer. One look at all names is much cheaper than asking the map
/// for each name that is usually not there.
pub(super) fn strip(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| hop_by_hop(name.as_str())) {
        return;
    }
    let usual: [&[u8]; 5] = [b"keep-alive", b"close", b"Keep-Alive", b"upgrade", b"Upgrade"];
    if headers.get_all(CONNECTION).iter().any(|value| !usual.contains(&value.as_bytes())) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            // Framing and routing are not a client's to take away.
            .filter(|name| ![HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name))
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    drop_where(headers, |name| hop_by_hop(name.as_str()));
}

/// Whether a field speaks of one connection only (RFC 9110 section 7.6.1), besides those that `Connection` names.
/// `Trailer` stays: it tells what follows a chunked body, and trailers pass. The server side answers `Expect` when the
/// body is first asked for.
fn hop_by_hop(name: &str) -> bool {
    matches!(
        name,
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

/// Whether an answer with `Transfer-Encoding` says only that: `chunked`, and no `Content-Length` beside it. Everything
/// else is read differently by different readers (RFC 9112 section 6.3).
pub(super) fn is_chunked_alone(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.next().is_some_and(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    chunked && codings.next().is_none() && !headers.contains_key(CONTENT_LENGTH)
}

/// Whether the client asks for trailers (`te: trailers`), which gRPC insists on.
pub(super) fn wants_trailers(headers: &HeaderMap) -> bool {
    has_token(headers, &TE, b"trailers")
}

/// Whether the list that fields named `name` are together has `token` in it, in upper or lower case.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &[u8]) -> bool {
    headers.get_all(name).iter().any(|value| {
        let elements = value.as_bytes().split(|byte| *byte == b',');
        elements.map(<[u8]>::trim_ascii).any(|element| element.eq_ignore_ascii_case(token))
    })
}

/// Sets what a backend is told about the client. What an untrusted peer claims is replaced; a trusted peer's is
/// believed and extended.
pub(super) fn forwarded(
    headers: &mut HeaderMap,
    conn: &ConnInfo,
    trusted: &[IpNet],
    host: &HeaderValue,
    request_id: impl FnOnce() -> HeaderValue,
) {
    let scheme = HeaderValue::from_static(if conn.tls.is_some() { "https" } else { "http" });
    if conn.trusted {
        drop_where(headers, is_underscore_twin);
        let before = headers.get_all(X_FORWARDED_FOR).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
        let mut chain = before.join(&b", "[..]);
        let client = nearest_untrusted(&chain, trusted).unwrap_or_else(|| conn.client_ip.clone());
        if !chain.is_empty() {
            chain.extend_from_slice(b", ");
        }
        chain.extend_from_slice(conn.client_ip.as_bytes());
        let chain = HeaderValue::from_bytes(&chain).unwrap_or_else(|_bad| conn.client_ip.clone());
        headers.insert(X_FORWARDED_FOR, chain);
        let scheme = headers.get(X_FORWARDED_PROTO).cloned().unwrap_or(scheme);
        for (name, value) in [
            (X_REAL_IP, client),
            (X_FORWARDED_HOST, host.clone()),
            (X_FORWARDED_PORT, conn.local_port.clone()),
            (X_FORWARDED_PROTO, scheme.clone()),
            (X_FORWARDED_SCHEME, scheme.clone()),
            (X_SCHEME, scheme),
        ] {
            if let Entry::Vacant(entry) = headers.entry(name) {
                entry.insert(value);
            }
        }
        if let Entry::Vacant(entry) = headers.entry(X_REQUEST_ID) {
            entry.insert(request_id());
        }
        return;
    }
    // Whatever its name says: backends believe `X-Forwarded-Ssl` and `X-Forwarded-User` too.
    drop_where(headers, |name| {
        *name == FORWARDED || name.as_str().starts_with("x-forwarded-") || is_underscore_twin(name)
    });
    headers.insert(X_FORWARDED_FOR, conn.client_ip.clone());
    headers.insert(X_REAL_IP, conn.client_ip.clone());
    headers.insert(X_FORWARDED_HOST, host.clone());
    headers.insert(X_FORWARDED_PORT, conn.local_port.clone());
    headers.insert(X_FORWARDED_PROTO, scheme.clone());
    headers.insert(X_FORWARDED_SCHEME, scheme.clone());
    headers.insert(X_SCHEME, scheme);
    headers.insert(X_REQUEST_ID, request_id());
}

/// Brings a request that came over HTTP/2 to the form of HTTP/1.1: one `Cookie` field (RFC 9113 section 8.2.3), and one
/// `Content-Length`, which the server has found to be that of the body.
pub(super) fn from_h2(headers: &mut HeaderMap, version: Version) {
    if version != Version::HTTP_2 {
        return;
    }
    if let Some(length) = headers.get(CONTENT_LENGTH).cloned() {
        headers.insert(CONTENT_LENGTH, length);
    }
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// The last address of a chain that is no trusted proxy: the client as the outermost of them saw it.
fn nearest_untrusted(chain: &[u8], trusted: &[IpNet]) -> Option<HeaderValue> {
    for part in chain.split(|byte| *byte == b',').rev().map(<[u8]>::trim_ascii) {
        let addr: IpAddr = std::str::from_utf8(part).ok()?.parse().ok()?;
        if !trusted.iter().any(|net| net.contains(&addr)) {
            return HeaderValue::from_bytes(part).ok();
        }
    }
    None
}

/// `X_Forwarded_For` becomes the same CGI variable as `X-Forwarded-For`: a way to smuggle a client address, or a length
/// that is not that of the body.
fn is_underscore_twin(name: &HeaderName) -> bool {
    let name = name.as_str().as_bytes();
    matches!(name, [b'x' | b'c' | b't', ..]) && name.contains(&b'_') && {
        let dashed: Vec<u8> = name.iter().map(|byte| if *byte == b'_' { b'-' } else { *byte }).collect();
        let alone: [&[u8]; 5] = [b"x-real-ip", b"x-scheme", b"x-request-id", b"content-length", b"transfer-encoding"];
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
