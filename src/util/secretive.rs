//! Bytes that must not show.

use std::{fmt, sync::Arc};

/// Bytes that never show in debug output.
#[derive(Clone, PartialEq, Eq)]
pub struct Secretive(pub Arc<[u8]>);

impl fmt::Debug for Secretive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
