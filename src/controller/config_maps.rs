//! Reads fields of messages from the ConfigMaps that annotations name, and reports about those with
//! settings.

use std::sync::Arc;

use http::HeaderName;

use super::{
    Finding, Reason, UnsupportedGuards,
    annotations::FORBIDDEN_FIELDS,
    facts::ConfigMapFact,
    objects::{Name, Objects},
};
use crate::objects::EventType;

/// The most fields of a ConfigMap.
const MAX_FIELDS: usize = 64;
/// The most bytes of a value.
const MAX_VALUE: usize = 2048;

/// Values of a key for "no".
pub(super) const NO: &[&str] = &["", "false", "off", "0"];

/// Returns a finding about a key of a ConfigMap with settings: a warning if it is not valid, and a
/// note if it has no effect.
pub(super) fn finding(
    map: &ConfigMapFact,
    key: &str,
    severity: EventType,
    message: String,
) -> Finding {
    Finding {
        about: map.about.clone(),
        severity,
        reason: match severity {
            EventType::Normal => Reason::UnsupportedSetting,
            EventType::Warning => Reason::InvalidConfigMap,
        },
        field: format!("data[{key}]").into(),
        message: message.into(),
    }
}

/// Returns the note about a guard that is not supported, if the settings ignore those.
pub(super) fn ignored(objects: &Objects, message: &str) -> Option<String> {
    let ignores = objects.settings.unsupported_guards == UnsupportedGuards::Ignore;
    let by = "unsupported_guards in the settings";
    ignores.then(|| format!("{message}: it has no effect, because of {by}"))
}

/// Returns the name of the ConfigMap that an object in a namespace means: `name`, or
/// `namespace/name` with its own namespace.
///
/// # Errors
/// If it is in another namespace, whose users must not decide about this object.
pub(super) fn name(namespace: &Arc<str>, text: &str) -> Result<Name, (Reason, String)> {
    match text.split_once('/') {
        Some((other, name)) if *other == **namespace => Ok((namespace.clone(), name.into())),
        None => Ok((namespace.clone(), text.into())),
        Some(_) => {
            let message = "ConfigMaps of other namespaces are not read".to_owned();
            Err((Reason::InvalidAnnotation, message))
        }
    }
}

/// Returns the fields that a ConfigMap has: its keys are the names.
///
/// # Errors
/// If it does not exist, or if one of them cannot be set.
pub(super) fn fields<'a>(
    objects: &'a Objects,
    map: &Name,
) -> Result<Vec<(HeaderName, &'a str)>, (Reason, String)> {
    let own = &map.1;
    let invalid = |why: String| {
        let message = format!("ConfigMap {own}: {why}");
        (Reason::InvalidConfigMap, message)
    };
    let unknown = || {
        let message = format!("ConfigMap {own} does not exist, or is not shown");
        (Reason::ConfigMapNotFound, message)
    };

    let data = &objects.config_maps.get(map).ok_or_else(unknown)?.data;
    if data.len() > MAX_FIELDS {
        return Err(invalid(format!("there are more than {MAX_FIELDS} fields")));
    }

    let fields = data.iter().map(|(key, value)| {
        let value = value.trim();
        let name = HeaderName::try_from(&**key).ok();
        let name = name.filter(|name| !FORBIDDEN_FIELDS.contains(&name.as_str()));
        let name =
            name.ok_or_else(|| invalid(format!("{key:?} is not a field that can be set")))?;
        if value.len() > MAX_VALUE || value.contains(|c: char| c.is_control()) {
            return Err(invalid(format!("the value of {key:?} cannot be sent")));
        }
        Ok((name, value))
    });
    fields.collect()
}
