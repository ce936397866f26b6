//! The body of a response as it comes from an endpoint, and the connection after it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::{
    super::h1::{
        Framing, Limits,
        chunk::{Chunks, Part},
        trailers,
    },
    super::upstream::rest::Rest,
    Connection, Head, MAX_STEP, RequestWriter,
};

/// The body of a response, with the connection that it comes over.
#[derive(Debug)]
pub(in crate::proxy) struct ResponseBody {
    connection: Connection,
    body: Body,
    persistent: bool,
    limits: Limits,
    rest: Option<Rest>,
}

#[derive(Debug)]
enum Body {
    Length(u64),
    /// The parser of the chunks, and the bytes of the trailer section so far.
    Chunked(Box<(Chunks, Vec<u8>)>),
    /// The data is complete; the trailers have yet to be passed on.
    Trailers(Box<HeaderMap>),
    /// The body ended early. The error is reported once the server has had a turn (the flag).
    Broken(Option<Broken>, bool),
    UntilClose,
}

/// The reason why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum Broken {
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
    pub(in crate::proxy) fn new(
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

        let body = match head.framing {
            Framing::None => Body::Length(0),
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Box::new((Chunks::new(), Vec::new()))),
            Framing::UntilClose => Body::UntilClose,
        };

        Self {
            connection,
            body,
            persistent: head.persistent,
            limits,
            rest,
        }
    }

    /// Takes the whole body, if it came with the head.
    pub(in crate::proxy) fn whole(&mut self) -> Option<Bytes> {
        let Body::Length(left) = &mut self.body else {
            return None;
        };
        let length = usize::try_from(*left)
            .ok()
            .filter(|length| *length <= self.connection.received.len())?;
        *left = 0;
        Some(self.connection.received.split_to(length).freeze())
    }

    /// Returns the connection if the response is complete and another request may be sent on it.
    pub(in crate::proxy) fn into_connection(mut self) -> Option<Connection> {
        let sent = self.rest.as_ref().is_none_or(Rest::is_over);
        if !self.persistent || !sent || !self.is_end() || !self.connection.received.is_empty() {
            return None;
        }
        self.connection.rest();
        Some(self.connection)
    }

    /// Returns the connection for another protocol.
    pub(in crate::proxy) fn into_stream(self) -> Option<Connection> {
        self.rest.is_none().then_some(self.connection)
    }

    /// Returns true if the body is complete.
    pub(in crate::proxy) fn is_end(&self) -> bool {
        matches!(self.body, Body::Length(0))
    }

    pub(in crate::proxy) fn size_hint(&self) -> SizeHint {
        match self.body {
            Body::Length(left) => SizeHint::with_exact(left),
            _ => SizeHint::default(),
        }
    }

    /// Returns the next piece of the body.
    pub(in crate::proxy) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            if let Body::Broken(error, waited) = &mut self.body {
                // On an error the server drops what it has not written, and the client would see no
                // response at all. So it gets a turn to write first.
                if !std::mem::replace(waited, true) {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                return Poll::Ready(error.take().map(Err));
            }
            match self.poll_part(cx) {
                Poll::Ready(Some(Err(error))) => self.body = Body::Broken(Some(error), false),
                polled => return polled,
            }
        }
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            let received = &mut self.connection.received;
            match &mut self.body {
                Body::Length(0) | Body::Broken(..) => return Poll::Ready(None),
                Body::Trailers(trailers) => {
                    let trailers = std::mem::take(&mut **trailers);
                    self.body = Body::Length(0);
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                _ if received.is_empty() => {}
                Body::Length(left) => {
                    let data = take(received, usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= data.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Body::UntilClose => {
                    let data = take(received, usize::MAX);
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Body::Chunked(_) => {
                    let Some(data) = self.next_chunk()? else {
                        continue;
                    };
                    // The framing after the chunk, and perhaps the end, has often come with it.
                    while self.framing_next() {
                        if let Err(error) = self.next_chunk() {
                            self.body = Body::Broken(Some(error), false);
                        }
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }

            let room = match self.body {
                Body::Length(left) => usize::try_from(left).unwrap_or(MAX_STEP).min(MAX_STEP),
                _ => self.connection.step,
            };

            match ready!(self.connection.poll_receive(cx, room)) {
                Ok(0) if matches!(self.body, Body::UntilClose) => self.body = Body::Length(0),
                Ok(0) => return Poll::Ready(Some(Err(Broken::Short))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(Broken::Transport(error)))),
            }
        }
    }

    /// Returns true if the next received bytes are chunk framing and not data.
    fn framing_next(&self) -> bool {
        matches!(&self.body, Body::Chunked(chunked) if !chunked.0.in_data())
            && !self.connection.received.is_empty()
    }

    /// Takes the next part of a chunked body off the received bytes. Returns it if it is data.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, Broken> {
        let Body::Chunked(chunked) = &mut self.body else {
            return Ok(None);
        };
        let (chunks, section) = &mut **chunked;
        let received = &mut self.connection.received;

        let part = chunks
            .next(received, self.limits)
            .map_err(|kind| Broken::Chunks(kind.reason()))?;

        match part {
            Part::Data(length) => return Ok(Some(take(received, length))),
            Part::Framing(length) => drop(received.split_to(length)),
            Part::Trailers(length) => section.extend_from_slice(&received.split_to(length)),
            Part::End(length) => {
                section.extend_from_slice(&received.split_to(length));
                let trailers =
                    trailers::parse(section, self.limits).ok_or(Broken::Chunks("bad trailer"))?;
                self.body = if trailers.is_empty() {
                    Body::Length(0)
                } else {
                    Body::Trailers(Box::new(trailers))
                };
            }
        }
        Ok(None)
    }
}

fn take(received: &mut BytesMut, length: usize) -> Bytes {
    received.split_to(length.min(received.len())).freeze()
}
