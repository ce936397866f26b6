//! The server that a URL leads to, and the resolution of redirects.

use http::{Uri, header::HeaderValue, uri::Scheme};

use super::error::HttpError;

/// The server that a URL names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) tls: bool,
    /// The host in lower case, without the brackets of an IPv6 address.
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

impl Origin {
    pub(super) fn of(uri: &Uri) -> Result<Self, HttpError> {
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(HttpError::Url),
        };

        let host = uri
            .host()
            .unwrap_or_default()
            .trim_start_matches('[')
            .trim_end_matches(']');
        if host.is_empty() {
            return Err(HttpError::Url);
        }

        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            tls,
            host: host.to_ascii_lowercase().into(),
            port,
        })
    }

    /// Returns `host:port`, with brackets around an IPv6 address.
    pub(super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    /// Returns the `Host` header, with the port only if it is not the scheme's default (RFC 9110
    /// section 7.2).
    pub(super) fn host_header(&self) -> Result<HeaderValue, HttpError> {
        let authority = self.authority();
        let own = if self.tls { ":443" } else { ":80" };
        HeaderValue::from_str(authority.strip_suffix(own).unwrap_or(&authority))
            .map_err(|_bad| HttpError::Url)
    }
}

/// Resolves a `Location` from `base`, which may be an absolute URL or an absolute path. Other forms
/// are not in use and return `None`.
pub(crate) fn relative_to(base: &Uri, location: &str) -> Option<Uri> {
    let target: Uri = location.parse().ok()?;
    if target.scheme().is_some() {
        return Some(target);
    }
    if !location.starts_with('/') || location.starts_with("//") {
        return None;
    }
    let mut parts = base.clone().into_parts();
    parts.path_and_query = target.into_parts().path_and_query;
    Uri::from_parts(parts).ok()
}
