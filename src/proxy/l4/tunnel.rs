//! Upgraded connections (WebSocket and every other protocol): after 101, copies bytes in both
//! directions until both sides have ended or nothing has moved for too long.

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use crate::proxy::request::body::Switched;

/// The buffer size for each direction.
const BUFFER: usize = 8 * 1024;

/// Connects both sides until that ends.
pub(crate) async fn run(client: impl AsyncRead + AsyncWrite + Unpin, switched: Switched) {
    let Switched {
        connection: mut upstream,
        lease: _lease,
        idle,
        place: _place,
    } = switched;

    let last = Rc::new(Cell::new(Instant::now()));
    let mut client = Watched {
        io: client,
        last: last.clone(),
    };
    let copy = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, BUFFER, BUFFER);

    tokio::select! {
        _ended = copy => {}
        () = stalled(&last, idle) => {
            tracing::debug!("upgraded connection closed: idle for too long");
        }
    }
}

async fn stalled(last: &Cell<Instant>, idle: Duration) {
    loop {
        let due = last.get().checked_add(idle);
        let Some(due) = due else {
            return std::future::pending().await;
        };
        if Instant::now() >= due {
            return;
        }
        tokio::time::sleep_until(due).await;
    }
}

/// Notes when data moves; both directions pass through the client's side.
struct Watched<T> {
    io: T,
    last: Rc<Cell<Instant>>,
}

impl<T> Watched<T> {
    fn note<R>(&self, polled: Poll<R>) -> Poll<R> {
        if polled.is_ready() {
            self.last.set(Instant::now());
        }
        polled
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        self.note(polled)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
