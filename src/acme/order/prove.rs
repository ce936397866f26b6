//! Proves control of names (RFC 8555 section 7.5): publishes the response to a challenge, triggers
//! the CA's validation once, and waits for the result.

use std::{collections::HashSet, time::Duration};

use tokio::time::{Instant, sleep};

use super::{
    attempt::{Attempt, LONGEST_LOOK, Poller},
    choice::choose,
    publish::{publish, remove_records, wait_for_dns},
    refused::{Attempted, failed_challenge, hits, host, refused},
};
use crate::{
    acme::{
        ca::{Authorization, Challenge, Order, Status},
        dns::Provider,
        plan::{Class, Failure, PendingOrder},
    },
    util::sync::lock,
};

/// Proves control of every name of the order that is still pending.
pub(super) async fn prove(
    attempt: &Attempt<'_>,
    pending: &mut PendingOrder,
    order: &Order,
) -> Result<(), Failure> {
    let mut unproved = Vec::new();
    let mut seen = HashSet::new();
    for url in order.authorizations.iter().filter(|url| seen.insert(*url)) {
        let authorization = attempt.authorization(url).await?;

        check_name(attempt, &authorization.value)?;
        match authorization.value.status {
            Status::Valid => {}
            Status::Pending => unproved.push((url.clone(), authorization.value)),
            _ => {
                remove_records(attempt, pending).await;
                return Err(refused(attempt, &authorization.value, None).await);
            }
        }
    }

    let mut outcome = Ok(());
    let mut rounds = unproved.chunks(at_once(attempt, unproved.len())).peekable();
    while let Some(together) = rounds.next() {
        outcome = prove_all(attempt, pending, &order.url, together).await;
        if outcome.is_err() || rounds.peek().is_none() {
            break;
        }
        // A record that keeps one value makes room for the next one.
        remove_records(attempt, pending).await;
    }

    let Attempt { context, spec, .. } = attempt;
    context.responder.withdraw(&spec.id);
    remove_records(attempt, pending).await;
    outcome
}

/// Returns the number of names that are proved at once: one, if the records of the DNS provider
/// keep one value.
fn at_once(attempt: &Attempt<'_>, all: usize) -> usize {
    let provider = attempt.acme.dns.as_ref();
    if provider.is_some_and(Provider::keeps_one_value) {
        1
    } else {
        all.max(1)
    }
}

async fn prove_all(
    attempt: &Attempt<'_>,
    pending: &mut PendingOrder,
    order: &str,
    unproved: &[(String, Authorization)],
) -> Result<(), Failure> {
    // Publish all responses first: waiting for DNS takes as long for ten names as for one.
    let mut chosen = Vec::new();
    for (url, authorization) in unproved {
        let (kind, challenge) = choose(attempt, authorization)?;
        publish(attempt, pending, authorization, kind, challenge).await?;
        chosen.push((url, authorization, kind, challenge));
    }

    wait_for_dns(attempt, pending).await?;

    for (url, authorization, kind, challenge) in chosen {
        attempt.check_current()?;
        let tried = Attempted {
            kind,
            before: hits(attempt, authorization, kind),
            offered: authorization,
        };
        if await_earlier_trigger(attempt, url, order, challenge, &tried).await? {
            continue;
        }

        // A CA that already reports `processing` must not be triggered again.
        if challenge.status == Status::Pending {
            lock(&attempt.context.triggered).note(
                &challenge.url,
                Instant::now(),
                validation_time(attempt),
            );
            attempt.ca.session()?.respond(&challenge.url).await?;
        }

        await_validation(attempt, url, &tried).await?;
    }

    Ok(())
}

/// Fails for an authorization of a name that was not ordered.
fn check_name(attempt: &Attempt<'_>, authorization: &Authorization) -> Result<(), Failure> {
    let name = authorization.identifier.to_string();
    let mut ordered = attempt.spec.names.iter();
    if ordered.any(|ordered| ordered.base() == name) {
        return Ok(());
    }
    Err(Failure::new(
        Class::Content,
        format!("the CA asks for proof of {name:.100}, which was not ordered"),
    ))
}

/// Polls an authorization while the CA may be validating because of an earlier trigger.
/// Returns true once it is valid, false if it is still pending or was not triggered before.
async fn await_earlier_trigger(
    attempt: &Attempt<'_>,
    url: &str,
    order: &str,
    challenge: &Challenge,
    tried: &Attempted<'_>,
) -> Result<bool, Failure> {
    let settled =
        lock(&attempt.context.triggered).settled(order, &challenge.url, validation_time(attempt));
    let Some(settled) = settled.filter(|_| challenge.status == Status::Pending) else {
        return Ok(false);
    };

    let mut pause = attempt.context.timing.poll_interval;
    while Instant::now() < settled {
        attempt.check_current()?;
        sleep(pause.min(settled.duration_since(Instant::now()))).await;
        pause = (pause * 2).min(LONGEST_LOOK);

        let now = attempt.authorization(url).await?;
        if is_valid(attempt, &now.value, tried).await? {
            return Ok(true);
        }
    }

    Ok(false)
}

/// Returns the longest time that a CA takes to validate.
fn validation_time(attempt: &Attempt<'_>) -> Duration {
    attempt.context.timing.poll_timeout / 10
}

/// Returns true if an authorization is valid, false if it is pending, and fails otherwise.
async fn is_valid(
    attempt: &Attempt<'_>,
    now: &Authorization,
    tried: &Attempted<'_>,
) -> Result<bool, Failure> {
    match now.status {
        Status::Valid => Ok(true),
        Status::Pending | Status::Processing => Ok(false),
        _ => Err(refused(attempt, now, Some(tried)).await),
    }
}

/// Waits until the CA has validated one authorization.
async fn await_validation(
    attempt: &Attempt<'_>,
    url: &str,
    tried: &Attempted<'_>,
) -> Result<(), Failure> {
    let mut poller = Poller::new(&attempt.context.timing);
    let (mut retry_after, mut last) = (None, None);

    loop {
        if !poller.next(retry_after).await {
            // Some CAs retry for a while (RFC 8555 section 8.2), but report why it fails.
            if let Some(last) = last.filter(|last| failed_challenge(last).is_some()) {
                return Err(refused(attempt, &last, Some(tried)).await);
            }

            let host = host(tried.offered)
                .map(|host| host.to_string())
                .unwrap_or_default();
            return Err(attempt.timed_out(
                &format!("the CA has not finished validating {host}"),
                retry_after,
            ));
        }

        attempt.check_current()?;
        let now = attempt.authorization(url).await?;

        retry_after = now.retry_after;
        if is_valid(attempt, &now.value, tried).await? {
            return Ok(());
        }
        last = Some(now.value);
    }
}
