//! The replicated state machine behind `Propose` and `View`; today one device, local.
//!
//! All objects are in memory, as bytes; every accepted write is in the
//! [`Store`](crate::store::Store) before it is answered or seen. Events and Nodes are in memory
//! only. The history of each kind is kept in a bounded ring, from which watches are served: a
//! watcher that is too slow loses its place, never the memory of the device.

mod bootstrap;
mod commit;
mod local;
mod machine;
mod mirror;
mod node;
mod record;
mod ring;
mod shared;
mod source;
#[cfg(test)]
mod tests;
mod watch;
mod writer;

pub use local::{Local, OpenError};
pub use mirror::mirror_endpoints;
pub use node::node;
pub use source::follow;
pub use writer::Writer;
