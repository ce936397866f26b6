//! HTTP/2 with an endpoint (RFC 9113): a connection that many requests share, and the exchange of
//! one request on it.

use std::{
    cell::Cell,
    pin::{Pin, pin},
    rc::{Rc, Weak},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong, Reason, RecvStream,
    client::{Builder, Connection, ResponseFuture, SendRequest},
};
use http::{Request, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::rest::Rest;
use crate::proxy::{
    deadline::{Deadline, Deadlines},
    h2::{BodySender, SEND_BUFFER, Sent, poll_frame},
    request::{
        body::RequestBody,
        message::{BodyLength, ResponseHead, decimal},
    },
    settings::Settings,
};

/// The bytes of a response that an endpoint may send ahead: enough for full speed from a nearby
/// one.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all responses on a connection: clients may stop reading all but one of them without
/// blocking that one.
const CONNECTION_WINDOW: u32 = 128 * STREAM_WINDOW;
/// The time that an endpoint has to acknowledge a ping.
const PONG_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection to an endpoint, shared by its requests.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    sender: SendRequest<Bytes>,
    ended: Rc<Cell<bool>>,
    /// Its clones count the requests.
    streams: Rc<()>,
}

/// A place for one request on a shared connection.
#[derive(Debug)]
pub(crate) struct Place(Rc<()>);

/// The reason why there is no response.
#[derive(Debug)]
pub(crate) enum Failed {
    /// The connection ends, and the endpoint has not processed the request, or it was not sent at
    /// all: it may be sent again, whatever its method (RFC 9113 section 8.7). The body is back
    /// unless a part of it was sent.
    Unprocessed(Option<RequestBody>),
    /// The endpoint has refused the stream, without processing the request. The connection goes on.
    Refused(Option<RequestBody>),
    /// The endpoint has reset the stream. The connection goes on.
    Reset,
    /// The connection has ended.
    Ended,
    /// The request body ended early.
    Body,
}

/// The body of a response.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    stream: RecvStream,
    _rest: Option<Rest>,
}

impl Shared {
    /// Opens a connection over `io`, and waits for the endpoint's settings: they say how many
    /// requests it allows at once.
    ///
    /// # Errors
    /// The endpoint does not speak HTTP/2.
    pub(crate) async fn open<T>(
        io: T,
        settings: &Settings,
        deadlines: &Rc<Deadlines>,
    ) -> Result<Self, h2::Error>
    where
        T: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let max_head = u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX);
        let (sender, mut connection) = Builder::new()
            .enable_push(false)
            .initial_max_send_streams(0)
            .max_header_list_size(max_head)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buffer_size(SEND_BUFFER)
            .handshake(io)
            .await?;
        // An endpoint that shuts down may say so at once.
        let ended = std::future::poll_fn(|cx| match pin!(&mut connection).poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended.map(|()| true)),
            Poll::Pending if sender.current_max_send_streams() == 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(false)),
        })
        .await?;

        let shared = Self {
            sender,
            ended: Rc::new(Cell::new(ended)),
            streams: Rc::default(),
        };
        if ended {
            return Ok(shared);
        }
        let (ended, streams) = (shared.ended.clone(), Rc::downgrade(&shared.streams));
        let mut driver = Driver {
            connection,
            pings: None,
            deadline: Deadline::new(deadlines),
            interval: settings.upstream_ping_interval,
            awaits_pong: false,
            streams,
        };
        driver.pings = driver.connection.ping_pong();
        tokio::task::spawn_local(async move {
            std::future::poll_fn(|cx| driver.poll(cx)).await;
            ended.set(true);
        });
        Ok(shared)
    }

    /// Returns true once the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.ended.get()
    }

    /// Returns the number of requests on it.
    pub(crate) fn requests(&self) -> usize {
        Rc::strong_count(&self.streams) - 1
    }

    /// Returns how many requests the endpoint allows at once (`SETTINGS_MAX_CONCURRENT_STREAMS`).
    pub(crate) fn max_requests(&self) -> usize {
        self.sender.current_max_send_streams()
    }

    /// Takes a place on the connection.
    pub(crate) fn join(&self) -> Place {
        Place(self.streams.clone())
    }

    /// Returns true if it is the connection that has this place.
    pub(crate) fn has(&self, place: &Place) -> bool {
        Rc::ptr_eq(&self.streams, &place.0)
    }

    /// Returns the sender of a request.
    pub(crate) fn sender(&self) -> Sender {
        Sender(self.sender.clone())
    }
}

/// Sends one request on a shared connection.
#[derive(Debug)]
pub(crate) struct Sender(SendRequest<Bytes>);

