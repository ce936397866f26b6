use super::*;

const DAY: i64 = 86_400;
/// A plausible present.
const NOW: i64 = RELEASED.0 + 100 * DAY;

fn at(wall: i64, seconds: u64) -> Reading {
    Reading {
        wall: UnixSeconds(wall),
        monotonic: Duration::from_secs(seconds),
    }
}

#[test]
fn a_clock_that_nothing_speaks_against_is_trusted() {
    let clock = Clock::new(UnixSeconds(NOW - DAY), at(NOW, 0));
    assert_eq!(clock.trust(at(NOW + 10, 10)), Trust::Trusted);
    assert_eq!(clock.now(at(NOW + 10, 10)), Some(UnixSeconds(NOW + 10)));
}

#[test]
fn a_boot_in_1970_is_unknown_until_a_witness_speaks() {
    let mut clock = Clock::new(UnixSeconds(NOW), at(5, 0));
    assert_eq!(
        (clock.trust(at(6, 1)), clock.now(at(6, 1))),
        (Trust::Unknown, None)
    );
    assert_eq!(clock.guess(at(6, 1)), UnixSeconds(NOW));
    clock.witness(UnixSeconds(NOW + 3 * DAY), at(20, 15));
    assert_eq!(clock.now(at(30, 25)), Some(UnixSeconds(NOW + 3 * DAY + 10)));
    assert_eq!(clock.trust(at(30, 25)), Trust::Unknown);
    // The network sets the clock.
    let right = NOW + 3 * DAY + 20;
    clock.observe(at(right, 35));
    assert_eq!(
        (clock.trust(at(right, 35)), clock.now(at(right, 35))),
        (Trust::Trusted, Some(UnixSeconds(right)))
    );
}

#[test]
fn a_clock_ten_years_ahead_yields_to_the_witness() {
    let ahead = NOW + 3650 * DAY;
    let mut clock = Clock::new(UnixSeconds(NOW), at(ahead, 0));
    assert_eq!(
        (clock.trust(at(ahead, 0)), clock.now(at(ahead, 0))),
        (Trust::Suspect, None)
    );
    clock.witness(UnixSeconds(NOW + 60), at(ahead + 10, 10));
    assert_eq!(clock.now(at(ahead + 20, 20)), Some(UnixSeconds(NOW + 70)));
    assert_eq!(clock.offset(at(ahead + 20, 20)), Some(ahead - NOW - 50));
    clock.observe(at(NOW + 90, 40));
    assert_eq!(clock.now(at(NOW + 90, 40)), Some(UnixSeconds(NOW + 90)));
    assert_eq!(clock.trust(at(NOW + 90, 40)), Trust::Trusted);
}

#[test]
fn a_jump_is_suspect_until_a_witness_agrees() {
    let mut clock = Clock::new(UnixSeconds(NOW - DAY), at(NOW, 0));
    clock.observe(at(NOW + 3600 + 10, 10));
    assert_eq!(clock.trust(at(NOW + 3610, 10)), Trust::Suspect);
    clock.witness(UnixSeconds(NOW + 3611), at(NOW + 3612, 12));
    assert_eq!(clock.trust(at(NOW + 3612, 12)), Trust::Trusted);
    // A night of sleep in which the monotonic clock stood still looks like a jump too.
    clock.observe(at(NOW + 50_000, 20));
    assert_eq!(clock.trust(at(NOW + 50_000, 20)), Trust::Suspect);
}

#[test]
fn small_steps_are_no_jumps_however_many_there_are() {
    let mut clock = Clock::new(UnixSeconds(NOW), at(NOW, 0));
    for step in 1..=100 {
        let minute = step * 60;
        clock.observe(at(
            NOW + minute + step,
            u64::try_from(minute).expect("positive"),
        ));
    }
    assert_eq!(clock.trust(at(NOW + 6100, 6000)), Trust::Trusted);
}

#[test]
fn a_witness_from_before_the_floor_is_not_heard() {
    let mut clock = Clock::new(UnixSeconds(NOW), at(5, 0));
    clock.witness(UnixSeconds(NOW - DAY), at(6, 1));
    assert_eq!(clock.now(at(6, 1)), None);
}

#[test]
fn the_floor_never_falls() {
    let mut clock = Clock::new(UnixSeconds(0), at(NOW, 0));
    assert_eq!(clock.floor(), RELEASED);
    clock.raise_floor(UnixSeconds(NOW));
    clock.raise_floor(UnixSeconds(NOW - DAY));
    assert_eq!(clock.floor(), UnixSeconds(NOW));
}

#[test]
fn one_witness_alone_does_not_overthrow_what_is_known() {
    let mut clock = Clock::new(UnixSeconds(NOW - DAY), at(NOW, 0));
    clock.witness(UnixSeconds(NOW + 3650 * DAY), at(NOW + 1, 1));
    assert_eq!(
        (clock.now(at(NOW + 2, 2)), clock.floor()),
        (Some(UnixSeconds(NOW + 2)), UnixSeconds(NOW - DAY))
    );
    // The next answer is right again.
    clock.witness(UnixSeconds(NOW + 3), at(NOW + 3, 3));
    clock.witness(UnixSeconds(NOW + 3650 * DAY), at(NOW + 4, 4));
    assert_eq!(clock.now(at(NOW + 5, 5)), Some(UnixSeconds(NOW + 5)));
    // Two that agree are believed.
    clock.witness(UnixSeconds(NOW + 3650 * DAY + 10), at(NOW + 10, 10));
    assert_eq!(
        clock.now(at(NOW + 11, 11)),
        Some(UnixSeconds(NOW + 3650 * DAY + 11))
    );
}
