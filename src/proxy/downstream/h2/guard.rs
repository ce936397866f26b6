//! The guard of an HTTP/2 connection: counts the frames of the decrypted stream and ends a
//! connection that keeps us busy without requesting anything. It also refuses request targets with
//! a fragment (`hpack`).
//!
//! A connection has a credit. Frames that cost us work and carry none (resets, settings, pings,
//! priorities, empty data, continuations, unknown ones) use it up; time and payload in either
//! direction give it back. Resets of streams that were opened (CVE-2023-44487), continuation floods
//! (CVE-2024-27316), settings and ping floods (CVE-2019-9512, -9515) and empty frames
//! (CVE-2019-9518) all end there.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::hpack::Targets;
use crate::proxy::h2::Outbox;

/// The connection preface of a client (RFC 9113 section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The most frames that may come at once.
const CREDIT: u32 = 2_000;
/// The frames per second that may keep coming. A client that measures its bandwidth pings once per
/// round trip; one that searches as the user types resets once per key.
const PER_SECOND: u32 = 200;
/// Bytes in either direction that pay for one frame.
const BYTES_PER_FRAME: u64 = 1024;
const HEAD: usize = 9;

// Frame types (RFC 9113 section 6).
const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// The transport of an HTTP/2 connection, guarded.
#[derive(Debug)]
pub(super) struct Guard<I> {
    inner: I,
    traffic: Rc<Traffic>,
    frames: Frames,
    /// The position in the frames that we send.
    sent: Heads,
    targets: Targets,
    /// Bytes read before the protocol was known, and not passed on yet.
    first: Vec<u8>,
}

/// The traffic of a connection, as its driver sees it.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    flood: Cell<bool>,
    blocked: Cell<bool>,
    /// Counts writes.
    written: Cell<u64>,
    /// Bytes of request bodies that have arrived and were not read yet.
    unread: Cell<usize>,
    pub(super) outbox: Rc<Outbox>,
}

impl Traffic {
    /// Returns true if the connection has ended because of a flood of frames.
    pub(super) fn is_flood(&self) -> bool {
        self.flood.get()
    }

    /// Returns a number while the client does not take what we send. It changes when the client
    /// takes something.
    pub(super) fn blocked(&self) -> Option<u64> {
        self.blocked.get().then(|| self.written.get())
    }

    /// Returns about how many bytes of request bodies wait to be taken.
    pub(super) fn unread(&self) -> usize {
        self.unread.get()
    }

    /// Notes that bytes of a request body came.
    fn received(&self, bytes: usize) {
        self.unread.set(self.unread.get() + bytes);
    }

    /// Notes that bytes of a request body were taken.
    pub(super) fn took(&self, bytes: usize) {
        self.unread.set(self.unread.get().saturating_sub(bytes));
    }

    /// Notes that no stream is open: what was not taken was dropped.
    pub(super) fn has_no_stream(&self) {
        self.unread.set(0);
    }

    fn note<R>(&self, polled: Poll<R>) -> Poll<R> {
        self.blocked.set(polled.is_pending());
        if polled.is_ready() {
            self.written.set(self.written.get().wrapping_add(1));
        }
        polled
    }
}

/// The position of the next byte in a stream of frames.
#[derive(Debug)]
pub(super) struct Heads {
    /// Bytes of the preface, or of a payload, that are still to come.
    pub(super) skip: usize,
    head: [u8; HEAD],
    have: usize,
}

/// The frames of a client, and its credit.
#[derive(Debug)]
struct Frames {
    heads: Heads,
    credit: u32,
    payload: u64,
    filled: Instant,
}

impl<I> Guard<I> {
    /// Guards `inner`. `first` was read from it already.
    pub(super) fn new(inner: I, first: Vec<u8>, traffic: Rc<Traffic>) -> Self {
        Self {
            inner,
            traffic,
            frames: Frames::new(),
            sent: Heads::new(0),
            targets: Targets::new(),
            first,
        }
    }
}

impl Heads {
    /// Starts at a position with `skip` bytes before the first head.
    pub(super) fn new(skip: usize) -> Self {
        Self {
            skip,
            head: [0; HEAD],
            have: 0,
        }
    }

    /// Consumes `bytes` up to the end of the next head. Returns its type and flags; `skip` is the
    /// length of its payload then. `None` if the head is incomplete.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<(u8, u8)> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        *bytes = &bytes[skipped..];
        if bytes.is_empty() {
            return None;
        }

