//! Changes of the fields of responses: cookies, and the targets of redirects.

use super::{Location, RequestUrl};

/// The change of the attributes of cookies, as in `proxy_cookie_domain` and `proxy_cookie_path` of
/// nginx.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CookieChange {
    /// A domain, without a dot at its start, and the one in place of it.
    pub domain: Option<(Box<str>, Box<str>)>,
    /// The beginning of a path, and the one in place of it.
    pub path: Option<(Box<str>, Box<str>)>,
}

/// The change of the targets of redirects, as in `proxy_redirect` of nginx.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LocationChange {
    /// The beginning of a target.
    pub from: Location,
    /// The beginning in place of it.
    pub to: Location,
}

impl CookieChange {
    /// Returns the value of a `Set-Cookie` with other attributes; `None` if none changes.
    pub fn apply(&self, value: &[u8]) -> Option<Vec<u8>> {
        let mut parts = value.split(|byte| *byte == b';');
        let mut out = parts.next()?.to_vec();

        let mut has_changed = false;
        for part in parts {
            out.push(b';');
            match self.changed(part) {
                Some(changed) => {
                    has_changed = true;
                    out.extend_from_slice(&changed);
                }
                None => out.extend_from_slice(part),
            }
        }
        has_changed.then_some(out)
    }

    /// Returns an attribute in its other form; `None` if it does not change.
    fn changed(&self, part: &[u8]) -> Option<Vec<u8>> {
        let equals = memchr::memchr(b'=', part)?;
        let (name, value) = (part[..equals].trim_ascii(), part[equals + 1..].trim_ascii());
        let start = &part[..=equals];

        if name.eq_ignore_ascii_case(b"domain") {
            let (from, to) = self.domain.as_ref()?;
            // As nginx does, a dot in front is kept.
            let bare = value.strip_prefix(b".").unwrap_or(value);
            let dot = &value[..value.len() - bare.len()];
            let is_same = bare.eq_ignore_ascii_case(from.as_bytes());
            return is_same.then(|| [start, dot, to.as_bytes()].concat());
        }
        if name.eq_ignore_ascii_case(b"path") {
            let (from, to) = self.path.as_ref()?;
            let rest = value.strip_prefix(from.as_bytes())?;
            return Some([start, to.as_bytes(), rest].concat());
        }
        None
    }
}

impl LocationChange {
    /// Returns the changed value of `Location`; `None` if it does not change.
    pub fn location(&self, value: &str, request: RequestUrl<'_>) -> Option<String> {
        let rest = value.strip_prefix(&*self.from.of_request(request))?;
        let mut out = self.to.of_request(request);
        if out.starts_with('/') {
            out.insert_str(0, &request.origin());
        }
        out.push_str(rest);
        Some(out)
    }

    /// Returns the changed value of `Refresh`; `None` if it does not change.
    pub fn refresh(&self, value: &str, request: RequestUrl<'_>) -> Option<String> {
        let at = value.to_ascii_lowercase().find("url=")? + "url=".len();
        let (start, url) = value.split_at(at);
        Some(format!("{start}{}", self.location(url, request)?))
    }
}

#[cfg(test)]
mod tests;
