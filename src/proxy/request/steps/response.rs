//! Changes the fields of responses.

use std::str;

use crate::{
    proxy::request::fields::Fields,
    routing::{CookieChange, LocationChange, RequestUrl},
};

/// Changes the attributes of cookies.
pub(super) fn cookies(change: &CookieChange, fields: &mut Fields) {
    map(fields, b"set-cookie", |value| change.apply(value));
}

/// Changes the targets of redirects.
pub(super) fn location(change: &LocationChange, url: RequestUrl<'_>, fields: &mut Fields) {
    map(fields, b"location", |value| {
        let value = str::from_utf8(value).ok()?;
        Some(change.location(value, url)?.into_bytes())
    });
    map(fields, b"refresh", |value| {
        let value = str::from_utf8(value).ok()?;
        Some(change.refresh(value, url)?.into_bytes())
    });
}

/// Replaces the values of a field, where there is another one.
fn map(fields: &mut Fields, name: &[u8], change: impl Fn(&[u8]) -> Option<Vec<u8>>) {
    let named = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case(name));
    let values: Vec<(Vec<u8>, Option<Vec<u8>>)> = named
        .map(|field| (field.value.to_vec(), change(field.value)))
        .collect();
    if values.iter().all(|(_, changed)| changed.is_none()) {
        return;
    }

    fields.retain(|field| !field.name.eq_ignore_ascii_case(name));
    for (value, changed) in values {
        fields.push(name, &changed.unwrap_or(value));
    }
}
