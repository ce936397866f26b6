//! Why a request to a server got no answer.

use std::time::Duration;

use http::StatusCode;

/// Why a request got no answer that can be used. Names the host; never what the URL holds beside
/// it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The request cannot be made: its URL has no host, or is neither http nor https.
    #[error("not an http or https URL with a host")]
    Url,
    /// A proxy variable of the environment cannot be used. Its value may hold a password.
    #[error("{0} is not the http or https URL of a proxy")]
    ProxyUrl(String),
    /// A root certificate that was given in addition cannot be used.
    #[error("unusable root certificate: {0}")]
    Roots(String),
    /// DNS has no address.
    #[error("no address for {host}: {why}")]
    Resolve {
        /// Whose address was asked for.
        host: String,
        /// What the resolver says.
        why: String,
    },
    /// No TCP connection.
    #[error("cannot connect to {host}: {why}")]
    Connect {
        /// The server or the proxy.
        host: String,
        /// What the operating system says of the last address tried.
        why: String,
    },
    /// The proxy does not connect to the server.
    #[error("proxy {host} answers {status}")]
    Proxy {
        /// The proxy.
        host: String,
        /// Its answer to CONNECT.
        status: StatusCode,
    },
    /// No TLS session: an untrusted certificate, or no common version.
    #[error("TLS with {host} failed: {why}")]
    Tls {
        /// The server or the proxy.
        host: String,
        /// What rustls says.
        why: String,
    },
    /// Not everything was there in time.
    #[error("no complete answer of {host} within {} s", after.as_secs_f32())]
    Timeout {
        /// The server.
        host: String,
        /// How long it had.
        after: Duration,
    },
    /// The body is larger than allowed.
    #[error("answer of {host} is larger than {limit} bytes")]
    TooLarge {
        /// The server.
        host: String,
        /// What is allowed.
        limit: usize,
    },
    /// The connection ended too early, or what came is not HTTP.
    #[error("broken answer of {host}: {why}")]
    Broken {
        /// The server.
        host: String,
        /// What is wrong with it.
        why: String,
    },
}

impl HttpError {
    pub(super) fn broken(host: &str, why: impl std::fmt::Display) -> Self {
        Self::Broken {
            host: host.to_owned(),
            why: one_line(why),
        }
    }

    pub(super) fn connect(host: &str, why: impl std::fmt::Display) -> Self {
        Self::Connect {
            host: host.to_owned(),
            why: one_line(why),
        }
    }
}

/// What other libraries say, on one line.
pub(super) fn one_line(why: impl std::fmt::Display) -> String {
    why.to_string()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
