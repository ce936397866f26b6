//! What can go wrong with a request, whose fault it is, and whether it may be retried. This file
//! alone turns it into a response.

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{ACCEPT, ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE},
};

/// Whose fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Client,
    /// The upstream's.
    Upstream,
    /// Ours, or the configuration's.
    Us,
}

/// Whether another attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Nothing reached the upstream.
    Safe,
    /// Only if the connection was a reused one that died before the first byte of an answer.
    IfReused,
    /// No.
    Never,
}

/// What went wrong. The text is for the client too, so it names nothing of the inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 400: syntax, framing, host.
    BadRequest(&'static str),
    /// 404: no rule takes the request.
    NoRoute,
    /// 405: CONNECT.
    MethodNotAllowed,
    /// 408: the head or the body did not arrive in time.
    RequestTimeout,
    /// 413: the body is over the limit.
    BodyTooLarge,
    /// 414: the target is over the limit.
    UriTooLong,
    /// 417: an expectation other than `100-continue`.
    ExpectationFailed,
    /// 431: the head (or the trailers) is over the limits.
    HeadersTooLarge,
    /// 502: the upstream broke off or answered what is no answer.
    BadGateway(&'static str),
    /// 503: there is nothing to send the request to.
    Unavailable(&'static str),
    /// 504: the upstream did not answer in time.
    GatewayTimeout(&'static str),
    /// 505: neither HTTP/1.0, HTTP/1.1 nor HTTP/2.
    VersionNotSupported,
    /// 499 in the log only: the client went away before it had its answer.
    ClientGone,
}

/// One failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What went wrong.
    pub kind: Kind,
    /// Whose fault it is.
    pub side: Side,
    /// Whether another attempt may be made.
    pub retry: Retry,
}

/// What the asker of a failed request understands; to be taken from the head before it is given
/// away. Read only when a request fails.
#[derive(Clone, Debug, Default)]
pub struct ErrorFormat {
    accept: Option<HeaderValue>,
    content_type: Option<HeaderValue>,
}

impl Kind {
    /// The status of the answer.
    pub fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout | Self::ClientGone => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BadGateway(_) => StatusCode::BAD_GATEWAY,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::GatewayTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
        }
    }

    /// Why, in a few words.
    pub fn reason(self) -> &'static str {
        match self {
            Self::BadRequest(why)
            | Self::BadGateway(why)
            | Self::Unavailable(why)
            | Self::GatewayTimeout(why) => why,
            Self::NoRoute => "no route for this host and path",
            Self::MethodNotAllowed => "CONNECT is not offered",
            Self::RequestTimeout => "the request did not arrive in time",
            Self::BodyTooLarge => "the request body is too large",
            Self::UriTooLong => "the request target is too long",
            Self::ExpectationFailed => "unknown expectation",
            Self::HeadersTooLarge => "the request head is too large",
            Self::VersionNotSupported => "HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here",
            Self::ClientGone => "the client went away",
        }
    }

    /// Whether the connection cannot be used any further: it is not known where the next request
    /// would begin, or the rest of this one is not wanted.
    fn closes(self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::MethodNotAllowed
                | Self::RequestTimeout
                | Self::BodyTooLarge
                | Self::UriTooLong
                | Self::ExpectationFailed
                | Self::HeadersTooLarge
                | Self::VersionNotSupported
                | Self::ClientGone
        )
    }

    /// gRPC's own mapping from HTTP statuses (its `http-grpc-status-mapping`), and
    /// RESOURCE_EXHAUSTED for limits.
    fn grpc(self) -> HeaderValue {
        HeaderValue::from_static(match self.status().as_u16() {
            413 | 431 => "8",
            400 => "13",
            404 => "12",
            429 | 502 | 503 | 504 => "14",
            _ => "2",
        })
    }
}

impl Error {
    /// The client's fault.
    pub fn client(kind: Kind) -> Self {
        Self {
            kind,
            side: Side::Client,
            retry: Retry::Never,
        }
    }

    /// The upstream's fault.
    pub fn upstream(kind: Kind, retry: Retry) -> Self {
        Self {
            kind,
            side: Side::Upstream,
            retry,
        }
    }

    /// Our fault, or the configuration's.
    pub fn us(kind: Kind) -> Self {
        Self {
            kind,
            side: Side::Us,
            retry: Retry::Never,
        }
    }

    /// The answer. Small; `Connection: close` (which HTTP/2 does not carry) where framing is in
    /// doubt.
    pub fn response(&self, format: &ErrorFormat) -> Response<Bytes> {
        let status = self.kind.status();
        let reason = self.kind.reason();
        if format.is_grpc() {
            let mut response = Response::new(Bytes::new());
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", self.kind.grpc());
            headers.insert("grpc-message", HeaderValue::from_static(reason));
            self.close(headers);
            return response;
        }
        let name = status.canonical_reason().unwrap_or_default();
        let (content_type, body) = if format.is_json() {
            (
                "application/json",
                format!(
                    "{{\"status\":{},\"error\":\"{name}\",\"reason\":\"{reason}\"}}\n",
                    status.as_u16()
                ),
            )
        } else {
            (
                "text/plain; charset=utf-8",
                format!("{} {name}: {reason}\n", status.as_u16()),
            )
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.kind == Kind::MethodNotAllowed {
            headers.insert(
                ALLOW,
                HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS"),
            );
        }
        self.close(headers);
        response
    }

    fn close(&self, headers: &mut HeaderMap) {
        if self.kind.closes() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.reason())
    }
}

impl std::error::Error for Error {}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Us => "us",
        })
    }
}

impl ErrorFormat {
    /// From the head of a request.
    pub fn of(headers: &HeaderMap) -> Self {
        Self {
            accept: headers.get(ACCEPT).cloned(),
            content_type: headers.get(CONTENT_TYPE).cloned(),
        }
    }

    /// By the content type of the request.
    fn is_grpc(&self) -> bool {
        let starts = |prefix: &[u8]| {
            self.content_type.as_ref().is_some_and(|value| {
                value
                    .as_bytes()
                    .get(..prefix.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            })
        };
        starts(b"application/grpc") && !starts(b"application/grpc-web")
    }

    /// If `Accept` names it and no web page.
    fn is_json(&self) -> bool {
        let accepts = |media: &[u8]| {
            self.accept
                .as_ref()
                .is_some_and(|value| memchr::memmem::find(value.as_bytes(), media).is_some())
        };
        accepts(b"json") && !accepts(b"text/html")
    }
}

#[cfg(test)]
mod tests;
