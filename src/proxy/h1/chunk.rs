//! The framing rules of a chunked body, on its bytes (RFC 9112 section 7.1).

use super::Limits;
use crate::proxy::request::error::Kind;

/// The most bytes of chunk extensions in one body: they are useless, and a known way to keep a
/// server busy.
const MAX_EXTENSIONS: usize = 8 * 1024;

/// A position in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the size, after this many digits.
    Size(u8),
    /// After the size, in white space that only an extension may follow.
    Space,
    /// In an extension.
    Extension,
    /// After the CR of a size line.
    SizeLf,
    /// In the data of a chunk.
    Data,
    /// Before the CR after the data.
    DataCr,
    /// Before the LF after the data.
    DataLf,
    /// At the start of a trailer line.
    Trailer,
    /// In the name of a trailer field.
    Name,
    /// In the value of a trailer field.
    Value,
    /// After the CR of a trailer line.
    TrailerLf,
    /// After the CR of the last, empty line.
    EndLf,
    /// After the body.
    Done,
}

/// A chunked body while its bytes arrive.
#[derive(Debug)]
pub(crate) struct Chunks {
    state: State,
    /// The size of the chunk while in its size line, then its remaining bytes.
    size: u64,
    extensions: usize,
    trailer_bytes: usize,
    trailer_fields: usize,
}

/// A part of a chunked body, of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Data.
    Data(usize),
    /// Bytes that frame the data.
    Framing(usize),
    /// Bytes of the trailer section.
    Trailers(usize),
    /// The rest of the trailer section, and so the end.
    End(usize),
}

impl Chunks {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Size(0),
            size: 0,
            extensions: 0,
            trailer_bytes: 0,
            trailer_fields: 0,
        }
    }

    /// Returns the part of the body that `bytes` begin with, for callers that decode the body.
    /// `bytes` must not be empty.
    pub(crate) fn next(&mut self, bytes: &[u8], limits: Limits) -> Result<Part, Kind> {
        if self.state == State::Data {
            let length =
                usize::try_from(self.size).map_or(bytes.len(), |size| size.min(bytes.len()));
            self.size -= length as u64;
            if self.size == 0 {
                self.state = State::DataCr;
            }
            return Ok(Part::Data(length));
        }
        let trailers = matches!(
            self.state,
            State::Trailer | State::Name | State::Value | State::TrailerLf | State::EndLf
        );

        for (at, byte) in bytes.iter().enumerate() {
            self.state = self.step(*byte, limits)?;
            match self.state {
                State::Done => return Ok(Part::End(at + 1)),
                State::Data => return Ok(Part::Framing(at + 1)),
                State::Trailer if !trailers => return Ok(Part::Framing(at + 1)),
                _ => {}
            }
        }

        Ok(if trailers {
            Part::Trailers(bytes.len())
        } else {
            Part::Framing(bytes.len())
        })
    }

    /// Returns true if data comes next.
    pub(crate) fn in_data(&self) -> bool {
        self.state == State::Data
    }

    fn step(&mut self, byte: u8, limits: Limits) -> Result<State, Kind> {
        match (self.state, byte) {
            (State::Size(digits), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits >= 16 || self.size >> 59 != 0 {
                    return Err(Kind::BadRequest("bad chunk size"));
                }
                self.size = self.size << 4 | char::from(byte).to_digit(16).map_or(0, u64::from);
                Ok(State::Size(digits + 1))
            }
            (State::Size(1..) | State::Extension, b'\r') => Ok(State::SizeLf),
            (State::Size(1..) | State::Space, b';') => Ok(State::Extension),
            (State::Size(1..) | State::Space, b' ' | b'\t') => {
                self.count_extension()?;
                Ok(State::Space)
            }
            (State::Extension, b'\t' | b' '..=b'~' | 0x80..) => {
                self.count_extension()?;
                Ok(State::Extension)
            }
            (State::Size(_) | State::Space | State::Extension, _) => {
                Err(Kind::BadRequest("bad chunk size"))
            }
            (State::SizeLf, b'\n') => Ok(if self.size == 0 {
                State::Trailer
            } else {
                State::Data
            }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                self.size = 0;
                Ok(State::Size(0))
            }
            (State::Trailer, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => Ok(State::Done),
            (State::SizeLf | State::DataCr | State::DataLf | State::EndLf, _) => {
                Err(Kind::BadRequest("bad chunk framing"))
            }
            (State::Data | State::Done, _) => Ok(self.state),
            (trailer, byte) => {
                self.trailer_bytes += 1;
                if self.trailer_bytes > limits.bytes {
                    return Err(Kind::HeadersTooLarge);
                }
                self.trailer(trailer, byte, limits)
            }
        }
    }

    fn trailer(&mut self, state: State, byte: u8, limits: Limits) -> Result<State, Kind> {
        match (state, byte) {
            (State::Trailer, b'!'..=b'9' | b';'..=b'~') => {
                self.trailer_fields += 1;
                if self.trailer_fields > limits.fields {
                    Err(Kind::HeadersTooLarge)
                } else {
                    Ok(State::Name)
                }
            }
            (State::Name, b'!'..=b'9' | b';'..=b'~') => Ok(State::Name),
            (State::Name, b':') | (State::Value, b'\t' | b' '..=b'~' | 0x80..) => Ok(State::Value),
            (State::Value, b'\r') => Ok(State::TrailerLf),
            (State::TrailerLf, b'\n') => Ok(State::Trailer),
            _ => Err(Kind::BadRequest("bad trailer")),
        }
    }

    fn count_extension(&mut self) -> Result<(), Kind> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            Err(Kind::BadRequest("too many chunk extensions"))
        } else {
            Ok(())
        }
    }
}
