//! Proves control of names (RFC 8555 section 7.5): chooses a challenge that can work, publishes its
//! response, triggers the CA's validation once, and waits for the result.

use std::{collections::HashSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use tokio::time::{Instant, sleep, timeout};

use super::{
    classify,
    diagnose::{self, Failed},
    {Attempt, LONGEST_LOOK, Poller},
};
use crate::{
    acme::{
        ca::{Authorization, Challenge, Identifier, Order as Remote, Status},
        dns::{self, DnsError, Lookup, PersistPolicy, Provider, TxtRecord, visible},
        engine::Timing,
        issuer::ChallengeType,
        plan::{
            failure::{Class, Failure},
            record::PendingOrder,
        },
    },
    pki::CertificateName,
    routing::Host,
    tls::{ChallengeKind, Hits},
    util::sync::lock,
};

/// The time for a record to reach every server of its zone. After that, validation is triggered
/// anyway.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(180);

/// The number of checks in a row that must show a later value of a record and not this one, before
/// a hook counts as one that replaces.
const SEEN_REPLACED: u32 = 2;

/// The time limit for the DNS lookups that explain a failed validation.
const ADVICE_WITHIN: Duration = Duration::from_secs(10);

/// The problem of a name for which no challenge is usable.
const NO_CHALLENGE: &str = "none of the challenges that the CA offers can be used";

/// A challenge whose validation was triggered.
pub(crate) struct Attempted<'a> {
    kind: ChallengeType,
    /// Requests of the CA before that.
    before: Hits,
    /// The authorization as it was then.
    offered: &'a Authorization,
}

