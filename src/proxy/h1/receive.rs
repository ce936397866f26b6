//! Receives bytes through a buffer that all connections of a core share. A connection on which
//! nothing comes has no buffer of its own, and what comes takes as much memory as it has bytes.

use std::{
    cell::RefCell,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::proxy::memory::{self, Pressure};

/// The size of the shared buffer. Larger pieces are parts of large bodies, and are not copied.
const SHARED: usize = 16 * 1024;

/// The most that is read at once when next to no memory is left.
const LEAST: usize = 4 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SHARED].into());
}

/// Adds to `received` what `from` has now, at most about `room` bytes. Ready with their number; 0
/// at the end of the stream.
pub(crate) fn poll_receive(
    cx: &mut Context<'_>,
    mut from: Pin<&mut (impl AsyncRead + ?Sized)>,
    received: &mut BytesMut,
    room: usize,
) -> Poll<io::Result<usize>> {
    // Under memory pressure less is read ahead of a slow reader.
    let room = match memory::pressure() {
        Pressure::Low => room,
        Pressure::High => room.min(SHARED),
        Pressure::Critical => room.min(LEAST),
    };
    if room > SHARED {
        received.reserve(room);
        return pin!(from.read_buf(received)).poll(cx);
    }

    BUFFER.with_borrow_mut(|buffer| {
        let mut read = ReadBuf::new(&mut buffer[..room]);
        ready!(from.poll_read(cx, &mut read))?;
        received.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    })
}
