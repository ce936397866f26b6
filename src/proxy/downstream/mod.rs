//! The client's side: connections from accept to end.

pub(crate) mod client;
pub(crate) mod h1;
pub(crate) mod h2;
pub(crate) mod handshake;
pub(crate) mod hello;
pub(crate) mod listen;
pub(crate) mod listeners;
pub(crate) mod proxy_protocol;
pub(crate) mod serve;

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::request::{body::BodyError, message::ResponseHead};

/// The client's side of one request.
#[derive(Clone, Debug)]
pub(crate) enum Downstream {
    /// An HTTP/1 connection.
    Http1(Rc<h1::Transport>),
    /// A stream of an HTTP/2 connection.
    Http2(Rc<h2::Stream>),
}

/// Reads and drops a body until its end. Each piece takes its length from `left`. Returns false if
/// the body is longer, or fails.
fn poll_discard(
    cx: &mut Context<'_>,
    left: &mut usize,
    mut poll_body: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>>,
) -> Poll<bool> {
    while let Some(frame) = ready!(poll_body(cx)) {
        let Ok(frame) = frame else {
            return Poll::Ready(false);
        };
        let length = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(length) {
            Some(rest) => *left = rest,
            None => return Poll::Ready(false),
        }
    }
    Poll::Ready(true)
}

impl Downstream {
    /// Returns the next piece of the body of the request.
    pub(super) fn poll_body(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Http1(transport) => transport.poll_body(cx),
            Self::Http2(stream) => stream.poll_body(cx),
        }
    }

    /// Returns true while a part of the body of the request is still to be read.
    pub(super) fn has_body(&self) -> bool {
        match self {
            Self::Http1(transport) => transport.has_body(),
            Self::Http2(stream) => stream.has_body(),
        }
    }

    /// Returns what is known about the length of the rest of the body.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(transport) => transport.size_hint(),
            Self::Http2(stream) => stream.size_hint(),
        }
    }

    /// Sends an informational response of the backend on (RFC 9110 section 15.2).
    pub(super) fn inform(&self, head: &ResponseHead) {
        match self {
            Self::Http1(transport) => transport.inform(head),
            Self::Http2(stream) => stream.inform(head),
        }
    }
}
