//! The renewal windows that CAs suggest (RFC 9773).

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::run::{Done, Loop};
use crate::{
    acme::{
        issuer::Issuer,
        plan::{StoredCertificate, Suggestion, record},
        spec::CertificateSpec,
        state::{Context, NoticeReason},
    },
    store::Batch,
    util::{hash::fnv1a, stamp},
};

impl Loop {
    /// Asks CAs for their renewal windows (RFC 9773), one request at a time per account. Returns
    /// when the next request is due.
    pub(super) fn suggestions(&mut self, specs: &[Arc<CertificateSpec>]) -> Instant {
        let engine = self.engine.clone();
        let context = &engine.context;
        let mut next = Instant::now() + context.timing.tick;
        if self.next_suggestions.len() > specs.len() {
            let used: HashSet<&str> = specs.iter().map(|spec| &*spec.id).collect();
            self.next_suggestions.retain(|id, _| used.contains(&**id));
            self.blocked.retain(|id, _| used.contains(&**id));
        }

        if context.time.now().is_none() {
            return next;
        }

        for spec in specs {
            let stored = context.ledger.stored(&spec.id);
            let Some(stored) = stored.filter(|stored| !stored.ari.is_empty()) else {
                continue;
            };
            let Some(issuer) = spec.ca_at(&stored.directory).cloned() else {
                continue;
            };

            let pause = context.timing.renewal_info.as_secs().max(6) / 6;
            let first = Duration::from_secs(fnv1a(spec.id.as_bytes()) % pause);
            let next_suggestion = self.next_suggestions.entry(spec.id.clone());
            let due = *next_suggestion.or_insert_with(|| Instant::now() + first);

            let account = issuer.account_id().unwrap_or_default();
            if due > Instant::now() {
                next = next.min(due);
            } else if self.asking.insert(account.clone()) {
                let (engine, spec) = (engine.clone(), spec.clone());
                self.running.spawn(async move {
                    let context = &engine.context;
                    let usual = context.timing.renewal_info;
                    let wait = ask(context, &spec, &issuer, &stored).await;
                    let wait = wait.map_or(usual, |wait| wait.clamp(usual / 6, usual * 2));
                    Done::Suggestion(account, spec.id.clone(), wait)
                });
            }
        }

        next
    }
}

/// Asks for the renewal window of one certificate. Returns the time until the next request, if the
/// CA sets one.
async fn ask(
    context: &Context,
    spec: &Arc<CertificateSpec>,
    issuer: &Issuer,
    stored: &StoredCertificate,
) -> Option<Duration> {
    let (ca, _) = context.cas.get(issuer).ok()?;
    let info = ca.client.renewal_info(&stored.ari).await;
    let info = info.inspect_err(|error| {
        let certificate = &*spec.id;
        tracing::debug!(certificate, %error, "the CA's renewal information is unavailable");
    });
    let info = info.ok()?;
    context.time.witness(info.date);

    let random = u64::from_le_bytes(stamp::random());
    let (before, now) = {
        let state = &mut *context.ledger.state();
        // Another certificate may have been stored during the request.
        let current = state.certificates.get(&*spec.id);
        current.filter(|current| current.ari == stored.ari)?;

        let before = state.suggestions.get(&*spec.id).cloned();
        let now = Suggestion::take(before.as_ref(), info.value, random);
        state.suggestions.insert(spec.id.to_string(), now.clone());
        (before, now)
    };
    if before.as_ref() != Some(&now) {
        // A failed write does no harm: the window is requested again.
        let batch = record::put(Batch::new(), &spec.id, &now);
        let change = "the CA's renewal window";
        context.ledger.commit_or_log(batch, &spec.id, change).await;

        if before.is_some_and(|before| now.chosen < before.chosen) {
            let page = now.explanation.as_deref();
            let page = page.map(|page| format!(" ({page})")).unwrap_or_default();
            let chosen = now.chosen;
            let message = format!("the CA asks for an earlier renewal, at {chosen}{page}");
            let progress = &context.progress;
            progress.notify(&spec.id, NoticeReason::RenewalMoved, message);
        }
    }

    info.retry_after
}
