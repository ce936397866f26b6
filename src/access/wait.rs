//! Waits for several futures at once.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
};

/// Waits until one of the futures is ready.
pub(super) async fn for_first<F: Future + ?Sized>(mut futures: Vec<Pin<Box<F>>>) {
    poll_fn(|context| {
        let is_ready = |future: &mut Pin<Box<F>>| future.as_mut().poll(context).is_ready();
        match futures.iter_mut().any(is_ready) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// Waits for all futures, and returns what they return, in the order in which they are ready.
pub(super) async fn for_all<F: Future + ?Sized>(mut futures: Vec<Pin<Box<F>>>) -> Vec<F::Output> {
    let mut results = Vec::with_capacity(futures.len());
    poll_fn(|context| {
        futures.retain_mut(|future| match future.as_mut().poll(context) {
            Poll::Ready(result) => {
                results.push(result);
                false
            }
            Poll::Pending => true,
        });
        match futures.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    results
}
