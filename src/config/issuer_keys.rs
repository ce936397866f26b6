//! Keys of issuers: secrets, and the errors for missing and wrong ones.

use std::{fmt, path::PathBuf};

use serde::Deserialize;

use super::issuers::{IssuerProblem, Secret};

/// A secret that `Debug` does not show.
#[derive(Deserialize)]
pub(super) struct Hidden(String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<hidden>")
    }
}

/// Returns the secret of two keys, of which exactly one must be set.
pub(super) fn one_of(
    inline: &str,
    file: &str,
    secret: Option<Hidden>,
    path: Option<PathBuf>,
) -> Result<Secret, IssuerProblem> {
    match (secret, path) {
        (Some(Hidden(secret)), None) => Ok(Secret::Inline(secret)),
        (None, Some(path)) => Ok(Secret::File(path)),
        (Some(_), Some(_)) => Err(wrong(
            file,
            format!("only one of it and {inline} can be set"),
        )),
        (None, None) => Err(wrong(file, format!("it is needed, or {inline}"))),
    }
}

/// Returns the error for a key with a wrong value.
pub(super) fn wrong(field: &str, message: impl Into<String>) -> IssuerProblem {
    IssuerProblem::new(field, message)
}

/// Returns the error for a key that is missing; `whose` names what requires it.
pub(super) fn needed(field: &str, whose: &str) -> IssuerProblem {
    wrong(field, format!("{whose} needs it"))
}
