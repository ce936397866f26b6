//! HTTP/1.1 with a client (RFC 9112): one task reads a head, handles the request, writes the
//! response, and goes on to the next. Nobody else decides when the connection ends.

#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod head;
mod response;
mod transport;

use std::{
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Version};

pub(crate) use self::transport::Transport;
use self::{
    head::Scanner,
    response::{ResponseWriter, Written},
};
use super::{Downstream, client::ClientStream};
use crate::{
    limit::Permit,
    proxy::{
        conn::ConnInfo,
        deadline::Deadline,
        h1::Limits,
        l4::tunnel,
        memory,
        request::{
            error::Kind,
            fields::FieldName,
            handle::{self, Response},
            message::{BodyLength, RequestHead},
            spare,
        },
        worker::Worker,
    },
    util::drain::{Drain, Phase},
};

/// While draining, a connection that just had a response may send one more request for this long:
/// its client cannot know yet that we drain, and would see the request fail.
pub(crate) const DRAIN_IDLE: Duration = Duration::from_secs(1);
/// After the client's end of stream, a response may take this long without moving. A client that
/// closed and one that only ended its own direction look the same; the first expects its request to
/// be cancelled.
const HALF_CLOSED: Duration = Duration::from_secs(3);
/// The time for which a closing connection still reads, so that its client can receive our last
/// response.
const LINGER: Duration = Duration::from_secs(2);
/// The memory of an idle connection with TLS, about.
const IDLE_BYTES: usize = 8 * 1024;
/// The most bytes that are read and dropped while a connection closes, or to reach the next
/// request.
const MAX_DISCARD: usize = 1024 * 1024;

/// A client's connection.
struct Connection {
    transport: Rc<Transport>,
    conn: Rc<ConnInfo>,
    worker: Rc<Worker>,
    drain: Drain,
    deadline: Deadline,
    scanner: Scanner,
    /// True once a request has come.
    used: bool,
    /// True once the deadline of an idle connection counts from the start of the drain.
    drain_seen: bool,
    /// The connection holds its place among all connections.
    _permit: Permit,
}

/// The next event on an idle connection.
enum Next {
    Request(RequestHead),
    /// A head that is refused.
    Refused(Kind),
    /// The client has disconnected, or was idle for too long.
    End,
}

/// The connection after a request.
enum After {
    /// The connection is kept for another request.
    Next,
    /// The last response is written: tell the client, and close.
    Close,
    /// The client is gone, or sees that the response is incomplete when the connection breaks.
    Abort,
}

/// Serves a connection until it ends. `first` was read from it already.
pub(crate) async fn serve(
    stream: ClientStream,
    first: &[u8],
    conn: ConnInfo,
    permit: Permit,
    worker: &Rc<Worker>,
    drain: Drain,
) {
    let limits = Limits {
        bytes: worker.settings.max_header_bytes,
        fields: worker.settings.max_headers,
    };
    let mut connection = Connection {
        transport: Rc::new(Transport::new(stream, first, limits)),
        conn: Rc::new(conn),
        deadline: Deadline::new(&worker.deadlines),
        worker: worker.clone(),
        drain,
        scanner: Scanner::default(),
        used: false,
        drain_seen: false,
        _permit: permit,
    };

    loop {
        let after = match connection.next(limits).await {
            // Boxed: an idle connection has no space reserved for these.
            Next::Request(head) => Box::pin(connection.exchange(head)).await,
            Next::Refused(kind) => Box::pin(connection.refuse(kind)).await,
            Next::End => After::Abort,
        };
        match after {
            After::Next => connection.scanner = Scanner::default(),
            After::Close => return connection.close().await,
            After::Abort => return,
        }
    }
}

impl Connection {
    /// Waits for the next head.
    async fn next(&mut self, limits: Limits) -> Next {
        std::future::poll_fn(|cx| {
            loop {
                let scanner = &mut self.scanner;
                let scanned = self
                    .transport
                    .scan(|bytes| match scanner.scan(bytes, limits) {
                        Ok(Some((head, length))) => (Some(Ok(head)), length),
                        Ok(None) => (None, 0),
                        Err(kind) => (Some(Err(kind)), 0),
                    });
                if let Some(scanned) = scanned {
                    self.deadline.moved();
                    return Poll::Ready(match scanned {
                        Ok(head) => Next::Request(head),
                        Err(kind) => Next::Refused(kind),
                    });
                }
                if self.transport.has_ended() {
                    return Poll::Ready(Next::End);
                }

                let was_empty = self.transport.is_empty();
                match self.transport.poll_receive(cx) {
                    Poll::Ready(Ok(1..)) => {
                        // The time of a head begins with its first byte.
                        if was_empty && self.used {
                            self.deadline.moved();
                        }
                    }
                    Poll::Ready(_) => return Poll::Ready(Next::End),
                    Poll::Pending => return self.poll_late(cx),
                }
            }
        })
        .await
    }

    /// Waits for the deadline of the next head.
    fn poll_late(&mut self, cx: &Context<'_>) -> Poll<Next> {
        let settings = &self.worker.settings;
        let idle = self.transport.is_empty();
        let mut limit = if idle && self.used {
            settings.client_idle_timeout
        } else {
            settings.client_header_timeout
        };

        if idle && self.is_draining() {
            limit = limit.min(DRAIN_IDLE);
            if !std::mem::replace(&mut self.drain_seen, true) {
                self.deadline.moved();
            }
        }

        let is_late = self.deadline.is_over(cx, limit, None);
        match is_late || (idle && memory::sheds(IDLE_BYTES)) {
            false => Poll::Pending,
            true if idle => Poll::Ready(Next::End),
            true => Poll::Ready(Next::Refused(Kind::RequestTimeout)),
        }
    }

