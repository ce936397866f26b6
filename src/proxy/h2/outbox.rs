//! The bytes of bodies that wait to be sent on an HTTP/2 connection. A client may leave many
//! responses unread at once; together they take about as much memory as one.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    task::{Context, Poll, Waker},
};

use super::SEND_BUFFER;
use crate::proxy::memory::{self, Pressure};

/// The bytes that may wait on all streams of a connection before each gets a small piece at a time,
/// unless there is memory pressure.
const ROOM: usize = 512 * 1024;
/// A small piece.
const PIECE: usize = 8 * 1024;

/// The bytes that wait to be sent on a connection, by stream.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    total: Cell<usize>,
    streams: RefCell<HashMap<u32, Waiting>>,
}

/// The bytes that wait on one stream.
#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    /// The task that has more to send.
    waker: Option<Waker>,
}

impl Outbox {
    /// Ready with the number of bytes that a stream may send next. Beyond the room of the
    /// connection, it waits until nothing of its own waits any more.
    pub(super) fn poll_room(&self, cx: &Context<'_>, stream: u32) -> Poll<usize> {
        let room = match memory::pressure() {
            Pressure::Low => ROOM,
            Pressure::High | Pressure::Critical => SEND_BUFFER,
        };
        if self.total.get() < room {
            return Poll::Ready(SEND_BUFFER);
        }
        match self.streams.borrow_mut().get_mut(&stream) {
            None => Poll::Ready(PIECE),
            Some(waiting) => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Returns the number of bytes that wait.
    #[cfg(test)]
    pub(crate) fn total(&self) -> usize {
        self.total.get()
    }

    /// Adds bytes that wait on a stream from now on.
    pub(crate) fn add(&self, stream: u32, bytes: usize) {
        self.streams.borrow_mut().entry(stream).or_default().bytes += bytes;
        self.total.set(self.total.get() + bytes);
    }

    /// Removes bytes of a stream that were written to the transport.
    pub(crate) fn sent(&self, stream: u32, bytes: usize) {
        let mut streams = self.streams.borrow_mut();
        let Some(waiting) = streams.get_mut(&stream) else {
            return;
        };

        let bytes = bytes.min(waiting.bytes);
        waiting.bytes -= bytes;
        self.total.set(self.total.get() - bytes);
        if waiting.bytes == 0
            && let Some(waiting) = streams.remove(&stream)
        {
            drop(streams);
            waiting.waker.into_iter().for_each(Waker::wake);
        }
    }

    /// Removes what waits on a stream that was reset: it is never sent.
    pub(crate) fn forget(&self, stream: u32) {
        self.sent(stream, usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(outbox: &Outbox, stream: u32) -> Poll<usize> {
        outbox.poll_room(&Context::from_waker(Waker::noop()), stream)
    }

    #[test]
    fn a_full_connection_gives_each_stream_one_piece() {
        let outbox = Outbox::default();
        assert_eq!(room(&outbox, 1), Poll::Ready(SEND_BUFFER));
        outbox.add(1, ROOM - 1);
        assert_eq!(room(&outbox, 1), Poll::Ready(SEND_BUFFER));
        outbox.add(1, 1);

        assert_eq!(room(&outbox, 1), Poll::Pending);
        assert_eq!(room(&outbox, 3), Poll::Ready(PIECE));
        outbox.add(3, PIECE);
        assert_eq!(room(&outbox, 3), Poll::Pending);
        outbox.sent(3, PIECE - 1);
        assert_eq!(room(&outbox, 3), Poll::Pending);
        outbox.sent(3, 1);
        assert_eq!(room(&outbox, 3), Poll::Ready(PIECE));

        outbox.sent(1, 1);
        assert_eq!(room(&outbox, 1), Poll::Ready(SEND_BUFFER));
    }

    #[test]
    fn what_a_reset_stream_left_does_not_count() {
        let outbox = Outbox::default();
        outbox.add(1, 3 * ROOM);
        outbox.add(3, 10);
        outbox.forget(1);
        outbox.forget(1);
        assert_eq!(outbox.total(), 10);

        // More than was added can be written: small ends of bodies are not counted.
        outbox.sent(3, 100);
        outbox.sent(3, 100);
        assert_eq!(outbox.total(), 0);
        assert!(outbox.streams.borrow().is_empty());
    }
}
