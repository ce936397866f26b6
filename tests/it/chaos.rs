//! The chaos CA itself, with a client of a few lines: that it speaks ACME, validates for real, and
//! does every fault.

mod client;
mod faults;
mod limits;
mod protocol;
mod validation;
