//! Validates a parsed request head before it is routed: the form of its target (RFC 9112 section
//! 3.2), its host, the requested upgrade, and the length of its body.

use http::{
    HeaderMap, HeaderValue, Method, Request, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, UPGRADE},
};

use super::{
    error::{Error, Kind},
    guard::head::decimal,
};
use crate::routing::host::Authority;

/// The target of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The host in canonical form and the port as the client wrote it; `None` only for HTTP/1.0
    /// without `Host`.
    pub(crate) authority: Option<Authority<'a>>,
    /// The host and port as the client wrote them, from the target or `Host`; empty if there are
    /// none.
    pub(crate) host: &'a [u8],
    /// The path as sent; `*` for `OPTIONS *`.
    pub(crate) path: &'a str,
    /// The query as sent, without its `?`.
    pub(crate) query: Option<&'a str>,
}

/// The length of a request body. It is decided once, where the head is checked: a second reading of
/// the fields might differ, and the endpoint would lose track of where the next request begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    /// There is no body.
    None,
    /// This many bytes, as `Content-Length` says.
    Known(u64),
    /// The body ends where the client ends it.
    Unknown,
}

impl BodyLength {
    /// Returns true if no byte follows the head.
    pub(crate) fn is_empty(self) -> bool {
        matches!(self, Self::None | Self::Known(0))
    }
}

/// Decides how long the body of a request is; `ended` means that nothing follows its head.
///
/// Over HTTP/1 the guard has refused a length that is unclear. The HTTP/2 server resets the stream
/// for most of these, but reads an empty length as 0, which is malformed too (RFC 9113 section
/// 8.1.1, RFC 9110 section 8.6).
///
/// # Errors
/// 400 unless every `Content-Length` is the same decimal number, which is the length of the body.
pub(crate) fn body_length(headers: &HeaderMap, ended: bool) -> Result<BodyLength, Error> {
    let mut length = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let field = decimal(value.as_bytes()).ok_or_else(|| bad("bad Content-Length"))?;
        if length.replace(field).is_some_and(|first| first != field) {
            return Err(bad("conflicting Content-Length"));
        }
    }

    match (length, ended) {
        (None, true) => Ok(BodyLength::None),
        (None, false) => Ok(BodyLength::Unknown),
        (Some(0), _) => Ok(BodyLength::Known(0)),
        (Some(length), false) => Ok(BodyLength::Known(length)),
        (Some(_), true) => Err(bad("the body is shorter than Content-Length")),
    }
}

/// Checks a request head. Must be called first: a request that fails must not reach an upstream.
pub(crate) fn check<B>(request: &Request<B>) -> Result<Target<'_>, Error> {
    let uri = request.uri();
    if request.method() == Method::CONNECT {
        return Err(Error::client(Kind::MethodNotAllowed));
    }
    if uri
        .scheme_str()
        .is_some_and(|scheme| scheme != "http" && scheme != "https")
    {
        return Err(bad("unknown scheme in target"));
    }

    let path = uri.path();
    let asterisk = path == "*" && request.method() == Method::OPTIONS;
    if !path.starts_with('/') && !asterisk {
        return Err(bad("bad target"));
    }

    let mut hosts = request.headers().get_all(HOST).iter();
    let field = hosts.next().map(HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(bad("more than one Host"));
    }

    let in_target = uri
        .authority()
        .map(|authority| authority.as_str().as_bytes());
    let host = match (in_target, field) {
        (Some(target), None) => target,
        (None, Some(field)) => field,
        (None, None) if request.version() < Version::HTTP_11 => b"",
        (None, None) => return Err(bad("no Host")),
        // RFC 9112 section 3.2.2 lets the target win; RFC 9113 section 8.3.1 calls it malformed.
        // Two readers may choose differently: refuse the request.
        (Some(target), Some(field)) if same(target, field)? => target,
        (Some(_), Some(_)) => return Err(bad("the target's host is not that of Host")),
    };

    let authority = match (host, request.version()) {
        (b"", Version::HTTP_10) => None,
        _ => Some(parse(host)?),
    };

    expectation(request.headers())?;
    Ok(Target {
        authority,
        host,
        path,
        query: uri.query(),
    })
}

/// Returns the `Upgrade` field to pass on: `None` unless the request is HTTP/1.1, names `upgrade`
/// in `Connection`, and asks for a protocol other than `h2c`. Behind a proxy, `h2c` would be a
/// tunnel past its rules.
pub(crate) fn upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let headers = request.headers();
    if request.version() != Version::HTTP_11
        || !headers.contains_key(UPGRADE)
        || !elements(headers, &CONNECTION).any(|option| option.eq_ignore_ascii_case(b"upgrade"))
    {
        return None;
    }
    let refused = |protocol: &[u8]| protocol.eq_ignore_ascii_case(b"h2c") || protocol.is_empty();

    let mut fields = headers.get_all(UPGRADE).iter();
    if let (Some(only), None) = (fields.next(), fields.next())
        && !only
            .as_bytes()
            .split(|&byte| byte == b',')
            .any(|protocol| refused(protocol.trim_ascii()))
    {
        return Some(only.clone());
    }

    let kept: Vec<_> = elements(headers, &UPGRADE)
        .filter(|protocol| !refused(protocol))
        .collect();
    if kept.is_empty() {
        None
    } else {
        HeaderValue::from_bytes(&kept.join(&b", "[..])).ok()
    }
}

/// Refuses every expectation other than `100-continue` with 417 (RFC 9110 section 10.1.1).
fn expectation(headers: &HeaderMap) -> Result<(), Error> {
    match headers
        .get_all(EXPECT)
        .iter()
        .find(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        Some(_) => Err(Error::client(Kind::ExpectationFailed)),
        None => Ok(()),
    }
}

/// Returns true if both spellings name the same host and port.
fn same(target: &[u8], field: &[u8]) -> Result<bool, Error> {
    if target.eq_ignore_ascii_case(field) {
        return Ok(true);
    }
    let (target, field) = (parse(target)?, parse(field)?);
    let port = |authority: &Authority<'_>| authority.port.filter(|port| !matches!(port, 80 | 443));
    Ok(target.host == field.host && port(&target) == port(&field))
}

fn parse(host: &[u8]) -> Result<Authority<'_>, Error> {
    Authority::parse(host).map_err(|_why| bad("bad Host"))
}

/// Returns the elements of a list-valued field.
fn elements<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let values = headers.get_all(name).iter();
    values.flat_map(|value| {
        value
            .as_bytes()
            .split(|&byte| byte == b',')
            .map(<[u8]>::trim_ascii)
    })
}

fn bad(why: &'static str) -> Error {
    Error::client(Kind::BadRequest(why))
}

#[cfg(test)]
mod tests;
