use std::{future::poll_fn, task::Poll};

use super::*;
use crate::proxy::executor::local;

/// Returns the number of deadlines that are waited for.
fn armed(all: &Deadlines) -> usize {
    all.slots.borrow().entries.iter().flatten().count()
}

#[test]
fn who_waits_is_woken_and_leaves_its_slot_to_the_next() {
    local(async {
        let all = Rc::new(Deadlines::default());
        let ticker = all.clone();
        tokio::task::spawn_local(async move { ticker.run().await });
        let idle = Duration::from_millis(50);

        for _ in 0..3 {
            let start = Instant::now();
            let mut deadline = Deadline::new(&all);
            poll_fn(|cx| {
                if deadline.is_over(cx, idle, None) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            assert!(start.elapsed() >= idle);
        }
        assert_eq!(armed(&all), 0);
        let slots = all.slots.borrow();
        assert_eq!((slots.entries.len(), slots.free.len()), (1, 1));
    });
}

#[test]
fn the_core_sleeps_until_the_first_deadline() {
    local(poll_fn(|cx| {
        let all = Rc::new(Deadlines::default());
        let [hour, minute] = [3600, 60].map(Duration::from_secs);
        let (mut first, mut second) = (Deadline::new(&all), Deadline::new(&all));
        let start = Instant::now();
        let sleeps = || all.next.get().map(|next| next - start);

        assert!(!first.is_over(cx, hour, None));
        assert!(sleeps() >= Some(hour));
        assert!(!second.is_over(cx, minute, None));
        assert!(sleeps() >= Some(minute) && sleeps() < Some(hour));

        // A later one does not change it, and one that is gone only after a look.
        first.moved();
        assert!(!first.is_over(cx, hour, None));
        second.moved();
        assert!(sleeps() < Some(hour));
        all.wake_due(Instant::now());
        assert!(sleeps() >= Some(hour));
        first.moved();
        all.wake_due(Instant::now());
        assert_eq!(sleeps(), None);
        Poll::Ready(())
    }));
}

#[test]
fn what_moves_begins_to_wait_anew_but_the_latest_time_stays() {
    local(poll_fn(|cx| {
        let hour = Duration::from_secs(3600);
        let all = Rc::new(Deadlines::default());
        let mut deadline = Deadline::new(&all);
        assert!(!deadline.is_over(cx, hour, None));
        assert_eq!(armed(&all), 1);
        deadline.moved();
        assert_eq!(armed(&all), 0);
        assert!(deadline.is_over(cx, hour, Some(Instant::now())));
        assert!(!deadline.is_over(cx, hour, None));
        deadline.moved();
        assert!(deadline.is_over(cx, Duration::ZERO, None));
        Poll::Ready(())
    }));
}
