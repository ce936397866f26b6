//! A socket to a backend whose response can be read after a write has failed. A backend may respond
//! and close before it has read the whole request. The response is then in our receive buffer, but
//! an HTTP client gives up at the failed write. So a failed write only waits, and the reading side
//! finds the response, then the end.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// A socket that reports write errors only after reading has reached the end.
#[derive(Debug)]
pub(crate) struct DeferredWriteError {
    tcp: TcpStream,
    broken: bool,
    /// Reading has reached the end too.
    ended: bool,
    /// The task whose write failed, woken when reading reaches the end.
    writer: Option<Waker>,
}

impl DeferredWriteError {
    pub(crate) fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            broken: false,
            ended: false,
            writer: None,
        }
    }

    /// Fails the write once reading has ended; waits until then. A socket that was reset is always
    /// readable, so the end comes soon.
    fn write_later(&mut self, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn judge(
        &mut self,
        cx: &Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Err(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                self.broken = true;
                self.write_later(cx)
            }
            other => other,
        }
    }
}

impl AsyncRead for DeferredWriteError {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.tcp).poll_read(cx, buf);
        let ended = match &read {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => buf.filled().len() == before && buf.remaining() > 0,
            Poll::Ready(Err(_)) => true,
        };
        if ended {
            self.ended = true;
            if let Some(writer) = self.writer.take() {
                writer.wake();
            }
        }
        read
    }
}

impl AsyncWrite for DeferredWriteError {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.broken {
            return self.write_later(cx);
        }
        let written = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.judge(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.broken {
            return self.write_later(cx);
        }
        let written = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.judge(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
