//! The default roles and bindings of a real API server, which every mini cluster has.

use serde_json::{Value, json};

use super::{
    rules::{Rule, missing},
    wait,
};
use crate::{
    objects::{Key, Kind, Op, Proposal, Propose, ProposeError, RawObject, Revision, View},
    util::stamp,
};

/// The annotation with which a role or binding is left alone, if its value is `false`.
const AUTOUPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Returns the default roles and bindings, without the metadata that a server sets.
fn objects() -> Vec<Value> {
    serde_json::from_str(include_str!("roles.json"))
        .expect("the list is made by a script and tested")
}

/// Creates the default roles and bindings that do not exist, and adds to the others what they lack,
/// as a real API server does at each start (pkg/registry/rbac/rest/storage_rbac.go).
///
/// # Errors
///
/// A write fails. The others have been made.
pub async fn ensure_defaults(propose: &dyn Propose, view: &dyn View) -> Result<(), ProposeError> {
    let proposals = objects()
        .into_iter()
        .filter_map(|object| plan(view, object));
    // All wait at the same time, so they are stored together.
    let writes = proposals
        .map(|proposal| propose.propose(proposal))
        .collect();

    let mut result = Ok(());
    for write in wait::for_all(writes).await {
        match write {
            // Another replica was faster.
            Ok(_) | Err(ProposeError::Exists(_) | ProposeError::Conflict { .. }) => {}
            Err(error) => result = Err(error),
        }
    }
    result
}

/// Returns the write that a default role or binding needs, if any.
fn plan(view: &dyn View, mut wanted: Value) -> Option<Proposal> {
    let text = |pointer: &str| wanted.pointer(pointer).and_then(Value::as_str);
    let kind = Kind::find(text("/apiVersion")?, text("/kind")?)?;
    let key = Key {
        kind,
        namespace: "".into(),
        name: text("/metadata/name")?.into(),
    };

    let op = match view.get(&key) {
        Some(stored) => update(&stored, &wanted)?,
        None => {
            wanted["metadata"]["uid"] = stamp::uid().into();
            wanted["metadata"]["creationTimestamp"] = stamp::now().into();
            Op::Create(wanted.to_string().into())
        }
    };
    Some(Proposal { key, op })
}

/// Returns the write that adds to a stored role or binding what it lacks.
fn update(stored: &RawObject, wanted: &Value) -> Option<Op> {
    let automatic = stored.meta.annotations.get(AUTOUPDATE);
    if automatic.is_some_and(|value| **value == *"false") {
        return None;
    }

    let mut object: Value = serde_json::from_slice(&stored.body).ok()?;
    let before = object.clone();
    // An aggregated role has the rules of others.
    if wanted["aggregationRule"].is_null() {
        add_rules(&mut object, wanted);
    }

    for subject in wanted["subjects"].as_array().into_iter().flatten() {
        let subjects = &mut object["subjects"];
        match subjects.as_array_mut() {
            Some(known) if known.contains(subject) => {}
            Some(known) => known.push(subject.clone()),
            None => *subjects = json!([subject]),
        }
    }

    let expected = stored.meta.resource_version.parse().ok().map(Revision);
    (object != before).then(|| Op::Update {
        expected,
        body: object.to_string().into(),
    })
}

/// Adds the rules whose rights the object does not have.
fn add_rules(object: &mut Value, wanted: &Value) {
    let rules = |object: &Value| -> Vec<Rule> {
        serde_json::from_value(object["rules"].clone()).unwrap_or_default()
    };

    let own = rules(object);
    for rule in wanted["rules"].as_array().into_iter().flatten() {
        let parsed: Rule = serde_json::from_value(rule.clone()).unwrap_or_default();
        let lacks = missing(&own, &[parsed]).is_ok_and(|missing| !missing.is_empty());
        if lacks {
            match object["rules"].as_array_mut() {
                Some(known) => known.push(rule.clone()),
                None => object["rules"] = json!([rule]),
            }
        }
    }
}
