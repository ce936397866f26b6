//! Sends clients to another URL.

use super::Passing;
use crate::{
    proxy::request::{error::Error, handle::Response},
    routing::Elsewhere,
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

    let url = request.url()?;
    let mut location = elsewhere.to.of_request(url);
    if location.starts_with('/') {
        location.insert_str(0, &url.origin());
    }
    Ok(Some(Response::redirect(elsewhere.status, &location)))
}
