//! Writes a request to an endpoint: its head, and its body as it arrives.

use std::{
    cell::RefCell,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Method;
use http_body::Body as _;

use super::{Failed, Transport};
use crate::proxy::{
    h1::writer::{MessageWriter, write_field, write_number},
    request::{body::RequestBody, message::BodyLength},
};

/// The initial capacity for a head; most requests fit.
const ROOM: usize = 1024;

/// A request that is being written.
#[derive(Debug)]
pub(crate) struct RequestWriter {
    writer: MessageWriter,
    /// The place of `Host` in the head.
    host: Range<usize>,
    body: RequestBody,
    /// True once any of the body was read from the client.
    started: bool,
    is_head: bool,
    is_idempotent: bool,
}

impl RequestWriter {
    /// Creates the writer of a request whose head lacks only the framing of `body`.
    pub(crate) fn new(
        method: &Method,
        head: HeadWriter,
        length: BodyLength,
        body: RequestBody,
    ) -> Self {
        let host = head.host.clone();
        Self {
            writer: MessageWriter::new(head.end(length), length.into()),
            host,
            body,
            started: false,
            is_head: method == Method::HEAD,
            is_idempotent: method.is_idempotent(),
        }
    }

    /// Sets another `Host` before the request is sent.
    pub(crate) fn set_host(&mut self, host: &[u8]) {
        if !self.started && !self.is_begun() {
            let start = self.host.start;
            let place = std::mem::replace(&mut self.host, start..start + host.len());
            self.writer.head().splice(place, host.iter().copied());
        }
    }

    /// Returns true for a HEAD request.
    pub(crate) fn is_head(&self) -> bool {
        self.is_head
    }

    /// Returns true if the request may be sent twice (RFC 9110 section 9.2.2).
    pub(crate) fn is_idempotent(&self) -> bool {
        self.is_idempotent
    }

    /// Returns true once anything was written.
    pub(crate) fn is_begun(&self) -> bool {
        self.writer.is_begun()
    }

    /// Returns true once the transport has taken all of it.
    pub(crate) fn is_done(&self) -> bool {
        self.writer.is_done()
    }

    /// Starts over, for another connection. Returns false if that is impossible because reading the
    /// body has begun.
    pub(crate) fn rewind(&mut self) -> bool {
        if !self.started {
            self.writer.rewind();
        }
        !self.started
    }

    /// Writes as much as possible now. Ready when the request is complete or has failed.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        to: &RefCell<dyn Transport>,
    ) -> Poll<Result<(), Failed>> {
        loop {
            // Body data that is available at once goes out with the head.
            let mut waits = false;
            if self.writer.takes_more() {
                self.started = true;
                let taken = match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => self.writer.take(frame),
                    Poll::Ready(Some(Err(_broken))) => return Poll::Ready(Err(Failed::Body)),
                    Poll::Ready(None) => self.writer.end(None),
                    Poll::Pending => {
                        waits = true;
                        Ok(())
                    }
                };
                taken.map_err(|_wrong_length| Failed::Body)?;
            }

            let written = self.writer.poll_write(cx, Pin::new(&mut *to.borrow_mut()));
            if ready!(written).is_err() {
                return Poll::Ready(Err(if self.writer.is_begun() {
                    Failed::NoResponse
                } else {
                    Failed::Unsent
                }));
            }
            if self.is_done() {
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }
}

/// Writes the head of a request.
#[derive(Debug)]
pub(crate) struct HeadWriter {
    text: Vec<u8>,
    /// The place of `Host` in it.
    host: Range<usize>,
}

impl HeadWriter {
    /// Starts a head with the request line.
    pub(crate) fn new(method: &Method, path: &str, query: Option<&str>) -> Self {
        let mut head = Self {
            text: Vec::with_capacity(ROOM),
            host: 0..0,
        };
        head.text(method.as_str());
        head.text(" ");
        head.text(path);
        if let Some(query) = query {
            head.text("?");
            head.text(query);
        }
        head.text(" HTTP/1.1\r\n");
        head
    }

    /// Adds `Host`.
    pub(crate) fn host(&mut self, value: &[u8]) {
        self.field(b"host", value);
        let end = self.text.len() - b"\r\n".len();
        self.host = end - value.len()..end;
    }

    /// Adds a field.
    pub(crate) fn field(&mut self, name: &[u8], value: &[u8]) {
        write_field(&mut self.text, name, value);
    }

    fn text(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    /// Adds the framing of the body and the empty line.
    fn end(mut self, length: BodyLength) -> Vec<u8> {
        match length {
            BodyLength::None => {}
            BodyLength::Known(length) => write_number(&mut self.text, "content-length", length),
            BodyLength::Unknown => self.text("transfer-encoding: chunked\r\n"),
        }
        self.text("\r\n");
        self.text
    }
}
