//! Validates a parsed request head before it is routed: the form of its target (RFC 9112 section
//! 3.2), its host, and the requested upgrade.

use http::{Method, Version};

use super::{
    error::{Error, Kind},
    fields::{FieldName, Fields},
    message::RequestHead,
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

/// Checks a request head. Must be called first: a request that fails must not reach an upstream.
/// With `strict`, a target with characters that no URI has is refused too.
pub(crate) fn check(head: &RequestHead, strict: bool) -> Result<Target<'_>, Error> {
    if head.method == Method::CONNECT {
        return Err(Error::client(Kind::MethodNotAllowed));
    }
    if strict && head.is_target_encoded() {
        return Err(bad("the target has characters that no URI has"));
    }

    let path = head.path();
    let asterisk = path == "*" && head.method == Method::OPTIONS;
    if !path.starts_with('/') && !asterisk {
        return Err(bad("bad target"));
    }

    let mut hosts = head.fields.all(FieldName::Host);
    let field = hosts.next();
    if hosts.next().is_some() {
        return Err(bad("more than one Host"));
    }

    let host = match (head.authority(), field) {
        (Some(target), None) => target,
        (None, Some(field)) => field,
        (None, None) if head.version < Version::HTTP_11 => b"",
        (None, None) => return Err(bad("no Host")),
        // RFC 9112 section 3.2.2 lets the target win; RFC 9113 section 8.3.1 calls it malformed.
        // Two readers may choose differently: refuse the request.
        (Some(target), Some(field)) if same(target, field)? => target,
        (Some(_), Some(_)) => return Err(bad("the target's host is not that of Host")),
    };

    let authority = match (host, head.version) {
        (b"", Version::HTTP_10) => None,
        _ => Some(parse(host)?),
    };

    expectation(&head.fields)?;
    Ok(Target {
        authority,
        host,
        path,
        query: head.query(),
    })
}

/// Returns the `Upgrade` field to pass on: `None` unless the request is HTTP/1.1, names `upgrade`
/// in `Connection`, and asks for a protocol other than `h2c`. Behind a proxy, `h2c` would be a
/// tunnel past its rules.
pub(crate) fn upgrade(head: &RequestHead) -> Option<Vec<u8>> {
    let fields = &head.fields;
    if head.version != Version::HTTP_11
        || !fields.contains(FieldName::Upgrade)
        || !fields.has_token(FieldName::Connection, "upgrade")
    {
        return None;
    }

    let refused = |protocol: &[u8]| protocol.eq_ignore_ascii_case(b"h2c") || protocol.is_empty();
    let kept: Vec<_> = fields
        .elements(FieldName::Upgrade)
        .filter(|protocol| !refused(protocol))
        .collect();
    (!kept.is_empty()).then(|| kept.join(&b", "[..]))
}

/// Refuses every expectation other than `100-continue` with 417 (RFC 9110 section 10.1.1).
fn expectation(fields: &Fields) -> Result<(), Error> {
    let mut values = fields.all(FieldName::Expect);
    if values.any(|value| !value.eq_ignore_ascii_case(b"100-continue")) {
        return Err(Error::client(Kind::ExpectationFailed));
    }
    Ok(())
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

fn bad(why: &'static str) -> Error {
    Error::client(Kind::BadRequest(why))
}

#[cfg(test)]
mod tests;
