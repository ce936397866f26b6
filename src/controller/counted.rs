//! The Ingresses whose requests are counted.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::objects::Name;
use crate::{routing::RequestCounts, util::sync::lock};

/// The most Ingresses that are counted by themselves. A scrape has several lines for each.
pub(super) const MOST: usize = 1_000;

/// The counts of Ingresses, by namespace and name. The compiler adds them, and metrics show them.
#[derive(Debug, Default)]
pub struct CountedIngresses {
    counts: Mutex<BTreeMap<Name, Arc<RequestCounts>>>,
    others: Arc<RequestCounts>,
}

impl CountedIngresses {
    /// Returns the counts of an Ingress, which an edit does not change. Those beyond a bound share
    /// theirs.
    pub(super) fn of(&self, name: &Name) -> Arc<RequestCounts> {
        let mut counts = lock(&self.counts);
        match counts.get(name) {
            Some(known) => known.clone(),
            None if counts.len() >= MOST => self.others.clone(),
            None => counts.entry(name.clone()).or_default().clone(),
        }
    }

    /// Forgets an Ingress that is gone.
    pub(super) fn forget(&self, name: &Name) {
        lock(&self.counts).remove(name);
    }

    /// Returns all counts, with the namespaces and names of the Ingresses; these are empty for
    /// those beyond the bound.
    pub fn all(&self) -> Vec<(Name, Arc<RequestCounts>)> {
        let counts = lock(&self.counts);
        let mut all: Vec<_> = counts
            .iter()
            .map(|(name, counts)| (name.clone(), counts.clone()))
            .collect();
        if all.len() >= MOST {
            all.push((("".into(), "".into()), self.others.clone()));
        }
        all
    }
}
