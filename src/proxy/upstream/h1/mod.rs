//! HTTP/1.1 towards an endpoint (RFC 9112). The task that serves a client writes the request and
//! reads the response itself, on a connection that it alone holds: no other task, channel or copy
//! of the head is between them.

#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod head;
mod request_writer;
mod response_body;

use std::{
    cell::RefCell,
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, BytesMut};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(crate) use self::{
    head::Head,
    request_writer::{HeadWriter, RequestWriter},
    response_body::{Broken, ResponseBody},
};
use crate::{
    proxy::{
        h1::{Limits, put_received, receive::poll_receive},
        request::message::ResponseHead,
    },
    tls::refused_later,
};

/// The size of the first read of a response: most fit.
const STEP: usize = 8 * 1024;
/// The size of the largest read; up to this much of a response waits for a slow client.
const MAX_STEP: usize = 64 * 1024;
/// The most informational responses before the final one.
const MAX_INFORMATIONAL: usize = 100;

/// A transport to an endpoint.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + fmt::Debug> Transport for T {}

/// A connection to an endpoint.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Shared with another task only while a request is still being sent after its response has
    /// begun.
    transport: Rc<RefCell<dyn Transport>>,
    /// Bytes received and not consumed yet.
    received: BytesMut,
    /// The number of bytes already searched for the end of a head.
    searched: usize,
    step: usize,
}

/// The reason why there is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The connection broke before anything was written to it.
    Unsent,
    /// The connection ended before the first byte of a response.
    NoResponse,
    /// The connection ended inside the head of the response.
    Broken,
    /// The endpoint sent something that is not a response to the request.
    Malformed(&'static str),
    /// The request body ended early.
    Body,
    /// The endpoint ended TLS, for this reason, before the first byte of a response.
    Tls(Box<str>),
}

impl Connection {
    /// Creates a connection over `transport`, on which nothing has been sent yet.
    pub(crate) fn new(transport: impl Transport + 'static) -> Self {
        Self {
            transport: Rc::new(RefCell::new(transport)),
            received: BytesMut::new(),
            searched: 0,
            step: STEP,
        }
    }

    /// Sends a request and receives the head of its response, and calls `inform` with each
    /// informational one before that, except 100 (Continue), which we answer. If the response comes
    /// before the whole request was sent, [`ResponseBody::new`] sends the rest.
    pub(crate) async fn exchange(
        &mut self,
        writer: &mut RequestWriter,
        limits: Limits,
        mut inform: impl FnMut(&ResponseHead),
    ) -> Result<Head, Failed> {
        let mut informational = 0;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(Err(failed)) = writer.poll(cx, &self.transport) {
                return Poll::Ready(Err(failed));
            }
            loop {
                if let Some(head) = self.take_head(writer, limits).map_err(Failed::Malformed)? {
                    if !head.is_informational() {
                        return Poll::Ready(Ok(head));
                    }
                    informational += 1;
                    if head.passed.status != StatusCode::CONTINUE {
                        inform(&head.passed);
                    }
                    if informational > MAX_INFORMATIONAL {
                        return Poll::Ready(Err(Failed::Malformed(
                            "the backend sends only informational responses",
                        )));
                    }
                    continue;
                }

                let received = ready!(self.poll_receive(cx, self.step));
                if matches!(received, Ok(1..)) {
                    continue;
                }

                let silent = self.received.is_empty() && informational == 0;
                let refused = received
                    .err()
                    .filter(|_| silent)
                    .and_then(|error| refused_later(&error));
                return Poll::Ready(Err(match refused {
                    Some(why) => Failed::Tls(why.into()),
                    None if !writer.is_begun() => Failed::Unsent,
                    None if silent => Failed::NoResponse,
                    None => Failed::Broken,
                }));
            }
        })
        .await
    }

    /// Returns true if nothing has arrived since the last response: neither bytes, which would be
    /// taken for the next response, nor the end.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        let mut transport = self.transport.borrow_mut();
        let read = std::future::poll_fn(|cx| {
            Pin::new(&mut *transport).poll_read(cx, &mut ReadBuf::new(&mut byte))
        });

        // Unconstrained: otherwise tokio reports "pending" to a task that has used up its budget.
        let read = pin!(tokio::task::unconstrained(read));

        self.received.is_empty()
            && read
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
    }

    /// Closes an idle connection, with TLS's `close_notify` if it can be sent at once.
    pub(crate) fn close(self) {
        let mut context = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut *self.transport.borrow_mut()).poll_shutdown(&mut context);
    }

    /// Takes a complete head off the received bytes; `None` if it is incomplete.
    fn take_head(
        &mut self,
        writer: &RequestWriter,
        limits: Limits,
    ) -> Result<Option<Head>, &'static str> {
        let Some(end) = head::end(&self.received, self.searched) else {
            self.searched = self.received.len();
            return if self.received.len() > limits.bytes {
                Err(head::TOO_LARGE)
            } else {
                Ok(None)
            };
        };

        self.searched = 0;
        if end > limits.bytes {
            return Err(head::TOO_LARGE);
        }

        let head = Head::parse(&self.received[..end], writer.is_head(), limits.fields);
        self.received.advance(end);
        if self.received.is_empty() {
            // The buffer of a head is too small for what follows, and would be copied.
            self.received = BytesMut::new();
        }
        head.map(Some)
    }

    /// Receives up to about `room` bytes. Ready with their number; 0 at the end of the stream.
    fn poll_receive(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let mut transport = self.transport.borrow_mut();
        let transport = Pin::new(&mut *transport);
        let n = ready!(poll_receive(cx, transport, &mut self.received, room))?;
        if n >= self.step {
            self.step = (self.step * 2).min(MAX_STEP);
        }
        Poll::Ready(Ok(n))
    }

    /// Resets the connection for the next exchange and frees its buffer.
    fn rest(&mut self) {
        self.received = BytesMut::new();

        self.searched = 0;
        self.step = STEP;
    }
}

/// After a switch of protocols the connection is a stream of bytes, beginning with those that came
/// with the response.
impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.received.is_empty() {
            return Pin::new(&mut *self.transport.borrow_mut()).poll_read(cx, buf);
        }
        put_received(&mut self.received, buf);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.transport.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.transport.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.transport.borrow_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
