use super::*;

fn rate(per_second: u32, burst: u32) -> Rate {
    Rate {
        interval: Duration::from_secs(1) / per_second,
        burst,
    }
}

fn limits(rates: [Option<Rate>; RATES], in_flight: Option<u32>) -> Limits {
    Limits { rates, in_flight }
}

/// Returns how many of `count` requests at one time are admitted.
fn admitted(clients: &Arc<Clients<u32>>, limits: &Limits, now: Instant, count: usize) -> usize {
    let admits = |_: &usize| clients.admit(1, limits, now).is_ok();
    (0..count).filter(admits).count()
}

#[test]
fn a_burst_and_one_more_come_at_once_then_one_for_each_interval() {
    let (clients, now) = (Arc::<Clients<u32>>::default(), Instant::now());
    let limits = limits([Some(rate(10, 5)), None], None);
    assert_eq!(admitted(&clients, &limits, now, 20), 6);
    let wait = clients.admit(1, &limits, now).expect_err("too fast");
    assert_eq!(wait, TooMany::Fast(Duration::from_millis(100)));
    let after = |tenths: u64| now + Duration::from_millis(100 * tenths);
    assert_eq!(admitted(&clients, &limits, after(1), 5), 1);
    assert_eq!(admitted(&clients, &limits, after(3), 5), 2);
    assert_eq!(admitted(&clients, &limits, after(100), 20), 6);
    // Others have their own.
    assert!(clients.admit(2, &limits, now).is_ok());
}

#[test]
fn a_request_that_one_rate_refuses_counts_for_none() {
    let (clients, now) = (Arc::<Clients<u32>>::default(), Instant::now());
    let both = limits([Some(rate(1, 9)), Some(rate(1, 1))], None);
    assert_eq!(admitted(&clients, &both, now, 20), 2);
    let first = limits([Some(rate(1, 9)), None], None);
    assert_eq!(admitted(&clients, &first, now, 20), 8);
}

#[test]
fn requests_in_flight_give_their_places_back() {
    let (clients, now) = (Arc::<Clients<u32>>::default(), Instant::now());
    let limits = limits([None, None], Some(2));
    let one = clients.admit(1, &limits, now).expect("a place");
    let two = clients.admit(1, &limits, now).expect("a place");
    assert!(one.is_some() && two.is_some());
    let third = clients.admit(1, &limits, now);
    assert_eq!(third.expect_err("none is left"), TooMany::InFlight);
    assert!(clients.admit(2, &limits, now).is_ok());
    drop(one);
    assert!(clients.admit(1, &limits, now).is_ok());
    drop(two);
    assert_eq!(clients.kept(), 0);
}

#[test]
fn the_number_of_keys_is_bounded_and_the_busy_ones_stay() {
    let (clients, now) = (Arc::<Clients<u32>>::default(), Instant::now());
    let limits = limits([Some(rate(1, 0)), None], None);
    assert!(clients.admit(0, &limits, now).is_ok());
    for key in 1..200_000 {
        assert!(clients.admit(key, &limits, now).is_ok());
        if key % 1_000 == 0 {
            // It comes again and again, and is refused.
            let busy = clients.admit(0, &limits, now);
            assert!(busy.is_err(), "{key}");
        }
    }
    assert!(clients.kept() <= 2 * SHARDS * KEPT, "{}", clients.kept());
}
