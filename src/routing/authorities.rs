//! Authorities of certificates: those of clients, and those of backends.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
};

use crate::util::time::UnixSeconds;

/// The authorities that certificates are verified with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorities {
    /// Hash of both lists.
    pub id: [u8; 32],
    /// Their certificates (DER).
    pub certificates: Box<[Box<[u8]>]>,
    /// Their lists of revoked certificates (DER); empty if revocation is not checked.
    pub revocation_lists: Box<[Box<[u8]>]>,
    /// The end of the last authority.
    pub ends: UnixSeconds,
    /// The end of the first list; `None` if there is none that ends.
    pub lists_end: Option<UnixSeconds>,
}

/// The id stands for all of them.
impl Hash for Authorities {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl Ord for Authorities {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl PartialOrd for Authorities {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
