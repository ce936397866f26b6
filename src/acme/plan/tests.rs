use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    acme::{
        ca::RenewalInfo,
        issuer::{AcmeIssuer, IssuerKind},
        plan::failure::Failure,
    },
    pki::{CertificateName, CertificateTerms},
};

const DAY: i64 = 86_400;
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn ca(name: &str) -> Arc<Issuer> {
    let acme = AcmeIssuer {
        directory: format!("https://{name}.example/directory"),
        publishes_limits: true,
        ..AcmeIssuer::default()
    };
    Arc::new(Issuer {
        name: name.into(),
        kind: IssuerKind::Acme(Box::new(acme)),
    })
}

fn spec(names: &[&str], issuers: &[Arc<Issuer>]) -> Arc<CertificateSpec> {
    Arc::new(CertificateSpec {
        id: format!("default/{}", names[0]).into(),
        names: names
            .iter()
            .map(|name| CertificateName::parse(name).expect("a name"))
            .collect(),
        issuers: issuers.into(),
        terms: CertificateTerms::default(),
    })
}

fn stored(
    spec: &CertificateSpec,
    issuer: &Issuer,
    not_before: UnixSeconds,
    days: i64,
) -> StoredCertificate {
    StoredCertificate {
        chain: String::new(),
        key: String::new(),
        names: spec.names.iter().map(ToString::to_string).collect(),
        issuer: issuer.name.to_string(),
        directory: String::new(),
        not_before,
        not_after: not_before + days * DAY,
        stored: not_before,
        print: spec.fingerprint(issuer),
        ari: String::new(),
        revoked: false,
        adopted: false,
        unwanted: None,
        previous: None,
    }
}

fn only(plan: &Plan) -> &Step {
    assert_eq!(plan.decisions.len(), 1);
    &plan.decisions[0].step
}

fn failure_state(
    spec: &CertificateSpec,
    issuer: &Issuer,
    class: Class,
    now: UnixSeconds,
) -> FailureState {
    FailureState::after(
        None,
        &Failure::new(class, "it failed"),
        &issuer.name,
        spec.attempt_fingerprint(issuer),
        now,
        0,
    )
}

#[test]
fn missing_certificates_are_obtained_and_fresh_ones_kept() {
    let (issuer, mut state) = (ca("one"), State::default());
    let spec = spec(&["a.example"], std::slice::from_ref(&issuer));
    let obtain = plan(Some(NOW), std::slice::from_ref(&spec), &state);
    assert!(matches!(only(&obtain), Step::Obtain { .. }), "{obtain:?}");

    state
        .certificates
        .insert(spec.id.to_string(), stored(&spec, &issuer, NOW, 90));
    let wait = plan(Some(NOW), std::slice::from_ref(&spec), &state);
    assert!(
        matches!(only(&wait), Step::Wait { until, .. } if wait.wake == Some(*until)),
        "{wait:?}"
    );

    let due = plan(Some(NOW + 61 * DAY), std::slice::from_ref(&spec), &state);
    assert!(matches!(only(&due), Step::Obtain { .. }), "{due:?}");
}

#[test]
fn a_failure_ends_with_the_environment_that_caused_it() {
    let one = ca("one");
    let before = spec(&["a.example"], std::slice::from_ref(&one));
    let failures = vec![failure_state(&before, &one, Class::Config, NOW)];
    let mut state = State::default();
    state.failures.insert(before.id.to_string(), failures);
    let step = |issuer: Arc<Issuer>| {
        let plan = plan(Some(NOW), &[spec(&["a.example"], &[issuer])], &state);
        only(&plan).clone()
    };
    assert!(matches!(step(one.clone()), Step::Blocked { .. }));

    let acme = AcmeIssuer {
        environment: 1,
        ..one.acme().expect("a CA").clone()
    };
    let after = Issuer {
        name: one.name.clone(),
        kind: IssuerKind::Acme(Box::new(acme)),
    };
    assert!(matches!(step(after.into()), Step::Obtain { .. }));
}

#[test]
fn only_cas_that_publish_limits_are_limited() {
    let one = ca("one");
    let acme = AcmeIssuer {
        publishes_limits: false,
        ..one.acme().expect("a CA").clone()
    };
    let private = Issuer {
        name: one.name.clone(),
        kind: IssuerKind::Acme(Box::new(acme)),
    };
    let mut state = State::default();
    let names = ["a.example".to_owned()];
    let account = one.account_id().expect("an account");
    let budget = state.budgets.entry(account).or_default();
    (0..4).for_each(|_| budget.issued(&names, NOW));

    for (issuer, waits) in [(one, true), (private.into(), false)] {
        let plan = plan(Some(NOW), &[spec(&["a.example"], &[issuer])], &state);
        assert_eq!(matches!(only(&plan), Step::Wait { .. }), waits);
    }
    let preset = |name: &str| Issuer::preset(name).expect("built in");
    for name in ["letsencrypt", "letsencrypt-staging"] {
        assert!(preset(name).acme().expect("a CA").publishes_limits);
    }
}

