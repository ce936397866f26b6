//! Rate, concurrency and body limits as plain, bounded state machines.

pub mod connections;

pub use connections::{Connections, Permit, Refused, network};
