//! Redirects plain HTTP to HTTPS.

use bytes::Bytes;
use http::StatusCode;

use super::Passing;
use crate::proxy::request::{
    error::{Error, Kind},
    handle::{ACME_CHALLENGE, Response},
};

/// Redirects a request that came without TLS. If that is impossible the request is refused: it must
/// not go on in the clear.
pub(super) fn redirect(
    request: &Passing<'_>,
    status: StatusCode,
    always: bool,
) -> Result<Option<Response>, Error> {
    let is_exempt = request.path.starts_with(ACME_CHALLENGE);
    if request.secure || is_exempt || !(always || request.tls) {
        return Ok(None);
    }

    let target = request.target;
    let no_host = || Error::client(Kind::BadRequest("no Host"));
    let authority = target.authority.as_ref().ok_or_else(no_host)?;
    let port = match request.outside.https_port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let query = target.query.map(|query| format!("?{query}"));
    let query = query.unwrap_or_default();

    let location = format!("https://{}{port}{}{query}", authority.host, target.path);
    let mut response = Response::own(status, Bytes::new());
    response.head.fields.set("location", location.as_bytes());
    Ok(Some(response))
}
