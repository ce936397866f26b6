//! Tests of the chaos CA itself, with a client of a few lines: it speaks ACME, really validates,
//! and makes every fault.

mod client;
mod faults;
mod limits;
mod protocol;
mod validation;
