use super::*;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_fifth_failure_of_a_name_within_an_hour_is_refused() {
    let mut budget = Budget::default();
    for failure in 0..4 {
        assert_eq!(
            budget.check(&names(&["a.example"]), Purpose::New, NOW + failure),
            Ok(()),
            "{failure}"
        );
        budget.failed("a.example", NOW + failure);
    }
    assert_eq!(budget.failures_left("a.example", NOW + 10), 0);

    let refusal = budget
        .check(&names(&["b.example", "a.example"]), Purpose::New, NOW + 10)
        .expect_err("over");
    assert_eq!(refusal.until, Some(NOW + HOUR));
    assert!(refusal.why.contains("a.example"));
    assert_eq!(
        budget.check(&names(&["b.example"]), Purpose::New, NOW + 10),
        Ok(())
    );
    assert_eq!(
        budget.check(&names(&["a.example"]), Purpose::New, NOW + HOUR),
        Ok(())
    );
}

#[test]
fn the_fifth_certificate_for_the_same_names_is_refused() {
    let mut budget = Budget::default();
    for day in 0..4 {
        assert_eq!(
            budget.check(&names(&["a", "b"]), Purpose::New, NOW + day * 86_400),
            Ok(())
        );
        budget.issued(&names(&["b", "a"]), NOW + day * 86_400);
    }

    let refusal = budget
        .check(&names(&["a", "b"]), Purpose::New, NOW + 4 * 86_400)
        .expect_err("over");
    assert_eq!(refusal.until, Some(NOW + WEEK));
    assert_eq!(
        budget.check(&names(&["a"]), Purpose::New, NOW + 4 * 86_400),
        Ok(())
    );
    assert_eq!(budget.certificates_left(&names(&["a", "b"]), NOW + WEEK), 1);
}

#[test]
fn successes_and_the_operator_reset_failures() {
    let mut budget = Budget::default();
    for failure in 0..i64::from(FAILURES_IN_A_ROW) {
        budget.failed("a", NOW + failure * HOUR);
    }

    let later = NOW + 1000 * HOUR;
    assert_eq!(
        budget
            .check(&names(&["a"]), Purpose::New, later)
            .expect_err("in a row")
            .until,
        None
    );

    budget.forgive(&names(&["a"]));
    assert_eq!(budget.check(&names(&["a"]), Purpose::New, later), Ok(()));

    budget.failed("a", later);
    budget.issued(&names(&["a"]), later);
    assert_eq!(budget.failures_left("a", later), FAILURES.most);
}

#[test]
fn times_in_the_future_count_as_now() {
    let mut budget = Budget::default();
    for _ in 0..4 {
        budget.failed("a", NOW + 10 * 365 * 86_400);
    }
    let refusal = budget
        .check(&names(&["a"]), Purpose::New, NOW)
        .expect_err("over");
    assert!(
        refusal.until.is_some_and(|until| until <= NOW + HOUR),
        "{refusal:?}"
    );
}

#[test]
fn the_budget_is_bounded_in_size() {
    let mut budget = Budget::default();
    for number in 0..3_000 {
        budget.failed(&format!("{number}.example"), NOW + number);
        budget.issued(&names(&[&format!("{number}.other")]), NOW + number);
        budget.ordered(NOW);
    }
    assert_eq!(
        (budget.failures.len(), budget.issued.len()),
        (REMEMBERED, REMEMBERED)
    );
    assert!(budget.orders.len() <= 1_000);
}

#[test]
fn a_recalled_order_counts_once() {
    let mut budget = Budget::default();
    for at in [NOW, NOW + 1, NOW + 1] {
        budget.recall(at);
    }
    assert_eq!(budget.orders, [NOW, NOW + 1]);
}

#[test]
fn timely_renewals_ignore_earlier_certificates() {
    let mut budget = Budget::default();
    for renewal in 0..20 {
        let now = NOW + renewal * DAY / 2;
        assert_eq!(
            budget.check(&names(&["a"]), Purpose::Renewal, now),
            Ok(()),
            "{renewal}"
        );
        budget.ordered(now);
        budget.issued(&names(&["a"]), now);
    }
    assert!(
        budget
            .check(&names(&["a"]), Purpose::New, NOW + 10 * DAY)
            .is_err()
    );
}

#[test]
fn other_cas_are_limited_only_in_failed_validations() {
    let mut budget = Budget::default();
    for order in 0..1000 {
        let now = NOW + order;
        assert_eq!(
            budget.check(&names(&["a"]), Purpose::Unlimited, now),
            Ok(()),
            "{order}"
        );
        budget.ordered(now);
        budget.issued(&names(&["a"]), now);
    }

    for _ in 0..FAILURES.most {
        budget.failed("a", NOW);
    }
    assert!(
        budget
            .check(&names(&["a"]), Purpose::Unlimited, NOW)
            .is_err()
    );
}

#[test]
fn many_simultaneous_renewals_are_spread() {
    let mut budget = Budget::default();
    for _ in 0..ORDERS.most {
        budget.ordered(NOW);
    }
    let refusal = budget
        .check(&names(&["a"]), Purpose::Renewal, NOW)
        .expect_err("over");
    assert_eq!(refusal.until, Some(NOW + ORDERS_COUNT_FOR));
}
