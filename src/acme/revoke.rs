//! Revocation (RFC 8555 section 7.6). The wish for one is stored before the CA is asked, and asked
//! again, after a restart too, until the CA has answered: a stolen key must not live on because an
//! answer was lost.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::time::Instant;

use super::{
    ca::Session,
    classify,
    engine::Engine,
    failure::{Class, Failure},
    issuer::{AcmeIssuer, Issuer},
    notice::NoticeReason,
    operate::OperateError,
    order::is_verdict,
    record::{self, Revocation, StoredCertificate},
    spec::CertificateSpec,
};
use crate::{
    store::Batch,
    util::{hex, sync::lock},
};

/// Between two questions, at least.
const AGAIN: Duration = Duration::from_secs(1);

/// Somebody is asking for it: one at a time.
struct Asking<'a> {
    engine: &'a Engine,
    id: &'a str,
}

impl<'a> Asking<'a> {
    fn begin(engine: &'a Engine, id: &'a str) -> Option<Self> {
        lock(&engine.revoking)
            .insert(id.to_owned())
            .then_some(Self { engine, id })
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        lock(&self.engine.revoking).remove(self.id);
    }
}

impl Engine {
    /// Revokes the certificate of a wish for a reason of RFC 5280 section 5.3.1, and gets another
    /// one.
    ///
    /// # Errors
    /// There is none, the CA refuses, or it does not answer: then it is asked again later.
    pub async fn revoke(&self, name: &str, reason: Option<u8>) -> Result<Arc<str>, OperateError> {
        self.check_lead()?;
        let want = self.find(name)?;
        let held = self
            .held(&want.id)
            .ok_or_else(|| OperateError::Nothing(want.id.to_string()))?;
        let local = || OperateError::Local(want.id.to_string());
        let issuer = issuer_of(&want, &held.directory).ok_or_else(local)?;
        let leaf = leaf(&held)
            .ok_or_else(|| OperateError::Failed("the stored certificate is damaged".to_owned()))?;
        let revocation = Revocation {
            want: want.id.to_string(),
            directory: held.directory.clone(),
            certificate: STANDARD.encode(&leaf),
            reason,
            not_after: held.not_after,
        };
        let id = id_of(&leaf);
        let Some(_asking) = Asking::begin(self, &id) else {
            return Err(OperateError::Failed(format!(
                "the CA of {} is being asked to revoke it already",
                want.id
            )));
        };
        self.commit(record::put(Batch::new(), &id, &revocation))
            .await?;
        self.state()
            .revocations
            .insert(id.clone(), revocation.clone());
        self.ask_to_revoke(&id, &revocation, issuer).await?;
        Ok(want.id.clone())
    }

    /// Asks the CA. Its refusal ends the matter as well as its consent.
    async fn ask_to_revoke(
        &self,
        id: &str,
        revocation: &Revocation,
        issuer: &Issuer,
    ) -> Result<(), OperateError> {
        let acme = issuer
            .acme()
            .ok_or_else(|| OperateError::Local(revocation.want.clone()))?;
        let later = |why: String| {
            OperateError::Failed(format!("{why}; it is asked again until it answers"))
        };
        let session = self
            .speaker(issuer, acme)
            .await
            .map_err(|failure| later(failure.problem))?;
        let leaf = STANDARD.decode(&revocation.certificate);
        let leaf = leaf
            .map_err(|_bad| OperateError::Failed("the stored revocation is damaged".to_owned()))?;
        let answer = session.revoke(&leaf, revocation.reason).await;
        if let Err(error) = &answer
            && !is_verdict(error)
        {
            return Err(later(classify::failure(error).problem));
        }
        // A renewal may have put another one in its place meanwhile.
        let batch = {
            let state = &mut *self.state();
            state.revocations.remove(id);
            let batch = record::remove::<Revocation>(Batch::new(), id);
            match state.held.get_mut(&revocation.want) {
                Some(held)
                    if answer.is_ok() && self::leaf(held).is_some_and(|now| *now == *leaf) =>
                {
                    held.revoked = true;
                    record::put(batch, &revocation.want, held)
                }
                _ => batch,
            }
        };
        self.commit(batch).await?;
        answer.map_err(|error| OperateError::Failed(classify::failure(&error).problem))?;
        let want: Arc<str> = revocation.want.as_str().into();
        self.tell(
            &want,
            NoticeReason::Revoked,
            format!("{} revoked the certificate", issuer.name),
        );
        self.look_again();
        Ok(())
    }

    async fn speaker(&self, issuer: &Issuer, acme: &AcmeIssuer) -> Result<Session, Failure> {
        let ca = self.ca(issuer, acme)?;
        self.enter(&ca, acme).await?;
        ca.session()
            .ok_or_else(|| Failure::new(Class::Account, "there is no account at the CA"))
    }

    /// What was not answered and is to be asked again now; `next` says when each is due.
    pub(super) fn unanswered(
        &self,
        wants: &[Arc<CertificateSpec>],
        next: &mut HashMap<String, Instant>,
    ) -> Vec<(String, Revocation, Arc<Issuer>)> {
        let open = self.state().revocations.clone();
        next.retain(|id, _| open.contains_key(id));
        let in_flight: HashSet<String> = lock(&self.revoking).clone();
        let now = Instant::now();
        let mut due = Vec::new();
        for (id, revocation) in open {
            let issuer = wants
                .iter()
                .find_map(|want| issuer_of(want, &revocation.directory));
            let Some(issuer) = issuer.filter(|_| !in_flight.contains(&id)) else {
                continue;
            };
            if next.get(&id).is_none_or(|at| *at <= now) {
                next.insert(id.clone(), now + self.pace().renewal_info / 36 + AGAIN);
                due.push((id, revocation, issuer.clone()));
            }
        }
        due
    }

    /// Asks the CA again.
    pub(super) async fn revoke_again(&self, id: &str, revocation: &Revocation, issuer: &Issuer) {
        let Some(_asking) = Asking::begin(self, id) else {
            return;
        };
        // Nobody minds it any more.
        if self.now().is_some_and(|now| now > revocation.not_after) {
            self.state().revocations.remove(id);
            if let Err(failure) = self
                .commit(record::remove::<Revocation>(Batch::new(), id))
                .await
            {
                tracing::warn!(
                    want = revocation.want,
                    problem = failure.problem,
                    "not stored"
                );
            }
            return;
        }
        if let Err(error) = self.ask_to_revoke(id, revocation, issuer).await {
            tracing::warn!(want = revocation.want, %error, "a certificate that was to be revoked is not");
        }
    }
}

fn issuer_of<'a>(want: &'a CertificateSpec, directory: &str) -> Option<&'a Arc<Issuer>> {
    let is_of = |issuer: &&Arc<Issuer>| {
        issuer
            .acme()
            .is_some_and(|acme| acme.directory == directory)
    };
    want.issuers
        .iter()
        .find(is_of)
        .filter(|_| !directory.is_empty())
}

fn leaf(held: &StoredCertificate) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(held.chain.as_bytes()).ok()
}

/// The key of its record.
fn id_of(leaf: &[u8]) -> String {
    let fingerprint = digest::digest(&digest::SHA256, leaf);
    hex::encode(&fingerprint.as_ref()[..16])
}
