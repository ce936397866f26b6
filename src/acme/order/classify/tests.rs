use std::time::Duration;

use super::*;

fn problem(kind: &str, detail: &str, status: u16) -> Problem {
    Problem {
        kind: kind.to_owned(),
        detail: detail.to_owned(),
        status,
        ..Problem::default()
    }
}

#[test]
fn each_problem_has_its_class() {
    for (kind, status, class) in [
        ("rateLimited", 429, Class::RateLimited),
        ("", 429, Class::RateLimited),
        ("rejectedIdentifier", 400, Class::Config),
        ("externalAccountRequired", 403, Class::Config),
        ("invalidProfile", 400, Class::Config),
        ("badCSR", 400, Class::Config),
        ("accountDoesNotExist", 400, Class::Account),
        ("unauthorized", 403, Class::Account),
        ("connection", 400, Class::Validation),
        ("caa", 403, Class::Validation),
        ("userActionRequired", 403, Class::Paused),
        ("serverInternal", 500, Class::Transport),
        ("badNonce", 400, Class::Transport),
        ("somethingNew", 400, Class::Transport),
        ("", 502, Class::Transport),
    ] {
        assert_eq!(
            of_problem(&problem(kind, "words", status), None).class,
            class,
            "{kind} {status}"
        );
    }
}

#[test]
fn the_link_that_ends_a_pause_is_found() {
    let text = "prevented from requesting certificates. Please visit: \
               https://portal.ca.test/sfe/v1/unpause?jwt=abc.";
    let failure = of_problem(&problem("rateLimited", text, 429), None);
    assert_eq!(failure.class, Class::Paused);
    assert!(
        failure
            .advice
            .contains("https://portal.ca.test/sfe/v1/unpause?jwt=abc "),
        "{}",
        failure.advice
    );

    let beside = Problem {
        instance: Some("https://ca.test/p".to_owned()),
        ..problem("rateLimited", "names paused", 429)
    };
    assert_eq!(of_problem(&beside, None).class, Class::Paused);

    let other = "too many certificates, see https://letsencrypt.org/docs/rate-limits/";
    assert_eq!(
        of_problem(&problem("rateLimited", other, 429), None).class,
        Class::RateLimited
    );
}

#[test]
fn times_in_the_text_are_relative_to_the_cas_clock() {
    let text = "too many certificates (5) already issued, retry after 2026-11-26 12:00:00 UTC: \
               see https://ca.test/";
    let at_ten = "2026-11-26T10:00:00Z"
        .parse::<UnixSeconds>()
        .expect("a moment");
    let limited = problem("rateLimited", text, 429);
    assert_eq!(
        of_problem(&limited, Some(at_ten)).retry_after,
        Some(Duration::from_secs(7200))
    );
    let header = Some(Duration::from_secs(30));
    let error = ClientError {
        kind: ErrorKind::Problem(Box::new(limited.clone())),
        retry_after: header,
        date: Some(at_ten),
    };
    assert_eq!(Failure::from(error).retry_after, header);
    assert_eq!(of_problem(&limited, None).retry_after, None);
    assert_eq!(
        of_problem(&limited, Some(at_ten + 100_000)).retry_after,
        Some(Duration::ZERO)
    );

    let garbage = problem("rateLimited", "retry after the war, é", 429);
    assert_eq!(of_problem(&garbage, Some(at_ten)).retry_after, None);
}

#[test]
fn long_texts_are_cut_at_a_character() {
    let failure = of_problem(&problem("dns", &"é".repeat(5_000), 400), None);
    assert!(failure.problem.len() < 700 && failure.problem.ends_with('…'));
}
