//! Rate, concurrency and body limits as plain, bounded state machines.

pub mod clients;
pub mod connections;

pub use clients::{Clients, Place, TooMany};
pub use connections::{Connections, Permit, Refused, network};
