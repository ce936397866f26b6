//! Errors of HTTP requests.

use std::time::Duration;

use http::StatusCode;

use crate::util::text::one_line;

/// The longest text of a foreign error, in bytes.
pub(super) const LONGEST: usize = 1000;

/// A request without a usable response. The message names the host but no other part of the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The URL has no host, or is neither http nor https.
    #[error("not an http or https URL with a host")]
    Url,
    /// A proxy variable of the environment is invalid. Its value may contain a password.
    #[error("{0} is not the http or https URL of a proxy")]
    ProxyUrl(String),
    /// An additional root certificate is invalid.
    #[error("unusable root certificate: {0}")]
    Roots(String),
    /// DNS has no address for the host.
    #[error("no address for {host}: {why}")]
    Resolve {
        /// The host.
        host: String,
        /// The resolver's error.
        why: String,
    },
    /// No TCP connection could be opened.
    #[error("cannot connect to {host}: {why}")]
    Connect {
        /// The server or the proxy.
        host: String,
        /// The error for the last address that was tried.
        why: String,
    },
    /// The proxy does not connect to the server.
    #[error("the proxy {host} responded {status}")]
    Proxy {
        /// The proxy.
        host: String,
        /// Its response to CONNECT.
        status: StatusCode,
    },
    /// The TLS handshake failed, for example because of an untrusted certificate.
    #[error("TLS with {host} failed: {why}")]
    Tls {
        /// The server or the proxy.
        host: String,
        /// The error of rustls.
        why: String,
    },
    /// The response was not complete in time.
    #[error("no complete response from {host} within {} s", after.as_secs_f32())]
    Timeout {
        /// The server.
        host: String,
        /// The time limit.
        after: Duration,
    },
    /// The body is larger than allowed.
    #[error("the response from {host} is larger than {limit} bytes")]
    TooLarge {
        /// The server.
        host: String,
        /// The largest allowed size.
        limit: usize,
    },
    /// The connection ended too early, or the response is not HTTP.
    #[error("broken response from {host}: {why}")]
    Broken {
        /// The server.
        host: String,
        /// The defect.
        why: String,
    },
}

impl HttpError {
    pub(super) fn broken(host: &str, why: impl std::fmt::Display) -> Self {
        Self::Broken {
            host: host.to_owned(),
            why: one_line(why, LONGEST),
        }
    }

    pub(super) fn connect(host: &str, why: impl std::fmt::Display) -> Self {
        Self::Connect {
            host: host.to_owned(),
            why: one_line(why, LONGEST),
        }
    }
}
