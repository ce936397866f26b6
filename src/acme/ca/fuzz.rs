//! Entry points for `fuzz/`: responses of a CA.

use http::{HeaderMap, HeaderValue, Uri, header};
use serde::Deserialize;

use super::{
    header::{date, links, retry_after},
    identifier::document,
    types::{Account, Authorization, Order},
};

/// Reads a document of a CA as each of the resources that it could be.
pub fn document_of_ca(data: &[u8]) {
    let Some(value) = document(data) else {
        return;
    };
    drop(Account::deserialize(&value));
    drop(Order::deserialize(&value));
    drop(Authorization::deserialize(&value));
    drop(super::error::Problem::deserialize(&value));
}

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
