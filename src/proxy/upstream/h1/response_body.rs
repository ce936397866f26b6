//! The body of a response as it comes from an endpoint, and the connection after it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{Connection, Head, MAX_STEP, RequestWriter};
use crate::proxy::{
    h1::{Limits, body::BodyReader},
    upstream::rest::Rest,
};

/// The body of a response, with the connection that it comes over.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    connection: Connection,
    body: BodyReader,
    /// The error of a body that ended early, until it is reported.
    broken: Option<Broken>,
    persistent: bool,
    limits: Limits,
    /// The most bytes of a read.
    most: usize,
    rest: Option<Rest>,
}

/// The reason why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The connection failed.
    #[error("the connection failed")]
    Transport(#[source] io::Error),
    /// The connection ended before the body.
    #[error("the connection ended before the body")]
    Short,
    /// The chunks are malformed.
    #[error("{0}")]
    Chunks(&'static str),
}

impl ResponseBody {
    /// Creates the body of the response that begins with `head`. A task of its own sends what
    /// `writer` has not sent yet, for as long as the response lasts.
    pub(crate) fn new(
        connection: Connection,
        head: &Head,
        writer: RequestWriter,
        limits: Limits,
    ) -> Self {
        let rest = (!writer.is_done()).then(|| {
            let (transport, mut writer) = (connection.transport.clone(), writer);
            Rest::send(async move {
                if std::future::poll_fn(|cx| writer.poll(cx, &transport))
                    .await
                    .is_err()
                {
                    // Tell the endpoint that no more comes; the response shows how it reacts.
                    let _ = std::future::poll_fn(|cx| {
                        Pin::new(&mut *transport.borrow_mut()).poll_shutdown(cx)
                    })
                    .await;
                }
            })
        });

        Self {
            connection,
            body: BodyReader::new(head.framing),
            broken: None,
            persistent: head.persistent,
            limits,
            most: MAX_STEP,
            rest,
        }
    }

    /// Takes the whole body, if it came with the head.
    pub(crate) fn whole(&mut self) -> Option<Bytes> {
        self.body.take_whole(&mut self.connection.received)
    }

    /// Returns the connection if the response is complete and another request may be sent on it.
    pub(crate) fn into_connection(mut self) -> Option<Connection> {
        let sent = self.rest.as_ref().is_none_or(Rest::is_over);
        if !self.persistent || !sent || !self.is_end() || !self.connection.received.is_empty() {
            return None;
        }
        self.connection.rest();
        Some(self.connection)
    }

    /// Returns the connection for another protocol.
    pub(crate) fn into_stream(self) -> Option<Connection> {
        self.rest.is_none().then_some(self.connection)
    }

    /// Limits the next reads to this many bytes.
    pub(crate) fn limit(&mut self, bytes: usize) {
        self.most = bytes.clamp(1, MAX_STEP);
    }

    /// Returns true if the body is complete.
    pub(crate) fn is_end(&self) -> bool {
        self.body.is_end()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }

    /// Returns the next piece of the body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(error) = self.broken.take() {
            self.persistent = false;
            self.body = BodyReader::default();
            return Poll::Ready(Some(Err(error)));
        }
        match self.poll_part(cx) {
            Poll::Ready(Some(Err(error))) => {
                // An HTTP/2 stream that is reset drops what has not been written, and the client
                // would see no response at all. So its connection gets a turn to write first.
                self.broken = Some(error);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            let received = &mut self.connection.received;
            match self.body.take(received, self.limits) {
                Ok(Some(frame)) => return Poll::Ready(Some(Ok(frame))),
                Ok(None) if self.body.is_end() => return Poll::Ready(None),
                Ok(None) => {}
                Err(kind) => return Poll::Ready(Some(Err(Broken::Chunks(kind.reason())))),
            }

            let room = match self.body.size_hint().exact() {
                Some(left) => usize::try_from(left).unwrap_or(MAX_STEP).min(MAX_STEP),
                None => self.connection.step,
            };
            match ready!(self.connection.poll_receive(cx, room.min(self.most))) {
                Ok(0) if self.body.end() => {}
                Ok(0) => return Poll::Ready(Some(Err(Broken::Short))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(Broken::Transport(error)))),
            }
        }
    }
}
