//! The rest of a body, taken from the received bytes (RFC 9112 sections 6 and 7).

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Frame, SizeHint};

use super::{
    Framing, Limits,
    chunk::{Chunks, Part},
    trailers,
};
use crate::proxy::request::error::Kind;

/// The part of a body that was not taken yet.
#[derive(Debug)]
pub(crate) enum BodyReader {
    /// This many bytes.
    Length(u64),
    /// Chunks, with the bytes of the trailer section so far.
    Chunked(Box<(Chunks, Vec<u8>)>),
    /// The data is complete; the trailers have yet to be taken.
    Trailers(Box<HeaderMap>),
    /// Everything up to the end of the connection.
    UntilClose,
    /// Unknown, because the body is malformed or broke off: so is the place where the next message
    /// begins.
    Broken(Kind),
}

/// No body.
impl Default for BodyReader {
    fn default() -> Self {
        Self::Length(0)
    }
}

impl BodyReader {
    /// Creates the reader of the body that follows a head.
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Box::new((Chunks::new(), Vec::new()))),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Returns true if nothing of it is left.
    pub(crate) fn is_end(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Records that the peer has ended the connection. Returns false if the body is incomplete.
    pub(crate) fn end(&mut self) -> bool {
        if matches!(self, Self::UntilClose) {
            *self = Self::Length(0);
        }
        self.is_end()
    }

    /// Records that the rest will not come.
    pub(crate) fn fail(&mut self, kind: Kind) {
        *self = Self::Broken(kind);
    }

    /// Returns what is known about the length of the rest.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Length(left) => SizeHint::with_exact(*left),
            _ => SizeHint::default(),
        }
    }

    /// Takes the whole rest, if it has been received and its length is known.
    pub(crate) fn take_whole(&mut self, received: &mut BytesMut) -> Option<Bytes> {
        let Self::Length(left) = self else {
            return None;
        };
        let length = usize::try_from(*left)
            .ok()
            .filter(|length| *length <= received.len())?;
        *left = 0;
        Some(take(received, length))
    }

    /// Takes the next piece off the received bytes; `None` at the end, or if more bytes are needed.
    ///
    /// # Errors
    /// The body is broken.
    pub(crate) fn take(
        &mut self,
        received: &mut BytesMut,
        limits: Limits,
    ) -> Result<Option<Frame<Bytes>>, Kind> {
        loop {
            match self {
                Self::Broken(kind) => return Err(*kind),
                Self::Trailers(trailers) => {
                    let trailers = std::mem::take(&mut **trailers);
                    *self = Self::Length(0);
                    return Ok(Some(Frame::trailers(trailers)));
                }
                Self::Length(0) => return Ok(None),
                _ if received.is_empty() => return Ok(None),
                Self::Length(left) => {
                    let data = take(received, usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= data.len() as u64;
                    return Ok(Some(Frame::data(data)));
                }
                Self::UntilClose => return Ok(Some(Frame::data(take(received, usize::MAX)))),
                Self::Chunked(_) => {
                    let Some(data) = self.take_chunk(received, limits) else {
                        continue;
                    };
                    // The framing after the chunk, and perhaps the end, has often come with it.
                    while self.is_before_framing() && !received.is_empty() {
                        self.take_chunk(received, limits);
                    }

                    return Ok(Some(Frame::data(data)));
                }
            }
        }
    }

    /// Returns true if chunk framing comes next, and not data.
    fn is_before_framing(&self) -> bool {
        matches!(self, Self::Chunked(chunked) if !chunked.0.in_data())
    }

    /// Takes the next part of a chunked body off the received bytes. Returns it if it is data.
    fn take_chunk(&mut self, received: &mut BytesMut, limits: Limits) -> Option<Bytes> {
        let Self::Chunked(chunked) = self else {
            return None;
        };
        let (chunks, section) = &mut **chunked;

        match chunks.next(received, limits) {
            Ok(Part::Data(length)) => return Some(take(received, length)),
            Ok(Part::Framing(length)) => drop(received.split_to(length)),
            Ok(Part::Trailers(length)) => section.extend_from_slice(&received.split_to(length)),
            Ok(Part::End(length)) => {
                section.extend_from_slice(&received.split_to(length));
                *self = match trailers::parse(section, limits) {
                    Some(trailers) if trailers.is_empty() => Self::Length(0),
                    Some(trailers) => Self::Trailers(Box::new(trailers)),
                    None => Self::Broken(Kind::BadRequest("bad trailer")),
                };
            }
            Err(kind) => self.fail(kind),
        }
        None
    }
}

/// Takes the next bytes, at most `length`.
fn take(received: &mut BytesMut, length: usize) -> Bytes {
    if length < received.len() {
        received.split_to(length).freeze()
    } else {
        // All of them go as they are; a split would allocate what both parts share.
        std::mem::take(received).freeze()
    }
}
