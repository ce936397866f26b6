//! The removal of what no spec uses any more: certificates, old attempts, DNS records.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::run::{Done, Loop};
use crate::{
    acme::{
        dns::TxtRecord,
        issuer::Issuer,
        order::{ORDER_LIFE, remove_record},
        plan::{
            FailureState, GRACE, OrphanedDnsRecords, PendingOrder, Plan, State, StoredCertificate,
            Suggestion, record,
        },
        spec::CertificateSpec,
        state::Ledger,
    },
    store::Batch,
    util::time::UnixSeconds,
};

/// The shortest pause between two removals of orphaned DNS records.
const REMOVAL_PAUSE: Duration = Duration::from_secs(1);

impl Loop {
    /// Marks certificates without a spec as unused, and drops those that have been unused for
    /// longer than [`GRACE`], with their pending orders and failures.
    pub(super) async fn drop_unused(&self, plan: &Plan, now: Option<UnixSeconds>) {
        let ledger = &self.context().ledger;
        let is_known = self.context().assignment.is_known();
        let Some(now) = now.filter(|_| is_known) else {
            return;
        };

        let batch = {
            let state = &mut *ledger.state();
            let batch = mark_unused(Batch::new(), plan, now, state);
            drop_old_attempts(batch, plan, now, state)
        };
        if !batch.is_empty() {
            let change = "the mark of unused certificates";
            ledger.commit_or_log(batch, "(several)", change).await;
            ledger.publish();
        }
    }

    /// Removes orphaned DNS records with the current providers.
    pub(super) fn start_record_removal(&mut self, specs: &[Arc<CertificateSpec>]) {
        let engine = self.engine.clone();
        let is_early = self.next_removal.is_some_and(|next| next > Instant::now());
        if is_early || engine.context.ledger.state().orphaned_records.is_empty() {
            return;
        }

        let pause = engine.context.timing.renewal_info / 6 + REMOVAL_PAUSE;
        self.next_removal = Some(Instant::now() + pause);
        let issuers = specs.iter().flat_map(|spec| &spec.issuers);
        let issuers: BTreeMap<String, Arc<Issuer>> = issuers
            .map(|issuer| (issuer.name.to_string(), issuer.clone()))
            .collect();
        self.running.spawn(async move {
            remove_orphaned_records(&engine.context.ledger, &issuers).await;
            Done::Other
        });
    }
}

async fn remove_orphaned_records(ledger: &Ledger, issuers: &BTreeMap<String, Arc<Issuer>>) {
    let orphaned_records = ledger.state().orphaned_records.clone();
    for (id, OrphanedDnsRecords { records }) in orphaned_records {
        let mut gone = Vec::new();

        for record in records {
            let (issuer, fqdn, value) = &record;
            // A CA may reuse a token, so a pending order may need the same record.
            let is_needed = {
                let state = ledger.state();
                let mut used = state.pending_orders.values().flat_map(|order| &order.dns);
                used.any(|used| used.value == *value)
            };
            let issuer = issuers.get(issuer).filter(|_| !is_needed);
            let Some(provider) = issuer.and_then(|issuer| issuer.acme()?.dns.as_ref()) else {
                continue;
            };

            let txt = TxtRecord {
                fqdn: fqdn.clone(),
                value: value.clone(),
            };
            if remove_record(provider, &txt).await {
                gone.push(record);
            }
        }

        let batch = {
            let state = &mut *ledger.state();
            let orphaned_records = state.orphaned_records.get_mut(&id);
            let Some(orphaned_records) = orphaned_records.filter(|_| !gone.is_empty()) else {
                continue;
            };
            let records = &mut orphaned_records.records;
            records.retain(|record| !gone.contains(record));
            if orphaned_records.records.is_empty() {
                state.orphaned_records.remove(&id);
                record::remove::<OrphanedDnsRecords>(Batch::new(), &id)
            } else {
                record::put(Batch::new(), &id, orphaned_records)
            }
        };
        let change = "the removal of DNS records";
        ledger.commit_or_log(batch, &id, change).await;
    }
}

/// Marks and drops unused certificates as planned. Returns the batch with the changes.
fn mark_unused(mut batch: Batch, plan: &Plan, now: UnixSeconds, state: &mut State) -> Batch {
    for (id, is_unused) in &plan.unwanted {
        if let Some(stored) = state.certificates.get_mut(id) {
            stored.unwanted = is_unused.then_some(now);
            batch = record::put(batch, id, stored);
        }
    }

    for id in &plan.drop {
        batch = record::remove::<StoredCertificate>(batch, id);
        batch = record::remove::<Suggestion>(batch, id);
        state.certificates.remove(id);
        state.suggestions.remove(id);
        tracing::info!(certificate = id, "dropped an unused certificate");
    }

    batch
}

/// Drops old pending orders and failures without a spec. They are kept for a while, because a spec
/// may come back. Returns the batch with the changes.
fn drop_old_attempts(mut batch: Batch, plan: &Plan, now: UnixSeconds, state: &mut State) -> Batch {
    let decisions = plan.decisions.iter();
    let used: HashSet<&str> = decisions.map(|decision| &*decision.spec.id).collect();

    // The records in DNS are removed soon, even if the order is kept.
    for (id, pending) in &mut state.pending_orders {
        if !used.contains(id.as_str()) && !pending.dns.is_empty() {
            let orphaned_records = state.orphaned_records.entry(id.clone()).or_default();
            orphaned_records.add(pending);
            pending.dns.clear();
            batch = record::put(record::put(batch, id, orphaned_records), id, pending);
        }
    }

    let is_old = |id: &str, at: UnixSeconds, age: i64| {
        !used.contains(id) && (now - at).saturating_abs() > age
    };
    let (orders, failures) = (&mut state.pending_orders, &mut state.failures);
    for (id, _) in orders.extract_if(.., |id, pending| is_old(id, pending.created, ORDER_LIFE)) {
        batch = record::remove::<PendingOrder>(batch, &id);
    }
    for (id, _) in failures.extract_if(.., |id, failures| is_old(id, last_failure(failures), GRACE))
    {
        batch = record::remove::<Vec<FailureState>>(batch, &id);
    }

    batch
}

/// Returns the time of the last failure; 1970 if there is none.
fn last_failure(failures: &[FailureState]) -> UnixSeconds {
    let times = failures.iter().map(|failure_state| failure_state.last);
    times.max().unwrap_or_default()
}
