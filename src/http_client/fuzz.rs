//! Entry points for `fuzz/`: headers of responses.

use http::{HeaderMap, HeaderValue, Uri, header};

use super::header::{date, links, retry_after};

/// Reads the headers of a response that hold times and links.
pub fn headers(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return;
    };
    let mut headers = HeaderMap::new();
    for name in [header::RETRY_AFTER, header::LINK, header::DATE] {
        headers.insert(name, value.clone());
    }
    let _times = (date(&headers), retry_after(&headers));
    let base = Uri::from_static("https://ca.test/directory");
    assert!(links(&headers, "alternate", &base).len() <= 16);
}
