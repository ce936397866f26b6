//! Entry points for `fuzz/`: bytes of backends.

use super::head;

/// Parses the head of a backend's HTTP/1 response.
pub fn response_head(data: &[u8]) {
    let Some((method, data)) = data.split_first() else {
        return;
    };
    if let Some(length) = head::end(data, 0) {
        drop(head::Head::parse(&data[..length], method % 2 == 0, 100));
    }
}
