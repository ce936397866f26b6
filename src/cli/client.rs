//! One GET to the admin address of a running gatelet.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Answers larger than this are not ours.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The body of a 200; else what is wrong.
pub(super) fn get(addr: &str, path: &str) -> Result<String, String> {
    let unreachable = |error: std::io::Error| {
        format!("no gatelet answers on {addr} ({error}); is it running? its admin address is set with --admin")
    };
    let mut stream = TcpStream::connect(addr).map_err(unreachable)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(unreachable)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(unreachable)?;
    let mut answer = String::new();
    stream.take(LARGEST).read_to_string(&mut answer).map_err(unreachable)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{addr} does not speak HTTP"))?;
    if head.split(' ').nth(1) == Some("200") { Ok(body.to_owned()) } else { Err(body.trim().to_owned()) }
}

/// Percent-encodes a query value (RFC 3986 section 2.1).
pub(super) fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}
