//! Proving control of names (RFC 8555 section 7.5): choosing a challenge that can work, putting its
//! answer where the CA looks, telling the CA once, and waiting for its verdict.

use std::{collections::HashSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use tokio::time::{Instant, sleep, timeout};

use super::{
    ca::{Authorization, Challenge, Identifier, Order as Remote, Status},
    classify,
    diagnose::{self, Failed},
    dns::{self, Lookup, PersistPolicy, Provider, TxtRecord, visible},
    engine::Timing,
    failure::{Class, Failure},
    issuer::ChallengeType,
    order::{Attempt, LONGEST_LOOK, Poller},
    record::PendingOrder,
};
use crate::{
    pki::CertificateName,
    routing::Host,
    tls::{ChallengeKind, Hits},
    util::sync::lock,
};

/// How long a record may take to be on every server of its zone before the CA is told all the same.
const PUBLISHED_WITHIN: Duration = Duration::from_secs(180);

/// What DNS says of a name that failed is waited for this long.
const ADVICE_WITHIN: Duration = Duration::from_secs(10);

/// Why a name cannot be proved with what there is.
const NO_WAY: &str = "none of the challenges that the CA offers can be used";

/// A challenge that the CA was told to look at.
pub(super) struct Tried<'a> {
    kind: ChallengeType,
    /// Visits of the CA before that.
    before: Hits,
    /// The authorization as it was then.
    offered: &'a Authorization,
}

