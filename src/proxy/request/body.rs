//! The two bodies: the request body sent upstream and the response body sent to the client. Both
//! stream frame by frame. A request body is read ahead only if its route asks for it.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, MAX_FORWARDS, SET_COOKIE, TRAILER,
    },
};
use http_body::{Body as _, Frame, SizeHint};

use super::{
    access_log::Record,
    client_certificates,
    coding::Coding,
    compression::Compressor,
    error::Kind,
    fields::FieldName,
    grpc_web::{self, Decoder},
    message::BodyLength,
    pace::Paced,
    terms::Terms,
};
use crate::proxy::{
    clock,
    copies::BodyCopy,
    counters::Counters,
    deadline::Deadline,
    downstream::Downstream,
    h2::Limited,
    memory,
    spool::{self, Spool, Spooled},
    upstream::{
        h1::{self, Connection, ResponseBody},
        h2,
        pool::Lease,
    },
    worker::{ClientKey, Worker},
};
use crate::{
    limit::Place,
    routing::{ContentCoding, GrpcWebForm, Pace},
};

/// The most bytes of a body that are read only so that its connection can have another request.
const MAX_DISCARDED: usize = 64 * 1024;

/// The reason why a body ended early. The other side sees an incomplete message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// The peer reset the HTTP/2 stream inside the body, or the body is malformed.
    #[error("the body is incomplete")]
    Http2(#[source] ::h2::Error),
    /// The client disconnected inside the request body, or its framing is invalid.
    #[error("the request body is incomplete: {}", .0.reason())]
    Client(Kind),
    /// The endpoint closed the connection inside the response body, or its framing is invalid.
    #[error("the response is incomplete")]
    Response(#[source] h1::Broken),
    /// No data moved for `stream_idle_timeout`.
    #[error("the body stalled")]
    Stalled,
    /// The body exceeds `max_body_bytes`.
    #[error("the body is too large")]
    TooLarge,
    /// The request took longer than `request_timeout`.
    #[error("the request took too long")]
    Deadline,
    /// The disk has lost a body that was read before.
    #[error("the body cannot be read from its file")]
    Spool,
}

/// The progress of a request body, shared with the code that waits for the response.
#[derive(Debug, Default)]
pub(crate) struct RequestBodyState {
    /// True once the upstream side has asked for any of it.
    pub(crate) started: Cell<bool>,
    /// True once all of it was handed to the upstream side.
    pub(crate) done: Cell<bool>,
    /// True while the upstream side waits for the client to send more.
    pub(crate) waiting: Cell<bool>,
    /// The time when data of the request or of its response last moved.
    pub(crate) moved: Cell<Option<Instant>>,
    /// The failure of the body, if any.
    pub(crate) failed: Cell<Option<Kind>>,
}

/// The request body on its way to an upstream.
#[derive(Debug)]
pub(crate) struct RequestBody(Sent);

#[derive(Debug)]
enum Sent {
    Empty,
    /// One that is known as a whole, until it is asked for.
    Whole(Bytes),
    /// One that was known as a whole and has been asked for.
    Over,
    /// One that comes from a client.
    Stream(Box<Stream>),
}

#[derive(Debug)]
struct Stream {
    from: Downstream,
    left: u64,
    idle: Duration,
    deadline: Deadline,
    state: Rc<RequestBodyState>,
    counters: Arc<Counters>,
    /// The collector of the body for a copy of the request.
    copy: Option<Box<BodyCopy>>,
    /// The decoder of one in Base64.
    decoder: Option<Box<Decoder>>,
    /// The part that was read before anybody asked for it and is in a file, before `ahead`.
    spooled: Option<Box<Spooled>>,
    /// The part that was read before anybody asked for it.
    ahead: Bytes,
    trailers: Option<HeaderMap>,
}

/// The body of a response to a client.
#[derive(Debug, Default)]
pub(crate) struct Body {
    source: Source,
    /// The access-log entry, written when the response is complete or abandoned.
    pub(crate) record: Option<Box<Record>>,
    /// The place of the request among those of its client, until the response is complete.
    place: Option<Box<Place<ClientKey>>>,
    /// The pace at which it is sent.
    pace: Option<Box<Paced>>,
    /// The change of it as it passes.
    coding: Option<Coding>,
}

#[derive(Debug, Default)]
enum Source {
    #[default]
    Empty,
    Own(Bytes),
    /// Boxed: most bodies are none.
    Relay(Box<Relay>),
    /// Not a body: the connection carries another protocol from here on.
    Switched(Box<Switched>),
}

/// A connection to an endpoint that has switched to another protocol.
#[derive(Debug)]
pub(crate) struct Switched {
    pub(crate) connection: Connection,
    /// Counts as a request in flight.
    pub(crate) lease: Lease,
    /// The time for which nothing may move.
    pub(crate) idle: Duration,
    /// The place of the request among those of its client.
    pub(crate) place: Option<Box<Place<ClientKey>>>,
}

#[derive(Debug)]
struct Relay {
    from: Received,
    /// Counts the request as in flight; returns the connection to the pool if the body is complete.
    lease: Option<Lease>,
    idle: Duration,
    deadline: Deadline,
    /// The deadline of the whole request.
    latest: Option<Instant>,
    /// The request body, if it is still being sent.
    state: Option<Rc<RequestBodyState>>,
}

/// The source of a response body.
#[derive(Debug, Default)]
pub(crate) enum Received {
    /// An HTTP/1.1 connection.
    H1(ResponseBody),
    /// A stream of a shared HTTP/2 connection.
    H2(h2::ResponseBody),
    /// No source: the body is complete.
    #[default]
    Over,
}

impl RequestBodyState {
    /// Returns the part of `idle` that remains since data moved in either direction: one direction
    /// may be silent for a long time while the other is busy. `None` if nothing remains.
    fn left(&self, idle: Duration) -> Option<Duration> {
        self.moved
            .get()
            .and_then(|moved| idle.checked_sub(moved.elapsed()))
            .filter(|left| !left.is_zero())
    }
}

impl BodyError {
    /// Returns the cause of the failure of a request whose body this is.
    fn kind(&self) -> Kind {
        match self {
            Self::Client(kind) => *kind,
            Self::Http2(error) if error.is_io() || error.is_remote() => Kind::ClientGone,
            _ => Kind::BadRequest("bad request body"),
        }
    }
}

// === RequestBody ===

impl RequestBody {
    /// Returns a body without content.
    pub(crate) fn empty() -> Self {
        Self(Sent::Empty)
    }

    /// Returns a body that is known as a whole.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self(Sent::Whole(bytes))
    }

    /// Returns true once any of it was asked for.
    pub(crate) fn is_started(&self) -> bool {
        match &self.0 {
            Sent::Empty | Sent::Whole(_) => false,
            Sent::Over => true,
            Sent::Stream(stream) => stream.state.started.get(),
        }
    }

    /// Wraps the body of a request, which `copy` collects too.
    pub(crate) fn new(
        from: Downstream,
        terms: &Terms,
        worker: &Worker,
        copy: Option<Box<BodyCopy>>,
    ) -> (Self, Rc<RequestBodyState>) {
        let state = Rc::new(RequestBodyState::default());
        let stream = Stream {
            from,
            left: terms.max_body_bytes.unwrap_or(u64::MAX),
            idle: terms.stream_idle_timeout,
            deadline: Deadline::new(&worker.deadlines),
            state: state.clone(),
            counters: worker.counters.clone(),
            copy,
            decoder: None,
            spooled: None,
            ahead: Bytes::new(),
            trailers: None,
        };
        (Self(Sent::Stream(Box::new(stream))), state)
    }

    /// Sends it decoded from Base64.
    pub(crate) fn decode_base64(&mut self) {
        if let Sent::Stream(stream) = &mut self.0 {
            stream.decoder = Some(Box::default());
        }
    }

    /// Reads up to about `most` bytes before the upstream side asks for any, and less if memory is
    /// short: an endpoint then gets them at once, however slowly the client sends. With a spool it
    /// reads all of them.
    ///
    /// # Errors
    /// The failure of the body.
    pub(crate) async fn read_ahead(
        &mut self,
        most: usize,
        spool: Option<&Arc<Spool>>,
    ) -> Result<(), Kind> {
        let Sent::Stream(stream) = &mut self.0 else {
            return Ok(());
        };

        // Copied: a small piece would keep the buffer that it was read into.
        let mut ahead = BytesMut::new();
        while stream.from.has_body()
            && ahead.len() < most
            && memory::pressure() == memory::Pressure::Low
        {
            if !stream.read_more(&mut ahead).await? {
                break;
            }
        }
        if let (Some(spool), true) = (spool, stream.from.has_body()) {
            stream.spool(spool, &mut ahead).await?;
        }
        stream.ahead = ahead.freeze();
        stream.state.waiting.set(false);

        Ok(())
    }
}

