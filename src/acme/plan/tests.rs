use proptest::prelude::*;

use super::*;
use crate::{
    acme::{failure::Failure, issuer::AcmeIssuer},
    pki::{CertificateName, CertificateTerms},
};

const DAY: i64 = 86_400;
const NOW: i64 = 1_800_000_000;

fn ca(name: &str) -> Arc<Issuer> {
    let acme = AcmeIssuer {
        directory: format!("https://{name}.example/directory"),
        ..AcmeIssuer::default()
    };
    Arc::new(Issuer {
        name: name.into(),
        kind: IssuerKind::Acme(Box::new(acme)),
    })
}

fn want(names: &[&str], issuers: &[Arc<Issuer>]) -> Arc<CertificateSpec> {
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

fn held(want: &CertificateSpec, issuer: &Issuer, not_before: i64, days: i64) -> StoredCertificate {
    StoredCertificate {
        chain: String::new(),
        key: String::new(),
        names: want.names.iter().map(ToString::to_string).collect(),
        issuer: issuer.name.to_string(),
        directory: String::new(),
        not_before,
        not_after: not_before + days * DAY,
        stored: not_before,
        print: want.fingerprint(issuer),
        ari: String::new(),
        revoked: false,
        unwanted: None,
        previous: None,
    }
}

fn only(plan: &Plan) -> &Step {
    assert_eq!(plan.decisions.len(), 1);
    &plan.decisions[0].step
}

fn trouble(want: &CertificateSpec, issuer: &Issuer, class: Class, now: i64) -> FailureState {
    FailureState::after(
        None,
        &Failure::new(class, "it failed"),
        &issuer.name,
        want.attempt_fingerprint(issuer),
        now,
        0,
    )
}

#[test]
fn what_is_not_there_is_got_and_what_is_fresh_is_left_alone() {
    let (issuer, mut state) = (ca("one"), State::default());
    let want = want(&["a.example"], std::slice::from_ref(&issuer));
    let obtain = plan(Some(NOW), std::slice::from_ref(&want), &state);
    assert!(
        matches!(
            only(&obtain),
            Step::Obtain {
                reason: Reason::New,
                ..
            }
        ),
        "{obtain:?}"
    );
    state
        .held
        .insert(want.id.to_string(), held(&want, &issuer, NOW, 90));
    let wait = plan(Some(NOW), std::slice::from_ref(&want), &state);
    assert!(
        matches!(only(&wait), Step::Wait { until, .. } if wait.wake == Some(*until)),
        "{wait:?}"
    );
    let due = plan(Some(NOW + 61 * DAY), std::slice::from_ref(&want), &state);
    assert!(
        matches!(
            only(&due),
            Step::Obtain {
                reason: Reason::Due(Why::Lifetime),
                ..
            }
        ),
        "{due:?}"
    );
}

#[test]
fn other_names_another_issuer_a_revocation_or_the_operator_make_it_anew() {
    let (one, two) = (ca("one"), ca("two"));
    let before = want(&["a.example"], std::slice::from_ref(&one));
    let mut state = State::default();
    state
        .held
        .insert(before.id.to_string(), held(&before, &one, NOW, 90));
    for after in [
        want(&["a.example", "b.example"], std::slice::from_ref(&one)),
        want(&["a.example"], std::slice::from_ref(&two)),
    ] {
        let plan = plan(Some(NOW), &[after], &state);
        assert!(
            matches!(
                only(&plan),
                Step::Obtain {
                    reason: Reason::Changed,
                    ..
                }
            ),
            "{plan:?}"
        );
    }
    // A second issuer behind the first changes nothing.
    let same = plan(Some(NOW), &[want(&["a.example"], &[one, two])], &state);
    assert!(matches!(only(&same), Step::Wait { .. }), "{same:?}");
    state.forced.insert(before.id.to_string());
    let forced = plan(Some(NOW), std::slice::from_ref(&before), &state);
    assert!(matches!(
        only(&forced),
        Step::Obtain {
            reason: Reason::Forced,
            ..
        }
    ));
    state.forced.clear();
    state.held.get_mut(&*before.id).expect("there").revoked = true;
    let revoked = plan(Some(NOW), &[before], &state);
    assert!(matches!(
        only(&revoked),
        Step::Obtain {
            reason: Reason::Revoked,
            ..
        }
    ));
}

#[test]
fn nothing_is_ordered_at_an_unknown_time_but_local_issuers_do_not_mind() {
    let remote = want(&["a.example"], &[ca("one")]);
    assert!(matches!(
        only(&plan(None, &[remote], &State::default())),
        Step::ClockUnknown
    ));
    let local = Arc::new(Issuer::preset("local-ca").expect("built in"));
    let plan = plan(None, &[want(&["a.example"], &[local])], &State::default());
    assert!(matches!(
        only(&plan),
        Step::Obtain {
            reason: Reason::New,
            ..
        }
    ));
}

#[test]
fn trouble_waits_blocks_or_lets_the_next_issuer_take_over() {
    let (one, two) = (ca("one"), ca("two"));
    let want = want(&["a.example"], &[one.clone(), two]);
    let step = |class, since: i64, held: Option<StoredCertificate>| {
        let mut state = State::default();
        let mut trouble = trouble(&want, &one, class, NOW);
        trouble.since = NOW - since;
        state.troubles.insert(want.id.to_string(), vec![trouble]);
        state
            .held
            .extend(held.map(|held| (want.id.to_string(), held)));
        plan(Some(NOW), std::slice::from_ref(&want), &state)
            .decisions
            .remove(0)
            .step
    };
    let goes_to_two =
        |step: &Step| matches!(step, Step::Obtain { issuer, .. } if *issuer.name == *"two");
    let dying = || Some(held(&want, &one, NOW - 85 * DAY, 90));
    let due = || Some(held(&want, &one, NOW - 61 * DAY, 90));
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
fn a_person_is_told_what_has_to_be_done() {
    let one = ca("one");
    let want = want(&["a.example"], std::slice::from_ref(&one));
    let mut state = State::default();
    let failure = Failure::new(Class::Config, "the CA does not issue for a.example")
        .advise("use another issuer");
    let trouble = FailureState::after(
        None,
        &failure,
        "one",
        want.attempt_fingerprint(&one),
        NOW,
        0,
    );
    state.troubles.insert(want.id.to_string(), vec![trouble]);
    let plan = plan(Some(NOW + 100 * DAY), std::slice::from_ref(&want), &state);
    let Step::Blocked { why } = only(&plan) else {
        panic!("{plan:?}")
    };
    assert_eq!(
        why,
        "the CA does not issue for a.example; use another issuer"
    );
}

#[test]
fn those_that_are_expired_or_in_danger_come_first() {
    let one = ca("one");
    let names = [
        "fresh.example",
        "due.example",
        "danger.example",
        "expired.example",
        "new.example",
    ];
    let wants: Vec<_> = names
        .iter()
        .map(|name| want(&[name], std::slice::from_ref(&one)))
        .collect();
    let mut state = State::default();
    for (want, age) in wants.iter().zip([0, 62, 87, 95]) {
        state
            .held
            .insert(want.id.to_string(), held(want, &one, NOW - age * DAY, 90));
    }
    let plan = plan(Some(NOW), &wants, &state);
    let order: Vec<_> = plan
        .decisions
        .iter()
        .map(|one| one.want.names[0].to_string())
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
fn what_nobody_wants_is_kept_for_its_grace_time_and_then_dropped() {
    let one = ca("one");
    let gone = want(&["a.example"], std::slice::from_ref(&one));
    let mut state = State::default();
    state
        .held
        .insert(gone.id.to_string(), held(&gone, &one, NOW, 90));
    assert_eq!(
        plan(Some(NOW), &[], &state).unwanted,
        [(gone.id.to_string(), true)]
    );
    state.held.get_mut(&*gone.id).expect("there").unwanted = Some(NOW);
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

/// What a CA of the simulation does with an order.
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

    /// Three years of a device with three certificates and a CA that answers as it likes, then
    /// works.
    #[test]
    fn limits_hold_and_every_certificate_gets_there(answers in answers(), days in 6_i64..100, seed: u64) {
        let one = ca("one");
        let account = one.account_id().expect("an account");
        let wants: Vec<_> =
            ["a.example", "b.example", "c.example"].iter().map(|n| want(&[n], std::slice::from_ref(&one))).collect();
        let mut state = State::default();
        let (mut now, mut random) = (NOW, seed);
        let mut failures: Vec<(String, i64)> = Vec::new();
        let mut issued: Vec<(String, i64)> = Vec::new();
        let mut answers = answers.into_iter();
        for _turn in 0..3_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let plan = plan(Some(now), &wants, &state);
            let mut acted = false;
            for decision in &plan.decisions {
                let (id, name) = (decision.want.id.to_string(), decision.want.names[0].to_string());
                match &decision.step {
                    Step::Obtain { issuer, .. } => {
                        acted = true;
                        let budget = state.budgets.entry(account.clone()).or_default();
                        let answer = answers.next().unwrap_or(Answer::Issue);
                        let failure = match answer {
                            Answer::Issue => {
                                budget.issued(std::slice::from_ref(&name), now);
                                issued.push((name, now));
                                state.held.insert(id.clone(), held(&decision.want, issuer, now, days));
                                state.troubles.remove(&id);
                                continue;
                            }
                            Answer::Down => Failure::new(Class::Transport, "down"),
                            Answer::Limited(seconds) =>
                                Failure { retry_after: Some(seconds), ..Failure::new(Class::RateLimited, "slow") },
                            Answer::Invalid => {
                                budget.failed(&name, now);
                                failures.push((name, now));
                                Failure::new(Class::Validation, "wrong")
                            }
                        };
                        let before = state.troubles.get(&id).and_then(|troubles| troubles.first());
                        let print = decision.want.fingerprint(issuer);
                        let next = FailureState::after(before, &failure, &issuer.name, print, now, random);
                        state.troubles.insert(id, vec![next]);
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
        let most = |events: &[(String, i64)], width: i64| {
            let count = |(name, at): &(String, i64)|
                events.iter().filter(|(other, then)| other == name && *then >= *at && *then < at + width).count();
            events.iter().map(count).max().unwrap_or(0)
        };
        prop_assert!(most(&failures, 3_600) <= 5);
        prop_assert!(most(&issued, 7 * DAY) <= 5);
        for want in &wants {
            let blocked = state.troubles.get(&*want.id).is_some_and(|troubles| troubles[0].is_blocked());
            let held = state.held.get(&*want.id);
            prop_assert!(blocked || held.is_some_and(|held| held.not_after > now), "{}", want.id);
        }
    }
}
