use super::*;

const POLICY: EjectPolicy = EjectPolicy { after: 3, first: Duration::from_secs(5) };

#[test]
fn an_endpoint_is_passed_over_after_failures_in_a_row_and_comes_back() {
    let start = Instant::now();
    let mut outlier = Outlier::default();
    assert!(!outlier.failed(start, POLICY));
    assert!(!outlier.failed(start, POLICY));
    assert!(!outlier.is_ejected(start));
    assert!(outlier.failed(start, POLICY));
    assert!(outlier.is_ejected(start + Duration::from_secs(4)));
    assert!(!outlier.is_ejected(start + Duration::from_secs(5)));
}

#[test]
fn a_success_between_failures_starts_the_count_again() {
    let start = Instant::now();
    let mut outlier = Outlier::default();
    for _ in 0..10 {
        outlier.failed(start, POLICY);
        outlier.failed(start, POLICY);
        outlier.succeeded();
    }
    assert!(!outlier.is_ejected(start));
}

#[test]
fn ejections_grow_to_ten_times_the_first_and_no_further() {
    let mut now = Instant::now();
    let mut outlier = Outlier::default();
    let mut lengths = Vec::new();
    for _ in 0..8 {
        while !outlier.failed(now, POLICY) {}
        let mut length = 0;
        while outlier.is_ejected(now + Duration::from_secs(length)) {
            length += 1;
        }
        lengths.push(length);
        now += Duration::from_secs(length);
    }
    assert_eq!(lengths, [5, 10, 20, 40, 50, 50, 50, 50]);
}

#[test]
fn round_robin_visits_every_usable_endpoint_equally_often() {
    let mut seen = [0; 5];
    for turn in 0..1000 {
        seen[round_robin(turn, 5, |_| true).expect("all usable")] += 1;
    }
    assert_eq!(seen, [200; 5]);
    assert_eq!(round_robin(7, 5, |index| index == 1), Some(1));
    assert_eq!(round_robin(7, 5, |_| false), None);
    assert_eq!(round_robin(7, 0, |_| true), None);
}

#[test]
fn least_request_never_picks_an_unusable_endpoint_and_prefers_the_idle_one() {
    let load = [9, 0, 9, 9];
    let mut state = 42_u64;
    let mut idle = 0;
    for _ in 0..1000 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let pick =
            least_request(mixed ^ (mixed >> 27), 4, |index| index != 3, |index| load[index]).expect("some usable");
        assert_ne!(pick, 3);
        idle += usize::from(pick == 1);
    }
    // One of four picks it, two picks are made: 7 of 16.
    assert!(idle > 380, "the idle endpoint was picked {idle} times of 1000");
}
