//! The mini cluster of one device: the state machine behind `Propose` and `View`, and its objects
//! as a source and a target of writes, like those of a real cluster in `k8s`.
//!
//! All objects are in memory, as bytes. Every accepted write is in the
//! [`Store`](crate::store::Store) before it is acknowledged or visible; Events and Nodes are in
//! memory only. The history of each kind is a bounded ring, which watches read: a watcher that is
//! too slow loses its place, and never costs memory.

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
pub use record::{AREAS, stored_object};
pub use source::follow;
pub use writer::Writer;
