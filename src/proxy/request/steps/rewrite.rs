//! Gives a request another path for its backend, or sends its client to another URL.

use http::StatusCode;

use super::{Passing, Rewritten};
use crate::{
    proxy::request::{
        error::{Error, Kind},
        handle::Response,
    },
    routing::{self, Rewrite, RewriteError, path},
};

/// Rewrites the path. The steps before this one have seen the path that the client asked for.
///
/// # Errors
/// 400 if the result is no path of the rule, or the request has no host for a redirect.
pub(super) fn rewrite(
    request: &mut Passing<'_>,
    rewrite: &Rewrite,
) -> Result<Option<Response>, Error> {
    // HTTP/1.0 needs no host, and a path has none.
    let url = match rewrite.to.is_url() {
        true => request.url()?,
        false => request.any_url(),
    };
    let rewritten = rewrite.apply(&path::matched(request.path), url);
    match rewritten.map_err(bad)? {
        routing::Rewritten::Path { path, query } => {
            request.rewritten = Some(Box::new(Rewritten { path, query }));
            Ok(None)
        }
        routing::Rewritten::Url(location) => {
            Ok(Some(Response::redirect(StatusCode::FOUND, &location)))
        }
    }
}

fn bad(error: RewriteError) -> Error {
    Error::client(Kind::BadRequest(match error {
        RewriteError::TooLong => "the rewritten path is too long",
        RewriteError::Dots | RewriteError::Unclear => "the path can be read in two ways",
    }))
}
