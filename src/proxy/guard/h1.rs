//! The guard of an HTTP/1 connection: a transport that passes only complete and unambiguous heads
//! to the HTTP server. Bodies pass unchanged and are only counted.
//!
//! A refused head is replaced by a request of our own ([`REFUSAL`]), so that the error response is
//! sent in its turn, by the same code as every other response, and the server sees nothing of the
//! original.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    chunk::{Chunks, Seen},
    head::{Body, Head, Limits},
    note_write,
};
use crate::proxy::{
    conn_state::{ConnState, DeadlineAction, Phase},
    error::Kind,
};

/// The size of a read while a head is incomplete.
const STEP: usize = 2048;
/// The most bytes that are read and discarded while a connection lingers.
const MAX_LINGER: usize = 1024 * 1024;
/// The request that takes the place of a refused head; its method is [`REFUSED`].
const REFUSAL: &[u8] =
    b"GATELET-REFUSED / HTTP/1.1\r\nHost: refused.invalid\r\nConnection: close\r\n\r\n";

/// The transport of an HTTP/1 connection, guarded.
#[derive(Debug)]
pub(in crate::proxy) struct GuardH1<I, T> {
    inner: I,
    state: Arc<ConnState>,
    framing: Framing,
    limits: Limits,
    /// Bytes read and not passed on: `held[passed..ready]` may be passed, the rest is an incomplete
    /// head or waits for the response to an upgrade request.
    held: Vec<u8>,
    passed: usize,
    ready: usize,
    ended: bool,
    lingered: usize,
    /// Lives as long as the connection, upgraded or not.
    _token: T,
}

/// The position of the next byte in the stream of messages.
#[derive(Debug)]
enum Framing {
    /// In a head, or before one.
    Head(Head),
    /// In a body of this many more bytes; the flag means that the head requested an upgrade.
    Length(u64, bool),
    /// In a chunked body.
    Chunked(Chunks, bool),
    /// After an upgrade request, until its response.
    Undecided,
    /// In another protocol.
    Switched,
    /// After a refused head.
    Refused,
    /// Inside a malformed body.
    Broken(&'static str),
}

impl<I, T> GuardH1<I, T> {
    /// Guards `inner`. `first` was read from it already; `token` is kept until the connection ends.
    pub(in crate::proxy) fn new(
        inner: I,
        first: &[u8],
        state: Arc<ConnState>,
        limits: Limits,
        token: T,
    ) -> Self {
        let mut guard = Self {
            inner,
            state,
            framing: Framing::Head(Head::default()),
            limits,
            held: first.to_vec(),
            passed: 0,
            ready: 0,
            ended: false,
            lingered: 0,
            _token: token,
        };
        if !guard.held.is_empty() {
            guard.scan_held();
        }
        guard
    }

    fn refuse(&mut self, kind: Kind) {
        self.state.refuse(kind);
        self.framing = Framing::Refused;
        // Bytes that may be passed still are, with the refusal behind them.
        self.held.truncate(self.ready);
        self.held.extend_from_slice(REFUSAL);
        self.ready = self.held.len();
        self.state.enter(Phase::Idle);
    }

    /// Scans the held bytes behind those that may be passed.
    fn scan_held(&mut self) {
        let held = std::mem::take(&mut self.held);
        let (pass, refused) = self.framing.scan(&held[self.ready..], self.limits);
        self.held = held;
        self.ready += pass;
        if let Some(kind) = refused {
            self.refuse(kind);
        }
        self.report_phase();
    }

    /// Reports the phase of the connection to the driver.
    fn report_phase(&self) {
        self.state.enter(match &self.framing {
            Framing::Head(_) if self.held.len() > self.ready => Phase::Head,
            Framing::Head(_) | Framing::Undecided | Framing::Refused => Phase::Idle,
            Framing::Length(..) | Framing::Chunked(..) | Framing::Broken(_) => Phase::Body,
            Framing::Switched => Phase::Switched,
        });
    }

    /// Passes on the bytes that may be passed.
    fn pass_held(&mut self, buf: &mut ReadBuf<'_>) {
        let n = buf.remaining().min(self.ready - self.passed);
        buf.put_slice(&self.held[self.passed..self.passed + n]);
        self.passed += n;
        if self.passed == self.ready {
            self.held.drain(..self.ready);
            (self.passed, self.ready) = (0, 0);
            if self.held.is_empty() {
                self.held = Vec::new();
            }
        }
    }

