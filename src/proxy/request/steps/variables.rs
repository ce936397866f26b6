//! Fills in texts in which parts of the request may stand.

use super::Passing;
use crate::{
    routing::{RequestParts, RequestUrl, Variables, path},
    util::percent,
};

/// Returns the text of variables for a request, as its rule sees the path.
pub(super) fn fill(request: &Passing<'_>, variables: &Variables) -> Vec<u8> {
    let client = request.client();
    let client = client.unwrap_or_else(|| request.conn.client.ip());
    let path = path::matched(request.path);
    let mut text = variables.of(RequestParts {
        head: request.head,
        url: RequestUrl {
            path: &path,
            ..request.any_url()
        },
        path: &path,
        address: &client.to_canonical().to_string(),
        authority: request.target.host,
    });
    text.retain(|byte| !byte.is_ascii_control());
    text
}

/// Returns a text as a part of a URI: bytes that no URI has are encoded.
pub(super) fn uri(text: &[u8], has_fragment: bool) -> String {
    let mut uri = String::with_capacity(text.len());
    for byte in text {
        let is_odd = match byte {
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => true,
            b'#' => !has_fragment,
            byte => !byte.is_ascii_graphic(),
        };
        match is_odd {
            true => percent::escape(*byte, &mut uri),
            false => uri.push(char::from(*byte)),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_has_no_odd_bytes() {
        for (text, fragment, expected) in [
            ("/a b?c=\"d\"", false, "/a%20b?c=%22d%22"),
            ("/a%20b?c=d&e=%2F", false, "/a%20b?c=d&e=%2F"),
            ("/\u{e4} HTTP/1.1", false, "/%C3%A4%20HTTP/1.1"),
            ("/a#b", false, "/a%23b"),
            ("https://a/#b", true, "https://a/#b"),
        ] {
            assert_eq!(uri(text.as_bytes(), fragment), expected);
        }
    }
}
