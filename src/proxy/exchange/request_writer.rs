//! Writes a request to an endpoint: its head, and its body as it arrives.

use std::{
    cell::RefCell,
    io::{self, IoSlice, Write as _},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, uri::PathAndQuery};
use http_body::{Body as _, Frame};

use super::{
    super::{body::RequestBody, check::BodyLength},
    Failed, Transport,
};

/// The initial capacity for a head; most requests fit.
const ROOM: usize = 1024;
const CRLF: &[u8] = b"\r\n";

/// A request that is being written. Next come `before`, `data` and `after`, of which `written`
/// bytes have been written.
#[derive(Debug)]
pub(in crate::proxy) struct RequestWriter {
    before: Vec<u8>,
    data: Bytes,
    after: &'static [u8],
    written: usize,
    body: RequestBody,
    /// The remaining bytes of a body of known length; `None` if it is chunked.
    left: Option<u64>,
    /// True once all of the body was read from the client.
    ended: bool,
    /// True once any of the body was read from the client.
    started: bool,
    /// True once anything was written.
    begun: bool,
    flushed: bool,
    method: Method,
    /// The map of the request's fields, to be reused for the response.
    spare: HeaderMap,
}

impl RequestWriter {
    /// Creates the writer of a request whose head lacks only the framing of `body`. The map
    /// `fields` is reused for the response.
    pub(in crate::proxy) fn new(
        method: Method,
        mut head: HeadWriter,
        fields: HeaderMap,
        length: BodyLength,
        body: RequestBody,
    ) -> Self {
        head.end(length);

        Self {
            before: head.0,
            data: Bytes::new(),
            after: b"",
            written: 0,
            body,
            left: if let BodyLength::Known(length) = length {
                Some(length)
            } else {
                None
            },
            ended: length.is_empty(),
            started: false,
            begun: false,
            flushed: true,
            method,
            spare: fields,
        }
    }

    /// Returns an empty map with room for the fields of the response.
    pub(super) fn spare(&mut self) -> HeaderMap {
        let mut spare = std::mem::take(&mut self.spare);
        spare.clear();
        spare
    }

    /// Returns true for a HEAD request.
    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Returns true if the request may be sent twice (RFC 9110 section 9.2.2).
    pub(in crate::proxy) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }

    /// Returns true once anything was written.
    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    /// Returns true once the transport has taken all of it.
    pub(in crate::proxy) fn is_done(&self) -> bool {
        self.ended && self.is_written() && self.flushed
    }

    /// Starts over, for another connection. Returns false if that is impossible because reading the
    /// body has begun.
    pub(in crate::proxy) fn rewind(&mut self) -> bool {
        if !self.started {
            (self.written, self.begun, self.flushed) = (0, false, true);
        }
        !self.started
    }

    /// Writes as much as possible now. Ready when the request is complete or has failed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        to: &RefCell<dyn Transport>,
    ) -> Poll<Result<(), Failed>> {
        loop {
            if self.is_written() {
                (self.data, self.after) = (Bytes::new(), b"");
            }
            // Body data that is available at once goes out with the head.
            if !self.ended && self.data.is_empty() && (self.written == 0 || self.is_written()) {
                self.started = true;
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        self.take(frame)?;
                        continue;
                    }
                    Poll::Ready(Some(Err(_broken))) => return Poll::Ready(Err(Failed::Body)),
                    Poll::Ready(None) => self.end(None)?,
                    Poll::Pending => {}
                }
            }

            if self.is_written() {
                if !self.flushed {
                    ready!(Pin::new(&mut *to.borrow_mut()).poll_flush(cx))
                        .map_err(|_broken| self.failed())?;
                    self.flushed = true;
                }
                return if self.ended {
                    Poll::Ready(Ok(()))
                } else {
                    Poll::Pending
                };
            }

            match ready!(self.poll_write(cx, to)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(Err(self.failed())),
            }
        }
    }

    fn is_written(&self) -> bool {
        self.written >= self.before.len() + self.data.len() + self.after.len()
    }

    fn failed(&self) -> Failed {
        if self.begun {
            Failed::NoResponse
        } else {
            Failed::Unsent
        }
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &RefCell<dyn Transport>,
    ) -> Poll<io::Result<usize>> {
        let before = self.before.get(self.written..).unwrap_or_default();
        let gone = self.written.saturating_sub(self.before.len());
        let data = self.data.get(gone..).unwrap_or_default();
        let after = self
            .after
            .get(gone.saturating_sub(self.data.len())..)
            .unwrap_or_default();

        let mut to = to.borrow_mut();
        let to = Pin::new(&mut *to);
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

    fn take(&mut self, frame: Frame<Bytes>) -> Result<(), Failed> {
        let data = match frame.into_data() {
            Ok(data) if data.is_empty() => return Ok(()),
            Ok(data) => data,
            Err(frame) => return self.end(frame.trailers_ref()),
        };
        self.next();
        match &mut self.left {
            Some(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Failed::Body)?;
                self.ended = *left == 0;
            }
            None => {
                let _in_memory = write!(self.before, "{:x}\r\n", data.len());
                self.after = CRLF;
            }
        }
        self.data = data;
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Failed> {
        self.next();
        self.ended = true;
        match self.left {
            Some(0) => Ok(()),
            // The endpoint would wait for the missing bytes: its connection has to be closed.
            Some(_) => Err(Failed::Body),
            None => {
                self.before.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    write_field(&mut self.before, name, value);
                }
                self.before.extend_from_slice(CRLF);
                Ok(())
            }
        }
    }
}

/// Writes the head of a request.
#[derive(Debug)]
pub(in crate::proxy) struct HeadWriter(Vec<u8>);

impl HeadWriter {
    /// Starts a head with the request line.
    pub(in crate::proxy) fn new(method: &Method, target: &PathAndQuery) -> Self {
        let mut head = Self(Vec::with_capacity(ROOM));
        for part in [method.as_str(), " ", target.as_str(), " HTTP/1.1\r\n"] {
            head.0.extend_from_slice(part.as_bytes());
        }
        head
    }

    #[cfg(test)]
    pub(in crate::proxy) fn text(&self) -> &str {
        std::str::from_utf8(&self.0).expect("text")
    }

    /// Adds a field.
    pub(in crate::proxy) fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        write_field(&mut self.0, name, value);
    }

    /// Adds the framing of the body and the empty line.
    fn end(&mut self, length: BodyLength) {
        match length {
            BodyLength::None => {}
            BodyLength::Known(length) => {
                let _in_memory = write!(self.0, "content-length: {length}\r\n");
            }
            BodyLength::Unknown => self.0.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
        self.0.extend_from_slice(CRLF);
    }
}

fn write_field(bytes: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
    bytes.reserve(name.len() + value.len() + 4);
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(CRLF);
}
