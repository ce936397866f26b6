//! Publishes the responses to challenges, and removes the DNS records among them.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;

use super::{
    attempt::{Attempt, Poller},
    refused::host,
};
use crate::{
    acme::{
        ca::{Authorization, Challenge, Identifier},
        dns::{self, DnsError, Lookup, PersistPolicy, Provider, TxtRecord, visible},
        issuer::ChallengeType,
        plan::{Class, Failure, PendingOrder},
        state::Timing,
    },
    pki::CertificateName,
};

/// The time for a record to reach every server of its zone. After that, validation is triggered
/// anyway.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(180);

/// The number of checks in a row that must show a later value of a record and not this one, before
/// a hook counts as one that replaces.
const SEEN_REPLACED: u32 = 2;

/// Publishes the response to a challenge where the CA will look for it.
pub(super) async fn publish(
    attempt: &Attempt<'_>,
    pending: &mut PendingOrder,
    authorization: &Authorization,
    kind: ChallengeType,
    challenge: &Challenge,
) -> Result<(), Failure> {
    let Attempt { context, spec, .. } = attempt;
    let session = attempt.ca.session()?;
    if kind == ChallengeType::DnsPersist01 {
        return persisted(attempt, authorization, challenge).await;
    }

    let token = challenge.token.as_deref().filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| {
        Failure::new(
            Class::Transport,
            format!("the CA sent a {kind} challenge without a token"),
        )
    })?;
    let proof = format!("{token}.{}", session.key().thumbprint());

    match kind {
        // Every node responds for as long as the spec exists. Here it is settled which account's
        // key the response contains; this node also knows the token's.
        ChallengeType::Http01 => {
            let accounts = &context.accounts;
            accounts
                .set_answering_account(spec, &attempt.ca.account)
                .await?;
            let (host, thumbprint) = (host(authorization)?, session.key().thumbprint());
            let responder = &context.responder;
            responder.answer_http(&spec.id, host, token, &thumbprint);
        }
        ChallengeType::TlsAlpn01 => {
            let host = host(authorization)?;
            let certificate = crate::tls::challenge_certificate(&host, &proof)
                .map_err(|error| Failure::new(Class::Config, error.to_string()))?;
            context.responder.answer_tls(&spec.id, host, certificate);
        }
        ChallengeType::Dns01 => {
            let name = dns_name(authorization)?;
            let record = TxtRecord::challenge(name, &dns_value(&proof));

            // Store it before it is published, so that it is removed even after a crash.
            if !pending.dns.contains(&record) {
                pending.dns.push(record.clone());
                attempt.put_pending_order(pending).await?;
            }

            attempt.set_progress("publishing a DNS record");
            if let Some(provider) = &attempt.acme.dns {
                // No failure is final, not even a refusal: the order costs the CA nothing
                // while it waits, and resumes once the operator has corrected a token or key.
                provider
                    .present(&record)
                    .await
                    .map_err(|error| unpublished(&error))?;
            }
        }
        ChallengeType::DnsPersist01 => {}
    }

    Ok(())
}

/// Checks that the persistent record exists, which the operator creates.
async fn persisted(
    attempt: &Attempt<'_>,
    authorization: &Authorization,
    challenge: &Challenge,
) -> Result<(), Failure> {
    let name = dns_name(authorization)?;
    let ours = attempt.known_account().await?.url.unwrap_or_default();
    let issuer_domains = challenge.issuer_domain_names.iter();
    let issuer_domains: Vec<&str> = issuer_domains.map(String::as_str).collect();

    let policy =
        PersistPolicy {
            issuer_domains: &issuer_domains,
            account_uri: challenge.account_uri.as_deref().unwrap_or(&ours),
            // One record serves both the name and its wildcard.
            wildcard: attempt.spec.names.iter().any(
                |ordered| matches!(ordered, CertificateName::Wildcard(base) if **base == *name),
            ),
        };
    let now = u64::try_from(attempt.context.time.now_or_failure()?.0).unwrap_or(0);

    match dns::persisted(name, &policy, now, attempt.lookup()).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            let record = dns::persist_record(name, &policy);
            let problem = format!("{name}: DNS has no record that lets the CA issue");
            let advice = format!(
                "create the TXT record {} with the value \"{}\", then run \
                `gatelet certs renew`",
                record.fqdn, record.value
            );
            Err(Failure::new(Class::Config, problem).advise(advice))
        }
        // A resolver that filters may hide the record from this node but not from the CA.
        Err(error) => {
            tracing::info!(
                %error,
                "the DNS record could not be checked; triggering validation anyway"
            );
            Ok(())
        }
    }
}

