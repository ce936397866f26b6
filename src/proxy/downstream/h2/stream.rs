//! One stream of an HTTP/2 connection: a request and its response.

use std::{
    cell::{Cell, RefCell},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use ::h2::{Reason, RecvStream, SendStream, server::SendResponse};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Version, header::DATE};
use http_body::{Frame, SizeHint};

use super::guard::Traffic;
use crate::proxy::{
    conn::ConnInfo,
    deadline::Deadline,
    downstream::{Downstream, poll_discard},
    h2::{BodySender, Outbox, Sent, poll_frame},
    memory,
    request::{
        body::{Body, BodyError},
        fields::FieldName,
        handle::{self, Response},
        message::{RequestHead, ResponseHead, is_bodiless},
    },
    worker::Worker,
};

/// The most bytes of a request body that are read and dropped after the response.
const MAX_DISCARD: usize = 64 * 1024;
/// The longest pause in such a body.
const DISCARD: Duration = Duration::from_secs(2);

/// A stream while its request is handled.
#[derive(Debug)]
pub(crate) struct Stream {
    respond: RefCell<SendResponse<Bytes>>,
    body: RefCell<RecvStream>,
    traffic: Rc<Traffic>,
    /// The first data of the body, if it came with the head.
    first: RefCell<Option<Bytes>>,
    /// True while the client waits for 100 (Continue) before it sends the body.
    expects: Cell<bool>,
}

/// Handles a request and sends its response.
pub(super) async fn serve(
    worker: &Rc<Worker>,
    conn: &Rc<ConnInfo>,
    (request, respond): (Request<RecvStream>, SendResponse<Bytes>),
    traffic: Rc<Traffic>,
) {
    let (parts, body) = request.into_parts();
    let stream = Rc::new(Stream {
        respond: RefCell::new(respond),
        body: RefCell::new(body),
        traffic,
        first: RefCell::default(),
        expects: Cell::new(false),
    });

    let ended = std::future::poll_fn(|cx| Poll::Ready(stream.ends(cx))).await;
    let is_head = parts.method == Method::HEAD;
    let head = RequestHead::of_http2(&parts, ended, worker.settings.max_headers);
    drop(parts);

    let response = match &head {
        Ok(head) => match stream.handle(worker, conn, head).await {
            Some(response) => response,
            // The client has reset the stream, or disconnected.
            None => return,
        },
        Err(kind) => handle::refuse(worker, conn, *kind),
    };
    drop(head);
    stream.send(worker, response, is_head).await;
    stream.discard(worker).await;
}

impl Stream {
    /// Returns true if nothing follows the head, as far as that is known. An empty DATA frame that
    /// came with the head ends a request without a body.
    fn ends(&self, cx: &mut Context<'_>) -> bool {
        let mut body = self.body.borrow_mut();
        if !body.is_end_stream()
            && let Poll::Ready(Some(Ok(data))) = body.poll_data(cx)
            && !data.is_empty()
        {
            *self.first.borrow_mut() = Some(data);
            return false;
        }
        body.is_end_stream()
    }

    /// Returns the response to the request; `None` if the client no longer waits for it.
    async fn handle(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        conn: &Rc<ConnInfo>,
        head: &RequestHead,
    ) -> Option<Response> {
        let expects = head.fields.contains(FieldName::Expect) && !head.length.is_empty();
        self.expects.set(expects);

        let downstream = Downstream::Http2(self.clone());
        let mut handled = pin!(handle::handle(worker, conn, head, downstream));
        std::future::poll_fn(|cx| {
            if let Poll::Ready(response) = handled.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            self.respond.borrow_mut().poll_reset(cx).map(|_reset| None)
        })
        .await
    }

    /// Sends a response.
    async fn send(&self, worker: &Worker, response: Response, is_head: bool) {
        let Response { head, mut body } = response;
        let empty = is_bodiless(head.status, is_head) || head.length.is_empty();
        if empty {
            body.end();
        }

        let mut message = http::Response::new(());
        *message.status_mut() = head.status;
        *message.version_mut() = Version::HTTP_2;

        let has_date = head.fields.contains(FieldName::Date);
        let mut fields = head.into_http2();
        if !has_date && let Ok(date) = HeaderValue::from_bytes(&worker.date()) {
            fields.insert(DATE, date);
        }
        *message.headers_mut() = fields;

        let sent = self.respond.borrow_mut().send_response(message, empty);
        if let Ok(stream) = sent
            && !empty
        {
            send_body(worker, stream, self.traffic.outbox.clone(), &mut body).await;
        }
    }

