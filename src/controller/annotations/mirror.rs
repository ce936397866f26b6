//! Annotations about copies of requests.

use super::{
    row::{Annotation, NGINX, OLD, OURS, row},
    value::{InvalidValue, filled, switch},
};
use crate::{
    controller::server_url::{ServerUrl, UrlServer},
    routing::Variables,
};

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "mirror-target",
        "the URL of a server; variables may stand in its path and query",
        "This server gets a copy of each request that is forwarded, with the same method and the \
         fields that the backend gets, and its responses are dropped. A URL without a variable \
         gets the query of the request, and one without a path its path too. Copies are counted \
         by `gatelet_copies_total`. `NAME.NAMESPACE.svc` is the Service, other names are those of \
         DNS.",
        |values, name, value| {
            if let Some(text) = filled(value) {
                values.mirror.target = Some(target(&text)?);
                values.mirror.from.push(name.into());
            }
            Ok(())
        },
    )
    .differs(
        "A mirror that is slow or down changes nothing for clients: copies that it does not take \
         are left out, and so are those of upgrades (WebSocket), and of bodies over 64 KiB or that \
         the backend does not take to their end. A variable cannot choose the server. Certificates \
         of names are verified. Copies have the `X-Forwarded-*` of the backend.",
    ),
    row(
        PREFIXES,
        "mirror-request-body",
        "on, off",
        "off: copies have no body.",
        |values, name, value| {
            values.mirror.leaves_out_body = !switch(value)?;
            if values.mirror.leaves_out_body {
                values.mirror.from.push(name.into());
            }
            Ok(())
        },
    )
    .differs("They have no `Content-Length` either."),
    row(
        PREFIXES,
        "mirror-host",
        "a host; variables may stand in it",
        "`Host` of copies, in place of the host of `mirror-target`.",
        |values, name, value| {
            if let Some(text) = filled(value) {
                let host = Variables::parse(&text).map_err(InvalidValue::Variables)?;
                values.mirror.host = Some(host);
                values.mirror.from.push(name.into());
            }
            Ok(())
        },
    ),
];

/// Parses the URL of a mirror.
fn target(text: &str) -> Result<ServerUrl, InvalidValue> {
    let wrong = |error| InvalidValue::ServerUrl(text.to_owned(), error);
    let url = ServerUrl::parse(text).map_err(wrong)?;
    if url.server == UrlServer::OwnHost {
        // The copy would come back to the same rules.
        return Err(InvalidValue::OwnMirror);
    }
    if text.ends_with('/') || url.target.as_str() != "/" {
        return Ok(url);
    }
    let target = Variables::parse("$request_uri").map_err(InvalidValue::Variables)?;
    Ok(ServerUrl { target, ..url })
}
