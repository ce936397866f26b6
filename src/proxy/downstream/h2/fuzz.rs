//! Entry points for `fuzz/`: bytes of HTTP/2 clients. Each panics when an invariant does not hold.

use super::{guard::PREFACE, hpack::Targets};

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
