//! Gives a request another path for its backend, or sends its client to another URL.

use std::sync::Arc;

use http::StatusCode;

use super::{Passing, Rewritten};
use crate::{
    proxy::request::{
        error::{Error, Kind},
        handle::Response,
    },
    routing::{self, PathEdit, Rewrite, RewriteError, SetField, path},
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

/// Changes the path, as the steps before this one left it.
///
/// # Errors
/// 400 if the result is no path of the rule.
pub(super) fn edit(request: &mut Passing<'_>, edit: &PathEdit) -> Result<(), Error> {
    let (path, query) = request.for_backend();
    let Some(edited) = edit.apply(&path).map_err(bad)? else {
        return Ok(());
    };

    let query = query.map(str::to_owned);
    request.rewritten = Some(Box::new(Rewritten {
        path: edited.path,
        query,
    }));
    let field = edited.field.map(|(name, value)| SetField {
        from: edit.from.clone(),
        name,
        value,
    });
    request.changes.set.extend(field.map(Arc::new));
    Ok(())
}

fn bad(error: RewriteError) -> Error {
    Error::client(Kind::BadRequest(match error {
        RewriteError::TooLong => "the rewritten path is too long",
        RewriteError::Dots | RewriteError::Unclear => "the path can be read in two ways",
    }))
}
