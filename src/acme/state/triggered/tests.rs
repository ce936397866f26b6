use super::*;

const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn waits_only_for_possibly_triggered_challenges() {
    let began = Instant::now();
    let mut triggered = TriggeredChallenges::new(["found".to_owned()].into(), began);
    assert_eq!(triggered.settled("new", "challenge", WITHIN), None);
    assert_eq!(
        triggered.settled("found", "challenge", WITHIN),
        Some(began + WITHIN)
    );

    let later = began + WITHIN * 3;
    triggered.note("challenge", later, WITHIN);
    assert_eq!(
        triggered.settled("new", "challenge", WITHIN),
        Some(later + WITHIN)
    );
    assert_eq!(
        triggered.settled("found", "challenge", WITHIN),
        Some(later + WITHIN)
    );

    triggered.note("another", later + WITHIN, WITHIN);
    assert_eq!(
        triggered.settled("new", "challenge", WITHIN),
        None,
        "dropped once the validation has ended"
    );
}
