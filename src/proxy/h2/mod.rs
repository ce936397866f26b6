//! HTTP/2 streams, for both sides (RFC 9113).

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body, Frame};

use super::request::body::BodyError;

/// Bytes that may wait to be sent on one stream, besides the piece that its sender holds.
pub(super) const SEND_BUFFER: usize = 64 * 1024;

/// Sends a body as its stream takes it.
#[derive(Debug)]
pub(super) struct BodySender {
    stream: SendStream<Bytes>,
    waiting: Bytes,
    blocked: bool,
    progress: u64,
}

/// The end of a body.
#[derive(Debug)]
pub(super) enum Sent {
    /// All of it is sent, or waits to be sent by the connection.
    Whole,
    /// The body broke off. The stream has to be reset.
    Broken(BodyError),
    /// The peer has reset the stream, or the connection has ended.
    Gone,
}

impl BodySender {
    /// Creates the sender of a body on `stream`, whose head has been sent.
    pub(super) fn new(stream: SendStream<Bytes>) -> Self {
        Self {
            stream,
            waiting: Bytes::new(),
            blocked: false,
            progress: 0,
        }
    }

    /// Returns true if the peer does not take what waits to be sent.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Returns a number that changes whenever the peer takes something.
    pub(super) fn progress(&self) -> u64 {
        self.progress
    }

    /// Resets the stream (RFC 9113 section 5.4.2).
    pub(super) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Sends as much as possible now.
    pub(super) fn poll<B>(&mut self, cx: &mut Context<'_>, mut body: Pin<&mut B>) -> Poll<Sent>
    where
        B: Body<Data = Bytes, Error = BodyError>,
    {
        loop {
            if self.waiting.is_empty() {
                self.blocked = false;
                match body.as_mut().poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => self.waiting = data,
                        Err(frame) => {
                            let trailers = frame.into_trailers().unwrap_or_default();
                            let sent = self.stream.send_trailers(trailers);
                            return Poll::Ready(sent.map_or(Sent::Gone, |()| Sent::Whole));
                        }
                    },
                    Poll::Ready(None) => {
                        let sent = self.stream.send_data(Bytes::new(), true);
                        return Poll::Ready(sent.map_or(Sent::Gone, |()| Sent::Whole));
                    }
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Sent::Broken(error)),
                    Poll::Pending => return self.stream.poll_reset(cx).map(|_reset| Sent::Gone),
                }
                continue;
            }

            if self.stream.capacity() == 0 {
                self.stream.reserve_capacity(self.waiting.len());
                match self.stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(_))) if self.stream.capacity() > 0 => {}
                    Poll::Ready(Some(Ok(_))) | Poll::Pending => {
                        self.blocked = true;
                        return Poll::Pending;
                    }
                    Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Sent::Gone),
                }
            }

            self.progress += 1;
            let length = self.stream.capacity().min(self.waiting.len());
            let piece = self.waiting.split_to(length);
            let last = self.waiting.is_empty() && body.is_end_stream();
            match self.stream.send_data(piece, last) {
                Ok(()) if last => return Poll::Ready(Sent::Whole),
                Ok(()) => {}
                Err(_gone) => return Poll::Ready(Sent::Gone),
            }
        }
    }
}

/// Receives the next piece of a body. Only as much is read as is passed on, so the peer may send as
/// much again.
pub(super) fn poll_frame(
    stream: &mut RecvStream,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
    Poll::Ready(match ready!(stream.poll_data(cx)) {
        Some(Ok(data)) => {
            let released = stream.flow_control().release_capacity(data.len());
            Some(released.map(|()| Frame::data(data)))
        }
        Some(Err(error)) => Some(Err(error)),
        None => match ready!(stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => Some(Err(error)),
        },
    })
}
