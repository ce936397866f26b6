//! Annotations about the buffers of nginx, and its protocol towards backends. Most need nothing
//! here: bodies are passed on as they come.

use super::{
    row::{Annotation, NGINX, OLD, OURS, nothing, row},
    value::{none_of, switch},
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
        &[OURS, NGINX, OLD],
        "proxy-request-buffering",
        "on, off",
        "on: up to `proxy.max_buffered_bytes` (1 MiB) of a request body are read before an \
         endpoint is asked, so that a slow client takes none of its time.",
        |values, _name, value| {
            values.policy.reads_ahead = switch(value)?;
            Ok(())
        },
    )
    .differs(
        "Without it bodies are passed on as they come. So is what is beyond those bytes, or comes \
         while little memory is left, unless `proxy.spool_directory` has room: then the whole body \
         is read first. Backends with HTTP/2 and gRPC get all bodies as they come.",
    ),
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
        "None: `proxy.max_spool_bytes` bounds all files, if there are any.",
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