/// Its pieces have a size of their own.
impl Limited for RequestBody {
    fn limit(&mut self, _bytes: usize) {}
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let stream = match &mut self.0 {
            Sent::Stream(stream) => stream,
            Sent::Empty | Sent::Over => return Poll::Ready(None),
            Sent::Whole(bytes) => {
                let frame = Frame::data(std::mem::take(bytes));
                self.0 = Sent::Over;
                return Poll::Ready(Some(Ok(frame)));
            }
        };

        stream.state.started.set(true);
        stream.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Sent::Empty | Sent::Over => true,
            Sent::Whole(bytes) => bytes.is_empty(),
            Sent::Stream(stream) => stream.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Sent::Empty | Sent::Over => SizeHint::with_exact(0),
            Sent::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Sent::Stream(stream) => stream.size_hint(),
        }
    }
}

impl Stream {
    /// Reads a frame of the client into `ahead`. Returns false at the end of the body.
    async fn read_more(&mut self, ahead: &mut BytesMut) -> Result<bool, Kind> {
        match std::future::poll_fn(|cx| self.poll_client(cx)).await {
            None => return Ok(false),
            Some(Err(error)) => {
                let failed = self.state.failed.get();
                return Err(failed.unwrap_or_else(|| error.kind()));
            }
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => ahead.extend_from_slice(&data),
                Err(frame) => self.trailers = frame.into_trailers().ok(),
            },
        }
        Ok(true)
    }

    /// Reads the body whole into a file. What does not fit there stays in `ahead`, and the rest
    /// with the client.
    async fn spool(&mut self, spool: &Arc<Spool>, ahead: &mut BytesMut) -> Result<(), Kind> {
        let mut spooled = match spool.begin().await {
            Ok(spooled) => Box::new(spooled),
            Err(error) => {
                self.not_spooled(&error);
                return Ok(());
            }
        };

        let mut has_more = true;
        loop {
            if ahead.len() >= spool::PIECE || !has_more && !ahead.is_empty() {
                let piece = ahead.split().freeze();
                if let Err(error) = spooled.write(piece.clone()).await {
                    self.not_spooled(&error);
                    *ahead = piece.into();
                    break;
                }
            }
            if !has_more {
                self.counters.bodies_spooled.add(1);
                break;
            }
            has_more = self.read_more(ahead).await? && self.from.has_body();
        }

        self.spooled = Some(spooled).filter(|spooled| spooled.left() > 0);
        Ok(())
    }

    fn not_spooled(&self, error: &std::io::Error) {
        self.counters.bodies_not_spooled.add(1);
        tracing::debug!(%error, "a body is passed on as it comes");
    }

    /// Returns the next frame for the upstream side.
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = if let Some(spooled) = &mut self.spooled {
            let Ok(piece) = ready!(spooled.poll_read(cx)) else {
                let kind = Kind::Unavailable("a request body cannot be read from its file");
                return self.fail(kind, BodyError::Spool);
            };
            if spooled.left() == 0 {
                self.spooled = None;
            }
            self.state.moved.set(Some(clock::now()));
            Some(Ok(Frame::data(piece)))
        } else if !self.ahead.is_empty() {
            Some(Ok(Frame::data(std::mem::take(&mut self.ahead))))
        } else if let Some(trailers) = self.trailers.take() {
            Some(Ok(Frame::trailers(trailers)))
        } else {
            ready!(self.poll_client(cx))
        };

        let is_over = self.is_over() && !matches!(frame, Some(Err(_)));
        if frame.is_none() || is_over {
            self.end();
        }
        Poll::Ready(frame)
    }

    /// Reads the next frame from the client, decoded.
    fn poll_client(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let received = ready!(self.poll_received(cx));
            let (Some(decoder), Some(Ok(frame))) = (&mut self.decoder, &received) else {
                return Poll::Ready(self.collected(received));
            };
            let Some(data) = frame.data_ref() else {
                return Poll::Ready(received);
            };

            let decoded = decoder.add(data);
            let is_last = !self.from.has_body();
            match decoded {
                Ok(decoded) if !is_last || decoder.is_whole() => {
                    if !decoded.is_empty() {
                        return Poll::Ready(self.collected(Some(Ok(Frame::data(decoded)))));
                    }
                    if is_last {
                        return Poll::Ready(None);
                    }
                }
                _ => {
                    let kind = Kind::BadRequest("the body is not in Base64");
                    return self.fail(kind, BodyError::Client(kind));
                }
            }
        }
    }

    /// Reads the next frame from the client.
    fn poll_received(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = self.from.poll_body(cx);
        self.state.waiting.set(polled.is_pending());

        match polled {
            Poll::Pending if !self.deadline.is_over(cx, self.idle, None) => Poll::Pending,
            Poll::Pending => match self.state.left(self.idle) {
                Some(left) => {
                    self.deadline.moved();
                    self.deadline.is_over(cx, left, None);
                    Poll::Pending
                }
                None => self.fail(Kind::RequestTimeout, BodyError::Stalled),
            },
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => self.fail(error.kind(), error),
            Poll::Ready(Some(Ok(mut frame))) => {
                self.deadline.moved();
                self.state.moved.set(Some(clock::now()));
                if let Some(data) = frame.data_ref() {
                    self.counters.bytes_in.add(data.len() as u64);
                    match self.left.checked_sub(data.len() as u64) {
                        Some(left) => self.left = left,
                        None => return self.fail(Kind::BodyTooLarge, BodyError::TooLarge),
                    }
                } else if let Some(trailers) = frame.trailers_mut() {
                    clean_trailers(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }

    /// Returns true if the client has sent all of it, and nothing of it is kept.
    fn is_over(&self) -> bool {
        let is_kept = self.spooled.is_some() || !self.ahead.is_empty() || self.trailers.is_some();
        !is_kept && !self.from.has_body()
    }

    fn size_hint(&self) -> SizeHint {
        if self.decoder.is_some() {
            return SizeHint::new();
        }
        let spooled = self.spooled.as_ref().map_or(0, |spooled| spooled.left());
        let (ahead, rest) = (self.ahead.len() as u64 + spooled, self.from.size_hint());
        let mut whole = SizeHint::new();
        whole.set_lower(rest.lower().saturating_add(ahead));
        if let Some(upper) = rest.upper() {
            whole.set_upper(upper.saturating_add(ahead));
        }
        whole
    }

    /// Notes that all of the body is there.
    fn end(&mut self) {
        self.state.done.set(true);
        if let Some(copy) = self.copy.take() {
            copy.finish();
        }
    }

    /// Adds a frame to the copy, which is given up if it does not fit.
    fn collected(
        &mut self,
        frame: Option<Result<Frame<Bytes>, BodyError>>,
    ) -> Option<Result<Frame<Bytes>, BodyError>> {
        if let Some(copy) = &mut self.copy
            && let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && !copy.add(data)
        {
            self.copy = None;
        }
        frame
    }

    fn fail(&self, kind: Kind, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.state.failed.set(Some(kind));
        Poll::Ready(Some(Err(error)))
    }
}

// === Body ===

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        let source = if bytes.is_empty() {
            Source::Empty
        } else {
            Source::Own(bytes)
        };
        Self {
            source,
            ..Self::default()
        }
    }
}

impl Body {
    /// Creates the place of a body on a connection that switches to another protocol.
    pub(crate) fn switched(switched: Switched) -> Self {
        Self {
            source: Source::Switched(Box::new(switched)),
            ..Self::default()
        }
    }

    /// Takes the connection that switches to another protocol, if there is one.
    pub(crate) fn take_switched(&mut self) -> Option<Switched> {
        match std::mem::take(&mut self.source) {
            Source::Switched(switched) => Some(Switched {
                place: self.place.take(),
                ..*switched
            }),
            other => {
                self.source = other;
                None
            }
        }
    }

    /// Keeps the place of the request until the response is complete.
    pub(crate) fn hold(&mut self, place: Option<Box<Place<ClientKey>>>) {
        self.place = place;
    }

    /// Sends it at a pace.
    pub(crate) fn slow_down(&mut self, pace: Pace) {
        if !matches!(self.source, Source::Empty | Source::Switched(_)) {
            self.pace = Some(Box::new(Paced::new(pace)));
        }
    }

    /// Compresses it. Returns its new length; `None` if it stays as it is.
    pub(crate) fn compress(&mut self, coding: ContentCoding) -> Option<BodyLength> {
        match &mut self.source {
            _ if self.coding.is_some() => None,
            Source::Empty | Source::Switched(_) => None,
            Source::Own(bytes) => {
                *bytes = Compressor::new(coding)?.whole(bytes);
                Some(BodyLength::Known(bytes.len() as u64))
            }
            Source::Relay(_) => {
                let compressor = Compressor::new(coding)?;
                self.coding = Some(Coding::Compressed(Box::new(compressor)));
                Some(BodyLength::Unknown)
            }
        }
    }

    /// Makes it one of gRPC-Web. Returns its new length; `None` if it stays as it is.
    pub(crate) fn make_grpc_web(&mut self, form: GrpcWebForm) -> Option<BodyLength> {
        match &mut self.source {
            Source::Empty | Source::Switched(_) => None,
            Source::Own(_) | Source::Relay(_) => {
                let encoder = grpc_web::Encoder::new(form);
                self.coding = Some(Coding::GrpcWeb(encoder));
                Some(BodyLength::Unknown)
            }
        }
    }

    /// Reads the rest of it, so that its connection can have another request. One that is long is
    /// left to its end.
    ///
    /// # Errors
    /// If it is not complete.
    pub(crate) async fn discard(mut self) -> Result<(), BodyError> {
        let mut left = MAX_DISCARDED;
        std::future::poll_fn(|cx| {
            loop {
                let frame = match ready!(Pin::new(&mut self).poll_frame(cx)) {
                    None => return Poll::Ready(Ok(())),
                    Some(frame) => frame?,
                };
                let length = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(length) {
                    Some(rest) => left = rest,
                    None => return Poll::Ready(Ok(())),
                }
            }
        })
        .await
    }

    /// Drops what would be sent: the response has no body for its client.
    pub(crate) fn end(&mut self) {
        self.source = Source::Empty;
        self.pace = None;
        self.coding = None;
    }

    /// Returns the time for which the client may take nothing; `None` for that of the settings.
    pub(crate) fn idle(&self) -> Option<Duration> {
        match &self.source {
            Source::Relay(relay) => Some(relay.idle),
            _ => None,
        }
    }

    /// Returns the time by which the response must be complete.
    pub(crate) fn latest(&self) -> Option<Instant> {
        match &self.source {
            Source::Relay(relay) => relay.latest,
            _ => None,
        }
    }

    /// Streams the body of an upstream response, which may pause for `idle` and must be complete by
    /// `latest`. The request body may still be on its way.
    pub(crate) fn relay(
        mut from: Received,
        lease: Lease,
        worker: &Worker,
        (idle, latest): (Duration, Option<Instant>),
        state: Option<Rc<RequestBodyState>>,
    ) -> Self {
        // Most bodies arrive with their head; the connection can serve another request at once.
        let whole = match &mut from {
            Received::H1(body) => body.whole(),
            Received::H2(body) => body.is_end().then(Bytes::new),
            Received::Over => Some(Bytes::new()),
        };
        if let Some(bytes) = whole {
            lease.upstream().counters.bytes_out.add(bytes.len() as u64);
            lease.finish(from.into_connection());
            return bytes.into();
        }

        let relay = Relay {
            from,
            lease: Some(lease),
            idle,
            deadline: Deadline::new(&worker.deadlines),
            latest,
            state: state.filter(|state| !state.done.get()),
        };
        Self {
            source: Source::Relay(Box::new(relay)),
            ..Self::default()
        }
    }
}

impl Limited for Body {
    fn limit(&mut self, bytes: usize) {
        if let Source::Relay(relay) = &mut self.source
            && let Received::H1(body) = &mut relay.from
        {
            body.limit(bytes);
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let source = &mut this.source;
        let coding = &mut this.coding;
        let mut poll = |cx: &mut Context<'_>| match coding {
            None => source.poll(cx),
            Some(coding) => coding.poll(cx, |cx| source.poll(cx)),
        };
        let frame = match &mut this.pace {
            None => poll(cx),
            Some(pace) => pace.poll(cx, poll),
        };

        if let (Some(record), Poll::Ready(frame)) = (&mut this.record, &frame) {
            match frame {
                Some(Ok(frame)) => {
                    record.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                }
                Some(Err(_)) => record.broken = true,
                None => {}
            }
        }

        frame
    }

    fn is_end_stream(&self) -> bool {
        if self.pace.as_ref().is_some_and(|pace| pace.kept() > 0) {
            return false;
        }
        if let Some(coding) = &self.coding {
            return coding.is_over();
        }
        match &self.source {
            Source::Empty | Source::Switched(_) => true,
            Source::Own(_) => false,
            Source::Relay(relay) => relay.from.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let hint = match &self.coding {
            Some(_) => SizeHint::default(),
            None => self.source.size_hint(),
        };
        match (self.pace.as_ref().map(|pace| pace.kept()), hint.exact()) {
            (Some(kept @ 1..), Some(exact)) => SizeHint::with_exact(exact + kept),
            _ => hint,
        }
    }
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Empty | Self::Switched(_) => Poll::Ready(None),
            Self::Own(bytes) => {
                let frame = Frame::data(std::mem::take(bytes));
                *self = Self::Empty;
                Poll::Ready(Some(Ok(frame)))
            }
            Self::Relay(relay) => relay.poll(cx),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Switched(_) => SizeHint::with_exact(0),
            Self::Own(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Relay(relay) => relay.from.size_hint(),
        }
    }
}

impl Received {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::H1(body) => body
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::Response))),
            Self::Over => Poll::Ready(None),
            Self::H2(body) => body
                .poll_frame(cx)
                .map(|frame| frame.map(|frame| frame.map_err(BodyError::Http2))),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::H1(body) => body.is_end(),
            Self::H2(body) => body.is_end(),
            Self::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::H1(body) => body.size_hint(),
            Self::H2(body) => body.size_hint(),
            Self::Over => SizeHint::with_exact(0),
        }
    }

    /// Returns the connection for a protocol other than HTTP; `None` if it is a shared one.
    pub(crate) fn into_stream(self) -> Option<Connection> {
        match self {
            Self::H1(body) => body.into_stream(),
            Self::H2(_) | Self::Over => None,
        }
    }

    /// Returns the connection if it can carry another request.
    fn into_connection(self) -> Option<Connection> {
        match self {
            Self::H1(body) => body.into_connection(),
            Self::H2(_) | Self::Over => None,
        }
    }
}

