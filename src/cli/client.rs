//! One request to the admin address of a running gatelet.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::Failure;

/// Answers larger than this are not ours.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The body of a 200; else what is wrong.
pub(super) fn get(addr: &str, path: &str) -> Result<String, Failure> {
    ask("GET", addr, path)
}

/// The same for what changes something.
pub(super) fn post(addr: &str, path: &str) -> Result<String, Failure> {
    ask("POST", addr, path)
}

fn ask(method: &str, addr: &str, path: &str) -> Result<String, Failure> {
    let unreachable = |error: std::io::Error| {
        let hint = "is it running? its admin address is set with --admin";
        Failure::Unreachable(format!("no gatelet answers on {addr} ({error}); {hint}"))
    };
    let stranger = || Failure::Unreachable(format!("what answers on {addr} is not a gatelet"));
    let mut stream = TcpStream::connect(addr).map_err(unreachable)?;
    // A CA that is asked something on the way may take its time.
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .map_err(unreachable)?;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {addr}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(unreachable)?;
    let mut answer = BufReader::new(stream.take(LARGEST));
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if answer.read_until(b'\n', &mut head).map_err(unreachable)? == 0 {
            return Err(stranger());
        }
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = Vec::new();
    answer
        .take(length.ok_or_else(stranger)?)
        .read_to_end(&mut body)
        .map_err(unreachable)?;
    let body = String::from_utf8(body).map_err(|_not_text| stranger())?;
    match head.split(' ').nth(1) {
        Some("200") => Ok(body),
        // What was asked for makes no sense.
        Some("400") => Err(Failure::Usage(body.trim().to_owned())),
        Some("403") => Err(Failure::Failed(format!("{addr}: {}", body.trim()))),
        _ => Err(stranger()),
    }
}