#[test]
fn changes_revocation_and_the_operator_force_reissuance() {
    let (one, two) = (ca("one"), ca("two"));
    let before = spec(&["a.example"], std::slice::from_ref(&one));
    let mut state = State::default();
    state
        .certificates
        .insert(before.id.to_string(), stored(&before, &one, NOW, 90));
    for after in [
        spec(&["a.example", "b.example"], std::slice::from_ref(&one)),
        spec(&["a.example"], std::slice::from_ref(&two)),
    ] {
        let plan = plan(Some(NOW), &[after], &state);
        assert!(matches!(only(&plan), Step::Obtain { .. }), "{plan:?}");
    }

    // A second issuer behind the first changes nothing.
    let same = plan(Some(NOW), &[spec(&["a.example"], &[one, two])], &state);
    assert!(matches!(only(&same), Step::Wait { .. }), "{same:?}");

    state.forced.insert(before.id.to_string());
    let forced = plan(Some(NOW), std::slice::from_ref(&before), &state);
    assert!(matches!(only(&forced), Step::Obtain { .. }));

    state.forced.clear();
    state
        .certificates
        .get_mut(&*before.id)
        .expect("there")
        .revoked = true;
    let revoked = plan(Some(NOW), &[before], &state);
    assert!(matches!(only(&revoked), Step::Obtain { .. }));
}

#[test]
fn only_local_issuers_work_while_the_time_is_unknown() {
    let remote = spec(&["a.example"], &[ca("one")]);
    assert!(matches!(
        only(&plan(None, &[remote], &State::default())),
        Step::ClockUnknown
    ));

    let local = Arc::new(Issuer::preset("local-ca").expect("built in"));
    let plan = plan(None, &[spec(&["a.example"], &[local])], &State::default());
    assert!(matches!(only(&plan), Step::Obtain { .. }));
}

#[test]
fn the_kind_of_failure_decides_about_the_next_issuer() {
    let (one, two) = (ca("one"), ca("two"));
    let spec = spec(&["a.example"], &[one.clone(), two]);
    let step = |class, since: i64, stored: Option<StoredCertificate>| {
        let mut state = State::default();
        let mut failure_state = failure_state(&spec, &one, class, NOW);
        failure_state.since = NOW - since;
        state
            .failures
            .insert(spec.id.to_string(), vec![failure_state]);
        state
            .certificates
            .extend(stored.map(|stored| (spec.id.to_string(), stored)));
        plan(Some(NOW), std::slice::from_ref(&spec), &state)
            .decisions
            .remove(0)
            .step
    };

    let goes_to_two =
        |step: &Step| matches!(step, Step::Obtain { issuer, .. } if *issuer.name == *"two");
    let dying = || Some(stored(&spec, &one, NOW - 85 * DAY, 90));
    let due = || Some(stored(&spec, &one, NOW - 61 * DAY, 90));
    assert!(matches!(
        step(Class::Transport, 60, None),
        Step::Wait { .. }
    ));

    assert!(goes_to_two(&step(Class::Transport, SWITCH_AFTER, None)));
    assert!(goes_to_two(&step(Class::Transport, SWITCH_AFTER, dying())));
    assert!(matches!(
        step(Class::Transport, SWITCH_AFTER, due()),
        Step::Wait { .. }
    ));
    assert!(matches!(
        step(Class::Validation, 10 * DAY, None),
        Step::Wait { .. }
    ));
    assert!(goes_to_two(&step(Class::Config, 0, None)));
    assert!(goes_to_two(&step(Class::Paused, 0, due())));
    assert!(matches!(
        step(Class::RateLimited, 0, due()),
        Step::Wait { .. }
    ));
}

#[test]
fn a_blocked_step_names_problem_and_advice() {
    let one = ca("one");
    let spec = spec(&["a.example"], std::slice::from_ref(&one));
    let mut state = State::default();
    let failure = Failure::new(Class::Config, "the CA does not issue for a.example")
        .advise("use another issuer");
    let failure_state = FailureState::after(
        None,
        &failure,
        "one",
        spec.attempt_fingerprint(&one),
        NOW,
        0,
    );
    state
        .failures
        .insert(spec.id.to_string(), vec![failure_state]);

    let plan = plan(Some(NOW + 100 * DAY), std::slice::from_ref(&spec), &state);
    let Step::Blocked { why } = only(&plan) else {
        panic!("{plan:?}")
    };
    assert_eq!(
        why,
        "the CA does not issue for a.example; use another issuer"
    );
}