    /// Reads the rest of a request body that nobody wants, if it is short. The stream is reset if
    /// its end was not read, and some clients drop the response then (curl).
    async fn discard(&self, worker: &Worker) {
        // A client that was not told to continue may leave out the body. Of most requests there is
        // nothing left, and their stream is not asked for more.
        if self.expects.get() || !self.has_body() {
            return;
        }

        let mut left = MAX_DISCARD;
        let mut deadline = Deadline::new(&worker.deadlines);
        std::future::poll_fn(|cx| {
            let before = left;
            let polled = poll_discard(cx, &mut left, |cx| self.poll_body(cx));
            if left != before {
                deadline.moved();
            }
            if polled.is_ready() || deadline.is_over(cx, DISCARD, None) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    /// Returns the next piece of the body of the request.
    pub(crate) fn poll_body(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.expects.take() {
            let head = ResponseHead::new(StatusCode::CONTINUE, 0);
            self.inform(&head);
        }

        let mut body = self.body.borrow_mut();
        let first = self.first.borrow_mut().take();
        let frame = match first {
            Some(first) => {
                let released = body.flow_control().release_capacity(first.len());
                released.map_err(BodyError::Http2)?;
                Frame::data(first)
            }
            None => match ready!(poll_frame(&mut body, cx)) {
                Some(frame) => frame.map_err(BodyError::Http2)?,
                None => return Poll::Ready(None),
            },
        };

        if let Some(data) = frame.data_ref() {
            self.traffic.took(data.len());
        }
        Poll::Ready(Some(Ok(frame)))
    }

    /// Returns true while a part of the body of the request is still to be read.
    pub(crate) fn has_body(&self) -> bool {
        self.first.borrow().is_some() || !self.body.borrow().is_end_stream()
    }

    /// Returns what is known about the length of the rest of the body.
    pub(crate) fn size_hint(&self) -> SizeHint {
        if self.has_body() {
            SizeHint::default()
        } else {
            SizeHint::with_exact(0)
        }
    }

    /// Sends an informational response (RFC 9110 section 15.2).
    pub(crate) fn inform(&self, head: &ResponseHead) {
        let mut message = http::Response::new(());
        *message.status_mut() = head.status;
        *message.headers_mut() = head.clone().into_http2();
        // A stream that is over needs none.
        let _ = self.respond.borrow_mut().send_informational(message);
    }
}

/// Sends the body of a response. It ends with the stream reset if the body breaks off, or if the
/// client takes nothing for too long (RFC 9113 section 5.4.2); the connection goes on.
async fn send_body(
    worker: &Worker,
    stream: SendStream<Bytes>,
    outbox: Rc<Outbox>,
    body: &mut Body,
) {
    let mut deadline = Deadline::new(&worker.deadlines);
    let latest = body.latest();
    let idle = body.idle().unwrap_or(worker.settings.stream_idle_timeout);
    let mut sender = BodySender::new(stream, Some(outbox));

    std::future::poll_fn(|cx| {
        let before = sender.progress();
        match sender.poll(cx, Pin::new(&mut *body)) {
            Poll::Ready(Sent::Whole | Sent::Gone) => return Poll::Ready(()),
            Poll::Ready(Sent::Broken(error)) => {
                tracing::debug!(%error, "the response is incomplete");
                sender.reset(Reason::INTERNAL_ERROR);
                return Poll::Ready(());
            }
            Poll::Pending => {}
        }

        if sender.progress() != before {
            deadline.moved();
        }
        if sender.is_blocked()
            && (deadline.is_over(cx, idle, latest) || memory::sheds(memory::BLOCKED))
        {
            tracing::debug!("stream reset: the client does not read the response");
            sender.reset(Reason::CANCEL);
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}
