//! Small generic parts: backoff, clocks, codecs, the drain signal, units. They know nothing of
//! certificates, routes or Kubernetes.

pub mod backoff;
pub mod clock;
pub mod datagram;
pub mod descriptors;
pub mod drain;
pub mod hash;
pub mod hex;
pub mod memory;
pub mod parallel;
pub mod password;
pub mod percent;
pub mod port;
pub mod port_range;
pub mod priority;
pub mod random;
pub mod secretive;
pub mod setting;
pub mod sockets;
pub mod stamp;
pub mod sync;
pub mod terminal;
pub mod text;
pub mod time;
pub mod units;
pub mod yaml;
