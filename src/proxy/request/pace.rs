//! Sends a body at a pace, as `limit_rate` of nginx does.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::routing::Pace;

/// The state of a body that is sent at a pace.
#[derive(Debug)]
pub(super) struct Paced {
    pace: Pace,
    began: Instant,
    /// Bytes so far.
    sent: u64,
    /// A part of a frame that waits for its time.
    rest: Bytes,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            began: Instant::now(),
            sent: 0,
            rest: Bytes::new(),
            sleep: None,
        }
    }

    /// Returns the number of bytes that were read and not sent.
    pub(super) fn kept(&self) -> u64 {
        self.rest.len() as u64
    }

    /// Returns the next frame of a source when its time has come.
    pub(super) fn poll<E>(
        &mut self,
        cx: &mut Context<'_>,
        mut source: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        if let Some(sleep) = &mut self.sleep {
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        let allowed = self.allowed(self.began.elapsed());
        if allowed == 0 {
            let mut sleep = Box::pin(sleep_until(self.began + self.wait()));
            // Registers its waker.
            if sleep.as_mut().poll(cx).is_pending() {
                self.sleep = Some(sleep);
                return Poll::Pending;
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }

        let mut data = std::mem::take(&mut self.rest);
        if data.is_empty() {
            let frame = match ready!(source(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(bytes) => data = bytes,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }

        let length = data
            .len()
            .min(usize::try_from(allowed).unwrap_or(usize::MAX));
        self.rest = data.split_off(length);
        self.sent += length as u64;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    /// Returns the bytes that may be sent now: a second's worth is always ahead.
    fn allowed(&self, elapsed: Duration) -> u64 {
        let elapsed = elapsed.as_millis() as u64 + 1000;
        let due = u128::from(self.pace.rate) * u128::from(elapsed) / 1000;
        let due = u64::try_from(due).unwrap_or(u64::MAX);
        self.pace
            .after
            .saturating_add(due)
            .saturating_sub(self.sent)
    }

    /// Returns the time after the beginning at which a quarter of a second's worth may be sent.
    fn wait(&self) -> Duration {
        let due = self.sent.saturating_sub(self.pace.after) + self.pace.rate / 4;
        let millis = u128::from(due) * 1000 / u128::from(self.pace.rate.max(1));
        Duration::from_millis(
            u64::try_from(millis)
                .unwrap_or(u64::MAX)
                .saturating_sub(1000)
                .max(1),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paced(rate: u64, after: u64, sent: u64) -> Paced {
        let mut paced = Paced::new(Pace { rate, after });
        paced.sent = sent;
        paced
    }

    #[test]
    fn a_second_is_ahead_and_the_rest_comes_at_the_pace() {
        let seconds = Duration::from_secs;
        assert_eq!(paced(1000, 0, 0).allowed(seconds(0)), 1000);
        assert_eq!(paced(1000, 0, 1000).allowed(seconds(0)), 0);
        assert_eq!(paced(1000, 0, 1000).allowed(seconds(2)), 2000);
        assert_eq!(paced(1000, 5000, 1000).allowed(seconds(0)), 5000);
        assert_eq!(paced(1000, 0, 1000).wait(), Duration::from_millis(250));
        assert_eq!(paced(1000, 5000, 8000).wait(), Duration::from_millis(2250));
        for sent in [1000, 2500, 70_000] {
            let paced = paced(1000, 0, sent);
            assert!(paced.allowed(paced.wait()) > 0, "{sent}");
        }
    }
}
