//! Proves control of names (RFC 8555 section 7.5): publishes the response to a challenge, triggers
//! the CA's validation once, and waits for the result.

use std::{collections::HashSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use tokio::time::{Instant, sleep};

use super::{
    attempt::{Attempt, LONGEST_LOOK, Poller},
    choice::choose,
    refused::{Attempted, failed_challenge, hits, host, refused},
};
use crate::{
    acme::{
        ca::{Authorization, Challenge, Identifier, Order, Status},
        dns::{self, PersistPolicy, TxtRecord, visible},
        issuer::ChallengeType,
        plan::{
            failure::{Class, Failure},
            record::PendingOrder,
        },
        state::timing::Timing,
    },
    pki::CertificateName,
    util::sync::lock,
};

/// The time for a record to reach every server of its zone. After that, validation is triggered
/// anyway.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(180);

/// The proof of control of an order's names.
pub(super) struct Proof<'a> {
    pub(super) attempt: &'a Attempt<'a>,
}

impl Proof<'_> {
    /// Proves control of every name of the order that is still pending.
    pub(super) async fn prove(
        &self,
        pending: &mut PendingOrder,
        order: &Order,
    ) -> Result<(), Failure> {
        let mut unproved = Vec::new();
        let mut seen = HashSet::new();
        for url in order.authorizations.iter().filter(|url| seen.insert(*url)) {
            let authorization = self.attempt.authorization(url).await?;

            self.check_name(&authorization.value)?;
            match authorization.value.status {
                Status::Valid => {}
                Status::Pending => unproved.push((url.clone(), authorization.value)),
                _ => {
                    self.remove_records(pending).await;
                    return Err(refused(self.attempt, &authorization.value, None).await);
                }
            }
        }

        let outcome = self.prove_all(pending, &order.url, &unproved).await;
        self.attempt
            .context
            .responder
            .withdraw(&self.attempt.spec.id);
        self.remove_records(pending).await;
        outcome
    }

    async fn prove_all(
        &self,
        pending: &mut PendingOrder,
        order: &str,
        unproved: &[(String, Authorization)],
    ) -> Result<(), Failure> {
        // Publish all responses first: waiting for DNS takes as long for ten names as for one.
        let mut chosen = Vec::new();
        for (url, authorization) in unproved {
            let (kind, challenge) = choose(self.attempt, authorization)?;
            self.publish(pending, authorization, kind, challenge)
                .await?;
            chosen.push((url, authorization, kind, challenge));
        }

        self.wait_for_dns(pending).await;

        for (url, authorization, kind, challenge) in chosen {
            self.attempt.check_current()?;
            let tried = Attempted {
                kind,
                before: hits(self.attempt, authorization, kind),
                offered: authorization,
            };
            if self
                .await_earlier_trigger(url, order, challenge, &tried)
                .await?
            {
                continue;
            }

            // A CA that already reports `processing` must not be triggered again.
            if challenge.status == Status::Pending {
                lock(&self.attempt.context.triggered).note(
                    &challenge.url,
                    Instant::now(),
                    self.validation_time(),
                );
                self.attempt
                    .session()?
                    .respond(&challenge.url)
                    .await
                    .map_err(|error| self.attempt.failed(&error))?;
            }

            self.await_validation(url, &tried).await?;
        }

        Ok(())
    }

    /// Fails for an authorization of a name that was not ordered.
    fn check_name(&self, authorization: &Authorization) -> Result<(), Failure> {
        let name = authorization.identifier.to_string();
        if self
            .attempt
            .spec
            .names
            .iter()
            .any(|spec_name| spec_name.base() == name)
        {
            return Ok(());
        }
        Err(Failure::new(
            Class::Content,
            format!("the CA asks for proof of {name:.100}, which was not ordered"),
        ))
    }

    /// Publishes the response to a challenge where the CA will look for it.
    async fn publish(
        &self,
        pending: &mut PendingOrder,
        authorization: &Authorization,
        kind: ChallengeType,
        challenge: &Challenge,
    ) -> Result<(), Failure> {
        let session = self.attempt.session()?;
        if kind == ChallengeType::DnsPersist01 {
            return self.persisted(authorization, challenge).await;
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
            // Every node responds for as long as the spec exists. Here it is settled which
            // account's key the response contains.
            ChallengeType::Http01 => {
                self.attempt
                    .context
                    .accounts
                    .set_answering_account(self.attempt.spec, &self.attempt.ca.account)
                    .await?;
                self.attempt
                    .context
                    .responder
                    .answer_http(&self.attempt.spec.id, &session.key().thumbprint());
            }
            ChallengeType::TlsAlpn01 => {
                let host = host(authorization)?;
                let certificate = crate::tls::challenge_certificate(&host, &proof)
                    .map_err(|error| Failure::new(Class::Config, error.to_string()))?;
                self.attempt
                    .context
                    .responder
                    .answer_tls(&self.attempt.spec.id, host, certificate);
            }
            ChallengeType::Dns01 => {
                let Identifier::Dns(name) = &authorization.identifier else {
                    return Err(Failure::new(
                        Class::Config,
                        "an address cannot be proved by DNS",
                    ));
                };
                let record = TxtRecord::challenge(name, &dns_value(&proof));

                // Store it before it is published, so that it is removed even after a crash.
                let noted = (record.fqdn.clone(), record.value.clone());
                if !pending.dns.contains(&noted) {
                    pending.dns.push(noted);
                    self.attempt.put_pending_order(pending).await?;
                }

                self.attempt.set_progress("publishing a DNS record");
                if let Some(provider) = &self.attempt.acme.dns {
                    // No failure is final, not even a refusal: the order costs the CA nothing
                    // while it waits, and resumes once the operator has corrected a token or key.
                    provider
                        .present(&record)
                        .await
                        .map_err(|error| Failure::new(Class::Transport, error.to_string()))?;
                }
            }
            ChallengeType::DnsPersist01 => {}
        }

        Ok(())
    }

    /// Checks that the persistent record exists, which the operator creates.
    async fn persisted(
        &self,
        authorization: &Authorization,
        challenge: &Challenge,
    ) -> Result<(), Failure> {
        let Identifier::Dns(name) = &authorization.identifier else {
            return Err(Failure::new(
                Class::Config,
                "an address cannot be proved by DNS",
            ));
        };

        let ours = self
            .attempt
            .context
            .accounts
            .get(&self.attempt.ca.account, self.attempt.acme)
            .await?
            .url
            .unwrap_or_default();
        let issuer_domains: Vec<&str> = challenge
            .issuer_domain_names
            .iter()
            .map(String::as_str)
            .collect();

        let policy = PersistPolicy {
            issuer_domains: &issuer_domains,
            account_uri: challenge.account_uri.as_deref().unwrap_or(&ours),
            // One record serves both the name and its wildcard.
            wildcard: self.attempt.spec.names.iter().any(
                |wanted| matches!(wanted, CertificateName::Wildcard(base) if **base == **name),
            ),
        };

        let now = u64::try_from(self.attempt.context.time.now_or_failure()?).unwrap_or(0);

        match dns::persisted(name, &policy, now, self.attempt.lookup()).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let record = dns::persist_record(name, &policy, None);
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

    /// Waits until every server of the zones has the records. Never fails, because a resolver that
    /// filters may hide the records from this node.
    async fn wait_for_dns(&self, pending: &PendingOrder) {
        if pending.dns.is_empty() {
            return;
        }

        self.attempt.set_progress("waiting for the record in DNS");

        let lookup = self.attempt.lookup();
        let mut poller = Poller::new(&Timing {
            poll_timeout: PUBLISHED_WITHIN.min(self.attempt.context.timing.poll_timeout),
            ..self.attempt.context.timing
        });

        for (fqdn, value) in &pending.dns {
            let record = TxtRecord {
                fqdn: fqdn.clone(),
                value: value.clone(),
            };
            loop {
                match visible(&record, lookup).await {
                    Ok(true) => break,
                    Ok(false) => {}
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
                    return;
                }
            }
        }
    }

    /// Removes the DNS records of a pending order, including those from before a crash.
    async fn remove_records(&self, pending: &mut PendingOrder) {
        if pending.dns.is_empty() {
            return;
        }
        let Some(provider) = &self.attempt.acme.dns else {
            return;
        };

        let mut left = Vec::new();
        for (fqdn, value) in pending.dns.drain(..) {
            let record = TxtRecord { fqdn, value };
            if let Err(error) = provider.remove(&record).await {
                tracing::warn!(
                   record = record.fqdn,
                   %error,
                   "removing a challenge's DNS record failed"
                );
                left.push((record.fqdn, record.value));
            }
        }

        pending.dns = left;
        if let Err(failure) = self.attempt.put_pending_order(pending).await {
            tracing::warn!(
                certificate = &*self.attempt.spec.id,
                problem = failure.problem,
                "storing the removal of DNS records failed"
            );
        }
    }

    /// Polls an authorization while the CA may be validating because of an earlier trigger.
    /// Returns true once it is valid, false if it is still pending or was not triggered before.
    async fn await_earlier_trigger(
        &self,
        url: &str,
        order: &str,
        challenge: &Challenge,
        tried: &Attempted<'_>,
    ) -> Result<bool, Failure> {
        let settled = lock(&self.attempt.context.triggered).settled(
            order,
            &challenge.url,
            self.validation_time(),
        );
        let Some(settled) = settled.filter(|_| challenge.status == Status::Pending) else {
            return Ok(false);
        };

        let mut pause = self.attempt.context.timing.poll_interval;
        while Instant::now() < settled {
            self.attempt.check_current()?;
            sleep(pause.min(settled.duration_since(Instant::now()))).await;
            pause = (pause * 2).min(LONGEST_LOOK);

            let now = self.attempt.authorization(url).await?;
            if self.is_valid(&now.value, tried).await? {
                return Ok(true);
            }
        }

        Ok(false)
    }

    /// Returns the longest time that a CA takes to validate.
    fn validation_time(&self) -> Duration {
        self.attempt.context.timing.poll_timeout / 10
    }

    /// Returns true if an authorization is valid, false if it is pending, and fails otherwise.
    async fn is_valid(&self, now: &Authorization, tried: &Attempted<'_>) -> Result<bool, Failure> {
        match now.status {
            Status::Valid => Ok(true),
            Status::Pending | Status::Processing => Ok(false),
            _ => Err(refused(self.attempt, now, Some(tried)).await),
        }
    }

    /// Waits until the CA has validated one authorization.
    async fn await_validation(&self, url: &str, tried: &Attempted<'_>) -> Result<(), Failure> {
        let mut poller = Poller::new(&self.attempt.context.timing);
        let (mut retry_after, mut last) = (None, None);

        loop {
            if !poller.next(retry_after).await {
                // Some CAs retry for a while (RFC 8555 section 8.2), but report why it fails.
                if let Some(last) = last.filter(|last| failed_challenge(last).is_some()) {
                    return Err(refused(self.attempt, &last, Some(tried)).await);
                }

                let host = host(tried.offered)
                    .map(|host| host.to_string())
                    .unwrap_or_default();
                return Err(self.attempt.timed_out(
                    &format!("the CA has not finished validating {host}"),
                    retry_after,
                ));
            }

            self.attempt.check_current()?;
            let now = self.attempt.authorization(url).await?;

            retry_after = now.retry_after;
            if self.is_valid(&now.value, tried).await? {
                return Ok(());
            }
            last = Some(now.value);
        }
    }
}

/// Returns the value of a DNS-01 record (RFC 8555 section 8.4).
fn dns_value(proof: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, proof.as_bytes()))
}
