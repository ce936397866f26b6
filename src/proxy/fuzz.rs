//! Entry points for `fuzz/`: the parsers of bytes from clients, backends and load balancers.

use super::downstream::proxy_protocol;
pub use super::{
    downstream::{
        h1::fuzz::{chunks, request_head},
        h2::fuzz::http2_targets,
        hello::fuzz as client_hello,
    },
    upstream::h1::fuzz::response_head,
};

/// Reads a PROXY protocol header.
pub fn proxy_protocol(mut data: &[u8]) {
    let mut reading = std::pin::pin!(proxy_protocol::read(&mut data));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    // A slice is always ready, so one poll ends it.
    assert!(reading.as_mut().poll(&mut context).is_ready());
}
