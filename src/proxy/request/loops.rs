//! Finds requests that come back to us: each carries our name in `CDN-Loop` (RFC 8586). `Via` would
//! do too, but servers change what they send when they see it: nginx compresses nothing.

use ring::rand::{SecureRandom, SystemRandom};

use super::{
    error::{Error, Kind},
    fields::{FieldName, Fields, elements},
};
use crate::util::hex;

/// The most times that a request may pass us: it may do so on purpose, by way of another proxy
/// behind us.
const MAX_PASSES: usize = 8;

/// The name of this process in `CDN-Loop`.
#[derive(Debug)]
pub(crate) struct LoopId(Box<str>);

impl Default for LoopId {
    fn default() -> Self {
        let mut bytes = [0; 8];
        // Without the system's randomness all processes have the same name, and a request may pass
        // all of them together as often as one.
        let _ = SystemRandom::new().fill(&mut bytes);
        Self(format!("gatelet-{}", hex::encode(&bytes)).into())
    }
}

impl LoopId {
    /// Returns the value of `CDN-Loop` to add to a request.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Checks that a request has not passed us too often.
    ///
    /// # Errors
    /// 508 if it has (RFC 5842 section 7.2).
    pub(crate) fn check(&self, fields: &Fields) -> Result<(), Error> {
        let passes = fields
            .all(FieldName::CdnLoop)
            .flat_map(elements)
            .filter(|id| *id == self.as_bytes())
            .count();
        if passes >= MAX_PASSES {
            return Err(Error::client(Kind::LoopDetected));
        }
        Ok(())
    }
}
