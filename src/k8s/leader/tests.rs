use super::*;

const TIME: &str = "2026-11-26T12:00:00.000000Z";

fn at(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

/// Returns the Lease after a write of `candidate`, which must be allowed to write.
fn take(candidate: &mut Election, now: Instant, lease: &Value, time: &str) -> Value {
    let spec = candidate.see(now, lease, time).expect("it may write");
    candidate.wrote(now, &spec);
    spec
}

#[test]
fn a_missing_lease_is_taken_and_the_second_candidate_waits() {
    let start = Instant::now();
    let (mut one, mut two) = (
        Election::new("one".to_owned()),
        Election::new("two".to_owned()),
    );
    let lease = take(&mut one, start, &Value::Null, TIME);
    let expected = json!({
        "holderIdentity": "one",
        "leaseDurationSeconds": 15,
        "acquireTime": TIME,
        "renewTime": TIME,
        "leaseTransitions": 0,
    });
    assert_eq!(lease, expected);
    assert!(one.leads(start));
    assert_eq!(two.see(start, &lease, TIME), None);
    assert!(!two.leads(start));
}

#[test]
fn a_lease_expires_by_our_clock_whatever_its_times_say() {
    let start = Instant::now();
    let (mut one, mut two) = (
        Election::new("one".to_owned()),
        Election::new("two".to_owned()),
    );
    // A wall clock 30 years behind, and one far ahead.
    for (round, time) in ["1996-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"]
        .into_iter()
        .enumerate()
    {
        let start = at(start, 1000 * round as u64);
        let lease = take(&mut one, start, &Value::Null, time);
        // The Lease is two seconds old when it is first seen.
        assert_eq!(two.see(at(start, 2), &lease, TIME), None);
        assert_eq!(two.see(at(start, 16), &lease, TIME), None);
        let taken = two.see(at(start, 17), &lease, TIME).expect("it expired");
        assert_eq!(
            (&taken["holderIdentity"], &taken["leaseTransitions"]),
            (&json!("two"), &json!(1))
        );
    }
}

#[test]
fn each_renewal_restarts_the_wait_of_the_others() {
    let start = Instant::now();
    let (mut one, mut two) = (
        Election::new("one".to_owned()),
        Election::new("two".to_owned()),
    );
    let mut lease = take(&mut one, start, &Value::Null, TIME);
    for second in (5..100).step_by(5) {
        assert_eq!(two.see(at(start, second - 1), &lease, TIME), None);
        let renewed = take(
            &mut one,
            at(start, second),
            &lease,
            &format!("2026-11-26T12:00:{second:02}.000000Z"),
        );
        assert_eq!(
            (&renewed["acquireTime"], &renewed["leaseTransitions"]),
            (&lease["acquireTime"], &json!(0))
        );
        lease = renewed;
    }
    assert_eq!(two.see(at(start, 96), &lease, TIME), None);
}

#[test]
fn a_leader_gives_up_before_others_can_take_over() {
    let start = Instant::now();
    let (mut one, mut two) = (
        Election::new("one".to_owned()),
        Election::new("two".to_owned()),
    );
    let lease = take(&mut one, start, &Value::Null, TIME);

    // The other saw the write at the moment it began: it cannot be earlier.
    assert_eq!(two.see(start, &lease, TIME), None);
    assert_eq!(one.give_up(), Some(at(start, 10)));
    assert!(one.leads(at(start, 9)) && !one.leads(at(start, 10)));
    assert_eq!(two.see(at(start, 14), &lease, TIME), None);
    assert!(two.see(at(start, 15), &lease, TIME).is_some());

    // If no other replica took over, the first takes its own Lease again.
    assert!(one.see(at(start, 30), &lease, TIME).is_some());
}

#[test]
fn a_leader_that_sees_another_holder_stops_leading() {
    let start = Instant::now();
    let mut one = Election::new("one".to_owned());
    let mut lease = take(&mut one, start, &Value::Null, TIME);
    lease["holderIdentity"] = "two".into();
    assert_eq!(one.see(at(start, 1), &lease, TIME), None);
    assert!(!one.leads(at(start, 1)));
}

#[test]
fn only_its_holder_releases_a_lease_which_is_then_free() {
    let start = Instant::now();
    let (mut one, mut two) = (
        Election::new("one".to_owned()),
        Election::new("two".to_owned()),
    );
    let lease = take(&mut one, start, &Value::Null, TIME);
    assert_eq!(two.see(start, &lease, TIME), None);
    assert_eq!(two.release(&lease, TIME), None);

    let released = one.release(&lease, TIME).expect("it is its own");
    assert!(!one.leads(start));
    let taken = two.see(at(start, 1), &released, TIME).expect("it is free");
    assert_eq!(
        (&taken["holderIdentity"], &taken["leaseTransitions"]),
        (&json!("two"), &json!(1))
    );
}

#[test]
fn durations_of_other_versions_hold_within_limits() {
    let start = Instant::now();
    for (spec, seconds) in [
        (
            json!({ "holderIdentity": "new", "leaseDurationSeconds": 40 }),
            40,
        ),
        (
            json!({ "holderIdentity": "new", "leaseDurationSeconds": u64::MAX }),
            60,
        ),
        (
            json!({ "holderIdentity": "new", "leaseDurationSeconds": -1 }),
            15,
        ),
        (json!({ "holderIdentity": "new" }), 15),
        (
            json!({ "holderIdentity": 7, "leaseTransitions": u64::MAX }),
            0,
        ),
        (json!("text"), 0),
    ] {
        let mut one = Election::new("one".to_owned());
        if seconds > 0 {
            assert_eq!(one.see(start, &spec, TIME), None, "{spec}");
            assert_eq!(one.see(at(start, seconds - 1), &spec, TIME), None, "{spec}");
        }
        assert!(one.see(at(start, seconds), &spec, TIME).is_some(), "{spec}");
    }
}

#[test]
fn times_have_six_digits_of_a_second() {
    let time = micro_time();
    assert!(
        time.len() == 27 && time.as_bytes()[19] == b'.' && time.ends_with('Z'),
        "{time}"
    );
}
