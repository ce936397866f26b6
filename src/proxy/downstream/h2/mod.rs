//! HTTP/2 with a client (RFC 9113): one task drives the connection and decides when it ends, and
//! one task per stream handles a request and sends its response.

#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod guard;
mod hpack;
mod stream;

use std::{
    cell::Cell,
    pin::pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::server::{Builder, Connection as H2Connection, Handshake, SendResponse};
use http::Request;

use self::guard::{Guard, Traffic};
pub(crate) use self::{guard::PREFACE, stream::Stream};
use super::{client::ClientStream, h1::DRAIN_IDLE};
use crate::{
    limit::Permit,
    proxy::{
        conn::ConnInfo,
        deadline::Deadline,
        h2::SEND_BUFFER,
        memory::{self, Pressure},
        worker::Worker,
    },
    util::drain::{Drain, Phase},
};

/// The time that a connection has to end after we have said that no request may follow.
const END_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest time without a look at a busy connection.
const LOOK: Duration = Duration::from_secs(3600);

/// The bytes of request bodies that a client may send ahead, on one stream and on all.
const WINDOW: u32 = 1024 * 1024;
/// The same for a connection that begins under memory pressure: the least that RFC 9113 section
/// 6.9.2 has for all streams.
const SMALL_WINDOW: u32 = 64 * 1024 - 1;
/// The memory of an idle connection, about.
const IDLE_BYTES: usize = 16 * 1024;

/// A client's connection.
struct Connection {
    state: State,
    traffic: Rc<Traffic>,
    conn: Rc<ConnInfo>,
    worker: Rc<Worker>,
    drain: Drain,
    deadline: Deadline,
    wait: Wait,
    /// True once a request has come.
    used: bool,
    /// True once we have said that no request may follow.
    goodbye: bool,
    /// The streams whose tasks have not ended.
    streams: Rc<Streams>,
    /// The connection holds its place among all connections.
    _permit: Permit,
}

enum State {
    Handshake(Box<Handshake<Guard<ClientStream>, Bytes>>),
    Open(Box<H2Connection<Guard<ClientStream>, Bytes>>),
}

/// The reason why a connection waits, which decides for how long it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// For the first request.
    First,
    /// For another request.
    Next,
    /// For another request that the client sent before it knew of the drain.
    Last,
    /// For requests in flight, which have deadlines of their own.
    Busy,
    /// For the client to take what we send. The number changes when it takes something.
    Blocked(u64),
    /// For the client to close.
    Close,
}

/// The action that is due.
enum Late {
    /// Tell the client that no request may follow.
    Goodbye,
    /// Drop the connection.
    End,
}

/// The streams of a connection whose tasks have not ended.
#[derive(Debug, Default)]
struct Streams(Cell<usize>);

/// One of them.
struct StreamGuard(Rc<Streams>);

/// Serves a connection until it ends. `first` was read from it already.
pub(crate) async fn serve(
    stream: ClientStream,
    first: Vec<u8>,
    conn: ConnInfo,
    permit: Permit,
    worker: &Rc<Worker>,
    drain: Drain,
) {
    let settings = &worker.settings;
    let traffic = Rc::<Traffic>::default();
    let guard = Guard::new(stream, first, traffic.clone());
    let window = match memory::pressure() {
        Pressure::Low => WINDOW,
        Pressure::High | Pressure::Critical => SMALL_WINDOW,
    };
    let handshake = Builder::new()
        .initial_window_size(window)
        .initial_connection_window_size(window)
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER)
        .handshake(guard);

    let mut connection = Connection {
        state: State::Handshake(Box::new(handshake)),
        traffic,
        conn: Rc::new(conn),
        worker: worker.clone(),
        drain,
        deadline: Deadline::new(&worker.deadlines),
        wait: Wait::First,
        used: false,
        goodbye: false,
        streams: Rc::default(),
        _permit: permit,
    };
    std::future::poll_fn(|cx| connection.poll(cx)).await;

    if connection.traffic.is_flood() {
        tracing::debug!("HTTP/2 connection closed: flood of frames");
        worker.counters.floods.add(1);
    }
}

