//! Logins by digests of names and passwords (RFC 7616), with MD5 as Traefik has it.

use http::HeaderValue;
use md5::{Digest as _, Md5};

use super::Passing;
use crate::{
    proxy::{
        clock,
        request::fields::{FieldName, Fields},
    },
    routing::Login,
    util::hex,
};

/// The most parameters of a login.
const MAX_PARAMETERS: usize = 16;

/// The result of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// The login of this user is right.
    Right(Box<str>),
    /// It is right, but has come before, or is too old.
    Stale,
    /// There is none, or it is wrong.
    Wrong,
}

/// The parameters of a login.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parameters<'a> {
    username: &'a str,
    realm: &'a str,
    nonce: &'a str,
    uri: &'a str,
    response: &'a str,
    algorithm: &'a str,
    cnonce: &'a str,
    qop: &'a str,
    nc: &'a str,
}

/// Checks the login of a request.
pub(super) fn check(request: &Passing<'_>, login: &Login, realm: &str) -> Checked {
    let head = request.head;
    let Some(parameters) = parameters(&head.fields) else {
        return Checked::Wrong;
    };
    let target = match head.query() {
        Some(query) => format!("{}?{query}", head.path()),
        None => head.path().to_owned(),
    };
    let count = u64::from_str_radix(parameters.nc, 16);
    let is_asked = parameters.realm == realm
        && parameters.uri == target
        && matches!(parameters.algorithm, "" | "MD5")
        && parameters.qop == "auth";

    let user = login.users.find(parameters.username.as_bytes());
    let (Some(user), Ok(count), true) = (user, count, is_asked) else {
        return Checked::Wrong;
    };
    let expected = parameters.response_to(head.method.as_str());
    if !user.is_right_digest(expected, parameters.response) {
        return Checked::Wrong;
    }

    let nonces = &request.worker.shared.nonces;
    match nonces.accept(parameters.nonce, count, clock::now()) {
        true => Checked::Right(parameters.username.into()),
        false => Checked::Stale,
    }
}

/// Returns the challenge to a client without a login.
pub(super) fn challenge(request: &Passing<'_>, realm: &str, is_stale: bool) -> Option<HeaderValue> {
    let worker = request.worker;
    let nonce = worker.shared.nonces.issue(clock::now(), worker.random());
    let realm = realm.replace('\\', "\\\\").replace('"', "\\\"");
    let stale = if is_stale { ", stale=true" } else { "" };
    let text = format!(
        "Digest realm=\"{realm}\", nonce=\"{nonce}\", opaque=\"gatelet\", algorithm=MD5, \
         qop=\"auth\"{stale}"
    );
    HeaderValue::from_str(&text).ok()
}

impl Parameters<'_> {
    /// Returns the function from the digest of a user to the response for a method.
    fn response_to(&self, method: &str) -> impl Fn(&str) -> String {
        let second = digest(&[method, self.uri]);
        let between = [self.nonce, self.nc, self.cnonce, self.qop].join(":");
        move |first| digest(&[first, &between, &second])
    }
}

/// Returns the MD5 of texts with colons between them.
fn digest(parts: &[&str]) -> String {
    hex::encode(&Md5::digest(parts.join(":").as_bytes()))
}

/// Returns the login of a request. Of several fields none counts: the next reader may choose
/// another one.
fn parameters(fields: &Fields) -> Option<Parameters<'_>> {
    let mut values = fields.all(FieldName::Authorization);
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, rest) = value.split_at_checked(7)?;
    if !scheme.eq_ignore_ascii_case(b"digest ") {
        return None;
    }

    let mut found = Parameters::default();
    let mut other = "";
    let mut rest = str::from_utf8(rest).ok()?.trim();
    for _ in 0..MAX_PARAMETERS {
        let (name, value);
        (name, rest) = rest.split_once('=')?;
        (value, rest) = text(rest)?;

        let place = match &*name.trim().to_ascii_lowercase() {
            "username" => &mut found.username,
            "realm" => &mut found.realm,
            "nonce" => &mut found.nonce,
            "uri" => &mut found.uri,
            "response" => &mut found.response,
            "algorithm" => &mut found.algorithm,
            "cnonce" => &mut found.cnonce,
            "qop" => &mut found.qop,
            "nc" => &mut found.nc,
            _ => &mut other,
        };
        // Of two with one name none counts.
        if !place.is_empty() {
            return None;
        }
        *place = value;
        other = "";

        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(found);
        }
        rest = rest.strip_prefix(',')?;
    }
    None
}

/// Splits a value, quoted or not, from what is behind it. One with escapes is none: no name or URI
/// of ours needs them.
fn text(rest: &str) -> Option<(&str, &str)> {
    let rest = rest.trim_start();
    match rest.strip_prefix('"') {
        Some(quoted) => {
            let (value, rest) = quoted.split_once('"')?;
            (!value.contains('\\')).then_some((value, rest))
        }
        None => {
            let end = rest.find(',').unwrap_or(rest.len());
            let (value, rest) = rest.split_at(end);
            Some((value.trim_end(), rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
        uri=\"/dir/index.html\", algorithm=MD5, \
        nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
        cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
        response=\"8ca523f5e9506fed4657c9700eebdbec\", \
        opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";

    fn fields(value: &str) -> Fields {
        let mut fields = Fields::default();
        fields.push(b"authorization", value.as_bytes());
        fields
    }

    /// The example of RFC 7616 section 3.9.1.
    #[test]
    fn the_response_is_that_of_the_standard() {
        let fields = fields(EXAMPLE);
        let found = parameters(&fields).expect("parameters");
        let first = digest(&["Mufasa", "http-auth@example.org", "Circle of Life"]);
        assert_eq!(found.response_to("GET")(&first), found.response);
        assert_ne!(found.response_to("POST")(&first), found.response);
        assert_eq!(
            (found.username, found.nc, found.qop),
            ("Mufasa", "00000001", "auth")
        );
    }

    #[test]
    fn what_is_no_login_is_none() {
        for value in [
            "",
            "Digest",
            "Digest ",
            "Digest username",
            "Digest username=\"a",
            "Digest username=\"a\\\"b\"",
            "Digest username=\"a\" realm=\"b\"",
            "Digest username=a, username=b",
            "Basic YW5uOm9uZQ==",
            &format!("Digest {}", ["x=1"; 17].join(",")),
        ] {
            assert_eq!(parameters(&fields(value)), None, "{value}");
        }
        let mut twice = fields(EXAMPLE);
        twice.push(b"authorization", EXAMPLE.as_bytes());
        assert_eq!(parameters(&twice), None);
    }
}
