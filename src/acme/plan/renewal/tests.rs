use std::time::Duration;

use proptest::prelude::*;

use super::*;

const DAY: i64 = 86_400;

/// Returns the moment some days after 1970.
fn day(days: i64) -> UnixSeconds {
    UnixSeconds(days * DAY)
}

fn life(days: i64) -> Life<'static> {
    Life {
        not_before: day(0),
        not_after: day(days),
        stored: day(0),
        suggestion: None,
        renew_before: None,
        spread_by: "default/web",
    }
}

fn window(start: UnixSeconds, end: UnixSeconds) -> RenewalInfo {
    RenewalInfo {
        start,
        end,
        explanation_url: None,
    }
}

fn suggestion(start: UnixSeconds, end: UnixSeconds) -> Suggestion {
    Suggestion::take(None, window(start, end), 12_345)
}

#[test]
fn a_third_or_half_of_the_lifetime_is_left() {
    for (days, left) in [(90, 30), (45, 15), (6, 3)] {
        let (due, why) = life(days).due();
        let latest = day(days - left);
        assert!(
            due <= latest && due >= latest - days * DAY / 20,
            "{days}: {due}"
        );
        assert_eq!(why, Why::Lifetime);
    }
}

#[test]
fn a_backdated_certificate_is_not_due_at_once() {
    let backdated = Life {
        stored: day(80),
        ..life(90)
    };
    assert_eq!(backdated.due(), (day(81), Why::Lifetime));

    let ending = Life {
        stored: day(90) - 100,
        ..life(90)
    };
    assert_eq!(ending.due().0, day(90) - 90);

    // A wrong clock stored it.
    let after = Life {
        stored: day(100),
        ..life(90)
    };
    assert_eq!(after.due(), life(90).due());
}

#[test]
fn the_cas_window_applies_unless_expiry_is_close() {
    let early = suggestion(day(10), day(11));
    let (due, why) = Life {
        suggestion: Some(&early),
        ..life(90)
    }
    .due();
    assert!((day(10)..=day(11)).contains(&due));
    assert_eq!(why, Why::Suggested);

    let past = suggestion(day(-10), day(-9));
    assert!(
        Life {
            suggestion: Some(&past),
            ..life(90)
        }
        .due()
        .0 < day(0)
    );

    let late = suggestion(day(89), day(120));
    let ending = Life {
        suggestion: Some(&late),
        ..life(90)
    };
    assert_eq!(ending.due(), (ending.danger(), Why::Danger));
}

#[test]
fn only_a_changed_window_draws_another_time() {
    let first = suggestion(day(1), day(2));
    let explained = RenewalInfo {
        explanation_url: Some("why".to_owned()),
        ..window(day(1), day(2))
    };
    let again = Suggestion::take(Some(&first), explained, 99);
    assert_eq!(
        (again.chosen, again.explanation.as_deref()),
        (first.chosen, Some("why"))
    );
    let moved = Suggestion::take(Some(&first), window(day(0), day(0) + 10), 99);
    assert!((day(0)..=day(0) + 10).contains(&moved.chosen));
}

#[test]
fn the_specs_rule_applies_if_it_fits_the_lifetime() {
    let with = |rule| Life {
        renew_before: Some(rule),
        ..life(90)
    };
    let days = |days: u64| RenewBefore::Time(Duration::from_secs(days * 86_400));
    assert_eq!(with(days(10)).due().0, day(80));
    assert_eq!(with(RenewBefore::Percent(50)).due().0, day(45));
    assert_eq!(with(days(90)).due(), life(90).due());

    // An earlier window of the CA, as before a revocation, takes precedence.
    let early = suggestion(day(1), day(2));
    assert_eq!(
        Life {
            suggestion: Some(&early),
            ..with(days(10))
        }
        .due()
        .1,
        Why::Suggested
    );
}

proptest! {
    #[test]
    fn a_certificate_is_due_within_its_validity(
        begin in 0_i64..4_000_000_000,
        length in 60_i64..400 * DAY,
        percent in 1_u8..=99,
        rule: bool,
    ) {
        let begin = UnixSeconds(begin);
        let life = Life {
            not_before: begin,
            not_after: begin + length,
            stored: begin,
            suggestion: None,
            renew_before: rule.then_some(RenewBefore::Percent(percent)),
            spread_by: "default/web",
        };
        let (due, _) = life.due();
        prop_assert!(due > begin && due < begin + length, "{due}");
    }
}
