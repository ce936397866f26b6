//! Sends clients to another URL.

use std::str;

use super::Passing;
use crate::{
    proxy::request::{
        error::{Error, Kind},
        handle::Response,
        outside::Scheme,
    },
    routing::{Elsewhere, SentUrl, UrlRedirect},
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

/// Redirects a request whose URL has another form. Its path is as the steps before this one left
/// it.
///
/// # Errors
/// 400 for a request without a host, or if the target is too long.
pub(super) fn redirect_url(
    request: &Passing<'_>,
    redirect: &UrlRedirect,
) -> Result<Option<Response>, Error> {
    request.url()?;
    let (path, query) = request.for_backend();
    let url = SentUrl {
        https: request.outside.scheme == Scheme::Https,
        host: str::from_utf8(request.target.host).unwrap_or_default(),
        path: &path,
        query,
    };
    let target = redirect.target(url);
    let target = target.map_err(|_long| Error::client(Kind::BadRequest("the URL is too long")))?;
    let status = redirect.status(&request.head.method);
    Ok(target.map(|target| Response::redirect(status, &target)))
}
