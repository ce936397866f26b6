//! Entry points for `fuzz/`: bytes of clients. Each panics when an invariant does not hold.

use super::{
    chunk::{Chunks, Seen},
    h2::PREFACE,
    head::{Head, Limits},
    hpack::Targets,
};

const LIMITS: Limits = Limits {
    bytes: 16 * 1024,
    fields: 100,
};

/// Scans the head of an HTTP/1 request. A head that arrives byte by byte has the same result as one
/// that arrives whole.
pub fn request_head(data: &[u8]) {
    let whole = Head::default().scan(data, LIMITS);

    let mut head = Head::default();
    let mut last = Ok(None);
    for end in 1..=data.len() {
        last = head.scan(&data[..end], LIMITS);
        if !matches!(last, Ok(None)) {
            break;
        }
    }
    assert_eq!(whole, last);
}

/// Scans a chunked body, whole and in two pieces. Both find the same end or the same error.
pub fn chunks(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else {
        return;
    };
    let whole = Chunks::new().scan(data, LIMITS);

    let cut = usize::from(*cut).min(data.len());
    let mut chunks = Chunks::new();
    let pieces = match chunks.scan(&data[..cut], LIMITS) {
        Seen::All => match chunks.scan(&data[cut..], LIMITS) {
            Seen::End(at) => Seen::End(cut + at),
            other => other,
        },
        other => other,
    };
    match (whole, pieces) {
        // The part in which the error lies begins at the cut for the pieces.
        (Seen::Bad(_, whole), Seen::Bad(_, pieces)) => assert_eq!(whole, pieces),
        (whole, pieces) => assert_eq!(whole, pieces),
    }
}

/// Searches the frames of an HTTP/2 client for request targets, whole and in two pieces. Both
/// change the same bytes.
pub fn http2_targets(data: &[u8]) {
    let Some((cut, data)) = data.split_first() else {
        return;
    };
    let mut whole = [PREFACE, data].concat();
    let mut pieces = whole.clone();
    Targets::new().scan(&mut whole);

    let cut = PREFACE.len() + usize::from(*cut).min(data.len());
    let mut targets = Targets::new();
    let (first, second) = pieces.split_at_mut(cut);
    targets.scan(first);
    targets.scan(second);
    assert_eq!(whole, pieces);
}
