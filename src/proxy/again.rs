//! The head of a request to an HTTP/2 endpoint, kept in case it must be sent again. Flat, because most requests keep one and
//! hardly any needs it: a clone of the map of fields costs several times as much, and as much again to drop.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};

/// Room for the fields of a usual request.
const ROOM: usize = 1024;

/// Twice the length of a name, and one more if the value is sensitive; the length of the value.
type Mark = [usize; 2];

/// A copy of a head.
#[derive(Debug)]
pub(super) struct Again {
    method: Method,
    uri: Uri,
    version: Version,
    /// Per field: its mark, its name, its value.
    fields: Vec<u8>,
}

impl Again {
    /// Copies the head of a request.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let mut fields = Vec::with_capacity(ROOM);
        for (name, value) in request.headers() {
            let (name, length) = (name.as_str().as_bytes(), value.len());
            fields.reserve(size_of::<Mark>() + name.len() + length);
            let mark: Mark = [name.len() * 2 + usize::from(value.is_sensitive()), length];
            fields.extend_from_slice(mark.map(usize::to_ne_bytes).as_flattened());
            fields.extend_from_slice(name);
            fields.extend_from_slice(value.as_bytes());
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { method, uri, version: request.version(), fields }
    }

    /// A request with this head.
    pub(super) fn request<B>(self, body: B) -> Request<B> {
        let mut request = Request::new(body);
        *request.headers_mut() = read(&self.fields).expect("what was written can be read");
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        request
    }
}

/// Reads what [`Again::of`] wrote.
fn read(mut fields: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    while !fields.is_empty() {
        let mut number = || Some(usize::from_ne_bytes(*fields.split_off(..size_of::<usize>())?.first_chunk()?));
        let (name, length) = (number()?, number()?);
        let sensitive = name % 2 == 1;
        let name = HeaderName::from_bytes(fields.split_off(..name / 2)?).ok()?;
        let mut value = HeaderValue::from_bytes(fields.split_off(..length)?).ok()?;
        value.set_sensitive(sensitive);
        headers.append(name, value);
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_sent_again_as_it_was() {
        let mut request = Request::delete("/path?query").version(Version::HTTP_11).body(()).unwrap();
        let headers = request.headers_mut();
        headers.insert("host", HeaderValue::from_static("a.example"));
        headers.append("x-many", HeaderValue::from_static("one"));
        headers.insert("x-empty", HeaderValue::from_static(""));
        headers.insert("x-bytes", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        headers.append("x-many", HeaderValue::from_static("two"));
        let mut secret = HeaderValue::from_static("secret");
        secret.set_sensitive(true);
        headers.insert("authorization", secret);
        let again = Again::of(&request).request("body");
        assert_eq!(again.headers(), request.headers());
        assert!(again.headers()["authorization"].is_sensitive());
        assert!(!again.headers()["host"].is_sensitive());
        assert_eq!((again.method(), again.uri()), (request.method(), request.uri()));
        assert_eq!((again.version(), *again.body()), (Version::HTTP_11, "body"));
    }
}
