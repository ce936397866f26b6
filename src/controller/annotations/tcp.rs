//! Annotations about TCP in place of HTTP.

use super::{
    row::{Annotation, HAPROXY, OLD, OURS, row},
    value::{boolean, not},
};

const PREFIXES: &[&str] = &[OURS, HAPROXY, OLD];

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "tcp-service-port",
        "a port",
        "The Ingress is for connections to this TCP port and not for requests. The hosts of the \
         rules are the names in their ClientHello (SNI), and the backends those of the path `/`; a \
         rule without a host and `defaultBackend` are for all others. With `spec.tls`, TLS ends \
         here. See [layer4.md](layer4.md#tcp-by-an-ingress).",
        |values, name, value| {
            if !value.is_empty() {
                let port = value.parse().ok().filter(|port| *port != 0);
                let port = port.ok_or_else(|| not(value, "a port from 1 to 65535"))?;
                values.tcp.port = Some((name.into(), port));
            }
            Ok(())
        },
    )
    .guard()
    .differs(
        "TLS ends here for the rules of the Ingresses with `spec.tls` alone, not for all of the \
         port.",
    ),
    row(
        PREFIXES,
        "tcp-service-proxy-protocol",
        "true, false",
        "true: clients of the port must send a header of the PROXY protocol. Of several Ingresses \
         with the port, the oldest decides.",
        |values, name, value| {
            values.tcp.accepts_proxy = Some((name.into(), boolean(value)?));
            Ok(())
        },
    )
    .guard(),
];
