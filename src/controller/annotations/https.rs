//! Annotations about HTTPS, the protocol of backends, and guards that are not supported.

use super::{
    row::{Annotation, HAPROXY, HAPROXY_OLD, HAPROXY_TECHNOLOGIES, NGINX, OLD, OURS, row},
    value::{InvalidValue, boolean, guards, none_of, not, protocol},
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
        &[OURS, NGINX, HAPROXY, HAPROXY_TECHNOLOGIES, HAPROXY_OLD, OLD],
        "ssl-passthrough",
        "true, false",
        "true: TLS connections with the names of the hosts go to the backend of the path `/`, \
         which ends TLS ([layer4.md](layer4.md)). Lists of addresses apply to them; another guard \
         on the host closes them. Plain HTTP is redirected where `ssl-redirect` says so, and else \
         sent to the backend over TLS.",
        |values, name, value| {
            if boolean(value)? {
                let of_nginx = name.starts_with(OURS) || name.starts_with(NGINX);
                values.passthrough.redirects |= !of_nginx;
                values.passthrough.from = Some(name.into());
            }
            Ok(())
        },
    )
    .guard()
    .differs(
        "It needs no flag, and wildcard hosts have it too. Under prefixes of HAProxy plain HTTP is \
         redirected. On a Service it closes the paths.",
    ),
    row(
        &[OURS, HAPROXY, OLD],
        "ssl-passthrough-http-port",
        "a port of the Service",
        "Plain HTTP on hosts with `ssl-passthrough` goes to this port, without TLS.",
        |values, name, value| {
            let number = value.parse().ok().filter(|number| *number != 0);
            let number = number.ok_or_else(|| not(value, "a port from 1 to 65535"))?;
            values.passthrough.plain_port = Some((name.into(), number));
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
