//! The errors of a request: the cause, the side at fault, and whether a retry is safe. Only this
//! file turns them into responses.

use std::fmt;

use bytes::Bytes;
use http::StatusCode;

use super::{
    fields::{FieldName, Fields},
    message::ResponseHead,
};

/// The seconds after which a client that was refused because of too much work may ask again.
const RETRY_AFTER: &[u8] = b"1";

/// The side that is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The client's.
    Client,
    /// The upstream's.
    Upstream,
    /// Ours, or the configuration's.
    Us,
}

/// The condition under which another attempt is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retry {
    /// Nothing reached the upstream.
    Safe,
    /// Only if a reused connection died before the first byte of a response.
    IfReused,
    /// Never: the upstream may have acted on the request.
    Never,
}

/// The cause of a failure. Clients see its text, so it reveals nothing about the inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 400: syntax, framing, host.
    BadRequest(&'static str),
    /// 401: a login is required, and the request has none that is right.
    Unauthorized,
    /// 403: the client may not come in.
    Forbidden,
    /// The same with another status.
    Rejected(StatusCode),
    /// 503 or another status: too many requests to the backend have failed.
    Broken(StatusCode),
    /// 404: no rule matches the request.
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
    /// 429 or 503, as the settings say: the client asks for too much.
    TooMany(StatusCode, &'static str),
    /// 421: the connection was made in a way that is not right for the host.
    Misdirected(&'static str),
    /// 431: the head (or the trailers) is over the limits.
    HeadersTooLarge,
    /// 500: the route is configured in a way that no request can follow.
    Misconfigured(&'static str),
    /// 500: the server that checks logins cannot be asked, or its response decides nothing.
    LoginUnchecked(&'static str),
    /// 502: the upstream closed the connection, or its response is malformed.
    BadGateway(&'static str),
    /// 503: there is no endpoint to send the request to.
    Unavailable(&'static str),
    /// 503: the memory budget of the process is all but used up.
    Overloaded,
    /// 504: the upstream did not respond in time.
    GatewayTimeout(&'static str),
    /// 505: the version is not HTTP/1.0, HTTP/1.1 or HTTP/2.
    VersionNotSupported,
    /// 508: the request has passed us too often.
    LoopDetected,
    /// 499, in the log only: the client disconnected before it had its response.
    ClientGone,
}

/// One failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    /// The cause.
    pub(crate) kind: Kind,
    /// The side that is at fault.
    pub(crate) side: Side,
    /// The condition under which another attempt is safe.
    pub(crate) retry: Retry,
}

impl Kind {
    /// Returns the status of the response.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout | Self::ClientGone => StatusCode::REQUEST_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::TooMany(status, _) | Self::Rejected(status) | Self::Broken(status) => status,
            Self::Misdirected(_) => StatusCode::MISDIRECTED_REQUEST,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Misconfigured(_) | Self::LoginUnchecked(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::BadGateway(_) => StatusCode::BAD_GATEWAY,
            Self::Unavailable(_) | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::GatewayTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::VersionNotSupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::LoopDetected => StatusCode::LOOP_DETECTED,
        }
    }

    /// Returns the reason in a few words.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::BadRequest(why)
            | Self::Misconfigured(why)
            | Self::LoginUnchecked(why)
            | Self::BadGateway(why)
            | Self::Unavailable(why)
            | Self::GatewayTimeout(why)
            | Self::Misdirected(why)
            | Self::TooMany(_, why) => why,
            Self::Unauthorized => "a login is required",
            Self::Forbidden | Self::Rejected(_) => "this client may not come in",
            Self::Broken(_) => "too many requests to the backend have failed",
            Self::NoRoute => "no route for this host and path",
            Self::MethodNotAllowed => "CONNECT is not supported",
            Self::RequestTimeout => "the request did not arrive in time",
            Self::BodyTooLarge => "the request body is too large",
            Self::UriTooLong => "the request target is too long",
            Self::ExpectationFailed => "unknown expectation",
            Self::HeadersTooLarge => "the request head is too large",
            Self::VersionNotSupported => "only HTTP/1.0, HTTP/1.1 and HTTP/2 are supported",
            Self::Overloaded => "too much is going on at once",
            Self::LoopDetected => "the request comes back to this proxy again and again",
            Self::ClientGone => "the client disconnected",
        }
    }

    /// Returns true if the connection must be closed: the start of the next request is unknown, the
    /// rest of this one is unwanted, or another connection would be right.
    fn closes(self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::MethodNotAllowed
                | Self::RequestTimeout
                | Self::BodyTooLarge
                | Self::UriTooLong
                | Self::ExpectationFailed
                | Self::Misdirected(_)
                | Self::HeadersTooLarge
                | Self::Overloaded
                | Self::VersionNotSupported
                | Self::ClientGone
        )
    }

    /// Returns the gRPC status: gRPC's own mapping from HTTP statuses (`http-grpc-status-mapping`),
    /// and RESOURCE_EXHAUSTED for limits.
    fn grpc(self) -> &'static str {
        match self.status().as_u16() {
            413 | 431 => "8",
            400 => "13",
            401 => "16",
            403 => "7",
            404 => "12",
            429 | 502 | 503 | 504 => "14",
            _ => "2",
        }
    }
}

impl Error {
    /// Creates an error that is the client's fault.
    pub(crate) fn client(kind: Kind) -> Self {
        Self {
            kind,
            side: Side::Client,
            retry: Retry::Never,
        }
    }

    /// Creates an error that is the upstream's fault.
    pub(crate) fn upstream(kind: Kind, retry: Retry) -> Self {
        Self {
            kind,
            side: Side::Upstream,
            retry,
        }
    }

    /// Creates an error that is our fault, or the configuration's.
    pub(crate) fn us(kind: Kind) -> Self {
        Self {
            kind,
            side: Side::Us,
            retry: Retry::Never,
        }
    }

    /// Builds the error response, in the format that the request with these fields calls for. The
    /// connection closes where framing is in doubt.
    pub(crate) fn response(&self, request: &Fields) -> (ResponseHead, Bytes) {
        let status = self.kind.status();
        let reason = self.kind.reason();
        if is_grpc(request) {
            let mut head = ResponseHead::new(StatusCode::OK, 0);
            head.close = self.kind.closes();
            head.fields.set("content-type", b"application/grpc");
            head.fields.set("grpc-status", self.kind.grpc().as_bytes());
            head.fields.set("grpc-message", reason.as_bytes());
            return (head, Bytes::new());
        }

        let name = status.canonical_reason().unwrap_or_default();
        let (content_type, body) = if accepts_json(request) {
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

        let mut head = ResponseHead::new(status, body.len());
        head.close = self.kind.closes();
        head.fields.set("content-type", content_type.as_bytes());
        head.fields.set("cache-control", b"no-store");
        if self.kind == Kind::MethodNotAllowed {
            let methods = b"GET, HEAD, POST, PUT, DELETE, PATCH, OPTIONS";
            head.fields.set("allow", methods);
        }
        if matches!(self.kind, Kind::Overloaded | Kind::TooMany(..)) {
            head.fields.set("retry-after", RETRY_AFTER);
        }
        (head, Bytes::from(body))
    }
}

/// Returns true if the content type of the request is gRPC's.
fn is_grpc(request: &Fields) -> bool {
    let starts = |prefix: &[u8]| {
        let value = request.get(FieldName::ContentType);
        value
            .and_then(|value| value.get(..prefix.len()))
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    starts(b"application/grpc") && !starts(b"application/grpc-web")
}

/// Returns true if `Accept` names JSON and no web page.
fn accepts_json(request: &Fields) -> bool {
    let accepts = |media: &[u8]| {
        request
            .get(FieldName::Accept)
            .is_some_and(|value| memchr::memmem::find(value, media).is_some())
    };
    accepts(b"json") && !accepts(b"text/html")
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

#[cfg(test)]
mod tests;
