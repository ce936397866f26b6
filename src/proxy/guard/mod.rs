//! Guards between the transport and the HTTP server: they follow the framing of the decrypted bytes
//! and end what is ambiguous or floods, before the HTTP server acts on it.

pub(super) mod chunk;
#[cfg(fuzzing)]
pub(super) mod fuzz;
pub(super) mod h1;
pub(super) mod h2;
pub(super) mod head;
mod hpack;

use std::{io, task::Poll};

use super::conn_state::ConnState;

/// Tells the connection's state whether its client takes what is written.
fn note_write<R>(state: &ConnState, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
    if polled.is_pending() {
        state.writing_waits();
    } else {
        state.writing_goes_on();
    }
    polled
}
