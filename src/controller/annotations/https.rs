//! Annotations about HTTPS, the protocol of backends, and guards that are not supported.

use super::{
    row::{Annotation, NGINX, OURS, row},
    value::{boolean, guards, none_of, protocol},
};

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        &[OURS, NGINX],
        "ssl-redirect",
        "true, false",
        "Redirects plain HTTP to HTTPS for hosts under `spec.tls`; without it the setting \
         `ssl_redirect` decides.",
        |values, _, value| {
            values.redirect = Some(boolean(value)?);
            Ok(())
        },
    ),
    row(
        &[OURS, NGINX],
        "force-ssl-redirect",
        "true, false",
        "Redirects plain HTTP to HTTPS for hosts that are not under `spec.tls` too.",
        |values, _, value| {
            values.forced = boolean(value)?;
            Ok(())
        },
    ),
    row(
        &[OURS, NGINX],
        "backend-protocol",
        "HTTP, HTTPS, GRPC, GRPCS",
        "The protocol of the backends; without it `appProtocol` of the Service's port decides.",
        |values, _, value| {
            values.protocol = Some(protocol(value)?);
            Ok(())
        },
    ),
    row(
        &["kubernetes.io/"],
        "ingress.allow-http",
        "true, false",
        "`false`: plain HTTP is redirected to HTTPS and never reaches the backend, \
         regardless of other annotations.",
        |values, _, value| {
            values.https_only = !boolean(value)?;
            Ok(())
        },
    ),
    row(
        &[OURS],
        "unsupported-guards",
        "refuse, ignore",
        "The treatment of paths with an unsupported guard (see below); the default is the \
         setting `unsupported_guards`. Also on a Service.",
        |values, _, value| {
            let guards = guards(value);
            values.guards = Some(guards.unwrap_or_default());
            guards
                .map(|_valid| ())
                .ok_or_else(|| none_of(value, "refuse, ignore"))
        },
    ),
];
