//! The middleware `compress`.

use std::sync::Arc;

use super::{Fields, Making, Problem};
use crate::routing::{Compression, ContentCoding, HAS_BROTLI, MediaTypes, ResponseStep};

/// Bytes of a response that Traefik compresses without another bound.
const MIN_LENGTH: i64 = 1024;
/// The codings that Traefik has without others, the best one first.
const DEFAULT: &[&str] = &["gzip", "br", "zstd"];
/// The most media types.
const MAX_TYPES: usize = 64;

impl Making<'_> {
    pub(super) fn compress(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        const INCLUDED: &str = "includedContentTypes";
        let excluded = fields.texts("excludedContentTypes")?;
        let included = fields.texts(INCLUDED)?;
        if !excluded.is_empty() && !included.is_empty() {
            return Err(fields.invalid(INCLUDED, "excludedContentTypes is there too"));
        }
        if excluded.len().max(included.len()) > MAX_TYPES {
            return Err(fields.invalid(INCLUDED, "there are more than 64 types"));
        }

        let min = fields.number("minResponseBodyBytes")?.unwrap_or(MIN_LENGTH);
        let min = u64::try_from(min).map_err(|_negative| {
            fields.invalid("minResponseBodyBytes", "it is not a number from 0 on")
        })?;
        let encodings = fields.texts("encodings")?;
        if fields.has("defaultEncoding") {
            let why = "a client that does not ask for a coding gets none";
            self.note(&fields.field("defaultEncoding"), why);
        }
        let path = fields.path().to_owned();
        fields.finish()?;

        let list = |types: Vec<&str>| types.into_iter().map(essence).collect();
        let types = match included.is_empty() {
            true => MediaTypes::AllBut(list(excluded)),
            false => MediaTypes::Only(list(included)),
        };
        let encodings = if encodings.is_empty() {
            DEFAULT
        } else {
            &encodings
        };
        let codings: Vec<ContentCoding> =
            encodings.iter().filter_map(|name| coding(name)).collect();
        if codings.is_empty() {
            let known = if HAS_BROTLI { "gzip and br" } else { "gzip" };
            self.note(
                &path,
                &format!("responses are compressed with {known} alone"),
            );
        }
        for coding in codings {
            let terms = Compression {
                from: self.from(),
                types: types.clone(),
                min_length: min,
                coding,
            };
            // Behind the changes of all others, which decide about it.
            let step = ResponseStep::Compress(Arc::new(terms));
            self.made.responses.push(step);
        }
        Ok(())
    }
}

/// Returns a coding with the effort that is worth it; `None` if this build does not have it.
fn coding(name: &str) -> Option<ContentCoding> {
    match name {
        "gzip" => Some(ContentCoding::Gzip(1)),
        "br" if HAS_BROTLI => Some(ContentCoding::Brotli(4)),
        _ => None,
    }
}

/// Returns a media type without parameters, in lower case.
fn essence(text: &str) -> Box<str> {
    let essence = text.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase().into()
}
