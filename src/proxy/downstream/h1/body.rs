//! The body of a request, taken from the received bytes.

use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};

use crate::proxy::{
    error::Kind,
    h1::{
        Limits,
        chunk::{Chunks, Part},
        trailers,
    },
    request::message::BodyLength,
};

/// The rest of the body of a request.
#[derive(Debug)]
pub(super) enum Incoming {
    /// This many bytes.
    Length(u64),
    /// Chunks, with the bytes of the trailer section so far.
    Chunked(Box<(Chunks, Vec<u8>)>),
    /// It is malformed, or the client has disconnected inside it: the place where the next request
    /// begins is unknown.
    Broken,
}

/// No body.
impl Default for Incoming {
    fn default() -> Self {
        Self::Length(0)
    }
}

impl Incoming {
    /// Creates the body that follows a head.
    pub(super) fn new(length: BodyLength) -> Self {
        match length {
            BodyLength::None => Self::Length(0),
            BodyLength::Known(length) => Self::Length(length),
            BodyLength::Unknown => Self::Chunked(Box::new((Chunks::new(), Vec::new()))),
        }
    }

    /// Returns true if nothing of it is left.
    pub(super) fn is_end(&self) -> bool {
        matches!(self, Self::Length(0))
    }

    /// Records that the rest will not come.
    pub(super) fn fail(&mut self) {
        *self = Self::Broken;
    }

    /// Returns what is known about the length of the rest.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Length(left) => SizeHint::with_exact(*left),
            Self::Chunked(_) | Self::Broken => SizeHint::default(),
        }
    }

    /// Takes the next piece off the received bytes; `None` at the end, or if more bytes are needed.
    ///
    /// # Errors
    /// The chunks are malformed.
    pub(super) fn take(
        &mut self,
        received: &mut BytesMut,
        limits: Limits,
    ) -> Result<Option<Frame<Bytes>>, Kind> {
        while !received.is_empty() {
            match self {
                Self::Length(0) => return Ok(None),
                Self::Length(left) => {
                    let data = take(received, usize::try_from(*left).unwrap_or(usize::MAX));
                    *left -= data.len() as u64;
                    return Ok(Some(Frame::data(data)));
                }
                Self::Broken => return Err(Kind::BadRequest("bad request body")),
                Self::Chunked(_) => match self.take_chunk(received, limits) {
                    Ok(None) => {}
                    Ok(Some(frame)) => return Ok(Some(frame)),
                    Err(kind) => {
                        self.fail();
                        return Err(kind);
                    }
                },
            }
        }
        Ok(None)
    }

    fn take_chunk(
        &mut self,
        received: &mut BytesMut,
        limits: Limits,
    ) -> Result<Option<Frame<Bytes>>, Kind> {
        let Self::Chunked(chunked) = self else {
            return Ok(None);
        };
        let (chunks, section) = &mut **chunked;
        match chunks.next(received, limits)? {
            Part::Data(length) => return Ok(Some(Frame::data(take(received, length)))),
            Part::Framing(length) => drop(received.split_to(length)),
            Part::Trailers(length) => section.extend_from_slice(&received.split_to(length)),
            Part::End(length) => {
                section.extend_from_slice(&received.split_to(length));
                let trailers =
                    trailers::parse(section, limits).ok_or(Kind::BadRequest("bad trailer"))?;
                *self = Self::Length(0);
                if !trailers.is_empty() {
                    return Ok(Some(Frame::trailers(trailers)));
                }
            }
        }
        Ok(None)
    }
}

fn take(received: &mut BytesMut, length: usize) -> Bytes {
    received.split_to(length.min(received.len())).freeze()
}
