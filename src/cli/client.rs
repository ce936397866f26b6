//! Sends one request to the admin server of a running gatelet.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::Failure;

/// Maximum size of a response in bytes. A larger one is not gatelet's.
const MAX_RESPONSE: u64 = 64 * 1024 * 1024;
/// Time limit of the response. An operation may have to wait for a CA.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Sends a GET and returns the body of its response.
pub(super) fn get(addr: &str, path: &str) -> Result<String, Failure> {
    send("GET", addr, path)
}

/// Sends a POST and returns the body of its response.
pub(super) fn post(addr: &str, path: &str) -> Result<String, Failure> {
    send("POST", addr, path)
}

fn send(method: &str, addr: &str, path: &str) -> Result<String, Failure> {
    let unreachable = |error: std::io::Error| {
        let hint = "is it running? its admin address is set with --admin";
        Failure::Unreachable(format!("no gatelet answers on {addr} ({error}); {hint}"))
    };
    let foreign = || Failure::Unreachable(format!("what answers on {addr} is not a gatelet"));

    let mut stream = TcpStream::connect(addr).map_err(unreachable)?;
    stream
        .set_read_timeout(Some(TIMEOUT))
        .map_err(unreachable)?;

    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(unreachable)?;

    let mut response = BufReader::new(stream.take(MAX_RESPONSE));
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if response.read_until(b'\n', &mut head).map_err(unreachable)? == 0 {
            return Err(foreign());
        }
    }

    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());

    let mut body = Vec::new();
    response
        .take(length.ok_or_else(foreign)?)
        .read_to_end(&mut body)
        .map_err(unreachable)?;

    let body = String::from_utf8(body).map_err(|_not_text| foreign())?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body),
        // An argument of the command is invalid.
        Some("400") => Err(Failure::Usage(body.trim().to_owned())),
        Some("403") => Err(Failure::Failed(format!("{addr}: {}", body.trim()))),
        _ => Err(foreign()),
    }
}
