//! Bytes passed on as they are.

pub(crate) mod tunnel;
