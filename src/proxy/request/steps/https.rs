//! Redirects plain HTTP to HTTPS.

use http::StatusCode;

use super::Passing;
use crate::{
    proxy::request::{
        error::Error,
        handle::{ACME_CHALLENGE, Response},
    },
    routing::Redirect,
};

/// Redirects a request that came without TLS. If that is impossible the request is refused: it must
/// not go on in the clear.
pub(in crate::proxy::request) fn redirect(
    request: &Passing<'_>,
    status: StatusCode,
    port: Option<u16>,
    always: bool,
) -> Result<Option<Response>, Error> {
    let is_exempt = request.path.starts_with(ACME_CHALLENGE);
    if request.secure || is_exempt || !(always || request.tls) {
        return Ok(None);
    }

    let redirect = Redirect {
        status,
        https: Some(true),
        host: None,
        port,
        path: None,
        is_relative: false,
    };
    let location = redirect.location(request.url()?);
    Ok(Some(Response::redirect(status, &location)))
}