#[test]
fn an_unusable_issuer_blocks_only_what_no_other_can_issue() {
    let unusable = Arc::new(Issuer {
        name: "lab".into(),
        kind: IssuerKind::Acme(Box::new(AcmeIssuer {
            problem: Some("eab.hmac: not base64url".into()),
            ..AcmeIssuer::default()
        })),
    });
    let good = ca("good");

    let alone = spec(&["a.example"], std::slice::from_ref(&unusable));
    let mut state = State::default();
    match only(&plan(Some(NOW), std::slice::from_ref(&alone), &state)) {
        Step::Blocked { why } => assert_eq!(why, "issuer lab: eab.hmac: not base64url"),
        other => panic!("{other:?}"),
    }

    let both = spec(&["a.example"], &[unusable.clone(), good]);
    match only(&plan(Some(NOW), &[both], &state)) {
        Step::Obtain { issuer, .. } => assert_eq!(&*issuer.name, "good"),
        other => panic!("{other:?}"),
    }

    // A certificate from before is not replaced.
    let before = stored(&alone, &unusable, NOW - DAY, 90);
    state.certificates.insert(alone.id.to_string(), before);
    assert!(matches!(
        only(&plan(Some(NOW), &[alone], &state)),
        Step::Wait { .. }
    ));
}

#[test]
fn expired_and_endangered_certificates_come_first() {
    let one = ca("one");
    let names = [
        "fresh.example",
        "due.example",
        "danger.example",
        "expired.example",
        "new.example",
    ];
    let specs: Vec<_> = names
        .iter()
        .map(|name| spec(&[name], std::slice::from_ref(&one)))
        .collect();
    let mut state = State::default();
    for (spec, age) in specs.iter().zip([0, 62, 87, 95]) {
        state
            .certificates
            .insert(spec.id.to_string(), stored(spec, &one, NOW - age * DAY, 90));
    }

    let plan = plan(Some(NOW), &specs, &state);
    let order: Vec<_> = plan
        .decisions
        .iter()
        .map(|one| one.spec.names[0].to_string())
        .collect();
    assert_eq!(
        order,
        [
            "expired.example",
            "new.example",
            "danger.example",
            "due.example",
            "fresh.example"
        ]
    );
}

#[test]
fn unused_certificates_are_dropped_after_the_grace_period() {
    let one = ca("one");
    let gone = spec(&["a.example"], std::slice::from_ref(&one));
    let mut state = State::default();
    state
        .certificates
        .insert(gone.id.to_string(), stored(&gone, &one, NOW, 90));
    assert_eq!(
        plan(Some(NOW), &[], &state).unwanted,
        [(gone.id.to_string(), true)]
    );

    state
        .certificates
        .get_mut(&*gone.id)
        .expect("there")
        .unwanted = Some(NOW);

    let noted = plan(Some(NOW + GRACE), &[], &state);
    assert!(noted.unwanted.is_empty() && noted.drop.is_empty());
    assert_eq!(
        plan(Some(NOW + GRACE + 1), &[], &state).drop,
        [gone.id.to_string()]
    );

    assert_eq!(plan(None, &[], &state).drop, [] as [String; 0]);
    assert_eq!(
        plan(Some(NOW), std::slice::from_ref(&gone), &state).unwanted,
        [(gone.id.to_string(), false)]
    );
}

#[test]
fn times_at_the_limits_overflow_nowhere() {
    let one = ca("one");
    let spec = spec(&["a.example"], std::slice::from_ref(&one));
    let names = ["a.example".to_owned()];
    let times = [i64::MIN, -1, 0, NOW.0, i64::MAX].map(UnixSeconds);
    let all = times
        .into_iter()
        .flat_map(|now| times.map(|begin| times.map(|end| (now, begin, end))))
        .flatten();

    for (now, begin, end) in all {
        let id = spec.id.to_string();
        let mut state = State::default();

        let certificate = StoredCertificate {
            not_after: end,
            unwanted: Some(begin),
            ..stored(&spec, &one, begin, 0)
        };
        state.certificates.insert(id.clone(), certificate);

        let window = RenewalInfo {
            start: begin,
            end,
            explanation_url: None,
        };
        let suggestion = Suggestion::take(None, window, u64::MAX);
        state.suggestions.insert(id.clone(), suggestion);

        let failure = FailureState {
            since: end,
            not_before: Some(end),
            ..failure_state(&spec, &one, Class::RateLimited, begin)
        };
        let wrong = Failure::new(Class::RateLimited, "no");
        let next = FailureState::after(Some(&failure), &wrong, "one", failure.print, now, 1);
        assert_eq!(next.attempts, 2);
        state.failures.insert(id, vec![failure]);

        let budget = state
            .budgets
            .entry(one.account_id().expect("an account"))
            .or_default();
        budget.issued(&names, begin);
        budget.failed(&names[0], end);
        budget.ordered(end);

        let plans = [
            plan(Some(now), std::slice::from_ref(&spec), &state),
            plan(Some(now), &[], &state),
        ];
        assert_eq!(plans.map(|plan| plan.decisions.len()), [1, 0]);
    }
}

