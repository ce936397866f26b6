//! Revocation (RFC 8555 section 7.6). A request is stored before it is sent to the CA, and repeated
//! until the CA has confirmed or refused it, even after a restart: a certificate with a stolen key
//! must not stay valid because a response was lost.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::time::Instant;

use super::{
    Engine,
    operate::OperateError,
    run::{Done, Loop},
};
use crate::{
    acme::{
        issuer::Issuer,
        order::{account, classify::is_verdict},
        plan::{Failure, Revocation, StoredCertificate, record},
        spec::CertificateSpec,
        state::NoticeReason,
    },
    store::Batch,
    util::hash::sha256,
};

/// The shortest pause between two requests for the same revocation.
const AGAIN: Duration = Duration::from_secs(1);

impl Engine {
    /// Revokes the certificate of a spec for a reason of RFC 5280 section 5.3.1, and obtains
    /// another one.
    ///
    /// # Errors
    /// There is no certificate, the CA refuses, or it cannot be reached. In the last case the
    /// request is repeated later.
    pub async fn revoke(&self, name: &str, reason: Option<u8>) -> Result<Arc<str>, OperateError> {
        let spec = self.find(name)?;
        let ledger = &self.context.ledger;
        let nothing = || OperateError::Nothing(spec.id.to_string());
        let stored = ledger.stored(&spec.id).ok_or_else(nothing)?;
        let local = || OperateError::Local(spec.id.to_string());
        let issuer = spec.ca_at(&stored.directory).ok_or_else(local)?;
        let damaged = || OperateError::Failed("the stored certificate is damaged".to_owned());
        let leaf = leaf(&stored).ok_or_else(damaged)?;

        let revocation = Revocation {
            want: spec.id.to_string(),
            directory: stored.directory.clone(),
            certificate: STANDARD.encode(&leaf),
            reason,
            not_after: stored.not_after,
        };

        let id = id_of(&leaf);
        let _alone = self.revoking.lock().await;
        let batch = record::put(Batch::new(), &id, &revocation);
        ledger.commit(batch).await?;
        ledger
            .state()
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
        let later = |Failure { problem, .. }| {
            let problem = format!("{problem}; the request is repeated until the CA responds");
            OperateError::Failed(problem)
        };

        let (ca, acme) = self.context.cas.get(issuer).map_err(later)?;
        let session = account::session(&self.context, &ca, acme).await;
        let session = session.map_err(later)?;

        let damaged = |_bad| OperateError::Failed("the stored revocation is damaged".to_owned());
        let leaf = STANDARD.decode(&revocation.certificate).map_err(damaged)?;

        let revoked = session.revoke(&leaf, revocation.reason).await;
        if let Err(error) = &revoked
            && !is_verdict(error)
        {
            return Err(later(error.into()));
        }

        // A renewal may have replaced the certificate during the request.
        let batch = {
            let state = &mut *self.context.ledger.state();
            state.revocations.remove(id);
            let batch = record::remove::<Revocation>(Batch::new(), id);
            match state.certificates.get_mut(&revocation.want) {
                Some(stored)
                    if revoked.is_ok() && self::leaf(stored).is_some_and(|now| *now == *leaf) =>
                {
                    stored.revoked = true;
                    record::put(batch, &revocation.want, stored)
                }
                _ => batch,
            }
        };

        self.context.ledger.commit(batch).await?;
        revoked?;

        self.context.ledger.publish();
        let spec: Arc<str> = revocation.want.as_str().into();
        let message = format!("{} revoked the certificate", issuer.name);
        let progress = &self.context.progress;
        progress.notify(&spec, NoticeReason::Revoked, message);
        self.look_again();
        Ok(())
    }

    /// Repeats a revocation request, or drops it if the certificate has expired.
    async fn revoke_again(&self, id: &str, revocation: &Revocation, issuer: &Issuer) {
        let _alone = self.revoking.lock().await;
        let (ledger, now) = (&self.context.ledger, self.context.time.now());
        if !ledger.state().revocations.contains_key(id) {
            return;
        }

        if now.is_some_and(|now| now > revocation.not_after) {
            ledger.state().revocations.remove(id);
            let batch = record::remove::<Revocation>(Batch::new(), id);
            let change = "the end of a revocation";
            return ledger.commit_or_log(batch, &revocation.want, change).await;
        }

        if let Err(error) = self.ask_to_revoke(id, revocation, issuer).await {
            tracing::warn!(certificate = revocation.want, %error, "revoking a certificate failed");
        }
    }
}

impl Loop {
    /// Repeats revocation requests that the CA has not confirmed.
    pub(super) fn revocations(&mut self, specs: &[Arc<CertificateSpec>]) {
        let open = self.engine.context.ledger.state().revocations.clone();
        self.next_revocations.retain(|id, _| open.contains_key(id));

        let now = Instant::now();
        for (id, revocation) in open {
            let issuer = specs
                .iter()
                .find_map(|spec| spec.ca_at(&revocation.directory));
            let Some(issuer) = issuer.cloned() else {
                continue;
            };

            let next = self.next_revocations.get(&id);
            if next.is_none_or(|at| *at <= now) {
                let pause = self.engine.context.timing.renewal_info / 36 + AGAIN;
                self.next_revocations.insert(id.clone(), now + pause);
                let engine = self.engine.clone();
                self.running.spawn(async move {
                    engine.revoke_again(&id, &revocation, &issuer).await;
                    Done::Other
                });
            }
        }
    }
}

fn leaf(stored: &StoredCertificate) -> Option<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(stored.chain.as_bytes()).ok()
}

/// Returns the key of the revocation's record: a hash of the certificate.
fn id_of(leaf: &[u8]) -> String {
    sha256(leaf)[..32].to_owned()
}
