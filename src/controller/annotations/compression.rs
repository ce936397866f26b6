//! Annotations about the compression of responses.

use super::{
    row::{Annotation, OURS, row},
    value::{boolean, list, not, number},
    values::{AnnotationValues, CompressionValues},
};
use crate::routing::{Compression, MediaTypes};

const PREFIXES: &[&str] = &[OURS];
/// The media types that ingress-nginx compresses.
const TYPES: &[&str] = &[
    "application/atom+xml",
    "application/javascript",
    "application/json",
    "application/rss+xml",
    "application/vnd.ms-fontobject",
    "application/x-font-ttf",
    "application/x-javascript",
    "application/x-web-app-manifest+json",
    "application/xhtml+xml",
    "application/xml",
    "font/opentype",
    "image/svg+xml",
    "image/x-icon",
    "text/css",
    "text/html",
    "text/javascript",
    "text/plain",
    "text/x-component",
];
/// The least bytes of a response that ingress-nginx compresses.
const MIN_LENGTH: u64 = 256;
/// The most media types of an Ingress.
const MAX_TYPES: usize = 64;
const LEVEL: &str = "a number from 1 to 9";

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "gzip",
        "true, false",
        "true: responses with the types of `gzip-types` are compressed for clients that take it. \
         The ETag becomes a weak one.",
        |values, name, value| {
            values.compression.from = boolean(value)?.then(|| name.into());
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "gzip-types",
        "media types separated by commas or spaces, or *",
        "The media types of compressed responses, beside `text/html`; without it texts, scripts, \
         XML, JSON, SVG and fonts.",
        |values, _name, value| {
            let types = list(value).flat_map(str::split_ascii_whitespace);
            values.compression.types = types.map(|one| one.to_ascii_lowercase().into()).collect();
            let types = &mut values.compression.types;
            let mut each = types.iter().map(|one| &**one);
            let are_types = each.all(|one| one == "*" || one.contains('/'));
            if types.is_empty() || types.len() > MAX_TYPES || !are_types {
                types.clear();
                return Err(not(value, "media types (at most 64)"));
            }
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "gzip-min-length",
        "a number",
        "Responses of fewer bytes are not compressed; 256 without it.",
        |values, _name, value| {
            values.compression.min_length = Some(number(value, "a number of bytes")?.into());
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "gzip-level",
        "1 to 9",
        "The effort; 1 without it.",
        |values, _name, value| {
            let level = u8::try_from(number(value, LEVEL)?).unwrap_or(u8::MAX);
            if !(1..=9).contains(&level) {
                return Err(not(value, LEVEL));
            }
            values.compression.level = Some(level);
            Ok(())
        },
    ),
];

/// Returns the terms on which responses are compressed; `None` if they are not.
pub(in crate::controller) fn compression(values: &mut AnnotationValues) -> Option<Compression> {
    let CompressionValues {
        from,
        mut types,
        min_length,
        level,
    } = std::mem::take(&mut values.compression);
    let from = from?;

    match types.is_empty() {
        true => types = TYPES.iter().map(|one| (*one).into()).collect(),
        // As with nginx.
        false => types.push("text/html".into()),
    }
    Some(Compression {
        from,
        types: MediaTypes::Only(types.into()),
        min_length: min_length.unwrap_or(MIN_LENGTH),
        level: level.unwrap_or(1),
    })
}
