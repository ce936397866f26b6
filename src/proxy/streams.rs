//! The streams of a client's HTTP/2 connection, and the time that a client has to take a response.
//!
//! The HTTP server polls the body of a response only while the client's flow-control window is
//! open, so a body cannot watch a client that reads nothing. The task of the stream watches
//! instead.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use hyper::rt::Executor;

use super::{deadline::Deadline, worker::Worker};

/// The progress of the response on a stream, reported by its body.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The number of frames that the server has taken from the body.
    frames: Cell<u64>,
    /// True while the server does not ask for more, because it waits for the client.
    unread: Cell<bool>,
}

/// Runs the streams of one connection on the core of that connection.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    worker: Rc<Worker>,
    /// The stream that is being polled.
    current: Rc<RefCell<Option<Rc<Progress>>>>,
}

impl Progress {
    /// Records that the server asks for the next frame.
    pub(super) fn asked(&self) {
        self.unread.set(false);
    }

    /// Records that the server has a frame, or the head, to send.
    pub(super) fn given(&self) {
        self.frames.set(self.frames.get() + 1);
        self.unread.set(true);
    }
}

impl Streams {
    pub(super) fn new(worker: &Rc<Worker>) -> Self {
        Self {
            worker: worker.clone(),
            current: Rc::default(),
        }
    }

    /// Returns the stream whose request is being handled now.
    pub(super) fn current(&self) -> Option<Rc<Progress>> {
        self.current.borrow().clone()
    }

    fn idle(&self) -> Duration {
        self.worker.settings.stream_idle_timeout
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    /// Runs a stream until it ends, or until its client has taken nothing of a response for
    /// `stream_idle_timeout`. The stream is reset then (RFC 9113 section 5.4.2); the connection
    /// goes on.
    fn execute(&self, stream: F) {
        let mut stream = Box::pin(stream);
        let progress = Rc::new(Progress::default());
        let mut deadline = Deadline::new(&self.worker.deadlines);
        let streams = self.clone();
        let mut seen = 0;

        tokio::task::spawn_local(std::future::poll_fn(move |cx| {
            streams.current.replace(Some(progress.clone()));
            let polled = stream.as_mut().poll(cx);
            streams.current.replace(None);
            if polled.is_ready() {
                return Poll::Ready(());
            }

            if !progress.unread.get() || progress.frames.get() != seen {
                seen = progress.frames.get();
                deadline.moved();
            }
            if progress.unread.get() && deadline.is_over(cx, streams.idle(), None) {
                tracing::debug!("stream reset: the client does not read the response");
                return Poll::Ready(());
            }
            Poll::Pending
        }));
    }
}
