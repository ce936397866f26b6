//! Writes a message: its head, and its body as it comes.

use std::{
    io::{self, IoSlice, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use tokio::io::AsyncWrite;

use super::Framing;

const CRLF: &[u8] = b"\r\n";

/// A message that is being written. Next come `before`, `data` and `after`, of which `written`
/// bytes have been written.
#[derive(Debug)]
pub(crate) struct MessageWriter {
    before: Vec<u8>,
    data: Bytes,
    after: &'static [u8],
    written: usize,
    /// The framing of the rest of the body.
    framing: Framing,
    /// True once the whole body was taken.
    ended: bool,
    /// True once anything was written.
    begun: bool,
    flushed: bool,
}

/// The body does not have the length that the head says. The peer would wait for the missing bytes:
/// its connection has to be closed.
#[derive(Debug)]
pub(crate) struct WrongLength;

impl MessageWriter {
    /// Creates the writer of a message with this head, which ends with the empty line.
    pub(crate) fn new(head: Vec<u8>, framing: Framing) -> Self {
        Self {
            before: head,
            data: Bytes::new(),
            after: b"",
            written: 0,
            framing,
            ended: matches!(framing, Framing::None | Framing::Length(0)),
            begun: false,
            flushed: true,
        }
    }

    /// Returns the head of a message whose body was not read yet.
    pub(crate) fn head(&mut self) -> &mut Vec<u8> {
        &mut self.before
    }

    /// Returns true once anything was written.
    pub(crate) fn is_begun(&self) -> bool {
        self.begun
    }

    /// Returns true once the transport has taken the whole message.
    pub(crate) fn is_done(&self) -> bool {
        self.ended && self.is_written() && self.flushed
    }

    /// Returns true if the next piece of the body should be taken now: nothing else waits to be
    /// written. The first piece is taken before the head is written, so that both go out together.
    pub(crate) fn takes_more(&self) -> bool {
        !self.ended && self.data.is_empty() && (self.written == 0 || self.is_written())
    }

    /// Starts over, for another connection, with a message whose body was not read yet.
    pub(crate) fn rewind(&mut self) {
        (self.written, self.begun, self.flushed) = (0, false, true);
    }

    /// Takes the next piece of the body.
    ///
    /// # Errors
    /// The body is longer than the head says, or ends early.
    pub(crate) fn take(&mut self, frame: Frame<Bytes>) -> Result<(), WrongLength> {
        let data = match frame.into_data() {
            Ok(data) if data.is_empty() => return Ok(()),
            Ok(data) => data,
            Err(frame) => return self.end(frame.trailers_ref()),
        };

        self.next();
        match &mut self.framing {
            Framing::None => return Err(WrongLength),
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WrongLength)?;
                self.ended = *left == 0;
            }
            Framing::Chunked => {
                let _in_memory = write!(self.before, "{:x}\r\n", data.len());
                self.after = CRLF;
            }
            Framing::UntilClose => {}
        }
        self.data = data;
        Ok(())
    }

    /// Takes the end of the body.
    ///
    /// # Errors
    /// The body is shorter than the head says.
    pub(crate) fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), WrongLength> {
        self.next();
        self.ended = true;
        match self.framing {
            Framing::None | Framing::Length(0) | Framing::UntilClose => Ok(()),
            Framing::Length(_) => Err(WrongLength),
            Framing::Chunked => {
                self.before.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    write_field(&mut self.before, name.as_str().as_bytes(), value.as_bytes());
                }
                self.before.extend_from_slice(CRLF);
                Ok(())
            }
        }
    }

    /// Writes what waits. Ready once all of it is written and flushed.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        mut to: Pin<&mut (impl AsyncWrite + ?Sized)>,
    ) -> Poll<io::Result<()>> {
        while !self.is_written() {
            if ready!(self.poll_piece(cx, to.as_mut()))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        if !self.flushed {
            ready!(to.poll_flush(cx))?;
            self.flushed = true;
        }
        (self.data, self.after) = (Bytes::new(), b"");
        Poll::Ready(Ok(()))
    }

    /// Returns the number of bytes that the transport has taken since the last piece of the body.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    fn is_written(&self) -> bool {
        self.written >= self.before.len() + self.data.len() + self.after.len()
    }

    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        to: Pin<&mut (impl AsyncWrite + ?Sized)>,
    ) -> Poll<io::Result<usize>> {
        let before = self.before.get(self.written..).unwrap_or_default();
        let gone = self.written.saturating_sub(self.before.len());
        let data = self.data.get(gone..).unwrap_or_default();
        let after = self
            .after
            .get(gone.saturating_sub(self.data.len())..)
            .unwrap_or_default();

        let n = if data.is_empty() && after.is_empty() {
            ready!(to.poll_write(cx, before))?
        } else {
            let slices = [before, data, after].map(IoSlice::new);
            ready!(to.poll_write_vectored(cx, &slices))?
        };

        self.written += n;
        (self.begun, self.flushed) = (true, false);
        Poll::Ready(Ok(n))
    }

    /// Makes room for the next piece. A head that was not written yet stays in front of it.
    fn next(&mut self) {
        if self.written > 0 {
            self.before.clear();
            self.written = 0;
        }
        (self.data, self.after) = (Bytes::new(), b"");
    }
}

/// Writes a field line.
pub(crate) fn write_field(bytes: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    bytes.reserve(name.len() + value.len() + 4);
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(CRLF);
}

/// Writes a field line with a number.
pub(crate) fn write_number(bytes: &mut Vec<u8>, name: &str, value: u64) {
    let _in_memory = write!(bytes, "{name}: {value}\r\n");
}
