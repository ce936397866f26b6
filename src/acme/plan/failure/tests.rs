use super::*;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn again(before: Option<&FailureState>, failure: &Failure, now: UnixSeconds) -> FailureState {
    FailureState::after(before, failure, "ca", 1, now, 0)
}

/// Returns the waits after `count` failures of a kind, each at the earliest time.
fn waits(class: Class, count: usize) -> Vec<Option<i64>> {
    let mut now = NOW;
    let mut failure_state: Option<FailureState> = None;
    let mut waits = Vec::new();
    for _ in 0..count {
        let next = again(failure_state.as_ref(), &Failure::new(class, "no"), now);
        waits.push(next.not_before.map(|moment| moment - now));
        now = next.not_before.unwrap_or(now);
        failure_state = Some(next);
    }
    waits
}

#[test]
fn each_kind_of_failure_has_its_backoff() {
    // Without randomness a wait is a quarter shorter.
    let quarter_less = |waits: &[i64]| {
        waits
            .iter()
            .map(|wait| Some(wait - wait / 4))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        waits(Class::Transport, 9),
        quarter_less(&[30, 60, 120, 240, 480, 960, 1920, 3600, 3600])
    );
    assert_eq!(
        waits(Class::Validation, 5),
        quarter_less(&[60, 600, 6000, 86_400, 86_400])
    );
    assert_eq!(waits(Class::Account, 2), quarter_less(&[86_400, 86_400]));

    for class in [Class::Config, Class::Paused] {
        assert_eq!(waits(class, 2), [None, None]);
    }
}

#[test]
fn validation_stops_after_a_month_of_failures() {
    let waits = waits(Class::Validation, 60);
    let stopped = waits.iter().position(Option::is_none).expect("it stops");
    let days: i64 = waits[..stopped].iter().flatten().sum::<i64>() / 86_400;
    assert!((29..=32).contains(&days), "{days}");
}

#[test]
fn time_while_switched_off_does_not_count() {
    let wrong = Failure::new(Class::Validation, "no");
    let first = again(None, &wrong, NOW);
    let second = again(Some(&first), &wrong, NOW + 100);
    let months_later = again(Some(&second), &wrong, NOW + 90 * 86_400);
    assert!(months_later.not_before.is_some() && months_later.since <= months_later.last);
    assert_eq!(months_later.attempts, 3);
}

#[test]
fn retry_after_is_never_undercut() {
    for asked in [0, 5, 3_600, 7 * 86_400] {
        let limited = Failure {
            retry_after: Some(Duration::from_secs(asked)),
            ..Failure::new(Class::RateLimited, "slow down")
        };
        let wait = again(None, &limited, NOW).not_before.expect("a wait");
        let wait = wait.saturating_since(NOW).as_secs();
        assert!(
            wait >= asked && wait <= asked + asked.max(60) / 10,
            "{asked}: {wait}"
        );
    }

    let endless = Failure {
        retry_after: Some(Duration::MAX),
        ..Failure::new(Class::RateLimited, "never")
    };
    assert!(again(None, &endless, NOW).not_before.expect("a wait") - NOW <= LONGEST_WAIT * 11 / 10);

    let busy = Failure {
        retry_after: Some(Duration::from_secs(120)),
        ..Failure::new(Class::Transport, "503")
    };
    assert!(again(None, &busy, NOW).not_before.expect("a wait") - NOW >= 120);
}

#[test]
fn another_kind_or_spec_restarts_the_backoff() {
    let first = again(None, &Failure::new(Class::Transport, "down"), NOW);
    let second = again(
        Some(&first),
        &Failure::new(Class::Transport, "down"),
        NOW + 100,
    );
    assert_eq!((second.attempts, second.since), (2, NOW));

    let other = again(
        Some(&second),
        &Failure::new(Class::Validation, "wrong"),
        NOW + 200,
    );
    assert_eq!((other.attempts, other.since), (1, NOW + 200));

    let changed = FailureState::after(
        Some(&second),
        &Failure::new(Class::Transport, "down"),
        "ca",
        2,
        NOW + 300,
        0,
    );
    assert_eq!(changed.attempts, 1);
}

#[test]
fn each_other_challenge_is_tried_at_once() {
    let mut failure = Failure::new(Class::Validation, "no answer");
    failure.challenge = Some(ChallengeType::Http01);
    failure.has_alternative = true;
    let first = again(None, &failure, NOW);
    assert_eq!(
        (first.not_before, &first.failed_challenges[..]),
        (Some(NOW), &[ChallengeType::Http01][..])
    );
    failure.challenge = Some(ChallengeType::TlsAlpn01);
    failure.has_alternative = false;
    let second = again(Some(&first), &failure, NOW);
    assert!(second.not_before > Some(NOW) && second.failed_challenges.is_empty());
}
