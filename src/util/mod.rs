//! Small generic parts: backoff, the drain signal, IP sets, units. Nothing here knows what gatelet
//! is.

pub mod backoff;
pub mod clock;
pub mod drain;
pub mod memory;
pub mod port;
pub mod stamp;
pub mod sync;
pub mod units;
pub mod yaml;
