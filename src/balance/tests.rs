use super::*;

const POLICY: EjectPolicy = EjectPolicy {
    after: 3,
    first: Duration::from_secs(5),
};

#[test]
fn failures_in_a_row_eject_an_endpoint_for_a_time() {
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
fn turns_follow_weights_closely() {
    for first in [0, 7, usize::MAX - 50] {
        let mut seen = [0_i32; 3];
        for turn in (0..100).map(|step| first.wrapping_add(step)) {
            let pick = weighted(spread(turn), [1, 0, 4].into_iter());
            seen[pick.expect("weights")] += 1;
        }
        assert!((seen[0] - 20).abs() <= 2 && seen[1] == 0, "{seen:?}");
    }
}

#[test]
fn of_two_the_one_with_less_load_for_its_weight_is_taken() {
    let weights = || [1, 0, 4].into_iter();
    // The first fifth of the numbers picks the first one.
    let pick = |loads: [u32; 3]| least_weighted([0, u64::MAX], weights(), |index| loads[index]);
    assert_eq!(pick([2, 0, 7]), Some(2));
    assert_eq!(pick([2, 0, 8]), Some(0));
    assert_eq!(pick([0, 0, 0]), Some(0));
    assert_eq!(least_weighted([0, 1], [0, 0].into_iter(), |_| 0), None);
}

#[test]
fn weights_decide_the_share_of_each_index() {
    let mut state = 7_u64;
    let mut seen = [0_u32; 4];
    for _ in 0..10_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let pick = weighted(state, [1, 0, 3, 6].into_iter()).expect("weights");
        seen[pick] += 1;
    }
    assert_eq!(seen[1], 0);
    for (index, share) in [(0, 1_000), (2, 3_000), (3, 6_000)] {
        assert!(seen[index].abs_diff(share) < 200, "{seen:?}");
    }

    assert_eq!(weighted(u64::MAX, [0, 1].into_iter()), Some(1));
    assert_eq!(weighted(0, [0, 0].into_iter()), None);
    assert_eq!(weighted(0, std::iter::empty()), None);
}

#[test]
fn least_request_prefers_idle_and_skips_unusable_endpoints() {
    let load = [9, 0, 9, 9];
    let mut state = 42_u64;
    let mut idle = 0;
    for _ in 0..1000 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let pick = least_request(
            mixed ^ (mixed >> 27),
            4,
            |index| index != 3,
            |index| load[index],
        )
        .expect("some usable");
        assert_ne!(pick, 3);
        idle += usize::from(pick == 1);
    }
    // One of four picks it, two picks are made: 7 of 16.
    assert!(
        idle > 380,
        "the idle endpoint was picked {idle} times of 1000"
    );
}

/// Endpoints that fail and recover at random, seen by a proxy that chooses, counts and passes over
/// as the data plane does: requests go on being answered, no endpoint is forgotten for good, and
/// the load stays even.
#[test]
fn healthy_endpoints_carry_the_load_of_a_simulation() {
    const ENDPOINTS: usize = 6;
    for seed in 1..=20_u64 {
        let mut state = seed;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut now = Instant::now();
        let mut outliers = vec![Outlier::default(); ENDPOINTS];
        let mut broken = [false; ENDPOINTS];
        let (mut wasted, mut served) = (0_u32, [0_u32; ENDPOINTS]);

        for turn in 0..26_600 {
            now += Duration::from_millis(10);
            // Then all recover, the longest ejection runs out, and counting starts over.
            match turn {
                20_000 => broken = [false; ENDPOINTS],
                26_000 => served = [0; ENDPOINTS],
                _ => {}
            }
            if turn < 20_000 && random() % 500 == 0 {
                let index = (random() % ENDPOINTS as u64) as usize;
                // One always works.
                broken[index] = index != 0 && !broken[index];
            }

            let usable = |index: usize| !outliers[index].is_ejected(now);
            let pick = if seed % 2 == 0 {
                round_robin(turn, ENDPOINTS, usable)
            } else {
                least_request(random(), ENDPOINTS, usable, |_| 0)
            };
            // With all of them passed over, any is tried.
            let pick = pick.unwrap_or(turn % ENDPOINTS);

            if broken[pick] {
                wasted += 1;
                outliers[pick].failed(now, POLICY);
            } else {
                served[pick] += 1;
                outliers[pick].succeeded();
            }
        }

        assert!(
            wasted < 1_000,
            "seed {seed}: {wasted} of 20000 attempts went to endpoints that refuse"
        );
        assert!(
            served.iter().all(|count| *count >= 60),
            "seed {seed}: {served:?} of 600"
        );
    }
}