impl Relay {
    fn give_back(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        lease.finish(std::mem::take(&mut self.from).into_connection());
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.from.poll(cx) {
            Poll::Pending => {
                if !self.deadline.is_over(cx, self.idle, self.latest) {
                    return Poll::Pending;
                }

                let late = self.latest.is_some_and(|latest| latest <= clock::now());
                if !late
                    && let Some(left) = self.state.as_ref().and_then(|state| state.left(self.idle))
                {
                    self.deadline.moved();
                    self.deadline.is_over(cx, left, self.latest);
                    return Poll::Pending;
                }

                self.lease = None;
                Poll::Ready(Some(Err(if late {
                    BodyError::Deadline
                } else {
                    BodyError::Stalled
                })))
            }
            Poll::Ready(None) => {
                self.give_back();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.lease = None;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                self.deadline.moved();
                if let Some(state) = self.state.as_ref().filter(|state| !state.done.get()) {
                    state.moved.set(Some(clock::now()));
                }

                if let (Some(data), Some(lease)) = (frame.data_ref(), &self.lease) {
                    lease.upstream().counters.bytes_out.add(data.len() as u64);
                }
                if let Some(trailers) = frame.trailers_mut() {
                    clean_trailers(trailers);
                }

                if self.from.is_end() {
                    self.give_back();
                }
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}

/// Fields that are removed from trailers, because a reader may already have acted on the head (RFC
/// 9110 section 6.5.1): framing, routing, authentication, and content metadata.
static NOT_IN_TRAILERS: [HeaderName; 9] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    MAX_FORWARDS,
    SET_COOKIE,
    TRAILER,
];

/// Removes the fields from trailers that belong into a head, those of one connection, and those
/// about the client.
fn clean_trailers(trailers: &mut HeaderMap) {
    let unwanted = |name: &HeaderName| {
        let id = FieldName::of(name.as_str().as_bytes());
        id == FieldName::Host
            || id.is_hop_by_hop()
            || id.is_about_client()
            || NOT_IN_TRAILERS.contains(name)
            || client_certificates::is_about_certificate(name.as_str().as_bytes())
    };
    while let Some(name) = trailers.keys().find(|name| unwanted(name)).cloned() {
        trailers.remove(name);
    }
}
