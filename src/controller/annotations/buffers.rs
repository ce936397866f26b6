//! Annotations about the buffers of nginx, and its protocol towards backends. They need nothing
//! here: bodies are passed on as they come.

use super::{
    row::{Annotation, NGINX, OLD, nothing, row},
    value::none_of,
};

const PREFIXES: &[&str] = &[NGINX, OLD];
const SIZE: &str = "a size";
const STREAMED: &str = "None: bodies are passed on as they come, and a slow reader slows the \
                        writer down.";
const NO_BUFFER: &str = "None: bodies are not kept.";
const UNBUFFERED: &str = "So it is with `on` too.";

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "proxy-request-buffering",
        "on, off",
        STREAMED,
        nothing,
    )
    .differs(UNBUFFERED),
    row(PREFIXES, "proxy-buffering", "on, off", STREAMED, nothing).differs(UNBUFFERED),
    row(
        PREFIXES,
        "proxy-buffer-size",
        SIZE,
        "None: the head of a response may have as much as `proxy.max_header_bytes` says.",
        nothing,
    ),
    row(
        PREFIXES,
        "proxy-buffers-number",
        "a number",
        NO_BUFFER,
        nothing,
    ),
    row(
        PREFIXES,
        "proxy-busy-buffers-size",
        SIZE,
        NO_BUFFER,
        nothing,
    ),
    row(
        PREFIXES,
        "proxy-max-temp-file-size",
        SIZE,
        "None: nothing is written to files.",
        nothing,
    ),
    row(
        PREFIXES,
        "client-body-buffer-size",
        SIZE,
        NO_BUFFER,
        nothing,
    ),
    row(
        PREFIXES,
        "proxy-http-version",
        "1.1",
        "None: backends get HTTP/1.1, or HTTP/2 by `backend-protocol`.",
        |values, name, value| match value {
            "1.1" => Ok(()),
            "1.0" => {
                values.unsupported(name, "backends get HTTP/1.1");
                Ok(())
            }
            _ => Err(none_of(value, "1.1")),
        },
    ),
];
