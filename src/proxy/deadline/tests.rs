use std::{future::poll_fn, task::Poll};

use super::*;
use crate::proxy::executor::local;

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
        let slots = all.slots.borrow();
        assert_eq!(
            (all.armed.get(), slots.entries.len(), slots.free.len()),
            (0, 1, 1)
        );
    });
}

#[test]
fn what_moves_begins_to_wait_anew_but_the_latest_time_stays() {
    local(poll_fn(|cx| {
        let hour = Duration::from_secs(3600);
        let all = Rc::new(Deadlines::default());
        let mut deadline = Deadline::new(&all);
        assert!(!deadline.is_over(cx, hour, None));
        assert_eq!(all.armed.get(), 1);
        deadline.moved();
        assert_eq!(all.armed.get(), 0);
        assert!(deadline.is_over(cx, hour, Some(Instant::now())));
        assert!(!deadline.is_over(cx, hour, None));
        deadline.moved();
        assert!(deadline.is_over(cx, Duration::ZERO, None));
        Poll::Ready(())
    }));
}
