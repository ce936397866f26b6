//! Rate, concurrency and body limits, and circuit breakers, as plain, bounded state machines.

pub mod breaker;
pub mod clients;
pub mod connections;

pub use breaker::{Breaker, Breakers};
pub use clients::{Clients, Place, TooMany};
pub use connections::{Connections, Permit, Refused, network};
