//! Annotations about HTTPS, the protocol of backends, and guards that are not supported.

use super::{
    row::{Annotation, NGINX, OLD, OURS, row},
    value::{InvalidValue, boolean, guards, none_of, protocol},
};
use crate::routing::{Host, Verify};

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
        &[OURS, NGINX, OLD],
        "proxy-ssl-verify",
        "on, off",
        "on: the certificates of backends with TLS are verified with the system's roots: 502 for \
         others. off: the setting `proxy.verify_backends` decides.",
        |values, _, value| {
            values.tls.verify = match value {
                "off" => Verify::Default,
                _ => Verify::Always,
            };
            match value {
                "on" | "off" => Ok(()),
                _ => Err(none_of(value, "on, off")),
            }
        },
    )
    .differs(
        "It needs no `proxy-ssl-secret`, and does not use its CA. An invalid value counts as on.",
    ),
    row(
        &[OURS, NGINX, OLD],
        "proxy-ssl-name",
        "a host",
        "The name that is sent to backends with TLS (SNI), and that their certificates are \
         verified for.",
        |values, _, value| {
            let host = Host::parse(value);
            let host = host.map_err(|error| InvalidValue::Host(value.to_owned(), error))?;
            values.tls.server_name = Some(host);
            Ok(())
        },
    )
    .differs("It is sent without `proxy-ssl-server-name` too."),
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
