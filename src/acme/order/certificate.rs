//! The issued certificate: its download, check and storage.

use super::{attempt::Attempt, keys};
use crate::{
    acme::{
        ca::ari_id,
        plan::{
            failure::Failure,
            record::{PendingOrder, StoredCertificate},
        },
        state::notice::NoticeReason,
    },
    tls::Certificate,
};

impl Attempt<'_> {
    pub(super) async fn download(
        &self,
        pending: &PendingOrder,
        url: &str,
    ) -> Result<(String, Certificate), Failure> {
        let first = self
            .session()?
            .certificate(url)
            .await
            .map_err(|error| self.failed(&error))?;

        let mut chain = first.value.pem;

        if let Some(preferred) = &self.acme.preferred_chain
            && !has_issuer(&chain, preferred)
        {
            for other in &first.value.alternates {
                match self.session()?.certificate(other).await {
                    Ok(other) if has_issuer(&other.value.pem, preferred) => {
                        chain = other.value.pem;
                        break;
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::info!(
                            certificate = &*self.spec.id,
                            %error,
                            "an alternate chain could not be downloaded"
                        );
                    }
                }
            }

            if !has_issuer(&chain, preferred) {
                let message = format!(
                    "the CA offers no chain from the issuer {preferred}; its default chain is used"
                );
                self.context.progress.notify(
                    &self.spec.id,
                    NoticeReason::PreferredChainMissing,
                    message,
                );
            }
        }
        let now = self.context.time.now_or_failure()?;

        let certificate = keys::check(self.spec, &chain, &pending.key, now);
        if certificate.is_err() {
            // The certificate is unusable, but the CA has issued and counted it.
            self.context.ledger.spend(&self.ca.account, |budget| {
                budget.issued(&pending.names, now);
            });
        }
        Ok((chain, certificate?))
    }

    /// Stores certificate and key in one write, which also removes the pending order.
    pub(super) async fn store_certificate(
        &self,
        pending: &PendingOrder,
        chain: String,
        certificate: &Certificate,
    ) -> Result<(), Failure> {
        let now = self.context.time.now_or_failure()?;
        let before = self.context.ledger.stored(&self.spec.id);
        let previous = before.and_then(|stored| stored.into_previous(&pending.names));

        let stored = StoredCertificate {
            ari: certificate
                .certified()
                .cert
                .first()
                .and_then(|leaf| ari_id(leaf))
                .unwrap_or_default(),
            chain,
            key: pending.key.clone(),
            names: pending.names.clone(),
            issuer: pending.issuer.clone(),
            directory: self.acme.directory.clone(),
            not_before: certificate.not_before().0,
            not_after: certificate.not_after().0,
            stored: now,
            print: pending.print,
            revoked: false,
            unwanted: None,
            previous,
        };

        let names = self.names();
        self.context
            .issued(&self.spec.id, stored, Some((&self.ca.account, &names)), now)
            .await
    }
}

/// Returns true if a certificate of the chain was issued by this common name.
fn has_issuer(chain: &str, common_name: &str) -> bool {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    use x509_parser::prelude::{FromDer, X509Certificate};
    CertificateDer::pem_slice_iter(chain.as_bytes())
        .flatten()
        .any(|der| {
            X509Certificate::from_der(&der).is_ok_and(|(_, certificate)| {
                certificate
                    .issuer()
                    .iter_common_name()
                    .any(|name| name.as_str() == Ok(common_name))
            })
        })
}
