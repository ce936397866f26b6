//! Guards between the transport and the HTTP server. They follow the framing of the decrypted bytes
//! and stop ambiguous messages and floods before the HTTP server acts on them.

pub(super) mod chunk;
#[cfg(fuzzing)]
pub(super) mod fuzz;
pub(super) mod h1;
pub(super) mod h2;
pub(super) mod head;
mod hpack;

use std::{io, task::Poll};

use super::conn_state::ConnState;

/// Notes in the connection's state whether a write has to wait for the client.
fn note_write<R>(state: &ConnState, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
    if polled.is_pending() {
        state.writing_waits();
    } else {
        state.writing_goes_on();
    }
    polled
}
