//! Keeps aggregated ClusterRoles and the ServiceAccounts `default` as the controllers of a real
//! cluster do.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::{Value, json};

use super::wait;
use crate::{
    objects::{
        Key, Kind, Op, Proposal, Propose, ProposeError, RawObject, Revision, Texts, View, Watcher,
    },
    util::stamp,
};

/// The interval between attempts after a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// Writes the rules of aggregated ClusterRoles: those of the roles that their selectors select
/// (pkg/controller/clusterroleaggregation).
///
/// # Errors
///
/// A write fails.
pub async fn aggregate(propose: &dyn Propose, view: &dyn View) -> Result<(), ProposeError> {
    let mut roles: Vec<(Arc<RawObject>, Value)> = Vec::new();
    for object in view.list(Kind::ClusterRole, None).items {
        let body = serde_json::from_slice(&object.body).unwrap_or_default();
        roles.push((object, body));
    }

    // Aggregated roles select each other: their rules are complete when a round adds none.
    let mut changed = BTreeSet::new();
    for _round in 0..roles.len() {
        let mut stable = true;
        for number in 0..roles.len() {
            if let Some(rules) = new_rules(number, &roles) {
                roles[number].1["rules"] = rules;
                changed.insert(number);
                stable = false;
            }
        }
        if stable {
            break;
        }
    }

    let mut writes = Vec::new();
    for number in changed {
        let (object, body) = &roles[number];
        let op = Op::Update {
            expected: object.meta.resource_version.parse().ok().map(Revision),
            body: body.to_string().into(),
        };
        let key = object.key.clone();
        writes.push(propose.propose(Proposal { key, op }));
    }

    for write in wait::for_all(writes).await {
        match write {
            // The other write wakes this loop again.
            Ok(_) | Err(ProposeError::Conflict { .. } | ProposeError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the rules that an aggregated role must have, if they are not those that it has.
fn new_rules(number: usize, roles: &[(Arc<RawObject>, Value)]) -> Option<Value> {
    let (object, body) = &roles[number];
    let selectors = body.pointer("/aggregationRule/clusterRoleSelectors")?;
    let rules = union(selectors.as_array()?, object, roles);
    let same = body["rules"] == rules || (body["rules"].is_null() && rules == json!([]));
    (!same).then_some(rules)
}

/// Returns the rules of the selected roles, each once, in the order of the roles' names.
fn union(selectors: &[Value], own: &RawObject, roles: &[(Arc<RawObject>, Value)]) -> Value {
    let mut rules: Vec<Value> = Vec::new();
    for selector in selectors {
        let selected = roles
            .iter()
            .filter(|(role, _body)| role.key != own.key && selects(selector, &role.meta.labels));
        for (_role, body) in selected {
            for rule in body["rules"].as_array().into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    rules.into()
}

/// Returns true if a `meta.k8s.io/v1` LabelSelector selects these labels.
fn selects(selector: &Value, labels: &Texts) -> bool {
    let exact = selector["matchLabels"].as_object().into_iter().flatten();
    let exact = exact.into_iter().all(|(key, value)| {
        let found = labels.get(key.as_str());
        found.is_some_and(|found| value == &**found)
    });

    let expressions = selector["matchExpressions"]
        .as_array()
        .into_iter()
        .flatten();
    exact
        && expressions.into_iter().all(|expression| {
            let key = expression["key"].as_str().unwrap_or_default();
            let found = labels.get(key);
            let is_listed = found.is_some_and(|found| {
                let values = expression["values"].as_array().into_iter().flatten();
                values.into_iter().any(|value| value == &**found)
            });
            match expression["operator"].as_str() {
                Some("In") => is_listed,
                Some("NotIn") => !is_listed,
                Some("Exists") => found.is_some(),
                Some("DoesNotExist") => found.is_none(),
                _ => false,
            }
        })
}

/// Keeps aggregated ClusterRoles up to date. Runs as long as the server does.
pub async fn keep_aggregated(propose: Arc<dyn Propose>, view: Arc<dyn View>) {
    loop {
        let from = view.revision();
        let done = aggregate(&*propose, &*view).await;
        let done =
            done.inspect_err(|error| tracing::warn!(%error, "cannot aggregate ClusterRoles"));
        let watch = view.watch(Kind::ClusterRole, from);
        changed([watch], done.is_err()).await;
    }
}

/// Creates the ServiceAccount `default` in each namespace that lacks one
/// (pkg/controller/serviceaccount). Runs as long as the server does.
pub async fn keep_accounts(propose: Arc<dyn Propose>, view: Arc<dyn View>) {
    loop {
        let from = view.revision();
        let done = create_accounts(&*propose, &*view).await;
        let done =
            done.inspect_err(|error| tracing::warn!(%error, "cannot create a ServiceAccount"));
        let watches = [Kind::Namespace, Kind::ServiceAccount].map(|kind| view.watch(kind, from));
        changed(watches, done.is_err()).await;
    }
}

async fn create_accounts(propose: &dyn Propose, view: &dyn View) -> Result<(), ProposeError> {
    for namespace in view.list(Kind::Namespace, None).items {
        let name = &namespace.meta.name;
        let key = Key {
            kind: Kind::ServiceAccount,
            namespace: name.clone(),
            name: "default".into(),
        };

        if !namespace.meta.deletion_timestamp.is_empty() || view.get(&key).is_some() {
            continue;
        }

        let account = json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {
                "name": "default",
                "namespace": &**name,
                "uid": stamp::uid(),
                "creationTimestamp": stamp::now(),
            },
        });

        let op = Op::Create(account.to_string().into());
        match propose.propose(Proposal { key, op }).await {
            Ok(_) | Err(ProposeError::Exists(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits for a change, or for the time of the next attempt after a failure. A watch that cannot
/// begin returns at once: its changes have been missed.
async fn changed<const N: usize, E>(watches: [Result<Box<dyn Watcher>, E>; N], failed: bool) {
    let mut watchers: Vec<Box<dyn Watcher>> = Vec::new();
    for watch in watches {
        match watch {
            Ok(watcher) => watchers.push(watcher),
            Err(_missed) => return,
        }
    }

    let changes = watchers.iter_mut().map(|watcher| watcher.next());
    let any = wait::for_first(changes.collect());
    if failed {
        let _in_time = tokio::time::timeout(RETRY, any).await;
    } else {
        any.await;
    }
}
