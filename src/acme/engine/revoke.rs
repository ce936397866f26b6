//! Revocation (RFC 8555 section 7.6). A request is stored before it is sent to the CA, and repeated
//! until the CA has confirmed or refused it, even after a restart: a certificate with a stolen key
//! must not stay valid because a response was lost.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::time::Instant;

use super::{Engine, notice::NoticeReason, operate::OperateError};
use crate::{
    acme::{
        ca::Session,
        issuer::{AcmeIssuer, Issuer},
        order::{classify, is_verdict},
        plan::{
            failure::{Class, Failure},
            record::{self, Revocation, StoredCertificate},
        },
        spec::CertificateSpec,
    },
    store::Batch,
    util::{hex, sync::lock},
};

/// The shortest pause between two requests for the same revocation.
const AGAIN: Duration = Duration::from_secs(1);

/// Marks a revocation request as under way, so that there is only one at a time.
struct RequestGuard<'a> {
    engine: &'a Engine,
    id: &'a str,
}

impl<'a> RequestGuard<'a> {
    fn begin(engine: &'a Engine, id: &'a str) -> Option<Self> {
        lock(&engine.revoking)
            .insert(id.to_owned())
            .then_some(Self { engine, id })
    }
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        lock(&self.engine.revoking).remove(self.id);
    }
}

impl Engine {
    /// Revokes the certificate of a spec for a reason of RFC 5280 section 5.3.1, and obtains
    /// another one.
    ///
    /// # Errors
    /// There is no certificate, the CA refuses, or it cannot be reached. In the last case the
    /// request is repeated later.
    pub async fn revoke(&self, name: &str, reason: Option<u8>) -> Result<Arc<str>, OperateError> {
        self.check_lead()?;
        let spec = self.find(name)?;
        let stored = self
            .stored(&spec.id)
            .ok_or_else(|| OperateError::Nothing(spec.id.to_string()))?;
        let local = || OperateError::Local(spec.id.to_string());
        let issuer = issuer_of(&spec, &stored.directory).ok_or_else(local)?;
        let leaf = leaf(&stored)
            .ok_or_else(|| OperateError::Failed("the stored certificate is damaged".to_owned()))?;

        let revocation = Revocation {
            want: spec.id.to_string(),
            directory: stored.directory.clone(),
            certificate: STANDARD.encode(&leaf),
            reason,
            not_after: stored.not_after,
        };

        let id = id_of(&leaf);
        let Some(_guard) = RequestGuard::begin(self, &id) else {
            return Err(OperateError::Failed(format!(
                "a revocation of {} is already under way",
                spec.id
            )));
        };

        self.commit(record::put(Batch::new(), &id, &revocation))
            .await?;
        self.state()
            .revocations
            .insert(id.clone(), revocation.clone());
        self.ask_to_revoke(&id, &revocation, issuer).await?;
        Ok(spec.id.clone())
    }

    /// Sends a revocation to the CA. The request is done once the CA has confirmed or refused it.
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
            OperateError::Failed(format!(
                "{why}; the request is repeated until the CA responds"
            ))
        };

        let session = self
            .account_session(issuer, acme)
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

        // A renewal may have replaced the certificate during the request.
        let batch = {
            let state = &mut *self.state();
            state.revocations.remove(id);
            let batch = record::remove::<Revocation>(Batch::new(), id);
            match state.certificates.get_mut(&revocation.want) {
                Some(stored)
                    if answer.is_ok() && self::leaf(stored).is_some_and(|now| *now == *leaf) =>
                {
                    stored.revoked = true;
                    record::put(batch, &revocation.want, stored)
                }
                _ => batch,
            }
        };

        self.commit(batch).await?;
        answer.map_err(|error| OperateError::Failed(classify::failure(&error).problem))?;

        let spec: Arc<str> = revocation.want.as_str().into();
        self.notify(
            &spec,
            NoticeReason::Revoked,
            format!("{} revoked the certificate", issuer.name),
        );
        self.look_again();
        Ok(())
    }

    /// Returns a session for the issuer's account.
    async fn account_session(
        &self,
        issuer: &Issuer,
        acme: &AcmeIssuer,
    ) -> Result<Session, Failure> {
        let ca = self.ca(issuer, acme)?;
        self.enter(&ca, acme).await?;
        ca.session()
            .ok_or_else(|| Failure::new(Class::Account, "there is no account at the CA"))
    }

    /// Returns the unconfirmed revocations that are due for another request. `next` holds the time
    /// of the next request for each.
    pub(crate) fn due_revocations(
        &self,
        specs: &[Arc<CertificateSpec>],
        next: &mut HashMap<String, Instant>,
    ) -> Vec<(String, Revocation, Arc<Issuer>)> {
        let open = self.state().revocations.clone();
        next.retain(|id, _| open.contains_key(id));
        let in_flight: HashSet<String> = lock(&self.revoking).clone();

        let now = Instant::now();
        let mut due = Vec::new();
        for (id, revocation) in open {
            let issuer = specs
                .iter()
                .find_map(|spec| issuer_of(spec, &revocation.directory));
            let Some(issuer) = issuer.filter(|_| !in_flight.contains(&id)) else {
                continue;
            };
            if next.get(&id).is_none_or(|at| *at <= now) {
                next.insert(id.clone(), now + self.timing().renewal_info / 36 + AGAIN);
                due.push((id, revocation, issuer.clone()));
            }
        }

        due
    }

    /// Repeats a revocation request, or drops it if the certificate has expired.
    pub(crate) async fn revoke_again(&self, id: &str, revocation: &Revocation, issuer: &Issuer) {
        let Some(_guard) = RequestGuard::begin(self, id) else {
            return;
        };

        if self.now().is_some_and(|now| now > revocation.not_after) {
            self.state().revocations.remove(id);
            if let Err(failure) = self
                .commit(record::remove::<Revocation>(Batch::new(), id))
                .await
            {
                tracing::warn!(
                    certificate = revocation.want,
                    problem = failure.problem,
                    "storing the end of a revocation failed"
                );
            }
            return;
        }

        if let Err(error) = self.ask_to_revoke(id, revocation, issuer).await {
            tracing::warn!(certificate = revocation.want, %error, "revoking a certificate failed");
        }
    }
}

fn issuer_of<'a>(spec: &'a CertificateSpec, directory: &str) -> Option<&'a Arc<Issuer>> {
    let is_of = |issuer: &&Arc<Issuer>| {
        issuer
            .acme()
            .is_some_and(|acme| acme.directory == directory)
    };
    spec.issuers
        .iter()
        .find(is_of)
        .filter(|_| !directory.is_empty())
}

fn leaf(stored: &StoredCertificate) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(stored.chain.as_bytes()).ok()
}

/// Returns the key of the revocation's record: a hash of the certificate.
fn id_of(leaf: &[u8]) -> String {
    let fingerprint = digest::digest(&digest::SHA256, leaf);
    hex::encode(&fingerprint.as_ref()[..16])
}