impl Attempt<'_> {
    /// Proves control of every name of the order that is not proved yet.
    pub(super) async fn prove(
        &self,
        job: &mut PendingOrder,
        order: &Remote,
    ) -> Result<(), Failure> {
        let mut pending = Vec::new();
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
                Status::Pending => pending.push((url.clone(), authorization.value)),
                _ => {
                    self.clean(job).await;
                    return Err(self.refused(&authorization.value, None).await);
                }
            }
        }
        let outcome = self.prove_all(job, &order.url, &pending).await;
        self.engine.withdraw(&self.want.id);
        self.clean(job).await;
        outcome
    }

    async fn prove_all(
        &self,
        job: &mut PendingOrder,
        order: &str,
        pending: &[(String, Authorization)],
    ) -> Result<(), Failure> {
        // Answers first, all of them, then the questions: a record in DNS takes as long for ten
        // names as for one.
        let mut chosen = Vec::new();
        for (url, authorization) in pending {
            let (kind, challenge) = self.choose(authorization)?;
            self.publish(job, authorization, kind, challenge).await?;
            chosen.push((url, authorization, kind, challenge));
        }
        self.wait_for_dns(job).await;
        for (url, authorization, kind, challenge) in chosen {
            self.still_wanted()?;
            let tried = Tried {
                kind,
                before: self.hits(authorization, kind),
                offered: authorization,
            };
            if self
                .comes_to_a_verdict(url, order, challenge, &tried)
                .await?
            {
                continue;
            }
            // A CA that says that it is at work is not told.
            if challenge.status == Status::Pending {
                lock(&self.engine.told).note(&challenge.url, Instant::now(), self.verdict_within());
                self.session()?
                    .respond(&challenge.url)
                    .await
                    .map_err(|error| self.failed(&error))?;
            }
            self.verdict_on(url, &tried).await?;
        }
        Ok(())
    }

    /// A CA that asks for proof of other names than were ordered is not told anything.
    fn check_name(&self, authorization: &Authorization) -> Result<(), Failure> {
        let name = authorization.identifier.to_string();
        if self.want.names.iter().any(|wanted| wanted.base() == name) {
            return Ok(());
        }
        Err(Failure::new(
            Class::Content,
            format!("the CA asks for {name:.100}, which was not ordered"),
        ))
    }

    /// The first challenge in the order of preference that can work.
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
                "a wildcard needs DNS: set `dns` for this issuer"
            } else {
                "set `challenges` or `dns` for this issuer"
            };
            Failure::new(Class::Config, format!("{NO_WAY} ({})", offered.join(", "))).advise(advice)
        })
    }

    /// The challenges that are offered and can work, in the order of preference.
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
            ChallengeType::Http01 => self.engine.pace().http && !authorization.wildcard,
            ChallengeType::TlsAlpn01 => self.engine.pace().https && !authorization.wildcard,
            ChallengeType::Dns01 => self.acme.dns.is_some() && !is_ip,
            // The record is the operator's to make: it is used where somebody asked for it.
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

    /// Puts the answer where the CA looks.
    async fn publish(
        &self,
        job: &mut PendingOrder,
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
                format!("a challenge {kind} without token"),
            )
        })?;
        let proof = format!("{token}.{}", session.key().thumbprint());
        match kind {
            // Every node answers by itself, for as long as the name is wanted; but by which account
            // is settled here.
            ChallengeType::Http01 => {
                self.engine.speaks_for(self.want, &self.ca.account).await?;
                self.engine
                    .answer_http(&self.want.id, &session.key().thumbprint());
            }
            ChallengeType::TlsAlpn01 => {
                let host = host(authorization)?;
                let certificate = crate::tls::challenge_certificate(&host, &proof)
                    .map_err(|error| Failure::new(Class::Config, error.to_string()))?;
                self.engine.answer_tls(&self.want.id, host, certificate);
            }
            ChallengeType::Dns01 => {
                let Identifier::Dns(name) = &authorization.identifier else {
                    return Err(Failure::new(
                        Class::Config,
                        "an address cannot be proved by DNS",
                    ));
                };
                let record = TxtRecord::challenge(name, &dns_value(&proof));
                // Before it is made, so that it is removed whatever happens.
                let noted = (record.fqdn.clone(), record.value.clone());
                if !job.dns.contains(&noted) {
                    job.dns.push(noted);
                    self.put_job(job).await?;
                }
                self.doing("publishing a record in DNS");
                if let Some(provider) = &self.acme.dns {
                    // Never final, not even a refusal: the order costs the CA nothing while it
                    // waits, and whoever corrects a token or a key is to be told nothing more than
                    // that.
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

    /// Whether the record that stays is there. Its making is the operator's.
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
            // One record for the name and its wildcard, if both are wanted.
            wildcard: self.want.names.iter().any(
                |wanted| matches!(wanted, CertificateName::Wildcard(base) if **base == **name),
            ),
        };
        let now = u64::try_from(self.engine.now_or_failure()?).unwrap_or(0);
        match dns::persisted(name, &policy, now, self.lookup()).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let record = dns::persist_record(name, &policy, None);
                let problem = format!("{name}: there is no record in DNS that lets the CA issue");
                let advice = format!(
                    "make the TXT record {} with the value \"{}\", then renew the certificate by hand",
                    record.fqdn, record.value
                );
                Err(Failure::new(Class::Config, problem).advise(advice))
            }
            // A board behind a resolver that lies cannot see it, but the CA can.
            Err(error) => {
                tracing::info!(%error, "the record was not looked up; the CA is told all the same");
                Ok(())
            }
        }
    }

    /// Waits until every server of the zones has the records. A board behind a resolver that lies
    /// cannot see that, so this is patience and never a gate.
    async fn wait_for_dns(&self, job: &PendingOrder) {
        if job.dns.is_empty() {
            return;
        }
        self.doing("waiting for the record in DNS");
        let lookup = self.lookup();
        let mut looks = Poller::new(&Timing {
            poll_timeout: PUBLISHED_WITHIN.min(self.engine.pace().poll_timeout),
            ..*self.engine.pace()
        });
        for (fqdn, value) in &job.dns {
            let record = TxtRecord {
                fqdn: fqdn.clone(),
                value: value.clone(),
            };
            loop {
                match visible(&record, lookup).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) => {
                        tracing::debug!(record = fqdn, %error, "the record was not looked up");
                    }
                }
                if !looks.next(None).await {
                    tracing::info!(
                        record = fqdn,
                        "the record is not seen everywhere; the CA is told all the same"
                    );
                    return;
                }
            }
        }
    }

    /// Removes the records that were made, also those of an attempt before a crash.
    pub(super) async fn clean(&self, job: &mut PendingOrder) {
        if job.dns.is_empty() {
            return;
        }
        let Some(provider) = &self.acme.dns else {
            return;
        };
        let mut left = Vec::new();
        for (fqdn, value) in job.dns.drain(..) {
            let record = TxtRecord { fqdn, value };
            if let Err(error) = provider.remove(&record).await {
                tracing::warn!(record = record.fqdn, %error, "a record of a challenge was not removed");
                left.push((record.fqdn, record.value));
            }
        }
        job.dns = left;
        if let Err(failure) = self.put_job(job).await {
            tracing::warn!(
                want = &*self.want.id,
                problem = failure.problem,
                "not stored"
            );
        }
    }

    /// Poller at an authorization for as long as the CA may be at work because of what it was told
    /// before; `false` if it was not told.
    async fn comes_to_a_verdict(
        &self,
        url: &str,
        order: &str,
        challenge: &Challenge,
        tried: &Tried<'_>,
    ) -> Result<bool, Failure> {
        let settled = lock(&self.engine.told).settled(order, &challenge.url, self.verdict_within());
        let Some(settled) = settled.filter(|_| challenge.status == Status::Pending) else {
            return Ok(false);
        };
        let mut pause = self.engine.pace().poll_interval;
        while Instant::now() < settled {
            self.still_wanted()?;
            sleep(pause.min(settled.duration_since(Instant::now()))).await;
            pause = (pause * 2).min(LONGEST_LOOK);
            let now = self
                .session()?
                .authorization(url)
                .await
                .map_err(|error| self.failed(&error))?;
            if self.judge(&now.value, tried).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How long a CA takes at most to come to its verdict.
    fn verdict_within(&self) -> Duration {
        self.engine.pace().poll_timeout / 10
    }

    /// Whether an authorization is valid; a failure if it never will be.
    async fn judge(&self, now: &Authorization, tried: &Tried<'_>) -> Result<bool, Failure> {
        match now.status {
            Status::Valid => Ok(true),
            Status::Pending | Status::Processing => Ok(false),
            _ => Err(self.refused(now, Some(tried)).await),
        }
    }

    /// Waits for the CA's verdict on one authorization.
    async fn verdict_on(&self, url: &str, tried: &Tried<'_>) -> Result<(), Failure> {
        let mut looks = Poller::new(self.engine.pace());
        let (mut asked, mut last) = (None, None);
        loop {
            if !looks.next(asked).await {
                // Some CAs try on for a while (RFC 8555 section 8.2), but they have said why it
                // fails.
                if let Some(last) = last.filter(|last| failed_challenge(last).is_some()) {
                    return Err(self.refused(&last, Some(tried)).await);
                }
                let host = host(tried.offered)
                    .map(|host| host.to_string())
                    .unwrap_or_default();
                return Err(self.too_slow(
                    &format!("the CA does not come to a verdict on {host}"),
                    asked,
                ));
            }
            self.still_wanted()?;
            let now = self
                .session()?
                .authorization(url)
                .await
                .map_err(|error| self.failed(&error))?;
            asked = now.retry_after;
            if self.judge(&now.value, tried).await? {
                return Ok(());
            }
            last = Some(now.value);
        }
    }

    /// The CA did not accept the proof: counted against the name, told with what was seen of the
    /// CA's visit and with what DNS says.
    pub(super) async fn refused(
        &self,
        authorization: &Authorization,
        tried: Option<&Tried<'_>>,
    ) -> Failure {
        let name = match &authorization.identifier {
            Identifier::Dns(name) if authorization.wildcard => format!("*.{name}"),
            other => other.to_string(),
        };
        if let Some(now) = self.engine.now() {
            self.engine
                .spend(&self.ca.account, |budget| budget.failed(&name, now));
        }
        let mut failure =
            match failed_challenge(authorization).and_then(|challenge| challenge.error.as_ref()) {
                Some(problem) => {
                    let failure = classify::of_problem(problem, None, None);
                    // About a name, these say that it was not proved, and nothing about the
                    // account.
                    let class = match failure.class {
                        Class::Account | Class::Transport => Class::Validation,
                        other => other,
                    };
                    let advice = if failure.class == class {
                        failure.advice
                    } else {
                        String::new()
                    };
                    Failure {
                        class,
                        advice,
                        ..Failure::new(class, failure.problem)
                    }
                }
                None => Failure::new(
                    Class::Validation,
                    format!("the authorization is {}", authorization.status),
                ),
            };
        failure.problem = format!("{name}: {}", failure.problem);
        let mut unseen = false;
        if let Some(&Tried {
            kind,
            before,
            offered,
        }) = tried.filter(|_| failure.class == Class::Validation)
        {
            failure.challenge = Some(kind.name().to_owned());
            // An authorization that failed shows only the challenge that did.
            let known: HashSet<&str> = self
                .failed
                .iter()
                .map(String::as_str)
                .chain([kind.name()])
                .collect();
            failure.another_way = self
                .possible(offered)
                .iter()
                .any(|(other, _)| !known.contains(other.name()));
            if let Some(advice) = self.nobody_came(offered, kind, before) {
                (failure.advice, unseen) = (advice, true);
            }
        }
        let failure = self.with_what_dns_says(failure, authorization).await;
        if unseen {
            self.engine.never_seen(&self.want.id, &failure.advice);
        }
        failure
    }

    /// The most useful thing that can be said of a failed validation: that the CA never reached
    /// this device.
    fn nobody_came(
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
            "the CA was told to validate {host} and nobody came to this device: does the name point here (A and AAAA), \
             and does port {port} lead here from outside?"
        ))
    }

    /// Adds what DNS says of the name to what can be done. Takes a few seconds at most.
    async fn with_what_dns_says(
        &self,
        mut failure: Failure,
        authorization: &Authorization,
    ) -> Failure {
        let Identifier::Dns(name) = &authorization.identifier else {
            return failure;
        };
        if failure.class != Class::Validation || !self.engine.pace().advice {
            return failure;
        }
        let looked = async {
            let found = dns::advice(name, self.lookup()).await;
            let directory = self.ca.client.directory().await;
            let identities = directory
                .map(|directory| directory.meta.caa_identities.clone())
                .unwrap_or_default();
            let told = failed_challenge(authorization).map(|challenge| challenge.kind.as_str());
            let method = failure.challenge.as_deref().or(told).unwrap_or_default();
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
        let said = timeout(ADVICE_WITHIN, looked).await.unwrap_or_default();
        if !said.is_empty() {
            let before = if failure.advice.is_empty() {
                String::new()
            } else {
                format!("{}; ", failure.advice)
            };
            failure.advice = format!("{before}DNS says here: {}", said.join("; "));
        }
        failure
    }

    /// Where DNS is asked for what is public.
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

/// The challenge that the CA did not accept.
fn failed_challenge(authorization: &Authorization) -> Option<&Challenge> {
    authorization
        .challenges
        .iter()
        .find(|challenge| challenge.error.is_some())
}

/// The port that a CA comes to for a challenge (RFC 8555 section 8.3, RFC 8737 section 3).
fn port(challenge: &str) -> Option<u16> {
    match challenge {
        "http-01" => Some(80),
        "tls-alpn-01" => Some(443),
        _ => None,
    }
}

/// The host that the CA will ask for.
fn host(authorization: &Authorization) -> Result<Host, Failure> {
    let text = match &authorization.identifier {
        Identifier::Ip(std::net::IpAddr::V6(v6)) => format!("[{v6}]"),
        other => other.to_string(),
    };
    Host::parse(&text).map_err(|error| {
        Failure::new(
            Class::Transport,
            format!("the CA names {text:.100}: {error}"),
        )
    })
}

/// What the record of DNS-01 says (RFC 8555 section 8.4).
fn dns_value(proof: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, proof.as_bytes()))
}
