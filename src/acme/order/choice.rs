//! The choice of a challenge that can work.

use super::attempt::Attempt;
use crate::acme::{
    ca::{Authorization, Challenge, Identifier},
    issuer::ChallengeType,
    plan::{Class, Failure},
};

/// The problem of a name for which no challenge is usable.
const NO_CHALLENGE: &str = "none of the challenges that the CA offers can be used";

/// Returns the first usable challenge in order of preference that has not failed before, or
/// the first usable one if all have.
pub(super) fn choose<'a>(
    attempt: &Attempt<'_>,
    authorization: &'a Authorization,
) -> Result<(ChallengeType, &'a Challenge), Failure> {
    let possible = possible(attempt, authorization);

    let first = possible
        .iter()
        .find(|(kind, _)| !attempt.failed.contains(kind));
    first.or_else(|| possible.first()).copied().ok_or_else(|| {
        let offered = authorization.challenges.iter();
        let offered: Vec<&str> = offered.map(|one| one.kind.as_str()).collect();
        let advice = if authorization.wildcard {
            "a wildcard needs a DNS challenge: set `dns` for this issuer"
        } else {
            "set `challenges` or `dns` for this issuer"
        };

        let problem = format!("{NO_CHALLENGE} ({})", offered.join(", "));
        Failure::new(Class::Config, problem).advise(advice)
    })
}

/// Returns the offered challenges that are usable, in order of preference.
pub(super) fn possible<'a>(
    attempt: &Attempt<'_>,
    authorization: &'a Authorization,
) -> Vec<(ChallengeType, &'a Challenge)> {
    const USUAL: [ChallengeType; 4] = [
        ChallengeType::Http01,
        ChallengeType::TlsAlpn01,
        ChallengeType::Dns01,
        ChallengeType::DnsPersist01,
    ];
    let allowed: &[ChallengeType] = if attempt.acme.challenges.is_empty() {
        &USUAL
    } else {
        &attempt.acme.challenges
    };

    let is_ip = matches!(authorization.identifier, Identifier::Ip(_));
    let can = |kind: ChallengeType| match kind {
        ChallengeType::Http01 => attempt.context.timing.http && !authorization.wildcard,
        ChallengeType::TlsAlpn01 => attempt.context.timing.https && !authorization.wildcard,
        ChallengeType::Dns01 => attempt.acme.dns.is_some() && !is_ip,
        // The operator creates this record, so the challenge must be configured.
        ChallengeType::DnsPersist01 => !attempt.acme.challenges.is_empty() && !is_ip,
    };

    let offered = |kind: ChallengeType| {
        let mut offered = authorization.challenges.iter();
        offered.find(|one| one.kind == kind.name())
    };

    allowed
        .iter()
        .filter(|kind| can(**kind))
        .filter_map(|kind| Some((*kind, offered(*kind)?)))
        .collect()
}
