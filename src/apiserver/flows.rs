//! Fairness between users: each has a number of requests that are handled at the same time, and of
//! those that wait. One that sends more is refused and delays no other user (the idea of API
//! priority and fairness in a real API server, with one level).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::util::sync::lock;

/// The requests of a user that are handled at the same time, from their body to their response. A
/// watch counts until it begins.
const SEATS: usize = 32;

/// The requests of a user that wait for a seat.
const QUEUE: usize = 128;

/// The longest wait.
const PATIENCE: Duration = Duration::from_secs(15);

/// The users that have requests now.
#[derive(Debug, Default)]
pub(super) struct Flows(Mutex<HashMap<String, Arc<Flow>>>);

/// The requests of a user.
#[derive(Debug)]
struct Flow {
    seats: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The right to be handled. It ends when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    flows: Arc<Flows>,
    user: String,
    /// `None` only while it is dropped.
    permit: Option<OwnedSemaphorePermit>,
}

/// A user with too many requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Flows {
    /// Waits for a seat.
    ///
    /// # Errors
    /// Too many requests of the user wait already, or there was no seat for a long time.
    pub(super) async fn seat(self: &Arc<Self>, user: &str) -> Result<Seat, Full> {
        let flow = {
            let mut flows = lock(&self.0);
            let flow = flows.entry(user.to_owned()).or_insert_with(|| {
                Arc::new(Flow {
                    seats: Arc::new(Semaphore::new(SEATS)),
                    waiting: AtomicUsize::new(0),
                })
            });
            flow.clone()
        };
        // Made before the wait, so that the user is forgotten if the request is dropped.
        let mut seat = Seat {
            flows: self.clone(),
            user: user.to_owned(),
            permit: None,
        };

        if let Ok(permit) = flow.seats.clone().try_acquire_owned() {
            seat.permit = Some(permit);
            return Ok(seat);
        }
        if flow.waiting.fetch_add(1, Relaxed) >= QUEUE {
            flow.waiting.fetch_sub(1, Relaxed);
            return Err(Full);
        }

        let waiting = Waiting(&flow);
        let permit = timeout(PATIENCE, flow.seats.clone().acquire_owned()).await;
        drop(waiting);
        match permit {
            Ok(Ok(permit)) => {
                seat.permit = Some(permit);
                Ok(seat)
            }
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }

    #[cfg(test)]
    pub(super) fn users(&self) -> usize {
        lock(&self.0).len()
    }
}

/// A request in the queue.
struct Waiting<'f>(&'f Flow);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.permit = None;
        let mut flows = lock(&self.flows.0);
        let is_idle = flows.get(&self.user).is_some_and(|flow| {
            flow.seats.available_permits() == SEATS && flow.waiting.load(Relaxed) == 0
        });
        if is_idle {
            flows.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    #[tokio::test]
    async fn a_user_with_too_many_requests_delays_no_other() {
        let flows = Arc::new(Flows::default());
        let mut seats = Vec::new();
        for _number in 0..SEATS {
            seats.push(flows.seat("loud").await.unwrap());
        }
        let mut queue: Vec<_> = (0..QUEUE)
            .map(|_number| Box::pin(flows.seat("loud")))
            .collect();
        for waiting in &mut queue {
            assert!(matches!(poll(waiting.as_mut()), Poll::Pending));
        }
        assert_eq!(flows.seat("loud").await.unwrap_err(), Full);
        let quiet = flows.seat("quiet").await.unwrap();

        // A seat that is free goes to the first who waits.
        seats.pop();
        // tokio lets a task wait for a limited number of permits in one go.
        tokio::task::yield_now().await;
        let next = poll(queue[0].as_mut());
        assert!(matches!(next, Poll::Ready(Ok(_))));
        assert!(matches!(poll(queue[1].as_mut()), Poll::Pending));

        drop((seats, queue, quiet, next));
        assert_eq!(flows.users(), 0);
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        let mut context = Context::from_waker(Waker::noop());
        future.poll(&mut context)
    }
}
