//! Cookies of servers that check logins, for the client.

use std::sync::Arc;

use crate::{proxy::request::handle::Response, routing::AuthCookieTerms};

/// The statuses with which cookies of the server reach the client.
const WITH_COOKIES: [u16; 10] = [200, 201, 204, 206, 301, 302, 303, 304, 307, 308];

/// Cookies of the server on their way to the client.
#[derive(Debug, Default)]
pub(in crate::proxy::request) struct AuthCookies {
    values: Vec<Box<[u8]>>,
    /// Whatever the status of the response.
    always: bool,
    /// The names of cookies of the backend whose place they take.
    names: Vec<Arc<[Box<str>]>>,
}

impl AuthCookies {
    /// Returns true if the client gets one with a response of any status.
    pub(in crate::proxy::request) fn are_for_errors(&self) -> bool {
        self.always && !self.values.is_empty()
    }

    /// Keeps the cookies of a server, as far as the terms allow.
    pub(super) fn keep(&mut self, terms: &AuthCookieTerms, mut cookies: Vec<Box<[u8]>>) {
        if let AuthCookieTerms::Named(names) = terms {
            // As in Traefik, those of the backend go if the server sets any cookie.
            if !cookies.is_empty() {
                self.names.push(names.clone());
            }
            cookies.retain(|value| has(names, value));
        }
        self.always |= *terms != AuthCookieTerms::WithSome;
        self.values.extend(cookies);
    }

    /// Adds them to a response, if its status allows it.
    pub(in crate::proxy::request) fn add(&self, response: &mut Response) {
        if !self.names.is_empty() {
            let is_cookie = |name: &[u8]| name.eq_ignore_ascii_case(b"set-cookie");
            let is_replaced = |value: &[u8]| self.names.iter().any(|names| has(names, value));
            let fields = &mut response.head.fields;
            fields.retain(|field| !(is_cookie(field.name) && is_replaced(field.value)));
        }

        let status = response.head.status.as_u16();
        if self.always || WITH_COOKIES.contains(&status) {
            for value in &self.values {
                response.head.fields.push(b"set-cookie", value);
            }
        }
    }
}

/// Returns true if a `Set-Cookie` has one of these names.
fn has(names: &[Box<str>], value: &[u8]) -> bool {
    let end = memchr::memchr2(b'=', b';', value).unwrap_or(value.len());
    let name = value[..end].trim_ascii();
    names.iter().any(|known| known.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;

    use super::*;

    /// Returns the cookies of a response with one of the backend.
    fn added(cookies: &AuthCookies, status: StatusCode) -> Vec<String> {
        let mut response = Response::own(status, Bytes::new());
        response.head.fields.push(b"Set-Cookie", b"a=backend");
        cookies.add(&mut response);
        let fields = response.head.fields.iter();
        let fields = fields.filter(|field| field.name.eq_ignore_ascii_case(b"set-cookie"));
        fields
            .map(|field| String::from_utf8_lossy(field.value).into_owned())
            .collect()
    }

    #[test]
    fn the_terms_decide_about_each_cookie() {
        let of_server = || vec![b"a=1; Path=/"[..].into(), b"b=2"[..].into()];
        let names: Arc<[Box<str>]> = ["a".into(), "c".into()].into();
        for (terms, ok, error) in [
            (
                AuthCookieTerms::WithSome,
                &["a=backend", "a=1; Path=/", "b=2"][..],
                &["a=backend"][..],
            ),
            (
                AuthCookieTerms::Always,
                &["a=backend", "a=1; Path=/", "b=2"],
                &["a=backend", "a=1; Path=/", "b=2"],
            ),
            (
                AuthCookieTerms::Named(names),
                &["a=1; Path=/"],
                &["a=1; Path=/"],
            ),
            (
                AuthCookieTerms::Named([].into()),
                &["a=backend"],
                &["a=backend"],
            ),
        ] {
            let mut cookies = AuthCookies::default();
            cookies.keep(&terms, of_server());
            assert_eq!(added(&cookies, StatusCode::OK), ok, "{terms:?}");
            assert_eq!(added(&cookies, StatusCode::BAD_GATEWAY), error, "{terms:?}");
        }
    }
}
