//! Copies bytes in both directions between two streams. A direction that has ended is closed at the
//! other side (half-close) while the other direction goes on. Streams that wait hold no buffer.
//!
//! A large transfer between two sockets goes through a pipe instead ([`super::splice`]), once some
//! reads in a row were full. It is copied again when it becomes slow.

use std::{
    cell::RefCell,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::{attached::Attached, splice::Pipe, tcp};
use crate::{
    proxy::{
        counters::PortCounters, deadline::Deadline, proxy_header, transport::Transport,
        worker::Worker,
    },
    routing::Port,
    util::drain::{Drain, Phase},
};

/// The size of the buffer that all relays of a core share.
const BUFFER: usize = 32 * 1024;
/// The most bytes of a read after a receiver did not take all. A relay keeps what its receiver does
/// not take, so slow receivers cost little.
const SMALL: usize = 4 * 1024;
/// The full reads in a row after which a transfer is a large one.
const LARGE: u8 = 4;
/// The bytes that a direction may move before the other connections of the core have their turn.
const TURN: u64 = 1024 * 1024;
/// The silence after which a relay ends while the process or its listener drains.
const DRAIN_QUIET: Duration = Duration::from_secs(1);

thread_local! {
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// A stream in both directions.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin {
    /// Returns the socket if its bytes are those of the stream.
    fn plain(&self) -> Option<&TcpStream>;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for Transport<S> {
    fn plain(&self) -> Option<&TcpStream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Tls(_) => None,
        }
    }
}

/// The reason why a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both directions have ended.
    Closed,
    /// The client broke the connection.
    Client,
    /// The endpoint broke the connection.
    Endpoint,
    /// Nothing moved for too long.
    Idle,
    /// The process or the listener drains, and the connection was quiet.
    Drained,
    /// The endpoint has not been listed for too long.
    Gone,
}

/// The bytes that a relay has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moved {
    /// From the client to the endpoint.
    pub(crate) up: u64,
    /// From the endpoint to the client.
    pub(crate) down: u64,
}

impl From<(u64, u64)> for Moved {
    fn from((up, down): (u64, u64)) -> Self {
        Self { up, down }
    }
}

/// A relay between a client and an endpoint.
pub(crate) struct Relay<'a, C, E> {
    client: &'a mut C,
    endpoint: &'a mut E,
    up: Way,
    down: Way,
    idle: Duration,
    deadline: Deadline,
    drain: Drain,
    draining: bool,
    counters: &'a PortCounters,
    worker: &'a Worker,
    /// The endpoint, which may go.
    attached: Option<Rc<Attached>>,
    /// The port whose clients are not expected to send a header of the PROXY protocol.
    watched: Option<Port>,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    /// Bytes that the receiver has not taken yet, from `taken` on.
    held: Vec<u8>,
    taken: usize,
    /// The pipe with such bytes, while nothing is held.
    pipe: Option<Pipe>,
    /// The full reads in a row.
    full: u8,
    /// True if the receiver has taken bytes since the relay looked.
    progressed: bool,
    /// True after the receiver did not take all bytes.
    is_slow: bool,
    /// True if bytes may wait in the receiver's own buffer.
    unflushed: bool,
    /// The sender has ended.
    ended: bool,
    /// The receiver has been informed of that.
    closed: bool,
    bytes: u64,
    /// The first bytes are those of a header of the PROXY protocol.
    begins_with_proxy: bool,
    broken: Option<End>,
}

impl<'a, C: Stream, E: Stream> Relay<'a, C, E> {
    /// Creates a relay that ends when nothing has moved for `idle`.
    pub(crate) fn new(
        worker: &'a Worker,
        client: &'a mut C,
        endpoint: &'a mut E,
        idle: Duration,
        drain: Drain,
        counters: &'a PortCounters,
    ) -> Self {
        Self {
            client,
            endpoint,
            up: Way::default(),
            down: Way::default(),
            idle,
            deadline: Deadline::new(&worker.deadlines),
            drain,
            draining: false,
            counters,
            worker,
            attached: None,
            watched: None,
        }
    }

