//! A failed validation: counted against the name, and explained.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    attempt::Attempt,
    choice::possible,
    classify,
    diagnose::{self, Failed},
};
use crate::{
    acme::{
        ca::{Authorization, Challenge, Identifier},
        dns,
        issuer::ChallengeType,
        plan::{Class, Failure},
        state::NoticeReason,
    },
    routing::Host,
    tls::{ChallengeKind, Hits},
};

/// The time limit for the DNS lookups that explain a failed validation.
const ADVICE_WITHIN: Duration = Duration::from_secs(10);

/// A challenge whose validation was triggered.
pub(super) struct Attempted<'a> {
    pub(super) kind: ChallengeType,
    /// Requests of the CA before that.
    pub(super) before: Hits,
    /// The authorization as it was then.
    pub(super) offered: &'a Authorization,
}

/// Counts a failed validation against the name, and returns the failure with advice from the
/// requests of the CA that arrived here and from DNS.
pub(super) async fn refused(
    attempt: &Attempt<'_>,
    authorization: &Authorization,
    tried: Option<&Attempted<'_>>,
) -> Failure {
    let name = match &authorization.identifier {
        Identifier::Dns(name) if authorization.wildcard => format!("*.{name}"),
        other => other.to_string(),
    };
    if let Some(now) = attempt.context.time.now() {
        let ledger = &attempt.context.ledger;
        ledger.spend(&attempt.ca.account, |budget| budget.failed(&name, now));
    }

    let mut failure = validation_failure(authorization);
    failure.problem = format!("{name}: {}", failure.problem);

    if let Some(tried) = tried.filter(|_| failure.class == Class::Validation) {
        failure.challenge = Some(tried.kind);

        // A failed authorization lists only the failed challenge, so use the original.
        let mut possible = possible(attempt, tried.offered).into_iter();
        failure.has_alternative =
            possible.any(|(other, _)| other != tried.kind && !attempt.failed.contains(&other));

        // The notice of the failure has the state of DNS.
        if let Some(unseen) = not_contacted(attempt, tried) {
            failure.advice.clone_from(&unseen);
            let progress = &attempt.context.progress;
            progress.notify(&attempt.spec.id, NoticeReason::ChallengeNeverSeen, unseen);
        }
    }
    with_dns_advice(attempt, failure, authorization).await
}

/// Returns the advice for a validation during which no request of the CA reached this device.
fn not_contacted(attempt: &Attempt<'_>, tried: &Attempted<'_>) -> Option<String> {
    let port = port(tried.kind.name())?;
    let after = hits(attempt, tried.offered, tried.kind);
    let host = host(tried.offered).ok()?;
    if after.count > tried.before.count {
        return None;
    }
    Some(format!(
        "the CA was asked to validate {host}, but no request reached this device: does the \
        name point here (A and AAAA), and is port {port} reachable from the internet?"
    ))
}

/// Adds the state of the name in DNS to a failure's advice, within [`ADVICE_WITHIN`].
async fn with_dns_advice(
    attempt: &Attempt<'_>,
    mut failure: Failure,
    authorization: &Authorization,
) -> Failure {
    let Identifier::Dns(name) = &authorization.identifier else {
        return failure;
    };
    if failure.class != Class::Validation || !attempt.context.timing.advice {
        return failure;
    }

    let lookups = async {
        let found = dns::advice(name, attempt.lookup()).await;
        let directory = attempt.ca.client.directory().await;
        let identities = directory.map(|directory| directory.meta.caa_identities.clone());
        let refused = failed_challenge(authorization).map(|challenge| challenge.kind.as_str());

        let method = failure.challenge.map(ChallengeType::name);
        let method = method.or(refused).unwrap_or_default();
        let failed = Failed {
            name,
            wildcard: authorization.wildcard,
            method,
            port: port(method),
            identities: &identities.unwrap_or_default(),
        };

        diagnose::sentences(&failed, &found, &(attempt.context.own_addresses)())
    };
    let sentences = timeout(ADVICE_WITHIN, lookups).await.unwrap_or_default();

    if !sentences.is_empty() {
        let before = if failure.advice.is_empty() {
            String::new()
        } else {
            format!("{}; ", failure.advice)
        };
        failure.advice = format!("{before}in DNS as seen from here: {}", sentences.join("; "));
    }

    failure
}

pub(super) fn hits(
    attempt: &Attempt<'_>,
    authorization: &Authorization,
    kind: ChallengeType,
) -> Hits {
    let kind = match kind {
        ChallengeType::Http01 => ChallengeKind::Http01,
        ChallengeType::TlsAlpn01 => ChallengeKind::TlsAlpn01,
        ChallengeType::Dns01 | ChallengeType::DnsPersist01 => return Hits::default(),
    };
    host(authorization)
        .map(|host| attempt.context.responder.challenges().hits(&host, kind))
        .unwrap_or_default()
}

/// Converts the error of a failed authorization into a failure.
fn validation_failure(authorization: &Authorization) -> Failure {
    let challenge = failed_challenge(authorization);
    let Some(problem) = challenge.and_then(|challenge| challenge.error.as_ref()) else {
        let problem = format!("the authorization is {}", authorization.status);
        return Failure::new(Class::Validation, problem);
    };

    let failure = classify::of_problem(problem, None);
    match failure.class {
        // For an authorization, these types mean that validation failed. They say nothing about
        // the account, and the advice does not apply.
        Class::Account | Class::Transport => Failure::new(Class::Validation, failure.problem),
        class => Failure {
            advice: failure.advice,
            ..Failure::new(class, failure.problem)
        },
    }
}

/// Returns the challenge that the CA did not accept.
pub(super) fn failed_challenge(authorization: &Authorization) -> Option<&Challenge> {
    let mut challenges = authorization.challenges.iter();
    challenges.find(|challenge| challenge.error.is_some())
}

/// Returns the port that a CA connects to for a challenge (RFC 8555 section 8.3, RFC 8737
/// section 3).
fn port(challenge: &str) -> Option<u16> {
    match challenge {
        "http-01" => Some(80),
        "tls-alpn-01" => Some(443),
        _ => None,
    }
}

/// Returns the host that the CA will connect to.
pub(super) fn host(authorization: &Authorization) -> Result<Host, Failure> {
    let text = match &authorization.identifier {
        Identifier::Ip(std::net::IpAddr::V6(v6)) => format!("[{v6}]"),
        other => other.to_string(),
    };
    Host::parse(&text).map_err(|error| {
        let problem = format!("the CA sent the identifier {text:.100}: {error}");
        Failure::new(Class::Transport, problem)
    })
}