    /// Handles a request and writes its response.
    async fn exchange(&mut self, head: RequestHead) -> After {
        self.used = true;
        let expects = head.fields.contains(FieldName::Expect);
        self.transport.begin(head.version, head.length, expects);

        let (worker, conn) = (self.worker.clone(), self.conn.clone());
        let downstream = Downstream::Http1(self.transport.clone());
        let response = {
            let mut handled = pin!(handle::handle(&worker, &conn, &head, downstream));
            std::future::poll_fn(|cx| {
                if let Poll::Ready(response) = handled.as_mut().poll(cx) {
                    return Poll::Ready(Some(response));
                }
                // A failure shows when the response is written.
                let _ = self.transport.poll_inform(cx);
                self.poll_gone(cx).map(|()| None)
            })
            .await
        };

        match response {
            Some(response) => {
                let last = !is_persistent(&head);
                let is_head = head.method == Method::HEAD;
                let version = head.version;
                let after = self.respond(response, version, is_head, last).await;
                spare::give(head.fields);
                after
            }
            None => After::Abort,
        }
    }

    /// Responds to a head that is refused.
    async fn refuse(&mut self, kind: Kind) -> After {
        // The rest cannot be told from the head that was refused.
        let version = Version::HTTP_11;
        self.transport.begin(version, BodyLength::Unknown, false);
        let response = handle::refuse(&self.worker, &self.conn, kind);
        match self.respond(response, version, false, true).await {
            After::Next => After::Close,
            other => other,
        }
    }

    /// Writes a response. `last` means that the client wants no other.
    async fn respond(
        &mut self,
        response: Response,
        version: Version,
        is_head: bool,
        last: bool,
    ) -> After {
        let forgone = self.transport.forgo_continue();
        let last = last || forgone || self.is_draining();
        let latest = response.body.latest();
        let idle = self.worker.settings.stream_idle_timeout;
        let idle = response.body.idle().unwrap_or(idle);
        let date = self.worker.date();
        let before = self.transport.take_informational();
        let mut writer = ResponseWriter::new(before, response, version, is_head, last, &date);

        let transport = self.transport.clone();
        let written = std::future::poll_fn(|cx| {
            let before = writer.progress();
            let polled = transport.with_stream(|stream| writer.poll(cx, stream));
            if polled.is_ready() {
                return polled;
            }
            if writer.progress() != before {
                self.deadline.moved();
            }

            // A response that the client does not take. One that the backend does not send has its
            // deadline in its body.
            if writer.is_blocked()
                && (self.deadline.is_over(cx, idle, latest) || memory::sheds(memory::BLOCKED))
            {
                tracing::debug!("connection closed: the client does not read the response");
                return Poll::Ready(Written::Broken);
            }
            self.poll_gone(cx).map(|()| Written::Broken)
        })
        .await;
        self.deadline.moved();

        match written {
            Written::Broken => After::Abort,
            Written::Close => After::Close,
            Written::Tunnel(upstream) => {
                tunnel::run(&*self.transport, *upstream).await;
                After::Abort
            }
            Written::Keep if !self.transport.has_body() => After::Next,
            Written::Keep => match self.discard_body().await {
                true => After::Next,
                false => After::Close,
            },
        }
    }

    /// Ready when the client has disconnected.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.transport.poll_watch(cx).is_ready() {
            return Poll::Ready(());
        }
        if self.transport.has_ended() && self.deadline.is_over(cx, HALF_CLOSED, None) {
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Reads the rest of a request body that nobody wants, to reach the next request. Returns false
    /// if it is too long, or does not come in time.
    async fn discard_body(&mut self) -> bool {
        let mut left = MAX_DISCARD;
        let limit = self.worker.settings.client_header_timeout;
        std::future::poll_fn(|cx| {
            let read = |cx: &mut Context<'_>| self.transport.poll_body(cx);
            match super::poll_discard(cx, &mut left, read) {
                Poll::Pending if self.deadline.is_over(cx, limit, None) => Poll::Ready(false),
                polled => polled,
            }
        })
        .await
    }

    /// Ends our direction, and reads for a while: closing a socket with unread bytes resets it, and
    /// the client may lose the response.
    async fn close(&mut self) {
        let mut left = MAX_DISCARD;
        let mut shut = false;
        std::future::poll_fn(|cx| {
            if !shut {
                shut = self
                    .transport
                    .with_stream(|stream: Pin<&mut ClientStream>| {
                        tokio::io::AsyncWrite::poll_shutdown(stream, cx).is_ready()
                    });
            }
            let clean = self.transport.is_empty() && !self.transport.has_body();
            if shut {
                if clean || self.transport.has_ended() {
                    return Poll::Ready(());
                }
                loop {
                    match self.transport.poll_discard(cx) {
                        Poll::Ready(Ok(n @ 1..)) if n <= left => left -= n,
                        Poll::Ready(_) => return Poll::Ready(()),
                        Poll::Pending => break,
                    }
                }
            }
            if self.deadline.is_over(cx, LINGER, None) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn is_draining(&self) -> bool {
        self.drain.phase() != Phase::Running
    }
}

/// Returns true if the client may send another request (RFC 9112 section 9.3).
fn is_persistent(head: &RequestHead) -> bool {
    if head.version == Version::HTTP_10 {
        head.fields.has_token(FieldName::Connection, "keep-alive")
    } else {
        !head.fields.has_token(FieldName::Connection, "close")
    }
}

#[cfg(test)]
mod tests;