    /// Ends when the endpoint has been gone for too long.
    pub(crate) fn follow(&mut self, attached: Rc<Attached>) {
        self.attached = Some(attached);
    }

    /// Notes a header of the PROXY protocol for this port.
    pub(crate) fn watch(&mut self, port: Option<Port>) {
        self.watched = port;
    }

    /// Sends bytes to the endpoint before those of the client: a header of ours, which is not
    /// counted, and bytes that the client has sent.
    pub(crate) fn begin_with(&mut self, header: Vec<u8>, sent: &[u8]) {
        let mut bytes = header;
        bytes.extend_from_slice(sent);
        (self.up.held, self.up.taken) = (bytes, 0);
        self.up.bytes = sent.len() as u64;
        self.counters.received.add(self.up.bytes);
    }

    /// Runs to the end.
    pub(crate) async fn run(&mut self) -> (End, Moved) {
        let end = std::future::poll_fn(|cx| self.poll(cx)).await;
        let (up, down) = (self.up.bytes, self.down.bytes);
        (end, Moved { up, down })
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let before = (self.up.bytes, self.down.bytes);
        let (worker, sides) = (self.worker, (End::Client, End::Endpoint));
        let up = self.up.pump(cx, worker, self.client, self.endpoint, sides);
        let down = self
            .down
            .pump(cx, worker, self.endpoint, self.client, (sides.1, sides.0));

        let moved = (self.up.bytes - before.0, self.down.bytes - before.1);
        self.counters.received.add(moved.0);
        self.counters.sent.add(moved.1);
        if moved.0 > 0
            && let Some(port) = self.watched.take()
            && self.up.begins_with_proxy
        {
            tcp::unexpected(self.worker, port);
        }

        if up.is_ready() && down.is_ready() {
            let broken = self.up.broken.or(self.down.broken);
            return Poll::Ready(broken.unwrap_or(End::Closed));
        }

        if self.attached.as_ref().is_some_and(|one| one.is_over()) {
            return Poll::Ready(End::Gone);
        }
        if !self.draining && self.drain.phase() != Phase::Running {
            self.draining = true;
            self.deadline.moved();
        }
        let progressed = [&mut self.up, &mut self.down].map(|way| mem::take(&mut way.progressed));
        if moved != (0, 0) || progressed.contains(&true) {
            self.deadline.moved();
        }

        let (limit, end) = match self.draining {
            true => (DRAIN_QUIET, End::Drained),
            false => (self.idle, End::Idle),
        };
        match self.deadline.is_over(cx, limit, None) {
            true => Poll::Ready(end),
            false => Poll::Pending,
        }
    }
}