impl Attempt<'_> {
    /// Proves control of every name of the order that is still pending.
    pub(crate) async fn prove(
        &self,
        pending: &mut PendingOrder,
        order: &Remote,
    ) -> Result<(), Failure> {
        let mut unproved = Vec::new();
        let mut seen = HashSet::new();
        for url in order.authorizations.iter().filter(|url| seen.insert(*url)) {
            let authorization = self
                .session()?
                .authorization(url)
                .await
                .map_err(|error| self.failed(&error))?;

            self.check_name(&authorization.value)?;
            match authorization.value.status {
                Status::Valid => {}
                Status::Pending => unproved.push((url.clone(), authorization.value)),
                _ => {
                    self.remove_records(pending).await;
                    return Err(self.refused(&authorization.value, None).await);
                }
            }
        }

        let mut outcome = Ok(());
        let mut rounds = unproved.chunks(self.at_once(unproved.len())).peekable();
        while let Some(together) = rounds.next() {
            outcome = self.prove_all(pending, &order.url, together).await;
            if outcome.is_err() || rounds.peek().is_none() {
                break;
            }
            // A record that keeps one value makes room for the next one.
            self.remove_records(pending).await;
        }

        self.engine.withdraw(&self.spec.id);
        self.remove_records(pending).await;
        outcome
    }

    /// Returns the number of names that are proved at once: one, if the records of the DNS provider
    /// keep one value.
    fn at_once(&self, all: usize) -> usize {
        let provider = self.acme.dns.as_ref();
        match provider.is_some_and(Provider::keeps_one_value) {
            true => 1,
            false => all.max(1),
        }
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
            let (kind, challenge) = self.choose(authorization)?;
            self.publish(pending, authorization, kind, challenge)
                .await?;
            chosen.push((url, authorization, kind, challenge));
        }

        self.wait_for_dns(pending).await?;

        for (url, authorization, kind, challenge) in chosen {
            self.check_current()?;
            let tried = Attempted {
                kind,
                before: self.hits(authorization, kind),
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
                lock(&self.engine.triggered).note(
                    &challenge.url,
                    Instant::now(),
                    self.validation_time(),
                );
                self.session()?
                    .respond(&challenge.url)
                    .await
                    .map_err(|error| self.failed(&error))?;
            }

            self.await_validation(url, &tried).await?;
        }

        Ok(())
    }

    /// Fails for an authorization of a name that was not ordered.
    fn check_name(&self, authorization: &Authorization) -> Result<(), Failure> {
        let name = authorization.identifier.to_string();
        if self
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

    /// Returns the first usable challenge in order of preference that has not failed before, or
    /// the first usable one if all have.
    fn choose<'a>(
        &self,
        authorization: &'a Authorization,
    ) -> Result<(ChallengeType, &'a Challenge), Failure> {
        let possible = self.possible(authorization);

        let first = possible
            .iter()
            .find(|(kind, _)| !self.failed.iter().any(|failed| failed == kind.name()));
        first.or_else(|| possible.first()).copied().ok_or_else(|| {
            let offered: Vec<&str> = authorization
                .challenges
                .iter()
                .map(|one| one.kind.as_str())
                .collect();
            let advice = if authorization.wildcard {
                "a wildcard needs a DNS challenge: set `dns` for this issuer"
            } else {
                "set `challenges` or `dns` for this issuer"
            };

            Failure::new(
                Class::Config,
                format!("{NO_CHALLENGE} ({})", offered.join(", ")),
            )
            .advise(advice)
        })
    }

    /// Returns the offered challenges that are usable, in order of preference.
    fn possible<'a>(
        &self,
        authorization: &'a Authorization,
    ) -> Vec<(ChallengeType, &'a Challenge)> {
        const USUAL: [ChallengeType; 4] = [
            ChallengeType::Http01,
            ChallengeType::TlsAlpn01,
            ChallengeType::Dns01,
            ChallengeType::DnsPersist01,
        ];
        let allowed: &[ChallengeType] = if self.acme.challenges.is_empty() {
            &USUAL
        } else {
            &self.acme.challenges
        };

        let is_ip = matches!(authorization.identifier, Identifier::Ip(_));
        let can = |kind: ChallengeType| match kind {
            ChallengeType::Http01 => self.engine.timing().http && !authorization.wildcard,
            ChallengeType::TlsAlpn01 => self.engine.timing().https && !authorization.wildcard,
            ChallengeType::Dns01 => self.acme.dns.is_some() && !is_ip,
            // The operator creates this record, so the challenge must be configured.
            ChallengeType::DnsPersist01 => !self.acme.challenges.is_empty() && !is_ip,
        };

        let offered = |kind: ChallengeType| {
            authorization
                .challenges
                .iter()
                .find(|one| one.kind == kind.name())
        };

        allowed
            .iter()
            .filter(|kind| can(**kind))
            .filter_map(|kind| Some((*kind, offered(*kind)?)))
            .collect()
    }

    /// Publishes the response to a challenge where the CA will look for it.
    async fn publish(
        &self,
        pending: &mut PendingOrder,
        authorization: &Authorization,
        kind: ChallengeType,
        challenge: &Challenge,
    ) -> Result<(), Failure> {
        let session = self.session()?;
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
                self.engine
                    .set_answering_account(self.spec, &self.ca.account)
                    .await?;
                self.engine
                    .answer_http(&self.spec.id, &session.key().thumbprint());
            }
            ChallengeType::TlsAlpn01 => {
                let host = host(authorization)?;
                let certificate = crate::tls::challenge_certificate(&host, &proof)
                    .map_err(|error| Failure::new(Class::Config, error.to_string()))?;
                self.engine.answer_tls(&self.spec.id, host, certificate);
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
                    self.put_pending_order(pending).await?;
                }

                self.set_progress("publishing a DNS record");
                if let Some(provider) = &self.acme.dns {
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
            .engine
            .account(&self.ca.account, self.acme)
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
            wildcard: self.spec.names.iter().any(
                |wanted| matches!(wanted, CertificateName::Wildcard(base) if **base == **name),
            ),
        };

        let now = u64::try_from(self.engine.now_or_failure()?).unwrap_or(0);

        match dns::persisted(name, &policy, now, self.lookup()).await {
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

    /// Waits until every server of the zones has the records. Only fails if a hook took one of them
    /// away: a resolver that filters may hide the records from this node.
    async fn wait_for_dns(&self, pending: &PendingOrder) -> Result<(), Failure> {
        if pending.dns.is_empty() {
            return Ok(());
        }

        self.set_progress("waiting for the record in DNS");

        let lookup = self.lookup();
        let mut poller = Poller::new(&Timing {
            poll_timeout: PUBLISHED_WITHIN.min(self.engine.timing().poll_timeout),
            ..*self.engine.timing()
        });

        for (index, (fqdn, value)) in pending.dns.iter().enumerate() {
            let record = TxtRecord {
                fqdn: fqdn.clone(),
                value: value.clone(),
            };
            let mut replaced = 0;
            loop {
                match visible(&record, lookup).await {
                    Ok(true) => break,
                    Ok(false) => {
                        let later = &pending.dns[index + 1..];
                        replaced = match self.shows_another(fqdn, later).await {
                            true => replaced + 1,
                            false => 0,
                        };
                        if replaced == SEEN_REPLACED {
                            return Err(self.replaced(fqdn));
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

    /// Returns true if a hook published a later value of this record that is visible already.
    async fn shows_another(&self, fqdn: &str, later: &[(String, String)]) -> bool {
        if !self.acme.dns.as_ref().is_some_and(Provider::is_hook) {
            return false;
        }
        let Some((_, value)) = later.iter().rev().find(|(other, _)| other == fqdn) else {
            return false;
        };
        let record = TxtRecord {
            fqdn: fqdn.to_owned(),
            value: value.clone(),
        };
        visible(&record, self.lookup()).await == Ok(true)
    }

    /// Returns the failure of a hook that replaces values.
    fn replaced(&self, fqdn: &str) -> Failure {
        let noted = self.acme.dns.as_ref().map(|dns| dns.note_replacement(fqdn));
        let (problem, advice) = noted.unwrap_or_default();
        tracing::warn!(record = fqdn, problem, "a DNS hook replaces values");
        Failure::new(Class::Transport, problem).advise(advice)
    }

    /// Removes the DNS records of a pending order, including those from before a crash.
    async fn remove_records(&self, pending: &mut PendingOrder) {
        if pending.dns.is_empty() {
            return;
        }
        let Some(provider) = &self.acme.dns else {
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
        if let Err(failure) = self.put_pending_order(pending).await {
            tracing::warn!(
                certificate = &*self.spec.id,
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
        let settled =
            lock(&self.engine.triggered).settled(order, &challenge.url, self.validation_time());
        let Some(settled) = settled.filter(|_| challenge.status == Status::Pending) else {
            return Ok(false);
        };

        let mut pause = self.engine.timing().poll_interval;
        while Instant::now() < settled {
            self.check_current()?;
            sleep(pause.min(settled.duration_since(Instant::now()))).await;
            pause = (pause * 2).min(LONGEST_LOOK);

            let now = self
                .session()?
                .authorization(url)
                .await
                .map_err(|error| self.failed(&error))?;
            if self.is_valid(&now.value, tried).await? {
                return Ok(true);
            }
        }

        Ok(false)
    }

    /// Returns the longest time that a CA takes to validate.
    fn validation_time(&self) -> Duration {
        self.engine.timing().poll_timeout / 10
    }

    /// Returns true if an authorization is valid, false if it is pending, and fails otherwise.
    async fn is_valid(&self, now: &Authorization, tried: &Attempted<'_>) -> Result<bool, Failure> {
        match now.status {
            Status::Valid => Ok(true),
            Status::Pending | Status::Processing => Ok(false),
            _ => Err(self.refused(now, Some(tried)).await),
        }
    }

    /// Waits until the CA has validated one authorization.
    async fn await_validation(&self, url: &str, tried: &Attempted<'_>) -> Result<(), Failure> {
        let mut poller = Poller::new(self.engine.timing());
        let (mut retry_after, mut last) = (None, None);

        loop {
            if !poller.next(retry_after).await {
                // Some CAs retry for a while (RFC 8555 section 8.2), but report why it fails.
                if let Some(last) = last.filter(|last| failed_challenge(last).is_some()) {
                    return Err(self.refused(&last, Some(tried)).await);
                }

                let host = host(tried.offered)
                    .map(|host| host.to_string())
                    .unwrap_or_default();
                return Err(self.timed_out(
                    &format!("the CA has not finished validating {host}"),
                    retry_after,
                ));
            }

            self.check_current()?;
            let now = self
                .session()?
                .authorization(url)
                .await
                .map_err(|error| self.failed(&error))?;

            retry_after = now.retry_after;
            if self.is_valid(&now.value, tried).await? {
                return Ok(());
            }
            last = Some(now.value);
        }
    }

    /// Counts a failed validation against the name, and returns the failure with advice from the
    /// requests of the CA that arrived here and from DNS.
    pub(crate) async fn refused(
        &self,
        authorization: &Authorization,
        tried: Option<&Attempted<'_>>,
    ) -> Failure {
        let name = match &authorization.identifier {
            Identifier::Dns(name) if authorization.wildcard => format!("*.{name}"),
            other => other.to_string(),
        };
        if let Some(now) = self.engine.now() {
            self.engine
                .spend(&self.ca.account, |budget| budget.failed(&name, now));
        }

        let mut failure = validation_failure(authorization);
        failure.problem = format!("{name}: {}", failure.problem);

        let mut unseen = false;
        if let Some(&Attempted {
            kind,
            before,
            offered,
        }) = tried.filter(|_| failure.class == Class::Validation)
        {
            failure.challenge = Some(kind.name().to_owned());

            // A failed authorization lists only the failed challenge, so use the original.
            let known: HashSet<&str> = self
                .failed
                .iter()
                .map(String::as_str)
                .chain([kind.name()])
                .collect();
            failure.has_alternative = self
                .possible(offered)
                .iter()
                .any(|(other, _)| !known.contains(other.name()));
            if let Some(advice) = self.not_contacted(offered, kind, before) {
                (failure.advice, unseen) = (advice, true);
            }
        }

        let failure = self.with_dns_advice(failure, authorization).await;
        if unseen {
            self.engine.never_seen(&self.spec.id, &failure.advice);
        }
        failure
    }

    /// Returns the advice for a validation during which no request of the CA reached this device.
    fn not_contacted(
        &self,
        authorization: &Authorization,
        kind: ChallengeType,
        before: Hits,
    ) -> Option<String> {
        let port = port(kind.name())?;
        let after = self.hits(authorization, kind);
        let host = host(authorization).ok()?;
        if after.count > before.count {
            return None;
        }
        Some(format!(
            "the CA was asked to validate {host}, but no request reached this device: does the \
            name point here (A and AAAA), and is port {port} reachable from the internet?"
        ))
    }

    /// Adds the state of the name in DNS to a failure's advice, within [`ADVICE_WITHIN`].
    async fn with_dns_advice(
        &self,
        mut failure: Failure,
        authorization: &Authorization,
    ) -> Failure {
        let Identifier::Dns(name) = &authorization.identifier else {
            return failure;
        };
        if failure.class != Class::Validation || !self.engine.timing().advice {
            return failure;
        }

        let lookups = async {
            let found = dns::advice(name, self.lookup()).await;
            let directory = self.ca.client.directory().await;
            let identities = directory
                .map(|directory| directory.meta.caa_identities.clone())
                .unwrap_or_default();
            let refused = failed_challenge(authorization).map(|challenge| challenge.kind.as_str());

            let method = failure.challenge.as_deref().or(refused).unwrap_or_default();
            let port = port(method);
            let failed = Failed {
                name,
                wildcard: authorization.wildcard,
                method,
                port,
                identities: &identities,
            };

            diagnose::sentences(&failed, &found, &self.engine.own_addresses())
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

    /// Returns the resolvers for public names: those of the DNS provider, if one is configured.
    fn lookup(&self) -> &Lookup {
        self.acme
            .dns
            .as_ref()
            .map_or_else(|| self.engine.lookup(), Provider::lookup)
    }

    fn hits(&self, authorization: &Authorization, kind: ChallengeType) -> Hits {
        let kind = match kind {
            ChallengeType::Http01 => ChallengeKind::Http01,
            ChallengeType::TlsAlpn01 => ChallengeKind::TlsAlpn01,
            ChallengeType::Dns01 | ChallengeType::DnsPersist01 => return Hits::default(),
        };
        host(authorization)
            .map(|host| self.engine.challenges().hits(&host, kind))
            .unwrap_or_default()
    }
}

/// Converts the error of a failed authorization into a failure.
fn validation_failure(authorization: &Authorization) -> Failure {
    let challenge = failed_challenge(authorization);
    let Some(problem) = challenge.and_then(|challenge| challenge.error.as_ref()) else {
        let problem = format!("the authorization is {}", authorization.status);
        return Failure::new(Class::Validation, problem);
    };

    let failure = classify::of_problem(problem, None, None);
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
fn failed_challenge(authorization: &Authorization) -> Option<&Challenge> {
    authorization
        .challenges
        .iter()
        .find(|challenge| challenge.error.is_some())
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
fn host(authorization: &Authorization) -> Result<Host, Failure> {
    let text = match &authorization.identifier {
        Identifier::Ip(std::net::IpAddr::V6(v6)) => format!("[{v6}]"),
        other => other.to_string(),
    };
    Host::parse(&text).map_err(|error| {
        Failure::new(
            Class::Transport,
            format!("the CA sent the identifier {text:.100}: {error}"),
        )
    })
}

/// Returns the failure to publish a record, with the wait that the DNS provider asks for.
fn unpublished(error: &DnsError) -> Failure {
    let wait = error
        .retry_after()
        .and_then(|wait| i64::try_from(wait).ok());
    Failure {
        retry_after: wait,
        ..Failure::new(Class::Transport, error.to_string())
    }
}

/// Returns the value of a DNS-01 record (RFC 8555 section 8.4).
fn dns_value(proof: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, proof.as_bytes()))
}