/// Waits until every server of the zones has the records. Only fails if a hook took one of them
/// away: a resolver that filters may hide the records from this node.
pub(super) async fn wait_for_dns(
    attempt: &Attempt<'_>,
    pending: &PendingOrder,
) -> Result<(), Failure> {
    if pending.dns.is_empty() {
        return Ok(());
    }

    attempt.set_progress("waiting for the record in DNS");

    let lookup = attempt.lookup();
    let hook = attempt.acme.dns.as_ref().filter(|dns| dns.is_hook());
    let mut poller = Poller::new(&Timing {
        poll_timeout: PUBLISHED_WITHIN.min(attempt.context.timing.poll_timeout),
        ..attempt.context.timing
    });

    for (index, record) in pending.dns.iter().enumerate() {
        let fqdn = &*record.fqdn;
        let mut replaced = 0;
        loop {
            match visible(record, lookup).await {
                Ok(true) => break,
                Ok(false) => {
                    let later = &pending.dns[index + 1..];
                    if let Some(hook) = hook
                        && shows_another(fqdn, later, lookup).await
                    {
                        replaced += 1;
                        if replaced == SEEN_REPLACED {
                            return Err(replaced_by_hook(hook, fqdn));
                        }
                    } else {
                        replaced = 0;
                    }
                }
                Err(error) => {
                    tracing::debug!(
                        record = fqdn,
                        %error,
                        "the DNS record could not be checked"
                    );
                }
            }

            if !poller.next(None).await {
                tracing::info!(
                    record = fqdn,
                    "not every name server has the record yet; triggering validation anyway"
                );
                return Ok(());
            }
        }
    }

    Ok(())
}

/// Returns true if a value of this record that was published later is visible already.
async fn shows_another(fqdn: &str, later: &[TxtRecord], lookup: &Lookup) -> bool {
    match later.iter().rev().find(|other| other.fqdn == fqdn) {
        Some(record) => visible(record, lookup).await == Ok(true),
        None => false,
    }
}

/// Returns the failure of a hook that replaces values.
fn replaced_by_hook(hook: &Provider, fqdn: &str) -> Failure {
    let (problem, advice) = hook.note_replacement(fqdn);
    tracing::warn!(record = fqdn, problem, "a DNS hook replaces values");
    Failure::new(Class::Transport, problem).advise(advice)
}

/// Removes the DNS records of a pending order, including those from before a crash.
pub(super) async fn remove_records(attempt: &Attempt<'_>, pending: &mut PendingOrder) {
    if pending.dns.is_empty() {
        return;
    }
    let Some(provider) = &attempt.acme.dns else {
        return;
    };

    let mut left = Vec::new();
    for record in pending.dns.drain(..) {
        if !remove_record(provider, &record).await {
            left.push(record);
        }
    }

    pending.dns = left;
    if let Err(failure) = attempt.put_pending_order(pending).await {
        tracing::warn!(
            certificate = &*attempt.spec.id,
            problem = failure.problem,
            "storing the removal of DNS records failed"
        );
    }
}

/// Removes a record. Returns false if that fails, after logging it.
pub(crate) async fn remove_record(provider: &Provider, record: &TxtRecord) -> bool {
    let removed = provider.remove(record).await;
    if let Err(error) = &removed {
        tracing::warn!(record = record.fqdn, %error, "removing a challenge's DNS record failed");
    }
    removed.is_ok()
}

fn dns_name(authorization: &Authorization) -> Result<&str, Failure> {
    match &authorization.identifier {
        Identifier::Dns(name) => Ok(name),
        _ => Err(Failure::new(
            Class::Config,
            "an address cannot be proved by DNS",
        )),
    }
}

/// Returns the failure to publish a record, with the wait that the DNS provider asks for.
fn unpublished(error: &DnsError) -> Failure {
    Failure {
        retry_after: error.retry_after().map(Duration::from_secs),
        ..Failure::new(Class::Transport, error.to_string())
    }
}

/// Returns the value of a DNS-01 record (RFC 8555 section 8.4).
fn dns_value(proof: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, proof.as_bytes()))
}
