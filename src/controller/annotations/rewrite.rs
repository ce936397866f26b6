//! Annotations about paths: regular expressions, and what the backend gets in their place.

use http::HeaderValue;

use super::{
    row::{Annotation, NGINX, OLD, OURS, row},
    value::{InvalidValue, boolean},
};
use crate::routing::RewriteTarget;

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "use-regex",
        "true, false",
        "The paths are regular expressions, and so are all paths of their hosts, of other \
         Ingresses too: without case, anchored at the start alone, the longest text first.",
        |values, _, value| {
            values.rewrite.regex = boolean(value)?;
            Ok(())
        },
    )
    .guard()
    .differs(
        "Look-around and backreferences close the path. A path with dot segments or a line feed \
         behind escapes is taken by no expression.",
    ),
    row(
        PREFIXES,
        "rewrite-target",
        "a path or a URL; groups of the path's expression as `$1` to `$9`, and the variables of \
         `temporal-redirect`, may stand in it",
        "The backend gets this path and the query of the request. The paths are regular \
         expressions, as with `use-regex`. A URL: 302 to it.",
        |values, name, value| {
            if value.is_empty() {
                return Ok(());
            }
            let target = RewriteTarget::parse(value);
            let target = target.map_err(|error| InvalidValue::Location(value.to_owned(), error))?;
            values.rewrite.target = Some((name.into(), value.into(), target));
            Ok(())
        },
    )
    .guard()
    .differs(
        "Escapes of the request stay as they are. Guards see the path of the request; a result \
         with dot segments is 400. Other variables close the paths.",
    ),
    row(
        PREFIXES,
        "x-forwarded-prefix",
        "text",
        "`X-Forwarded-Prefix` for the backend of rewritten paths.",
        |values, name, value| {
            let field = HeaderValue::from_str(value).map_err(|_error| InvalidValue::Control)?;
            values.rewrite.prefix = (!value.is_empty()).then(|| (name.into(), field));
            Ok(())
        },
    ),
];
