//! The issued certificate: its download, check and storage.

use super::{attempt::Attempt, keys};
use crate::{
    acme::{
        plan::{Failure, PendingOrder},
        state::NoticeReason,
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
                let progress = &self.context.progress;
                progress.notify(&self.spec.id, NoticeReason::PreferredChainMissing, message);
            }
        }
        let now = self.context.time.now_or_failure()?;

        let certificate = keys::check(self.spec, &chain, &pending.key, now);
        if certificate.is_err() {
            // The certificate is unusable, but the CA has issued and counted it.
            self.context.ledger.spend(&self.ca.account, |budget| {
                budget.issued(&self.spec.ordered_names_as_text(), now);
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
        let pair = (chain, pending.key.clone());
        let ordered = self.spec.ordered_names_as_text();
        let stored = keys::stored(self.spec, self.issuer, certificate, pair, now);
        self.context
            .issued(&self.spec.id, stored, Some((&self.ca.account, &ordered)))
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
