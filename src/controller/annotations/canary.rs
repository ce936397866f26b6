//! Annotations of canaries.

use http::HeaderName;

use super::{
    row::{Annotation, NGINX, OLD, OURS, row},
    value::{InvalidValue, boolean, not, number},
    values::AnnotationValues,
};
use crate::routing::{CanaryValues, Pattern};

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];
const NUMBER: &str = "a number from 0";

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "canary",
        "true, false",
        "The Ingress takes a part of the requests of another one of its namespace, the main one: \
         for each of its rules those of the rule with the same host, path and type. Everything \
         else is as the annotations of the main Ingress say.",
        |values, _, value| {
            let is_canary = boolean(value);
            // In doubt it takes no requests from the main one, neither all nor a part.
            values.canary.enabled = is_canary.as_ref().copied().unwrap_or(true);
            values.canary.is_invalid = is_canary.is_err();
            is_canary.map(|_valid| ())
        },
    )
    .differs(
        "The main Ingress must be of the same namespace, and must have every guard of the canary \
         and its Service: otherwise the canary takes nothing. An invalid value takes nothing.",
    ),
    row(
        PREFIXES,
        "canary-by-header",
        "the name of a field",
        "`always` in the field leads to the canary, `never` to the main Ingress; with any other \
         value the cookie decides.",
        |values, name, value| {
            if !value.is_empty() {
                let wrong = |_error| not(value, "the name of a field");
                values.canary.header = Some(value.parse::<HeaderName>().map_err(wrong)?);
                note(values, name);
            }
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "canary-by-header-value",
        "any text",
        "This value leads to the canary, in place of `always`; with any other one the cookie \
         decides.",
        |values, name, value| {
            if !value.is_empty() {
                values.canary.value = Some(CanaryValues::Exact(value.into()));
                note(values, name);
            }
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "canary-by-header-pattern",
        "a regular expression",
        "Values with a match of the expression lead to the canary, in place of `always`. It has no \
         effect beside `canary-by-header-value`.",
        |values, name, value| {
            if value.is_empty() {
                return Ok(());
            }
            note(values, name);
            values.canary.pattern = Some(CanaryValues::Invalid);
            let wrong = InvalidValue::Pattern;
            Pattern::parse(value).map_err(wrong)?;
            let anywhere = format!("(?s:.*)(?:{value})(?s:.*)");
            let pattern = Pattern::parse(&anywhere).map_err(wrong)?;
            values.canary.pattern = Some(CanaryValues::Pattern(Box::new(pattern)));
            Ok(())
        },
    )
    .differs(
        "Expressions have no look-around and no references. With an invalid one, requests that \
         have the field go to the main Ingress.",
    ),
    row(
        PREFIXES,
        "canary-by-cookie",
        "the name of a cookie",
        "`always` in the cookie leads to the canary, `never` to the main Ingress; with any other \
         value the weight decides.",
        |values, name, value| {
            let is_token = |byte: u8| byte.is_ascii_graphic() && !b"=;,\"".contains(&byte);
            if !value.bytes().all(is_token) {
                return Err(not(value, "the name of a cookie"));
            }
            if !value.is_empty() {
                values.canary.cookie = Some(value.into());
                note(values, name);
            }
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "canary-weight",
        NUMBER,
        "The requests of each `canary-weight-total` that go to the canary, by chance; 0 without \
         it.",
        |values, name, value| {
            values.canary.weight = number(value, NUMBER)?;
            note(values, name);
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "canary-weight-total",
        NUMBER,
        "100 without it; less counts as 100.",
        |values, name, value| {
            values.canary.total = number(value, NUMBER)?;
            note(values, name);
            Ok(())
        },
    ),
];

/// Remembers an annotation that needs `canary`.
fn note(values: &mut AnnotationValues, name: &str) {
    values.canary.details.push(name.into());
}
