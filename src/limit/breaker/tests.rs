use http::StatusCode;

use super::*;
use crate::routing::BreakerCondition;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn terms(condition: &str) -> CircuitBreaker {
    CircuitBreaker {
        from: "m".into(),
        object: "a".into(),
        condition: BreakerCondition::parse(condition).expect("a condition"),
        check_period: 100 * MS,
        open_for: 10 * SECOND,
        recovers_in: 10 * SECOND,
        status: StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[test]
fn a_breaker_opens_and_recovers() {
    let terms = terms("ResponseCodeRatio(500, 600, 0, 600) > 0.5");
    let start = Instant::now();
    let mut breaker = Breaker::new(start);
    assert!(breaker.admits(&terms, start));
    assert!(!breaker.record(&terms, (200, false), MS, start));
    // Two of three are errors, but the next look is later.
    for _ in 0..2 {
        assert!(!breaker.record(&terms, (503, true), MS, start + 50 * MS));
    }
    let opened = start + 200 * MS;
    assert!(breaker.record(&terms, (503, true), MS, opened));
    assert!(!breaker.admits(&terms, opened));
    assert!(!breaker.admits(&terms, opened + 9 * SECOND));

    // More and more requests pass.
    let half = |breaker: &mut Breaker, from: Duration| {
        let at = |n: u32| opened + from + n * MS;
        (0..1000).filter(|n| breaker.admits(&terms, at(*n))).count()
    };
    let first = half(&mut breaker, 10 * SECOND);
    let later = half(&mut breaker, 18 * SECOND);
    assert!(first < 100 && later > 300, "{first} {later}");
    assert!(breaker.admits(&terms, opened + 21 * SECOND));
    assert!(matches!(breaker.state, State::Closed));
}

#[test]
fn responses_count_for_ten_seconds() {
    let terms = terms("NetworkErrorRatio() > 0.3");
    let start = Instant::now();
    let mut breaker = Breaker::new(start);
    breaker.record(&terms, (200, false), MS, start);
    for _ in 0..10 {
        breaker.record(&terms, (502, true), MS, start + MS);
    }
    assert!(breaker.value(Measure::NetworkErrors, 9) > 0.9);
    let ten = [200, 600, 0, 600];
    assert_eq!(breaker.value(Measure::Responses(ten), 9), 1.0);
    assert_eq!(breaker.value(Measure::NetworkErrors, 10), 0.0);
    assert_eq!(
        breaker.value(Measure::Responses([600, 200, 0, 600]), 9),
        0.0
    );
}

#[test]
fn times_are_right_to_a_few_percent() {
    let terms = terms("LatencyAtQuantileMS(50.0) > 1000");
    let mut breaker = Breaker::new(Instant::now());
    let start = breaker.born;
    for n in 1..=100 {
        breaker.record(&terms, (200, false), n * 10 * MS, start);
    }
    for (quantile, expected) in [(50.0, 500.0), (90.0, 900.0), (100.0, 1000.0)] {
        let found = breaker.value(Measure::Latency(f64::into(quantile)), 0);
        let ratio = found / expected;
        assert!((1.0..1.04).contains(&ratio), "{quantile}: {found}");
    }
    assert_eq!(breaker.value(Measure::Latency(50.0.into()), 60), 0.0);

    for micros in [
        0,
        1,
        31,
        32,
        33,
        1000,
        123_456,
        u64::from(u32::MAX),
        u64::MAX,
    ] {
        let at = class(micros);
        assert!(at < CLASSES, "{micros}");
        assert!(greatest(at) >= micros.min(u64::from(u32::MAX)), "{micros}");
    }
}

#[test]
fn breakers_that_are_not_used_go() {
    let (all, start) = (Breakers::default(), Instant::now());
    for n in 0..2 * KEPT {
        let mut one = terms("NetworkErrorRatio() > 1");
        one.object = n.to_string().into();
        all.of(&one, start + UNUSED * u32::from(n >= KEPT));
    }
    assert_eq!(lock(&all.0).len(), KEPT);
}
