//! The trimmed OpenAPI v3 documents.

use bytes::Bytes;

/// `/openapi/v3`: which documents there are.
pub(crate) fn index() -> Bytes {
    Bytes::from_static(br#"{"paths":{}}"#)
}

/// One document, compressed with gzip, and its entity tag. `path` is as in the index: `api/v1`.
pub(crate) fn document(_path: &str) -> Option<(&'static [u8], &'static str)> {
    None
}