impl Sender {
    /// Sends a request and receives the head of its response. Calls `inform` with each
    /// informational one before that, except 100 (Continue), which we answer.
    pub(crate) async fn exchange(
        mut self,
        request: Request<()>,
        body: RequestBody,
        mut inform: impl FnMut(&ResponseHead),
    ) -> Result<(ResponseHead, ResponseBody), Failed> {
        let mut body = Some(body);
        if std::future::poll_fn(|cx| self.0.poll_ready(cx))
            .await
            .is_err()
        {
            return Err(Failed::Unprocessed(body));
        }
        let empty = body.as_ref().is_some_and(RequestBody::is_end_stream);
        let Ok((mut response, stream)) = self.0.send_request(request, empty) else {
            return Err(Failed::Unprocessed(body));
        };
        let mut writer = (!empty).then(|| BodySender::new(stream, None));

        let received = std::future::poll_fn(|cx| {
            if let (Some(sending), Some(body)) = (&mut writer, &mut body) {
                match sending.poll(cx, Pin::new(body)) {
                    Poll::Ready(Sent::Whole | Sent::Gone) => writer = None,
                    Poll::Ready(Sent::Broken(_)) => {
                        sending.reset(Reason::CANCEL);
                        return Poll::Ready(Err(None));
                    }
                    Poll::Pending => {}
                }
            }
            poll_response(&mut response, cx, &mut inform).map_err(Some)
        })
        .await;

        match received {
            Ok(response) => {
                let (parts, stream) = response.into_parts();
                let length = length(&stream, &parts.headers);
                let head = ResponseHead::of_http2(parts.status, &parts.headers, length);
                let rest = writer.zip(body).map(|(writer, body)| rest(writer, body));
                Ok((
                    head,
                    ResponseBody {
                        stream,
                        _rest: rest,
                    },
                ))
            }
            Err(None) => Err(Failed::Body),
            Err(Some(error)) => Err(failed(&error, body)),
        }
    }
}

/// Receives the head of a response.
fn poll_response(
    response: &mut ResponseFuture,
    cx: &mut Context<'_>,
    inform: &mut impl FnMut(&ResponseHead),
) -> Poll<Result<http::Response<RecvStream>, h2::Error>> {
    while let Poll::Ready(Some(Ok(head))) = response.poll_informational(cx) {
        if head.status() != StatusCode::CONTINUE {
            inform(&ResponseHead::of_http2(
                head.status(),
                head.headers(),
                BodyLength::None,
            ));
        }
    }
    Pin::new(response).poll(cx)
}

/// Sends the rest of a request.
fn rest(mut writer: BodySender, mut body: RequestBody) -> Rest {
    Rest::send(async move {
        let sent = std::future::poll_fn(|cx| writer.poll(cx, Pin::new(&mut body))).await;
        if let Sent::Broken(_) = sent {
            writer.reset(Reason::CANCEL);
        }
    })
}

/// Decides the length of the body of a response.
fn length(stream: &RecvStream, headers: &http::HeaderMap) -> BodyLength {
    if stream.is_end_stream() {
        return BodyLength::None;
    }
    let field = headers.get(http::header::CONTENT_LENGTH);
    let length = field.and_then(|value| decimal(value.as_bytes()));
    length.map_or(BodyLength::Unknown, BodyLength::Known)
}

/// Decides what the error of a stream means for its request.
fn failed(error: &h2::Error, body: Option<RequestBody>) -> Failed {
    let unsent = body.filter(|body| !body.is_started());
    // GOAWAY names the last stream that was processed; only those behind it see this error.
    let gone_away = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    match error.reason() {
        Some(Reason::REFUSED_STREAM) if error.is_reset() && error.is_remote() => {
            Failed::Refused(unsent)
        }
        _ if gone_away && error.is_remote() => Failed::Unprocessed(unsent),
        _ if error.is_reset() => Failed::Reset,
        _ => Failed::Ended,
    }
}

impl ResponseBody {
    /// Returns the next piece of the body.
    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        poll_frame(&mut self.stream, cx)
    }

    /// Returns true if the body is complete.
    pub(crate) fn is_end(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// Returns what is known about the length of the rest.
    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.is_end() {
            SizeHint::with_exact(0)
        } else {
            SizeHint::default()
        }
    }
}

/// Runs a connection.
struct Driver<T: AsyncRead + AsyncWrite + Unpin> {
    connection: Connection<T, Bytes>,
    pings: Option<PingPong>,
    deadline: Deadline,
    interval: Duration,
    awaits_pong: bool,
    streams: Weak<()>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// Ready when the connection has ended, or does not acknowledge a ping.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if pin!(&mut self.connection).poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let Some(pings) = &mut self.pings else {
                return Poll::Pending;
            };

            if self.awaits_pong && pings.poll_pong(cx).is_ready() {
                self.awaits_pong = false;
                self.deadline.moved();
            }
            let limit = if self.awaits_pong {
                PONG_TIMEOUT
            } else {
                self.interval
            };
            if !self.deadline.is_over(cx, limit, None) {
                return Poll::Pending;
            }
            if self.awaits_pong {
                tracing::debug!(
                    "HTTP/2 connection to an endpoint closed: a ping was not acknowledged"
                );
                return Poll::Ready(());
            }

            // An idle connection is not pinged: gRPC servers count that against it.
            self.deadline.moved();
            if self.streams.strong_count() > 1 {
                self.awaits_pong = pings.send_ping(Ping::opaque()).is_ok();
            }
        }
    }
}
