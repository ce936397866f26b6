//! Responds ourselves to requests that meet a condition.

use http::StatusCode;

use super::{Passing, elsewhere, variables::fill};
use crate::{
    proxy::request::{
        error::{Error, Kind},
        handle::Response,
    },
    routing::{Conditional, Then},
};

/// Reports whether a request for a path meets the condition.
pub(super) fn holds(request: &Passing<'_>, path: &str, conditional: &Conditional) -> bool {
    let condition = conditional.condition.as_ref();
    conditional.is_for(path)
        && condition.is_none_or(|condition| condition.holds(&fill(request, &condition.text)))
}

/// Returns the response to a request that meets the condition.
///
/// # Errors
/// If the request is to be refused.
pub(super) fn respond(
    request: &Passing<'_>,
    conditional: &Conditional,
) -> Result<Option<Response>, Error> {
    if !holds(request, request.path, conditional) {
        return Ok(None);
    }
    match &conditional.then {
        Then::Refuse(status) => Err(Error::client(Kind::Rejected(*status))),
        Then::Redirect(to) => elsewhere::redirect(request, to),
        Then::Respond(own) => {
            let text = fill(request, &own.text);
            let mut response = Response::own(own.status, text.into());
            if own.status != StatusCode::NO_CONTENT {
                let fields = &mut response.head.fields;
                fields.set("content-type", own.media_type.as_bytes());
            }
            Ok(Some(response))
        }
    }
}
