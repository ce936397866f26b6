//! Entry points for `fuzz/`: bytes of HTTP/1 clients. Each panics when an invariant does not hold.

use bytes::{Bytes, BytesMut};

use super::head::Scanner;
use crate::proxy::{
    h1::{Framing, Limits, body::BodyReader},
    request::{error::Kind, message::RequestHead},
};

const LIMITS: Limits = Limits {
    bytes: 16 * 1024,
    fields: 100,
};

/// Parses the head of a request. A head that arrives byte by byte has the same result as one that
/// arrives whole, and a common parser finds the same fields in it.
pub fn request_head(data: &[u8]) {
    let whole = Scanner::default().scan(data, LIMITS);

    let mut scanner = Scanner::default();
    let mut last = Ok(None);
    for end in 1..=data.len() {
        last = scanner.scan(&data[..end], LIMITS);
        if !matches!(last, Ok(None)) {
            break;
        }
    }
    assert_eq!(describe(&whole), describe(&last));

    if let Ok(Some((head, length))) = &whole {
        agrees(head, &data[..*length]);
    }
}

type Scanned = Result<Option<(RequestHead, usize)>, Kind>;

fn describe(scanned: &Scanned) -> Result<Option<String>, Kind> {
    match scanned {
        Ok(None) => Ok(None),
        Ok(Some((head, length))) => {
            let fields: Vec<_> = head.fields.iter().collect();
            Ok(Some(format!("{head:?} {fields:?} {length}")))
        }
        Err(kind) => Err(*kind),
    }
}

/// Compares a head with the reading of httparse, which is more lenient.
fn agrees(head: &RequestHead, bytes: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; LIMITS.fields];
    let mut parsed = httparse::Request::new(&mut fields);
    let status = match parsed.parse(bytes) {
        // It knows fewer characters of a target.
        Err(httparse::Error::Token) => return,
        other => other.expect("a head that we accept"),
    };
    assert_eq!(status, httparse::Status::Complete(bytes.len()));
    assert_eq!(parsed.method, Some(head.method.as_str()));

    let theirs = parsed
        .headers
        .iter()
        .map(|field| (field.name.as_bytes(), field.value));
    assert!(theirs.eq(head.fields.iter().map(|field| (field.name, field.value))));
}

/// Reads a chunked body, whole and in two pieces. Both find the same data and the same end or
/// error.
pub fn chunks(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else {
        return;
    };
    let cut = usize::from(*cut).min(data.len());
    let (first, second) = data.split_at(cut);
    assert_eq!(decode(&[data]), decode(&[first, second]));
}

/// Returns the decoded data and trailers, and the number of bytes behind the end or the error.
fn decode(pieces: &[&[u8]]) -> (Vec<u8>, String, Result<Option<usize>, Kind>) {
    let mut body = BodyReader::new(Framing::Chunked);
    let (mut received, mut decoded, mut trailers) = (BytesMut::new(), Vec::new(), String::new());
    let mut result = Ok(None);
    for piece in pieces {
        received.extend_from_slice(piece);
        while matches!(result, Ok(None)) && !body.is_end() {
            match body.take(&mut received, LIMITS) {
                Ok(None) => break,
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) => decoded.extend_from_slice(&Bytes::from(data)),
                    Err(frame) => trailers = format!("{:?}", frame.trailers_ref()),
                },
                Err(kind) => result = Err(kind),
            }
        }
    }
    if result.is_ok() && body.is_end() {
        result = Ok(Some(received.len()));
    }
    (decoded, trailers, result)
}
