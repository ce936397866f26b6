//! Reads fields of messages from the ConfigMaps that annotations name.

use std::sync::Arc;

use http::HeaderName;

use super::{
    Reason,
    annotations::FORBIDDEN_FIELDS,
    objects::{Name, Objects},
};

/// The most fields of a ConfigMap.
const MAX_FIELDS: usize = 64;
/// The most bytes of a value.
const MAX_VALUE: usize = 2048;

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
