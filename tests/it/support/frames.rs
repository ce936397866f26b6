//! An HTTP/2 client that sends single frames (RFC 9113), so that it can break every rule.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A connection with prior knowledge.
#[derive(Debug)]
pub struct Client(TcpStream);

/// The end of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a status.
    Status(u16),
    /// Its stream was reset, with this code.
    Reset(u32),
    /// The connection ended.
    Gone,
}

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).expect("short").to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field block of literals without indexing and without Huffman coding (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for text in fields
        .iter()
        .flat_map(|(name, value)| [None, Some(name), Some(value)])
    {
        match text {
            None => block.push(0),
            Some(text) => {
                integer(&mut block, text.len());
                block.extend(text.as_bytes());
            }
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 section 5.1).
fn integer(block: &mut Vec<u8>, number: usize) {
    if number < 127 {
        return block.push(number as u8);
    }
    block.push(127);
    let mut rest = number - 127;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

impl Client {
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        Self::with(addr, &[])
    }

    /// The same with settings of its own.
    pub fn with(addr: SocketAddr, settings: &[(u16, u32)]) -> io::Result<Self> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        stream.write_all(&frame(SETTINGS, 0, 0, &settings))?;
        Ok(Self(stream))
    }

    /// Lets the kernel buffer little of the received data.
    pub fn receive_little(&self) {
        socket2::SockRef::from(&self.0)
            .set_recv_buffer_size(32 * 1024)
            .expect("a size");
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Begins a request on a stream, and ends it if there is no body.
    pub fn request(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) -> io::Result<()> {
        self.send(&frame(
            HEADERS,
            END_HEADERS | u8::from(ends),
            stream,
            &block(fields),
        ))
    }

    /// Returns the next frame: kind, flags, stream, payload.
    pub fn next(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let [a, b, c, kind, flags, s1, s2, s3, s4] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload)?;
        Ok((kind, flags, u32::from_be_bytes([s1, s2, s3, s4]), payload))
    }

    /// Reads until the request on a stream has a status or will never have one.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        loop {
            match self.next() {
                Ok((HEADERS, _, on, block)) if on == stream => {
                    return Outcome::Status(status(&block));
                }
                Ok((RST_STREAM, _, on, code)) if on == stream => {
                    return Outcome::Reset(u32::from_be_bytes(
                        code[..4].try_into().expect("four bytes"),
                    ));
                }
                Ok((SETTINGS, 0, ..)) => {
                    let _ = self.send(&frame(SETTINGS, 1, 0, &[]));
                }
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    panic!("no response on stream {stream}")
                }
                Err(_) => return Outcome::Gone,
            }
        }
    }

    /// Returns the body of the response whose status was read last.
    pub fn body(&mut self, stream: u32) -> String {
        let mut body = Vec::new();
        loop {
            let (kind, flags, on, payload) = self.next().expect("the rest of the response");
            if (kind, on) == (DATA, stream) {
                body.extend(payload);
            }
            if on == stream && flags & END_STREAM != 0 {
                return String::from_utf8_lossy(&body).into_owned();
            }
        }
    }
}

/// Returns the status that begins a field block: an entry of the static table, or a literal with a
/// name from it (RFC 7541 appendix A: entries 8 to 14).
fn status(block: &[u8]) -> u16 {
    const TABLE: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match *block {
        // An update of the size of the dynamic table may come first.
        [first, ref rest @ ..] if first & 0xe0 == 0x20 => status(rest),
        [first @ 0x88..=0x8e, ..] => TABLE[usize::from(first - 0x88)],
        [0x48 | 0x08 | 0x18, length, ref rest @ ..] => {
            let huffman = length & 0x80 != 0;
            digits(&rest[..usize::from(length & 0x7f)], huffman)
        }
        _ => panic!(
            "a field block begins with {:?}",
            &block[..block.len().min(8)]
        ),
    }
}

/// Reads three digits, Huffman-coded (RFC 7541 appendix B) or not.
fn digits(bytes: &[u8], huffman: bool) -> u16 {
    let text = if huffman {
        let bits = bytes
            .iter()
            .fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let mut left = 8 * u32::try_from(bytes.len()).expect("short");
        let mut text = String::new();
        while text.len() < 3 {
            // 0 to 2 have five bits, the other digits six.
            let five = bits >> (left - 5) & 31;
            if five <= 2 {
                text.push(char::from_digit(five, 10).expect("a digit"));
                left -= 5;
            } else {
                let six = bits >> (left - 6) & 63;
                text.push(char::from_digit(six - 0x19 + 3, 10).expect("a digit"));
                left -= 6;
            }
        }
        text
    } else {
        String::from_utf8_lossy(bytes).into_owned()
    };
    text.parse().expect("a status")
}
