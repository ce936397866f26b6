//! Sends clients to another URL.

use bytes::Bytes;

use super::Passing;
use crate::{
    proxy::request::{
        error::{Error, Kind},
        handle::Response,
        outside::Scheme,
    },
    routing::{Elsewhere, RequestUrl},
};

/// Redirects a request.
///
/// # Errors
/// 400 for a request without a host.
pub(super) fn redirect(
    request: &Passing<'_>,
    elsewhere: &Elsewhere,
) -> Result<Option<Response>, Error> {
    if elsewhere.of_root && request.path != "/" {
        return Ok(None);
    }

    let (target, outside) = (request.target, request.outside);
    let no_host = || Error::client(Kind::BadRequest("no Host"));
    let authority = target.authority.as_ref().ok_or_else(no_host)?;
    let mut location = elsewhere.to.of_request(RequestUrl {
        https: outside.scheme == Scheme::Https,
        host: &authority.host,
        port: outside.port,
        https_port: outside.https_port,
        path: target.path,
        query: target.query,
    });
    if location.starts_with('/') {
        let port = match (outside.scheme, outside.port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => String::new(),
            (_, port) => format!(":{port}"),
        };
        let scheme = outside.scheme.as_str();
        location = format!("{scheme}://{}{port}{location}", authority.host);
    }

    let mut response = Response::own(elsewhere.status, Bytes::new());
    response.head.fields.set("location", location.as_bytes());
    Ok(Some(response))
}