impl Connection {
    /// Continues to serve the connection. Ready when it has to be dropped.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.poll_accept(cx) {
                Poll::Ready(Some((request, respond))) => {
                    self.start(request, respond);
                    continue;
                }
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            match self.poll_late(cx) {
                Poll::Ready(Late::Goodbye) => self.say_goodbye(),
                Poll::Ready(Late::End) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Drives the connection. Ready with the next request; `None` when it has ended.
    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Request<h2::RecvStream>, SendResponse<Bytes>)>> {
        loop {
            match &mut self.state {
                State::Handshake(handshake) => match pin!(&mut **handshake).poll(cx) {
                    Poll::Ready(Ok(open)) => self.state = State::Open(Box::new(open)),
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => return Poll::Pending,
                },
                State::Open(open) => {
                    return match pin!(open.accept()).poll(cx) {
                        Poll::Ready(Some(Ok(accepted))) => Poll::Ready(Some(accepted)),
                        Poll::Ready(Some(Err(_)) | None) => Poll::Ready(None),
                        Poll::Pending => Poll::Pending,
                    };
                }
            }
        }
    }

    fn start(&mut self, request: Request<h2::RecvStream>, respond: SendResponse<Bytes>) {
        self.used = true;
        self.deadline.moved();
        let guard = StreamGuard::new(&self.streams);
        let (worker, conn) = (self.worker.clone(), self.conn.clone());
        let traffic = self.traffic.clone();
        // Boxed: a task that is large itself is moved several times before it begins.
        tokio::task::spawn_local(Box::pin(async move {
            let _guard = guard;
            stream::serve(&worker, &conn, (request, respond), traffic).await;
        }));
    }

    /// Waits for the deadline that applies now, or for a drain.
    fn poll_late(&mut self, cx: &Context<'_>) -> Poll<Late> {
        if !self.goodbye && self.is_draining() && self.is_busy() {
            return Poll::Ready(Late::Goodbye);
        }

        let wait = self.wait();
        if wait != self.wait {
            self.wait = wait;
            self.deadline.moved();
        }
        let settings = &self.worker.settings;
        let limit = match wait {
            Wait::First => settings.client_header_timeout,
            Wait::Next => settings.client_idle_timeout,
            Wait::Last => DRAIN_IDLE,
            Wait::Busy => LOOK,
            Wait::Blocked(_) => settings.stream_idle_timeout,
            Wait::Close => END_TIMEOUT,
        };
        let is_late = self.deadline.is_over(cx, limit, None);
        if wait == Wait::Busy && self.traffic.unread() > SEND_BUFFER {
            // Request bodies pile up that no endpoint takes.
            return match memory::sheds(self.traffic.unread()) {
                true => Poll::Ready(Late::End),
                false => Poll::Pending,
            };
        }
        let is_idle = matches!(wait, Wait::First | Wait::Next) && !self.goodbye;
        let ends = is_late || (is_idle && memory::sheds(IDLE_BYTES));
        if !ends {
            return Poll::Pending;
        }

        match wait {
            Wait::Busy => Poll::Pending,
            Wait::First | Wait::Next | Wait::Last if matches!(self.state, State::Open(_)) => {
                Poll::Ready(Late::Goodbye)
            }
            _ => Poll::Ready(Late::End),
        }
    }

    /// Says that no request may follow those in flight. It has to be polled after that.
    fn say_goodbye(&mut self) {
        if let State::Open(open) = &mut self.state {
            open.graceful_shutdown();
        }
        self.goodbye = true;
    }

    /// Returns the reason why the connection waits now.
    fn wait(&self) -> Wait {
        if let Some(taken) = self.traffic.blocked() {
            return Wait::Blocked(taken);
        }
        if self.is_busy() {
            return Wait::Busy;
        }
        self.traffic.has_no_stream();
        match () {
            () if self.goodbye => Wait::Close,
            () if self.is_draining() => Wait::Last,
            () if self.used => Wait::Next,
            () => Wait::First,
        }
    }

    /// Returns true if a request is in flight, or its response is not sent yet.
    fn is_busy(&self) -> bool {
        match &self.state {
            State::Handshake(_) => false,
            State::Open(open) => open.has_streams() || self.streams.0.get() > 0,
        }
    }

    fn is_draining(&self) -> bool {
        self.drain.phase() != Phase::Running
    }
}

impl StreamGuard {
    fn new(streams: &Rc<Streams>) -> Self {
        streams.0.set(streams.0.get() + 1);
        Self(streams.clone())
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
    }
}
