//! The framing rules of an HTTP/1 request head, on its bytes (RFC 9112 sections 2 to 6).
//!
//! The HTTP server parses heads more leniently than a proxy may: it accepts bare line feeds,
//! repeated hosts, and a length together with a transfer coding. Everything that two readers could
//! understand differently is refused here.

use memchr::{memchr, memchr3};

use super::super::error::Kind;

/// The limits of a head.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Limits {
    /// The most bytes of a whole head.
    pub(in crate::proxy) bytes: usize,
    /// The most fields.
    pub(in crate::proxy) fields: usize,
}

/// The body that follows a complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    None,
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// A complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Complete {
    /// Its length in bytes, with the empty line.
    pub(super) len: usize,
    /// The body that follows.
    pub(super) body: Body,
    /// True if the head requests another protocol.
    pub(super) upgrade: bool,
}

/// A head while its bytes arrive. Each scan gets all bytes from the start of the head, but looks at
/// each byte only once.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The start of the line that is not complete yet.
    line: usize,
    /// The end of the searched part of that line.
    searched: usize,
    started: bool,
    http_10: bool,
    fields: usize,
    host: bool,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Head {
    /// Scans `bytes`, which begin where the head begins. `None` means that more bytes are needed.
    pub(super) fn scan(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<Complete>, Kind> {
        loop {
            let Some(found) = memchr3(b'\r', b'\n', 0, &bytes[self.searched..]) else {
                self.searched = bytes.len();
                break;
            };
            let at = self.searched + found;
            if bytes[at] != b'\r' {
                return Err(Kind::BadRequest(if bytes[at] == 0 {
                    "NUL in head"
                } else {
                    "bare LF in head"
                }));
            }

            let Some(next) = bytes.get(at + 1) else {
                self.searched = at;
                break;
            };
            if *next != b'\n' {
                return Err(Kind::BadRequest("bare CR in head"));
            }

            let line = &bytes[self.line..at];
            let end = at + 2;
            if end > limits.bytes {
                return Err(self.too_large());
            }
            if !self.started {
                // RFC 9112 section 2.2: at least one empty line before the request line is ignored.
                if !line.is_empty() {
                    self.request_line(line)?;
                } else if self.line >= 4 {
                    return Err(Kind::BadRequest("empty lines before the request"));
                }
            } else if line.is_empty() {
                return self.end(end).map(Some);
            } else {
                self.fields += 1;
                if self.fields > limits.fields {
                    return Err(Kind::HeadersTooLarge);
                }
                self.field(line)?;
            }

            self.line = end;
            self.searched = end;
        }
        if bytes.len() > limits.bytes {
            Err(self.too_large())
        } else {
            Ok(None)
        }
    }

    fn too_large(&self) -> Kind {
        if self.started {
            Kind::HeadersTooLarge
        } else {
            Kind::UriTooLong
        }
    }

    fn request_line(&mut self, line: &[u8]) -> Result<(), Kind> {
        self.started = true;
        let Some((rest, version)) = line.split_last_chunk::<9>() else {
            return Err(Kind::BadRequest("bad request line"));
        };
        match version {
            b" HTTP/1.1" => {}
            b" HTTP/1.0" => self.http_10 = true,
            [
                b' ',
                b'H',
                b'T',
                b'T',
                b'P',
                b'/',
                b'0'..=b'9',
                b'.',
                b'0'..=b'9',
            ] => {
                return Err(Kind::VersionNotSupported);
            }
            _ => return Err(Kind::BadRequest("bad request line")),
        }

        // Exactly one more space, and no other white space or control character.
        let Some(space) = memchr(b' ', rest) else {
            return Err(Kind::BadRequest("bad request line"));
        };
        let target = &rest[space + 1..];
        if space == 0
            || target.is_empty()
            || rest[..space]
                .iter()
                .chain(target)
                .any(|&b| b <= b' ' || b == 0x7f)
        {
            return Err(Kind::BadRequest("bad request line"));
        }

        // A target has no fragment (RFC 9112 section 3.2): some readers cut it off, others take it
        // for a part of the path.
        if memchr(b'#', target).is_some() {
            return Err(Kind::BadRequest("fragment in target"));
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Kind> {
        if matches!(line[0], b' ' | b'\t') {
            return Err(Kind::BadRequest("folded field line"));
        }
        let Some(colon) = memchr(b':', line) else {
            return Err(Kind::BadRequest("field line without colon"));
        };
        let name = &line[..colon];
        if matches!(name.last(), None | Some(b' ' | b'\t')) {
            return Err(Kind::BadRequest("bad field name"));
        }

        let value = &line[colon + 1..];

        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host {
                    return Err(Kind::BadRequest("more than one Host"));
                }
                self.host = true;
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length =
                    decimal(value.trim_ascii()).ok_or(Kind::BadRequest("bad Content-Length"))?;
                if self.length.is_some_and(|first| first != length) {
                    return Err(Kind::BadRequest("conflicting Content-Length"));
                }
                self.length = Some(length);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if self.chunked || !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Kind::BadRequest("bad Transfer-Encoding"));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self, len: usize) -> Result<Complete, Kind> {
        if !self.host && !self.http_10 {
            return Err(Kind::BadRequest("no Host"));
        }
        let body = match (self.chunked, self.length) {
            (true, Some(_)) => {
                return Err(Kind::BadRequest("Transfer-Encoding with Content-Length"));
            }
            (true, None) if self.http_10 => {
                return Err(Kind::BadRequest("Transfer-Encoding in HTTP/1.0"));
            }
            (true, None) => Body::Chunked,
            (false, None | Some(0)) => Body::None,
            (false, Some(length)) => Body::Length(length),
        };

        Ok(Complete {
            len,
            body,
            upgrade: self.upgrade && !self.http_10,
        })
    }
}

/// Parses a number of digits only, without sign. The top bit stays free, because the HTTP server
/// uses the largest values for marks of its own.
pub(in crate::proxy) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let number = text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })?;
    (number <= u64::MAX / 2).then_some(number)
}
