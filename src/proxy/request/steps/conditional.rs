//! Responds ourselves to requests that meet a condition.

use super::{Passing, elsewhere, variables::fill};
use crate::{
    proxy::request::{
        error::{Error, Kind},
        handle::Response,
    },
    routing::{Conditional, Then},
};

/// Reports whether a request meets the condition.
pub(super) fn holds(request: &Passing<'_>, conditional: &Conditional) -> bool {
    let condition = conditional.condition.as_ref();
    condition.is_none_or(|condition| condition.holds(&fill(request, &condition.text)))
}

/// Returns the redirect for a request that meets the condition.
///
/// # Errors
/// If it is to be refused.
pub(super) fn respond(
    request: &Passing<'_>,
    conditional: &Conditional,
) -> Result<Option<Response>, Error> {
    if !holds(request, conditional) {
        return Ok(None);
    }
    match &conditional.then {
        Then::Refuse(status) => Err(Error::client(Kind::Rejected(*status))),
        Then::Redirect(to) => elsewhere::redirect(request, to),
    }
}
