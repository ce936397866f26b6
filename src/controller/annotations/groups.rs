//! Annotations about groups of the endpoints of one Service (blue-green).

use http::HeaderName;

use super::{
    row::{Annotation, HAPROXY, OLD, row},
    value::{InvalidValue, list, none_of, not},
    values::{AnnotationValues, NamedLabel},
};
use crate::routing::GroupWeight;

const OF_INGRESS: &[&str] = &[HAPROXY, OLD];
/// The form of weights, for people.
const WEIGHTS: &str = "a list of label=value=weight (group=blue=1,group=green=4)";
const PAIR: &str = "a name and a label (X-Server:group)";
/// The largest weight.
const MAX_WEIGHT: i64 = 256;
/// The most groups of a Service.
const MAX_GROUPS: usize = 64;
/// The most characters of a part of a label, and of a name.
const MAX_NAME: usize = 253;

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        OF_INGRESS,
        "blue-green-balance",
        WEIGHTS,
        "Endpoints whose Pods have these labels get this part of the requests. Those in no group, \
         and those whose Pods cannot be read, get none. An endpoint without a Pod has the labels \
         of its EndpointSlice.",
        weights,
    )
    .guard()
    .on_services()
    .differs(
        "A value that is not valid closes the paths. A client that sticks to an endpoint whose \
         weight becomes 0 leaves it, unless `gatelet.dev/affinity-mode` is persistent.",
    ),
    row(
        OF_INGRESS,
        "blue-green-deploy",
        WEIGHTS,
        "The same.",
        weights,
    )
    .guard()
    .on_services()
    .differs("A value that is not valid closes the paths."),
    row(
        OF_INGRESS,
        "blue-green-mode",
        "deploy, pod",
        "deploy: the weight is that of the whole group, however many endpoints it has; this is \
         the default. pod: it is that of each endpoint.",
        |values, _, value| {
            values.groups.per_endpoint = Some(match value {
                "deploy" => false,
                "pod" => true,
                _ => return Err(none_of(value, "deploy, pod")),
            });
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_INGRESS,
        "blue-green-header",
        PAIR,
        "A request whose field has the value of the label goes to an endpoint of that group, \
         whatever its weight; if none is well, as without the field.",
        |values, name, value| {
            let (field, label) = pair(value)?;
            let field = HeaderName::from_bytes(field.as_bytes());
            values.groups.header = Some(NamedLabel {
                from: name.into(),
                name: field.map_err(|_error| not(value, PAIR))?,
                label: label.into(),
            });
            Ok(())
        },
    )
    .on_services()
    .differs("The endpoints of the group share its requests, unless there are sticky sessions."),
    row(
        OF_INGRESS,
        "blue-green-cookie",
        PAIR,
        "The same by the value of a cookie, behind `blue-green-header`.",
        |values, name, value| {
            let (cookie, label) = pair(value)?;
            values.groups.cookie = Some(NamedLabel {
                from: name.into(),
                name: cookie.into(),
                label: label.into(),
            });
            Ok(())
        },
    )
    .on_services()
    .differs("The endpoints of the group share its requests, unless there are sticky sessions."),
];

/// Reads the weights of groups. As in HAProxy Ingress one out of range is the nearest in it.
fn weights(values: &mut AnnotationValues, name: &str, value: &str) -> Result<(), InvalidValue> {
    if value.is_empty() {
        return Ok(());
    }
    let groups: Vec<GroupWeight> = list(value).map(weight).collect::<Result<_, _>>()?;
    if groups.len() > MAX_GROUPS {
        return Err(InvalidValue::TooMany(MAX_GROUPS));
    }
    if list(value).any(|one| number(one).is_some_and(|number| !(0..=MAX_WEIGHT).contains(&number)))
    {
        values.unsupported(name, "a weight is from 0 to 256: the nearest one applies");
    }
    values.groups.weights = groups.into();
    Ok(())
}

fn weight(text: &str) -> Result<GroupWeight, InvalidValue> {
    let wrong = || not(text, "a label with a weight (group=blue=1)");
    let parts: Vec<&str> = text.split('=').collect();
    let [label, value, _] = parts[..] else {
        return Err(wrong());
    };
    let weight = number(text).ok_or_else(wrong)?.clamp(0, MAX_WEIGHT);

    let is_label = |text: &str| !text.is_empty() && text.len() <= 2 * MAX_NAME;
    if !is_label(label) || value.len() > MAX_NAME {
        return Err(wrong());
    }
    Ok(GroupWeight {
        label: label.into(),
        value: value.into(),
        weight: u16::try_from(weight).map_err(|_error| wrong())?,
    })
}

/// Returns the weight behind a label, whether it is in range or not.
fn number(text: &str) -> Option<i64> {
    text.rsplit_once('=')?.1.parse().ok()
}

/// Splits a name and a label, which have the form of labels.
fn pair(value: &str) -> Result<(&str, &str), InvalidValue> {
    let is_outer = |byte: &u8| byte.is_ascii_alphanumeric();
    let is_inner = |byte: u8| is_outer(&byte) || b"-_.".contains(&byte);
    let is_name = |text: &str| {
        let bytes = text.as_bytes();
        bytes.len() <= MAX_NAME
            && bytes.first().is_some_and(is_outer)
            && bytes.last().is_some_and(is_outer)
            && text.bytes().all(is_inner)
    };
    let is_label = |text: &str| match text.split_once('/') {
        Some((prefix, name)) => is_name(prefix) && is_name(name),
        None => is_name(text),
    };

    let split = value.split_once(':');
    split
        .filter(|(name, label)| is_name(name) && is_label(label))
        .ok_or_else(|| not(value, PAIR))
}
