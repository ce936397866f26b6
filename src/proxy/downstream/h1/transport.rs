//! The transport of an HTTP/1 connection, with the bytes that were received and not used yet. The
//! connection reads heads from it and writes responses to it, and the body of the current request
//! is read from it by whoever sends that body on.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http::Version;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::response::write_informational;
use crate::proxy::{
    downstream::client::ClientStream,
    h1::{Limits, body::BodyReader, put_received, receive::poll_receive},
    request::{
        body::BodyError,
        error::Kind,
        message::{BodyLength, ResponseHead},
    },
};

/// The size of a read while no body is expected.
const STEP: usize = 4 * 1024;
/// The size of a read inside a body.
const BODY_STEP: usize = 32 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The transport of an HTTP/1 connection.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: RefCell<ClientStream>,
    received: RefCell<BytesMut>,
    body: RefCell<BodyReader>,
    /// True while the client waits for [`CONTINUE`] before it sends the body.
    expects: Cell<bool>,
    /// Informational responses that are still to be sent.
    informational: RefCell<Vec<u8>>,
    /// True if the client knows informational responses.
    is_http_11: Cell<bool>,
    /// True once the client has ended its direction.
    ended: Cell<bool>,
    limits: Limits,
}

impl Transport {
    /// Creates the transport of a connection. `first` was read from it already.
    pub(super) fn new(stream: ClientStream, first: &[u8], limits: Limits) -> Self {
        Self {
            stream: RefCell::new(stream),
            received: RefCell::new(BytesMut::from(first)),
            body: RefCell::default(),
            expects: Cell::new(false),
            informational: RefCell::default(),
            is_http_11: Cell::new(false),
            ended: Cell::new(false),
            limits,
        }
    }

    /// Returns true once the client has ended its direction.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Returns true if nothing was received that was not used yet.
    pub(super) fn is_empty(&self) -> bool {
        self.received.borrow().is_empty()
    }

    /// Calls `scan` with the received bytes, and drops as many of them as it says.
    pub(super) fn scan<T>(&self, scan: impl FnOnce(&[u8]) -> (T, usize)) -> T {
        let mut received = self.received.borrow_mut();
        let (result, used) = scan(&received);
        received.advance(used);
        result
    }

    /// Receives what the client has sent, for the next head. Ready with the number of bytes, 0 at
    /// the end of its direction. An idle connection holds no buffer.
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let polled = self.poll_read(cx, STEP);
        let mut received = self.received.borrow_mut();
        if received.is_empty() && polled.is_pending() {
            *received = BytesMut::new();
        }
        polled
    }

    /// Receives what the client sends while its request is in flight, so that its end is noticed.
    /// Bytes of the next request are kept, up to the limit of a head. Ready when the client has
    /// disconnected.
    pub(super) fn poll_watch(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Inside the body, whoever sends it on reads.
        if self.has_body() {
            return Poll::Pending;
        }
        while !self.ended.get() && self.received.borrow().len() < self.limits.bytes {
            if ready!(self.poll_receive(cx)).is_err() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Begins a request of this version, with the body of this length. The client waits for 100
    /// (Continue) if `expects`.
    pub(super) fn begin(&self, version: Version, length: BodyLength, expects: bool) {
        *self.body.borrow_mut() = BodyReader::new(length.into());
        self.is_http_11.set(version == Version::HTTP_11);
        let waits = expects && !length.is_empty() && self.is_empty();
        self.expects.set(waits && version == Version::HTTP_11);
    }

    /// Returns true while a part of the body of the request is still to be read.
    pub(crate) fn has_body(&self) -> bool {
        !self.body.borrow().is_end()
    }

    /// Begins the final response. Returns true if the client still waits for 100 (Continue): it may
    /// leave out the body.
    pub(super) fn forgo_continue(&self) -> bool {
        self.expects.take()
    }

    /// Takes the informational responses that were not sent yet.
    pub(super) fn take_informational(&self) -> Vec<u8> {
        self.informational.take()
    }

    /// Sends an informational response before the final one. Those that a slow client does not take
    /// are dropped.
    pub(crate) fn inform(&self, head: &ResponseHead) {
        let mut informational = self.informational.borrow_mut();
        if self.is_http_11.get() && informational.len() < self.limits.bytes {
            write_informational(&mut informational, head);
        }
    }

    /// Returns the next piece of the body of the request.
    pub(crate) fn poll_body(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            {
                let (mut body, mut received) = (self.body.borrow_mut(), self.received.borrow_mut());
                match body.take(&mut received, self.limits) {
                    Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                    Ok(None) if body.is_end() => return Poll::Ready(None),
                    Ok(None) => {}
                    Err(kind) => return Poll::Ready(Some(Err(BodyError::Client(kind)))),
                }
            }
            if self.expects.take() {
                self.informational.borrow_mut().extend_from_slice(CONTINUE);
            }
            ready!(self.poll_inform(cx)).map_err(gone)?;
            let left = self.size_hint().exact();
            let room = left.map_or(BODY_STEP, |left| usize::try_from(left).unwrap_or(BODY_STEP));
            let gone = match ready!(self.poll_read(cx, room.min(BODY_STEP))) {
                Ok(received) => received == 0,
                Err(_broken) => true,
            };
            if gone {
                self.body.borrow_mut().fail(Kind::ClientGone);
                return Poll::Ready(Some(Err(BodyError::Client(Kind::ClientGone))));
            }
        }
    }

    /// Returns what is known about the length of the rest of the body.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.borrow().size_hint()
    }

    /// Sends the informational responses that wait.
    pub(super) fn poll_inform(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut informational = self.informational.borrow_mut();
        if informational.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let mut stream = self.stream.borrow_mut();
        while !informational.is_empty() {
            let n = ready!(Pin::new(&mut *stream).poll_write(cx, &informational))?;
            informational.drain(..n);
        }
        Pin::new(&mut *stream).poll_flush(cx)
    }

    fn poll_read(&self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let (mut stream, mut received) = (self.stream.borrow_mut(), self.received.borrow_mut());
        let stream = Pin::new(&mut *stream);
        let n = ready!(poll_receive(cx, stream, &mut received, room));
        if !matches!(n, Ok(1..)) {
            self.ended.set(true);
        }
        Poll::Ready(n)
    }

    /// Calls `write` with the stream, to write a response.
    pub(super) fn with_stream<T>(&self, write: impl FnOnce(Pin<&mut ClientStream>) -> T) -> T {
        write(Pin::new(&mut *self.stream.borrow_mut()))
    }

    /// Receives and drops what the client sends. Ready with the number of bytes, 0 at the end.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut sink = [0_u8; STEP];
        let mut buf = ReadBuf::new(&mut sink);
        ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

fn gone(_broken: io::Error) -> BodyError {
    BodyError::Client(Kind::ClientGone)
}

/// After a switch of protocols the connection is a stream of bytes, beginning with those that were
/// received and not used.
impl AsyncRead for &Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut received = self.received.borrow_mut();
        if received.is_empty() {
            return Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buf);
        }
        put_received(&mut received, buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for &Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.with_stream(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_stream(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_stream(|stream| stream.poll_shutdown(cx))
    }
}
