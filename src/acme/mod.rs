//! Certificates that issue and renew themselves (RFC 8555): what is wanted, what is had, what to do next, and the driver
//! that does it. Knows nothing of Kubernetes: wishes come in as data, certificates go out as data.

pub mod client;
pub mod dns;
pub mod http;
pub mod jws;