/// The response of the simulated CA to an order.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Issue,
    Down,
    Limited(i64),
    Invalid,
}

fn answers() -> impl Strategy<Value = Vec<Answer>> {
    let answer = prop_oneof![
        4 => Just(Answer::Issue),
        2 => Just(Answer::Down),
        1 => (0..3 * DAY).prop_map(Answer::Limited),
        3 => Just(Answer::Invalid),
    ];
    proptest::collection::vec(answer, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Simulates three years of a device with three certificates, and a CA that responds at
    /// random for a while and then works.
    #[test]
    fn simulation_keeps_the_limits_and_issues_every_certificate(
       answers in answers(),
       days in 6_i64..100,
       seed: u64,
    ) {
        let one = ca("one");
        let account = one.account_id().expect("an account");
        let specs: Vec<_> = ["a.example", "b.example", "c.example"]
           .iter()
           .map(|name| spec(&[name], std::slice::from_ref(&one)))
           .collect();
        let mut state = State::default();
        let (mut now, mut random) = (NOW, seed);
        let mut failures: Vec<(String, UnixSeconds)> = Vec::new();
        let mut issued: Vec<(String, UnixSeconds)> = Vec::new();
        let mut answers = answers.into_iter();

        for _turn in 0..3_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let plan = plan(Some(now), &specs, &state);
            let mut acted = false;
            for decision in &plan.decisions {
                let (id, name) = (decision.spec.id.to_string(), decision.spec.names[0].to_string());
                match &decision.step {
                    Step::Obtain { issuer, .. } => {
                        acted = true;
                        let budget = state.budgets.entry(account.clone()).or_default();
                        let answer = answers.next().unwrap_or(Answer::Issue);
                        let failure = match answer {
                            Answer::Issue => {
                                budget.issued(std::slice::from_ref(&name), now);
                                issued.push((name, now));
                                let stored = stored(&decision.spec, issuer, now, days);
                                state.certificates.insert(id.clone(), stored);
                                state.failures.remove(&id);
                                continue;
                            }
                            Answer::Down => Failure::new(Class::Transport, "down"),
                            Answer::Limited(seconds) => Failure {
                               retry_after: Some(Duration::from_secs(seconds.unsigned_abs())),
                               ..Failure::new(Class::RateLimited, "slow")
                            },
                            Answer::Invalid => {
                                budget.failed(&name, now);
                                failures.push((name, now));
                                Failure::new(Class::Validation, "wrong")
                            }
                        };

                        let before = state.failures.get(&id).and_then(|failures| failures.first());
                        let next = FailureState::after(
                           before,
                           &failure,
                           &issuer.name,
                           decision.spec.attempt_fingerprint(issuer),
                           now,
                           random,
                        );
                        state.failures.insert(id, vec![next]);
                    }
                    Step::Wait { until, why } => prop_assert!(*until > now && !why.is_empty()),
                    Step::Blocked { why } => prop_assert!(!why.is_empty()),
                    Step::ClockUnknown => prop_assert!(false, "the time is known"),
                }
            }

            now = match plan.wake {
                _ if acted => now + 1,
                Some(wake) => wake.max(now + 1),
                None => break,
            };
            if now > NOW + 3 * 365 * DAY {
                break;
            }
        }

        let most = |events: &[(String, UnixSeconds)], width: i64| {
            let is_within = |then: UnixSeconds, at: UnixSeconds| then >= at && then < at + width;
            let count = |(name, at): &(String, UnixSeconds)| {
               events
                   .iter()
                   .filter(|(other, then)| other == name && is_within(*then, *at))
                   .count()
            };
            events.iter().map(count).max().unwrap_or(0)
        };

        prop_assert!(most(&failures, 3_600) <= 5);
        prop_assert!(most(&issued, 7 * DAY) <= 5);

        for spec in &specs {
            let blocked = state
               .failures
               .get(&*spec.id)
               .is_some_and(|failures| failures[0].is_blocked());
            let stored = state.certificates.get(&*spec.id);
            let is_valid = stored.is_some_and(|stored| stored.not_after > now);
            prop_assert!(blocked || is_valid, "{}", spec.id);
        }
    }
}
