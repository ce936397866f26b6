//! The commands that are more than a question to a running gatelet: `check` and `expose`.

mod check;
mod expose;

pub use check::{CheckFinding, CheckReason, CheckReport, KindReport, ReadError, check};
pub use expose::{Device, ExposeError, ExposeTls, Exposure, Written, device, expose};
