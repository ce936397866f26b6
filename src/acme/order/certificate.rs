//! The issued certificate: its download, check and storage.

use super::{attempt::Attempt, keys};
use crate::{
    acme::{
        plan::{Failure, PendingOrder},
        state::NoticeReason,
    },
    tls::chain_has_issuer,
};

impl Attempt<'_> {
    /// Downloads the certificate, checks it, and stores it with its key in one write, which also
    /// removes the pending order.
    pub(super) async fn download(&self, pending: &PendingOrder, url: &str) -> Result<(), Failure> {
        let first = self.ca.session()?.certificate(url).await?;
        let mut chain = first.value.pem;

        if let Some(preferred) = &self.acme.preferred_chain
            && !chain_has_issuer(&chain, preferred)
        {
            for other in &first.value.alternates {
                match self.ca.session()?.certificate(other).await {
                    Ok(other) if chain_has_issuer(&other.value.pem, preferred) => {
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

            if !chain_has_issuer(&chain, preferred) {
                let message = format!(
                    "the CA offers no chain from the issuer {preferred}; its default chain is used"
                );
                let progress = &self.context.progress;
                progress.notify(&self.spec.id, NoticeReason::PreferredChainMissing, message);
            }
        }
        let now = self.context.time.now_or_failure()?;
        let ordered = self.spec.ordered_names_as_text();
        let certificate = keys::check(self.spec, &chain, &pending.key, now).inspect_err(|_| {
            // The certificate is unusable, but the CA has issued and counted it.
            let ledger = &self.context.ledger;
            ledger.spend(&self.ca.account, |budget| budget.issued(&ordered, now));
        })?;

        let pair = (chain, pending.key.clone());
        let stored = keys::stored(self.spec, self.issuer, &certificate, pair, now);
        self.context
            .issued(&self.spec.id, stored, Some((&self.ca.account, &ordered)))
            .await
    }
}