    /// Ends the stream. The server sees the end only once no response is outstanding.
    fn end(&mut self) -> Poll<io::Result<()>> {
        self.ended = true;
        let state = &self.state;
        state.ended();
        match self.framing {
            Framing::Length(..) | Framing::Chunked(..) | Framing::Switched => Poll::Ready(Ok(())),
            _ if state.busy() => Poll::Pending,
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<I: AsyncRead + Unpin, T> GuardH1<I, T> {
    /// Reads into the held bytes. Ready with the number of bytes read.
    fn poll_hold(&mut self, cx: &mut Context<'_>, step: usize) -> Poll<io::Result<usize>> {
        let len = self.held.len();
        self.held.resize(len + step, 0);
        let mut buf = ReadBuf::new(&mut self.held[len..]);
        let polled = Pin::new(&mut self.inner).poll_read(cx, &mut buf);
        let n = buf.filled().len();
        self.held.truncate(len + n);
        polled.map_ok(|()| n)
    }

    /// Carries out the driver's decision, unless bytes that arrived since outdate it.
    fn obey(&mut self, action: DeadlineAction) -> Option<io::Result<()>> {
        self.state.undecide();
        match (action, &self.framing) {
            (DeadlineAction::SlowHead, Framing::Head(_)) if self.held.len() > self.ready => {
                self.refuse(Kind::RequestTimeout);
                None
            }
            (DeadlineAction::Idle, Framing::Head(_) | Framing::Undecided) if !self.state.busy() => {
                Some(Ok(()))
            }
            _ => None,
        }
    }

    /// Reads while it is undecided whether the protocol is switched. Returns true once it is
    /// decided, false at the end of the stream.
    fn poll_undecided(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.state.is_switched() {
            self.framing = Framing::Switched;
            self.ready = self.held.len();
            self.report_phase();
            return Poll::Ready(Ok(true));
        }
        if self.state.in_flight() == 0 {
            self.framing = Framing::Head(Head::default());
            self.scan_held();
            return Poll::Ready(Ok(true));
        }
        self.state.hold();
        // A client has to wait for the response before it sends anything; early bytes are kept, up
        // to a limit.
        while self.held.len() < self.limits.bytes {
            if ready!(self.poll_hold(cx, STEP))? == 0 {
                return Poll::Ready(Ok(false));
            }
        }
        Poll::Pending
    }
}

impl<I: AsyncRead + Unpin, T: Unpin> AsyncRead for GuardH1<I, T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let action = this.state.action();
        loop {
            if this.ready > this.passed {
                this.pass_held(buf);
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return this.end();
            }

            let start = buf.filled().len();
            match &this.framing {
                Framing::Switched => return Pin::new(&mut this.inner).poll_read(cx, buf),
                Framing::Refused => return Poll::Pending,
                Framing::Broken(why) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, *why)));
                }
                Framing::Undecided => match this.poll_undecided(cx) {
                    Poll::Ready(Ok(true)) => continue,
                    Poll::Ready(Ok(false)) => return this.end(),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                },
                _ if !this.held.is_empty() => match this.poll_hold(cx, STEP) {
                    Poll::Ready(Ok(0)) => return this.end(),
                    Poll::Ready(Ok(_)) => {
                        this.scan_held();
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                },
                _ => match Pin::new(&mut this.inner).poll_read(cx, buf) {
                    Poll::Ready(Ok(())) => {
                        let fresh = &buf.filled()[start..];
                        if fresh.is_empty() {
                            return this.end();
                        }
                        let (pass, refused) = this.framing.scan(fresh, this.limits);
                        if pass < fresh.len() {
                            this.held.extend_from_slice(&fresh[pass..]);
                            buf.set_filled(start + pass);
                        }
                        if let Some(kind) = refused {
                            this.refuse(kind);
                        }
                        this.report_phase();
                        if pass > 0 {
                            return Poll::Ready(Ok(()));
                        }
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                },
            }

            // Nothing to read now.
            match this.obey(action) {
                Some(result) => return Poll::Ready(result),
                None if this.ready > this.passed => continue,
                None => {
                    return Poll::Pending;
                }
            }
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin, T: Unpin> AsyncWrite for GuardH1<I, T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        note_write(&this.state, Pin::new(&mut this.inner).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        note_write(
            &this.state,
            Pin::new(&mut this.inner).poll_write_vectored(cx, slices),
        )
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = note_write(&this.state, Pin::new(&mut this.inner).poll_flush(cx));
        if let Poll::Ready(Ok(())) = flushed {
            this.state.flushed();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if matches!(this.framing, Framing::Switched) {
            return Pin::new(&mut this.inner).poll_shutdown(cx);
        }

        this.state.enter(Phase::Closing);
        ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        // Closing a socket with unread bytes resets it, and the client may lose the response.
        let clean =
            matches!(&this.framing, Framing::Head(_) | Framing::Undecided) && this.held.is_empty();
        if clean || this.ended {
            return Poll::Ready(Ok(()));
        }

        let mut sink = [0_u8; 4096];
        while this.lingered < MAX_LINGER {
            let mut buf = ReadBuf::new(&mut sink);
            match ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => this.lingered += buf.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Framing {
    /// Scans the next bytes. Returns how many may be passed, and the reason if those behind them
    /// are refused. In [`Framing::Head`] the bytes begin where the head begins; without a reason,
    /// the remaining bytes are an incomplete head, or undecided.
    fn scan(&mut self, bytes: &[u8], limits: Limits) -> (usize, Option<Kind>) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match self {
                Self::Head(head) => match head.scan(rest, limits) {
                    Ok(None) => return (at, None),
                    Ok(Some(complete)) => {
                        at += complete.len;
                        *self = match complete.body {
                            Body::None => Self::after(complete.upgrade),
                            Body::Length(length) => Self::Length(length, complete.upgrade),
                            Body::Chunked => Self::Chunked(Chunks::new(), complete.upgrade),
                        };
                    }
                    Err(kind) => return (at, Some(kind)),
                },
                Self::Length(left, upgrade) => match usize::try_from(*left) {
                    Ok(length) if length <= rest.len() => {
                        at += length;
                        *self = Self::after(*upgrade);
                    }
                    _ => {
                        *left -= rest.len() as u64;
                        return (bytes.len(), None);
                    }
                },
                Self::Chunked(chunks, upgrade) => match chunks.scan(rest, limits) {
                    Seen::All => return (bytes.len(), None),
                    Seen::End(length) => {
                        at += length;
                        *self = Self::after(*upgrade);
                    }
                    Seen::Bad(length, kind) => {
                        *self = Self::Broken(kind.reason());
                        return (at + length, None);
                    }
                },
                Self::Undecided | Self::Refused | Self::Broken(_) => return (at, None),
                Self::Switched => return (bytes.len(), None),
            }
        }
        (at, None)
    }

    fn after(upgrade: bool) -> Self {
        if upgrade {
            Self::Undecided
        } else {
            Self::Head(Head::default())
        }
    }
}

#[cfg(test)]
mod tests;
