//! A timer for streams that stop moving. It costs nothing until a poll has to wait.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// Expires when nothing moved for `after`, at the latest after twice that.
#[derive(Debug)]
pub(super) struct Stall {
    after: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    moved: bool,
}

impl Stall {
    pub(super) fn new(after: Duration) -> Self {
        Self { after, sleep: None, moved: false }
    }

    /// Something moved.
    pub(super) fn moved(&mut self) {
        self.moved = true;
    }

    /// To be called when the stream has to wait; ready when it has waited too long.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let after = self.after;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(after)));
        while sleep.as_mut().poll(cx).is_ready() {
            if !std::mem::take(&mut self.moved) {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(Instant::now() + after);
        }
        Poll::Pending
    }
}
