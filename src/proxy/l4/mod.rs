//! Layer 4: bytes passed on as they are.

pub(crate) mod attached;
pub(crate) mod mismatch;
pub(crate) mod record;
pub(crate) mod relay;
pub(crate) mod splice;
pub(crate) mod tcp;
pub(crate) mod tunnel;
pub(crate) mod udp;

#[cfg(test)]
mod tests;
