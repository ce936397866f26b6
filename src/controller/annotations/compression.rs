//! Annotations about the compression of responses.

use super::{
    row::{Annotation, OURS, row},
    value::{InvalidValue, boolean, list, not, number},
    values::{AnnotationValues, CodingValues},
};
use crate::routing::{Compression, ContentCoding, HAS_BROTLI, MediaTypes};

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
/// The most media types of an Ingress.
const MAX_TYPES: usize = 64;

const LIST: &str = "media types separated by commas or spaces, or *";
const BUILD: &str = "Only in builds with the feature `brotli`; a finding says so in others.";

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "gzip",
        "true, false",
        "true: responses with the types of `gzip-types` are compressed for clients that take it. \
         The ETag becomes a weak one.",
        |values, name, value| values.compression.gzip.turn(name, value),
    ),
    row(
        PREFIXES,
        "gzip-types",
        LIST,
        "The media types of compressed responses, beside `text/html`; without it texts, scripts, \
         XML, JSON, SVG and fonts.",
        |values, _name, value| values.compression.gzip.read_types(value),
    ),
    row(
        PREFIXES,
        "gzip-min-length",
        "a number",
        "Responses of fewer bytes are not compressed; 256 without it.",
        |values, _name, value| values.compression.gzip.read_min_length(value),
    ),
    row(
        PREFIXES,
        "gzip-level",
        "1 to 9",
        "The effort; 1 without it.",
        |values, _name, value| values.compression.gzip.read_level(GZIP_LEVELS, value),
    ),
    row(
        PREFIXES,
        "brotli",
        "true, false",
        "true: as `gzip`, with brotli for clients that take that.",
        |values, name, value| {
            values.compression.brotli.turn(name, value)?;
            if values.compression.brotli.is_on == Some(true) && !HAS_BROTLI {
                values.unsupported(name, "this build of gatelet has no brotli");
            }
            Ok(())
        },
    )
    .differs(BUILD),
    row(
        PREFIXES,
        "brotli-types",
        LIST,
        "As `gzip-types`.",
        |values, _name, value| values.compression.brotli.read_types(value),
    ),
    row(
        PREFIXES,
        "brotli-min-length",
        "a number",
        "As `gzip-min-length`; 20 without it.",
        |values, _name, value| values.compression.brotli.read_min_length(value),
    ),
    row(
        PREFIXES,
        "brotli-level",
        "0 to 11",
        "The effort; 4 without it.",
        |values, _name, value| values.compression.brotli.read_level(BROTLI_LEVELS, value),
    ),
];

/// The efforts of a coding, with their names for people.
pub(super) type Levels = (std::ops::RangeInclusive<u8>, &'static str);

pub(super) const GZIP_LEVELS: Levels = (1..=9, "a number from 1 to 9");
pub(super) const BROTLI_LEVELS: Levels = (0..=11, "a number from 0 to 11");

impl CodingValues {
    /// Reads whether an annotation asks for it.
    pub(super) fn turn(&mut self, name: &str, value: &str) -> Result<(), InvalidValue> {
        self.is_on = Some(boolean(value)?);
        self.from = name.into();
        Ok(())
    }

    pub(super) fn read_types(&mut self, value: &str) -> Result<(), InvalidValue> {
        let types = list(value).flat_map(str::split_ascii_whitespace);
        let types: Vec<Box<str>> = types.map(|one| one.to_ascii_lowercase().into()).collect();

        let mut each = types.iter().map(|one| &**one);
        let are_types = each.all(|one| one == "*" || one.contains('/'));
        if types.is_empty() || types.len() > MAX_TYPES || !are_types {
            return Err(not(value, "media types (at most 64)"));
        }
        self.types = types;
        Ok(())
    }

    pub(super) fn read_min_length(&mut self, value: &str) -> Result<(), InvalidValue> {
        self.min_length = Some(number(value, "a number of bytes")?.into());
        Ok(())
    }

    pub(super) fn read_level(
        &mut self,
        (levels, known): Levels,
        value: &str,
    ) -> Result<(), InvalidValue> {
        let level = u8::try_from(number(value, known)?).unwrap_or(u8::MAX);
        if !levels.contains(&level) {
            return Err(not(value, known));
        }
        self.level = Some(level);
        Ok(())
    }

    /// Reads a directive of nginx about it, without the name of the coding; `None` if it is not
    /// known or not valid.
    pub(super) fn read_directive(
        &mut self,
        from: &str,
        (directive, words): (&str, &[&str]),
        levels: Levels,
    ) -> Option<()> {
        let read = match (directive, words) {
            ("", ["on"]) => self.turn(from, "true"),
            ("", ["off"]) => self.turn(from, "false"),
            ("_types", types) => self.read_types(&types.join(" ")),
            ("_min_length", [length]) => self.read_min_length(length),
            ("_comp_level", [level]) => self.read_level(levels, level),
            _ => return None,
        };
        read.ok()
    }

    /// Sets what others say.
    pub(super) fn replace(&mut self, other: Self) {
        if other.is_on.is_some() {
            (self.is_on, self.from) = (other.is_on, other.from);
        }
        if !other.types.is_empty() {
            self.types = other.types;
        }
        self.min_length = other.min_length.or(self.min_length);
        self.level = other.level.or(self.level);
    }

    /// Returns the terms; `None` if nothing is compressed with it.
    fn terms(
        self,
        min_length: u64,
        coding: impl FnOnce(Option<u8>) -> ContentCoding,
    ) -> Option<Compression> {
        if self.is_on != Some(true) {
            return None;
        }
        let mut types = self.types;
        match types.is_empty() {
            true => types = TYPES.iter().map(|one| (*one).into()).collect(),
            // As with nginx.
            false => types.push("text/html".into()),
        }
        Some(Compression {
            from: self.from,
            types: MediaTypes::Only(types.into()),
            min_length: self.min_length.unwrap_or(min_length),
            coding: coding(self.level),
        })
    }
}

/// Returns the terms on which responses are compressed, the best coding first.
pub(in crate::controller) fn compression(
    values: &mut AnnotationValues,
) -> impl Iterator<Item = Compression> {
    let values = std::mem::take(&mut values.compression);
    // The least bytes and the efforts of ingress-nginx.
    let brotli = |level: Option<u8>| ContentCoding::Brotli(level.unwrap_or(4));
    let brotli = values.brotli.terms(20, brotli).filter(|_| HAS_BROTLI);
    let gzip = |level: Option<u8>| ContentCoding::Gzip(level.unwrap_or(1));
    let gzip = values.gzip.terms(256, gzip);
    brotli.into_iter().chain(gzip)
}
