//! The certificate engine in this process, with a clock of the test, against a CA that misbehaves
//! by script. Each test ends with a certificate, or with a named reason and time, and Let's Encrypt
//! would never have refused or paused us.

mod advice;
mod clock;
mod crashes;
mod disk;
mod edges;
mod failpoint_store;
mod faults;
mod harness;
mod hooks;
mod orders;
mod persist;
mod properties;
mod replicas;
mod requests;
