//! The steps that change fields of requests and responses.

use std::{mem, sync::Arc};

use http::{HeaderName, HeaderValue};

use crate::{
    controller::annotations::{self, AnnotationValues},
    routing::{CookieChange, RemovedField, RequestStep, ResponseStep, SetField, SetText},
};

/// The `max-age` of `Strict-Transport-Security` without another one: half a year.
const MAX_AGE: u32 = 15_768_000;

/// Returns the steps that set fields of requests.
pub(super) fn of_requests(values: &mut AnnotationValues) -> Vec<RequestStep> {
    let fields = mem::take(&mut values.fields.request).into_iter();
    let fields = fields.map(|field| RequestStep::SetField(set(field)));
    let added = mem::take(&mut values.fields.request_added).into_iter();
    let added = added.map(|field| RequestStep::AddField(set(field)));
    let removed = mem::take(&mut values.fields.request_removed).into_iter();
    let removed =
        removed.map(|(from, name)| RequestStep::RemoveField(Arc::new(RemovedField { from, name })));

    let from = values.snippet.from.clone().unwrap_or_default();
    let texts = mem::take(&mut values.snippet.request).into_iter();
    let texts = texts.map(|(name, value)| match value {
        Some(value) => RequestStep::SetText(Arc::new(SetText {
            from: from.clone(),
            name,
            value,
        })),
        None => RequestStep::RemoveField(Arc::new(RemovedField {
            from: from.clone(),
            name,
        })),
    });
    fields.chain(added).chain(removed).chain(texts).collect()
}

/// Returns the steps that change fields of responses.
pub(super) fn of_responses(values: &mut AnnotationValues) -> Vec<ResponseStep> {
    let cookies = mem::take(&mut values.fields.cookies);
    let cookies = (cookies != CookieChange::default()).then_some(cookies);
    let location = annotations::redirect(values);
    let fields = mem::take(&mut values.fields.response).into_iter();

    let mut steps: Vec<ResponseStep> = Vec::new();
    steps.extend(cookies.map(|change| ResponseStep::Cookies(Arc::new(change))));
    steps.extend(location.map(|change| ResponseStep::Location(Arc::new(change))));
    steps.extend(fields.map(|field| ResponseStep::SetField(set(field))));
    let added = mem::take(&mut values.fields.response_added).into_iter();
    steps.extend(added.map(|field| ResponseStep::AddField(set(field))));
    let removed = mem::take(&mut values.fields.response_removed).into_iter();
    steps.extend(removed.map(ResponseStep::RemoveField));
    let hidden = mem::take(&mut values.snippet.hidden).into_iter();
    steps.extend(hidden.map(ResponseStep::RemoveField));
    // Behind the fields that decide about it.
    let compression = annotations::compression(values);
    steps.extend(compression.map(|terms| ResponseStep::Compress(Arc::new(terms))));
    steps
}

/// Returns `Strict-Transport-Security` as the annotations have it: `None` if the settings decide,
/// and no value if there is none.
pub(super) fn hsts(values: &AnnotationValues) -> Option<Option<HeaderValue>> {
    let hsts = &values.fields.hsts;
    if !hsts.is_on? {
        return Some(None);
    }

    let mut text = format!("max-age={}", hsts.max_age.unwrap_or(MAX_AGE));
    if hsts.subdomains {
        text.push_str("; includeSubDomains");
    }
    if hsts.preload {
        text.push_str("; preload");
    }
    Some(HeaderValue::try_from(text).ok())
}

/// Makes the field of an annotation.
pub(super) fn set((from, name, value): (Box<str>, HeaderName, HeaderValue)) -> Arc<SetField> {
    Arc::new(SetField { from, name, value })
}
