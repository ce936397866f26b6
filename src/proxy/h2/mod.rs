//! HTTP/2 streams, for both sides (RFC 9113).

mod outbox;

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http_body::{Body, Frame};

pub(super) use self::outbox::Outbox;
use super::request::body::BodyError;

/// Bytes that may wait to be sent on one stream, besides the piece that its sender holds.
pub(super) const SEND_BUFFER: usize = 64 * 1024;

/// The most bytes of the end of a body that are not worth counting.
const SMALL: usize = 4 * 1024;

/// A body whose pieces can be kept small.
pub(super) trait Limited: Body<Data = Bytes, Error = BodyError> {
    /// Limits the next pieces to about this many bytes, where their source allows that.
    fn limit(&mut self, bytes: usize);
}

/// Sends a body as its stream takes it.
#[derive(Debug)]
pub(super) struct BodySender {
    stream: SendStream<Bytes>,
    /// Counts what waits on the connection; `None` where nothing limits that.
    outbox: Option<Rc<Outbox>>,
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
    pub(super) fn new(stream: SendStream<Bytes>, outbox: Option<Rc<Outbox>>) -> Self {
        Self {
            stream,
            outbox,
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
        if let Some(outbox) = &self.outbox {
            outbox.forget(self.stream.stream_id().into());
        }
        self.stream.send_reset(reason);
    }

    /// Sends as much as possible now.
    pub(super) fn poll<B>(&mut self, cx: &mut Context<'_>, mut body: Pin<&mut B>) -> Poll<Sent>
    where
        B: Limited + Unpin,
    {
        let id = u32::from(self.stream.stream_id());
        loop {
            if self.waiting.is_empty() {
                if let Some(outbox) = &self.outbox {
                    let Poll::Ready(room) = outbox.poll_room(cx, id) else {
                        self.blocked = true;
                        return self.stream.poll_reset(cx).map(|_reset| Sent::Gone);
                    };
                    body.limit(room);
                }

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

            if let Some(outbox) = &self.outbox
                && !(last && length <= SMALL)
            {
                outbox.add(id, length);
            }
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
