//! Annotations about pages in place of errors.

use super::{
    row::{Annotation, NGINX, OLD, OURS, row},
    value::{InvalidValue, boolean, filled, list, not},
};

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "custom-http-errors",
        "statuses from 300 to 599, separated by commas",
        "Responses with these statuses are replaced by those of `default-backend`, or of the \
         setting `default_backend`, to a GET of `/` with `X-Code`, `X-Format`, `X-Original-URI`, \
         `X-Namespace`, `X-Ingress-Name`, `X-Service-Name`, `X-Service-Port` and `X-Request-ID`. \
         It sets the status itself.",
        |values, name, value| {
            values.errors.statuses = match value {
                "" => None,
                value => Some((name.into(), statuses(value)?)),
            };
            Ok(())
        },
    )
    .differs(
        "Without either backend, or if it does not respond, the response stays as it is. Refusals \
         of gatelet itself before the backend are asked, such as 401, are not replaced.",
    ),
    row(
        PREFIXES,
        "default-backend",
        "the name of a Service of the same namespace",
        "Its first port has the pages of `custom-http-errors`, and the requests for a Service \
         without endpoints, with the same fields and 503 as `X-Code`.",
        |values, name, value| {
            values.errors.service = filled(value).map(|value| (name.into(), value));
            Ok(())
        },
    )
    .differs("A Service that restricts who may come in is not used."),
    row(
        PREFIXES,
        "disable-proxy-intercept-errors",
        "true, false",
        "true: `custom-http-errors` replaces errors of gatelet alone, not responses of the \
         backend.",
        |values, _, value| {
            values.errors.is_off = boolean(value)?;
            Ok(())
        },
    ),
];

fn statuses(value: &str) -> Result<Box<[u16]>, InvalidValue> {
    const WHAT: &str = "a list of statuses from 300 to 599";
    let statuses = list(value).map(|status| {
        let status = status.parse().ok();
        status.filter(|status| (300..600).contains(status))
    });
    let statuses: Option<Vec<u16>> = statuses.collect();
    let mut statuses = statuses.ok_or_else(|| not(value, WHAT))?;
    statuses.sort_unstable();
    statuses.dedup();
    Ok(statuses.into())
}
