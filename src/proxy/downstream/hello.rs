//! Reads the ClientHello of a TLS connection (RFC 8446 section 4.1.2) without ending TLS: the
//! server name and the protocols that the client asks for. It may come in pieces and in several
//! records; what was read is kept as it came, for the one who ends TLS.

use std::{io, time::Duration};

use tokio::{net::TcpStream, time::timeout};

/// The most bytes up to the end of a ClientHello. Those with keys of ML-KEM have about 2,000.
const MAX: usize = 64 * 1024;
/// The most bytes in a record (RFC 8446 section 5.1).
const MAX_RECORD: usize = 1 << 14;
/// The size of a read.
const PIECE: usize = 2048;

/// The head of a record: its type, version and length.
const RECORD_HEAD: usize = 5;
/// The head of a message in a handshake: its type and length.
const MESSAGE_HEAD: usize = 4;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
const PROTOCOLS: u16 = 16;

/// The parts of a ClientHello that connections are assigned by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The server name as the client wrote it (RFC 6066 section 3).
    pub(crate) server_name: Option<Box<str>>,
    /// The application protocols (RFC 7301), in the order of the client.
    pub(crate) protocols: Vec<Box<[u8]>>,
}

/// The beginning of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// A ClientHello.
    Hello(Hello),
    /// Something else, or a part of it alone: the one who ends TLS decides.
    Other,
}

/// A ClientHello longer than [`MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ClientHello is too long")]
pub(crate) struct TooLong;

/// Takes the bytes of a connection up to the end of its ClientHello.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// All bytes.
    bytes: Vec<u8>,
    /// The message, joined from the records.
    message: Vec<u8>,
    /// The end of the record that is being read, among all bytes; 0 while its head is read.
    record_end: usize,
    /// The beginning of that record.
    record: usize,
}

/// Reads from a connection up to the end of its ClientHello, and not one byte more. Returns what
/// was read too.
///
/// # Errors
/// The connection broke, or the ClientHello is too long.
pub(crate) async fn read(stream: &TcpStream) -> io::Result<(Start, Vec<u8>)> {
    let mut reader = Reader::default();
    let start = reader.read(stream).await?;
    Ok((start, reader.bytes))
}

/// The same for at most `limit`. A client that has sent nothing by then waits for the other side,
/// and is not one of TLS.
///
/// # Errors
/// As [`read`], or the ClientHello did not come in time.
pub(crate) async fn read_in_time(
    stream: &TcpStream,
    limit: Duration,
) -> io::Result<(Start, Vec<u8>)> {
    let mut reader = Reader::default();
    let start = match timeout(limit, reader.read(stream)).await {
        Ok(start) => start?,
        Err(_late) if reader.bytes.is_empty() => Start::Other,
        Err(late) => return Err(late.into()),
    };
    Ok((start, reader.bytes))
}

/// Reads the available bytes. Not async, so that waiting connections do not hold its buffer.
fn take(stream: &TcpStream, reader: &mut Reader) -> io::Result<usize> {
    let mut buffer = [0; PIECE];
    let most = reader.wanted().min(PIECE);
    let n = stream.try_read(&mut buffer[..most])?;
    reader.push(&buffer[..n]);
    Ok(n)
}

impl Reader {
    /// Reads from a connection until its start is known.
    async fn read(&mut self, stream: &TcpStream) -> io::Result<Start> {
        loop {
            stream.readable().await?;
            let start = match take(stream, self) {
                // The client has ended in the middle.
                Ok(0) => Some(Start::Other),
                Ok(_) => self.start().map_err(io::Error::other)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(error) => return Err(error),
            };
            if let Some(start) = start {
                return Ok(start);
            }
        }
    }

    /// Returns the number of bytes that are missing from the head of a record, or else from the
    /// record. Never 0 unless there is a start.
    pub(super) fn wanted(&self) -> usize {
        let end = match self.record_end {
            0 => self.record + RECORD_HEAD,
            end => end,
        };
        end - self.bytes.len()
    }

    /// Takes as many bytes as are wanted, or fewer.
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.bytes.extend_from_slice(piece);
    }

    /// Returns the start of the connection once it is known.
    ///
    /// # Errors
    /// The ClientHello is too long.
    pub(super) fn start(&mut self) -> Result<Option<Start>, TooLong> {
        // A client without TLS may send less than the head of a record, and wait for a response.
        if self.bytes.first().is_some_and(|kind| *kind != HANDSHAKE) {
            return Ok(Some(Start::Other));
        }
        if self.wanted() > 0 {
            return Ok(None);
        }

        if self.record_end == 0 {
            let head = &self.bytes[self.record..];
            let length = usize::from(u16::from_be_bytes([head[3], head[4]]));
            if head[0] != HANDSHAKE || head[1] != 3 || !(1..=MAX_RECORD).contains(&length) {
                return Ok(Some(Start::Other));
            }
            self.record_end = self.bytes.len() + length;
            return if self.record_end > MAX {
                Err(TooLong)
            } else {
                Ok(None)
            };
        }

        let payload = &self.bytes[self.record + RECORD_HEAD..self.record_end];
        self.message.extend_from_slice(payload);
        (self.record, self.record_end) = (self.record_end, 0);

        let Some((head, body)) = self.message.split_at_checked(MESSAGE_HEAD) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
        match body.len() {
            _ if head[0] != CLIENT_HELLO => Ok(Some(Start::Other)),
            _ if length > MAX => Err(TooLong),
            some if some < length => Ok(None),
            // A record must end with the message, since the keys change after it.
            some if some > length => Ok(Some(Start::Other)),
            _ => Ok(Some(parse(body).map_or(Start::Other, Start::Hello))),
        }
    }
}