        let more = (HEAD - self.have).min(bytes.len());
        self.head[self.have..self.have + more].copy_from_slice(&bytes[..more]);
        self.have += more;
        *bytes = &bytes[more..];
        if self.have < HEAD {
            return None;
        }

        self.have = 0;
        let [a, b, c, kind, flags, ..] = self.head;
        self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        Some((kind, flags))
    }

    /// Returns the stream of the frame whose head was complete last.
    fn stream(&self) -> u32 {
        let [.., a, b, c, d] = self.head;
        u32::from_be_bytes([a, b, c, d]) & (u32::MAX >> 1)
    }

    /// Returns the type of the frame whose payload contains the next byte.
    pub(super) fn kind(&self) -> u8 {
        self.head[3]
    }
}

impl Frames {
    fn new() -> Self {
        Self {
            heads: Heads::new(PREFACE.len()),
            credit: CREDIT,
            payload: 0,
            filled: Instant::now(),
        }
    }

    /// Scans the next bytes. Returns false if the credit is used up.
    fn scan(&mut self, mut bytes: &[u8], traffic: &Traffic) -> bool {
        while let Some((kind, flags)) = self.heads.next(&mut bytes) {
            match kind {
                RST_STREAM => traffic.outbox.forget(self.heads.stream()),
                DATA => traffic.received(self.heads.skip),
                _ => {}
            }
            if self.is_idle(kind, flags) && !self.pay() {
                return false;
            }
        }
        true
    }

    /// Returns true for a frame that requests nothing and carries nothing. The content of a DATA
    /// frame is counted as payload instead.
    fn is_idle(&mut self, kind: u8, flags: u8) -> bool {
        const END_STREAM: u8 = 1;
        match kind {
            DATA if self.heads.skip == 0 => flags & END_STREAM == 0,
            DATA => {
                self.paid(self.heads.skip as u64);
                false
            }
            // Bounded by the streams that may be open; a window update follows what we sent.
            HEADERS | WINDOW_UPDATE => false,
            _ => true,
        }
    }

    fn paid(&mut self, bytes: u64) {
        self.payload = (self.payload + bytes).min(u64::from(CREDIT) * BYTES_PER_FRAME);
    }

    fn pay(&mut self) -> bool {
        if self.credit == 0 {
            let frames = (self.payload / BYTES_PER_FRAME) as u32;
            self.payload %= BYTES_PER_FRAME;
            let since = self.filled.elapsed();
            let gained =
                (since.as_millis() * u128::from(PER_SECOND) / 1000).min(u128::from(CREDIT)) as u32;
            if gained > 0 {
                self.filled = Instant::now();
            }
            self.credit = frames.saturating_add(gained).min(CREDIT);
        }
        match self.credit.checked_sub(1) {
            Some(left) => {
                self.credit = left;
                true
            }
            None => false,
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guard<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buf.filled().len();
        if this.first.is_empty() {
            ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        } else {
            let n = this.first.len().min(buf.remaining());
            buf.put_slice(&this.first[..n]);
            this.first.drain(..n);
            if this.first.is_empty() {
                this.first = Vec::new();
            }
        }

        if this.targets.scan(&mut buf.filled_mut()[start..]) {
            tracing::debug!("request refused: fragment in target");
        }
        if this.frames.scan(&buf.filled()[start..], &this.traffic) {
            return Poll::Ready(Ok(()));
        }

        this.traffic.flood.set(true);
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a flood of HTTP/2 frames",
        )))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guard<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write(cx, bytes);
        this.wrote(written, [bytes].into_iter())
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.inner).poll_write_vectored(cx, slices);
        this.wrote(written, slices.iter().map(|slice| &**slice))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.traffic.note(Pin::new(&mut this.inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

impl<I> Guard<I> {
    /// Notes a write of the first part of `slices`.
    fn wrote<'b>(
        &mut self,
        written: Poll<io::Result<usize>>,
        slices: impl Iterator<Item = &'b [u8]>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = &written {
            self.frames.paid(*n as u64);
            let mut left = *n;
            for slice in slices {
                let (bytes, _unwritten) = slice.split_at(left.min(slice.len()));
                left -= bytes.len();
                self.note_sent(bytes);
            }
        }
        self.traffic.note(written)
    }

    /// Takes what was written off the outbox. The content of a frame counts as written with its
    /// head.
    fn note_sent(&mut self, mut bytes: &[u8]) {
        let outbox = &self.traffic.outbox;
        while let Some((kind, _flags)) = self.sent.next(&mut bytes) {
            match kind {
                DATA => outbox.sent(self.sent.stream(), self.sent.skip),
                RST_STREAM => outbox.forget(self.sent.stream()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
