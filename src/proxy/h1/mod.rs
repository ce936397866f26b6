//! HTTP/1.1 on the wire, for both sides (RFC 9112).

pub(super) mod chunk;
pub(super) mod trailers;
pub(super) mod writer;

/// The limits of a head, and of a trailer section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The most bytes.
    pub(super) bytes: usize,
    /// The most fields.
    pub(super) fields: usize,
}

/// The framing of a body (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// There is no body.
    None,
    /// The body has this many bytes.
    Length(u64),
    /// The body is chunked.
    Chunked,
    /// The body ends with the connection.
    UntilClose,
}