impl Way {
    /// Moves bytes until one side has to wait. Ready once the direction has ended; `sides` are the
    /// ends for a broken sender and receiver.
    fn pump(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        from: &mut impl Stream,
        to: &mut impl Stream,
        (sender, receiver): (End, End),
    ) -> Poll<()> {
        let began = self.bytes;
        loop {
            if self.closed {
                return Poll::Ready(());
            }

            if ready!(self.drain_held(cx, to)).is_err() || ready!(self.drain_pipe(cx, to)).is_err()
            {
                self.break_off(receiver);
                continue;
            }

            if self.ended {
                // The receiver's own failure to close is no concern of the sender.
                let _ = ready!(Pin::new(&mut *to).poll_shutdown(cx));
                self.closed = true;
                continue;
            }

            if self.bytes - began >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }

            let passed = match self.splice(cx, worker, from, to) {
                Some(passed) => passed,
                None => SHARED.with_borrow_mut(|buffer| self.pass(cx, from, to, buffer)),
            };
            match passed {
                Poll::Ready(Passed::Some) => {}
                Poll::Ready(Passed::End) => self.ended = true,
                Poll::Ready(Passed::Unread) => {
                    self.ended = true;
                    self.broken.get_or_insert(sender);
                }
                Poll::Ready(Passed::Unwritten) => self.break_off(receiver),
                Poll::Pending => {
                    if self.unflushed {
                        match Pin::new(&mut *to).poll_flush(cx) {
                            Poll::Ready(Ok(())) => self.unflushed = false,
                            Poll::Ready(Err(_)) => self.break_off(receiver),
                            Poll::Pending => {}
                        }
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Ends the direction, because its receiver is gone. Bytes for it are lost; those from it are
    /// still read by the other direction.
    fn break_off(&mut self, side: End) {
        self.broken.get_or_insert(side);
        self.held = Vec::new();
        self.pipe = None;
        self.closed = true;
    }

    /// Writes the bytes that are held.
    fn drain_held(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<std::io::Result<()>> {
        while let Some(rest) = self.held.get(self.taken..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *to).poll_write(cx, rest)) {
                Ok(0) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Ok(written) => self.taken += written,
                Err(error) => return Poll::Ready(Err(error)),
            }
            (self.unflushed, self.progressed) = (true, true);
        }
        if !self.held.is_empty() {
            (self.held, self.taken) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Moves the bytes that are in the pipe on.
    fn drain_pipe(&mut self, cx: &mut Context<'_>, to: &impl Stream) -> Poll<std::io::Result<()>> {
        let (Some(pipe), Some(to)) = (&mut self.pipe, to.plain()) else {
            return Poll::Ready(Ok(()));
        };
        while !pipe.is_empty() {
            let Poll::Ready(moved) = pipe.poll_empty(cx, to) else {
                self.is_slow = true;
                return Poll::Pending;
            };
            if let Err(error) = moved {
                return Poll::Ready(Err(error));
            }
            self.progressed = true;
        }
        self.pipe = None;
        Poll::Ready(Ok(()))
    }

    /// Moves bytes of a large transfer into a pipe; `None` if they have to be copied.
    fn splice(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        from: &impl Stream,
        to: &impl Stream,
    ) -> Option<Poll<Passed>> {
        let (from, _) = (from.plain()?, to.plain()?);
        if self.full < LARGE || self.is_slow {
            return None;
        }

        let Some(mut pipe) = worker.pipes.take() else {
            self.full = 0;
            return None;
        };
        let Poll::Ready(filled) = pipe.poll_fill(cx, from) else {
            return Some(Poll::Pending);
        };
        Some(Poll::Ready(match filled {
            Ok(None) => return None,
            Ok(Some(0)) => Passed::End,
            Ok(Some(bytes)) => {
                self.bytes += bytes as u64;
                worker.counters.spliced.add(bytes as u64);
                if bytes < SMALL {
                    self.full = 0;
                }
                self.pipe = Some(pipe);
                Passed::Some
            }
            Err(_) => Passed::Unread,
        }))
    }

    /// Reads once, and writes that as far as possible.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        buffer: &mut [u8],
    ) -> Poll<Passed> {
        let most = if self.is_slow { SMALL } else { buffer.len() };
        let mut read = ReadBuf::new(&mut buffer[..most]);
        if ready!(Pin::new(from).poll_read(cx, &mut read)).is_err() {
            return Poll::Ready(Passed::Unread);
        }

        let bytes = read.filled();
        if bytes.is_empty() {
            return Poll::Ready(Passed::End);
        }

        if self.bytes == 0 {
            self.begins_with_proxy = proxy_header::begins(bytes);
        }
        self.bytes += bytes.len() as u64;
        self.full = match bytes.len() == most {
            true => self.full.saturating_add(1),
            false => 0,
        };
        self.unflushed = true;
        let written = match Pin::new(to).poll_write(cx, bytes) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(_)) => return Poll::Ready(Passed::Unwritten),
            Poll::Pending => 0,
        };
        self.is_slow = written < bytes.len();
        if self.is_slow {
            (self.held, self.taken) = (bytes[written..].to_vec(), 0);
        }
        Poll::Ready(Passed::Some)
    }
}

/// The outcome of reading and writing once.
enum Passed {
    /// Bytes, of which some may be held.
    Some,
    /// The sender has ended.
    End,
    /// The sender is broken.
    Unread,
    /// The receiver is broken.
    Unwritten,
}
