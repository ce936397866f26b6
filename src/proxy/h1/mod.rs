//! HTTP/1.1 on the wire, for both sides (RFC 9112).

pub(super) mod body;
pub(super) mod chunk;
pub(super) mod receive;
pub(super) mod trailers;
pub(super) mod writer;

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use super::request::message::BodyLength;

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

/// The framing of a body of this length in HTTP/1.1.
impl From<BodyLength> for Framing {
    fn from(length: BodyLength) -> Self {
        match length {
            BodyLength::None => Self::None,
            BodyLength::Known(length) => Self::Length(length),
            BodyLength::Unknown => Self::Chunked,
        }
    }
}

/// Moves received bytes to the reader of a connection that has switched protocols, and frees their
/// buffer when it is empty.
pub(super) fn put_received(received: &mut BytesMut, buf: &mut ReadBuf<'_>) {
    let n = received.len().min(buf.remaining());
    buf.put_slice(&received[..n]);
    received.advance(n);
    if received.is_empty() {
        *received = BytesMut::new();
    }
}