/// Returns the parts of the body of a ClientHello; `None` if it is malformed.
fn parse(body: &[u8]) -> Option<Hello> {
    let mut rest = Bytes(body);
    // The version and the random.
    rest.take(2 + 32)?;
    // The session, the cipher suites, and the compression methods.
    rest.short_list()?;
    rest.list()?;
    rest.short_list()?;

    let mut hello = Hello::default();
    if rest.0.is_empty() {
        return Some(hello);
    }

    let mut extensions = rest.last_list()?;
    let mut known = [false; 2];

    while !extensions.0.is_empty() {
        let kind = extensions.number()?;
        let data = Bytes(extensions.list()?);
        let index = match kind {
            SERVER_NAME => 0,
            PROTOCOLS => 1,
            _ => continue,
        };

        // Two readers may choose different ones.
        if std::mem::replace(&mut known[index], true) {
            return None;
        }
        match kind {
            SERVER_NAME => hello.server_name = Some(server_name(data)?),
            _ => hello.protocols = protocols(data)?,
        }
    }
    Some(hello)
}

/// Returns the one name in the extension.
fn server_name(mut data: Bytes<'_>) -> Option<Box<str>> {
    let mut names = data.last_list()?;
    if names.take(1)? != [HOST_NAME] {
        return None;
    }
    let name = names.last_list()?;
    let name = std::str::from_utf8(name.0).ok()?;
    (!name.is_empty() && name.is_ascii()).then(|| name.into())
}

/// Returns the protocols in the extension.
fn protocols(mut data: Bytes<'_>) -> Option<Vec<Box<[u8]>>> {
    let mut names = data.last_list()?;
    let mut protocols = Vec::new();
    while !names.0.is_empty() {
        let name = names.short_list()?;
        protocols.push(Some(name).filter(|name| !name.is_empty())?.into());
    }
    Some(protocols)
}

/// The rest of a message.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Takes a list with a length of two bytes.
    fn list(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }

    /// Takes a list with a length of one byte.
    fn short_list(&mut self) -> Option<&'a [u8]> {
        let length = self.take(1)?[0];
        self.take(length.into())
    }

    /// Takes a list with a length of two bytes, behind which there is nothing.
    fn last_list(&mut self) -> Option<Self> {
        let list = self.list()?;
        self.0.is_empty().then_some(Bytes(list))
    }
}

/// Returns the start of a connection with these bytes, which arrive in pieces of this size, and the
/// number of those that were read.
#[cfg(any(test, fuzzing))]
fn start_of(bytes: &[u8], size: usize) -> (Result<Option<Start>, TooLong>, usize) {
    let mut reader = Reader::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(reader.wanted().min(size).min(rest.len()));
        reader.push(piece);
        rest = after;
        match reader.start() {
            Ok(None) => {}
            start => return (start, bytes.len() - rest.len()),
        }
        assert!(reader.wanted() > 0);
    }
    assert_eq!(reader.bytes, bytes);
    (Ok(None), bytes.len())
}

/// Compares the starts of a connection whose bytes arrive whole and one by one, and the name with
/// the one that rustls finds: a host whose TLS is passed through must not be another one to rustls.
#[cfg(fuzzing)]
pub fn fuzz(data: &[u8]) {
    use tokio_rustls::rustls::server::Acceptor;

    let (found, length) = start_of(data, usize::MAX);
    assert_eq!(start_of(data, 1).0, found);

    let mut acceptor = Acceptor::default();
    let mut read = &data[..length];
    while !read.is_empty() && acceptor.read_tls(&mut read).is_ok() {
        match acceptor.accept() {
            Ok(None) => {}
            Err(_) => return,
            Ok(Some(accepted)) => {
                // rustls takes some messages that are malformed to us. Their TLS ends at gatelet,
                // which returns 421 for such a host.
                let Ok(Some(Start::Hello(hello))) = found else {
                    return;
                };
                if let Some(name) = accepted.client_hello().server_name() {
                    let ours = hello.server_name.expect("a name");
                    assert!(ours.eq_ignore_ascii_case(name), "{ours:?}, {name:?}");
                }
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
