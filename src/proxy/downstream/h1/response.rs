//! Writes a response to an HTTP/1 client.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::Version;
use http_body::Body as _;

use crate::proxy::{
    downstream::client::ClientStream,
    h1::{
        Framing,
        writer::{MessageWriter, write_field, write_number},
    },
    request::{
        body::{Body, Switched},
        fields::FieldName,
        handle::Response,
        message::{BodyLength, ResponseHead, is_bodiless},
    },
};

/// The initial capacity for a head; most responses fit.
const ROOM: usize = 512;

/// A response that is being written.
pub(super) struct ResponseWriter {
    writer: MessageWriter,
    body: Body,
    after: Option<Written>,
    /// The number of pieces that were taken or written so far.
    progress: u64,
    blocked: bool,
    /// The body has ended early, once what was there is written.
    broken: bool,
}

/// The connection after a response.
pub(super) enum Written {
    /// The connection is kept for another request.
    Keep,
    /// No other request follows.
    Close,
    /// The client did not take the response, or must see that it is incomplete.
    Broken,
    /// The protocol is switched.
    Tunnel(Box<Switched>),
}

impl ResponseWriter {
    /// Creates the writer of a response to a request of this version. `last` means that no other
    /// request follows; `date` is the value of `Date` if the response has none. What `before` has
    /// is written first.
    pub(super) fn new(
        before: Vec<u8>,
        response: Response,
        version: Version,
        is_head: bool,
        last: bool,
        date: &[u8],
    ) -> Self {
        let Response { mut head, mut body } = response;
        let switched = body.take_switched();
        let empty = is_bodiless(head.status, is_head);
        if !empty && head.length == BodyLength::None {
            // HTTP/2 says it with a flag, HTTP/1.1 with a field.
            head.length = BodyLength::Known(0);
        }
        let framing = match head.length {
            _ if empty => Framing::None,
            BodyLength::Unknown if version == Version::HTTP_10 => Framing::UntilClose,
            length => length.into(),
        };
        let close = last || head.close || framing == Framing::UntilClose;

        let mut text = before;
        text.reserve(ROOM);
        write_head(&mut text, &head, version, Some(date));
        if framing == Framing::Chunked {
            text.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if switched.is_some() {
            text.extend_from_slice(b"connection: upgrade\r\n");
        } else if close {
            text.extend_from_slice(b"connection: close\r\n");
        } else if version == Version::HTTP_10 {
            text.extend_from_slice(b"connection: keep-alive\r\n");
        }
        text.extend_from_slice(b"\r\n");

        let after = match switched {
            Some(switched) => Written::Tunnel(Box::new(switched)),
            None if close => Written::Close,
            None => Written::Keep,
        };
        if framing == Framing::None {
            body.end();
        }
        Self {
            writer: MessageWriter::new(text, framing),
            body,
            after: Some(after),
            progress: 0,
            blocked: false,
            broken: false,
        }
    }

    /// Returns a number that changes whenever something was taken from the backend or by the
    /// client.
    pub(super) fn progress(&self) -> (u64, usize) {
        (self.progress, self.writer.written())
    }

    /// Returns true if the client does not take what waits to be written.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Writes as much as possible now. Ready when the response is complete or has failed.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut to: Pin<&mut ClientStream>,
    ) -> Poll<Written> {
        loop {
            let mut waits = false;
            if self.writer.takes_more() && !self.broken {
                let taken = match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        self.progress += 1;
                        self.writer.take(frame)
                    }
                    Poll::Ready(None) => self.writer.end(None),
                    Poll::Ready(Some(Err(error))) => {
                        tracing::debug!(%error, "the response is incomplete");
                        self.broken = true;
                        Ok(())
                    }
                    Poll::Pending => {
                        waits = true;
                        Ok(())
                    }
                };
                self.broken |= taken.is_err();
            }

            let written = self.writer.poll_write(cx, to.as_mut());
            self.blocked = written.is_pending();
            match written {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_gone)) => return Poll::Ready(Written::Broken),
                Poll::Ready(Ok(())) if self.broken => return Poll::Ready(Written::Broken),
                Poll::Ready(Ok(())) if self.writer.is_done() => {
                    return Poll::Ready(self.after.take().unwrap_or(Written::Broken));
                }
                Poll::Ready(Ok(())) if waits => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
            }
        }
    }
}

/// Writes the status line and the fields that do not depend on the connection.
fn write_head(text: &mut Vec<u8>, head: &ResponseHead, version: Version, date: Option<&[u8]>) {
    text.extend_from_slice(match version {
        Version::HTTP_10 => b"HTTP/1.0 ",
        _ => b"HTTP/1.1 ",
    });
    text.extend_from_slice(head.status.as_str().as_bytes());
    text.push(b' ');
    match head.reason {
        Some(reason) => text.extend_from_slice(head.fields.text(reason)),
        None => {
            let reason = head.status.canonical_reason().unwrap_or_default();
            text.extend_from_slice(reason.as_bytes());
        }
    }
    text.extend_from_slice(b"\r\n");

    let mut dated = false;
    for field in head.passed() {
        dated |= field.id == FieldName::Date;
        write_field(text, field.name, field.value);
    }
    if let Some(length) = head.content_length() {
        write_number(text, "content-length", length);
    }
    if let Some(date) = date
        && !dated
    {
        write_field(text, b"date", date);
    }
}

/// Writes an informational response.
pub(super) fn write_informational(text: &mut Vec<u8>, head: &ResponseHead) {
    write_head(text, head, Version::HTTP_11, None);
    text.extend_from_slice(b"\r\n");
}
