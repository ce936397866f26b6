//! Annotations about TLS to backends.

use super::{
    row::{Annotation, HAPROXY, HAPROXY_OLD, HAPROXY_TECHNOLOGIES, NGINX, OLD, OURS, TRAEFIK, row},
    value::{InvalidValue, boolean, filled, none_of, not, switch},
    values::{AnnotationValues, NamedAuthorities, NamedIdentity, SentName},
};
use crate::{
    controller::ciphers,
    routing::{Host, Protocol, RequestName, TlsVersions, Verify},
};

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];
const OF_HAPROXY: &[&str] = &[HAPROXY, OLD];
const OF_TECHNOLOGIES: &[&str] = &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD];
const OF_TRAEFIK: &[&str] = &[TRAEFIK];

const SECRET: &str = "the name of a Secret of the same namespace, or its namespace and name";
const ON_SERVICES: &str = "On a Service it applies to the paths that lead there, before that of \
    the Ingress.";
const FILES: &str = "Files (`file://`) close the paths.";
/// The longest chain that is verified, as in OpenSSL.
const MAX_DEPTH: usize = 100;

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "proxy-ssl-secret",
        SECRET,
        "Its keys `tls.crt` and `tls.key` are the certificate that backends with TLS get if they \
         ask for one. Its key `ca.crt` has the only authorities whose certificates are accepted, \
         where they are verified, and `ca.crl` their lists of revoked certificates. 503 if the \
         Secret cannot be used.",
        |values, name, value| {
            let secret = filled(value).map(|secret| (name.into(), secret));
            values.backend_tls.secret = secret;
            Ok(())
        },
    )
    .differs(
        "Without `proxy-ssl-verify` it verifies nothing, as in ingress-nginx, unless \
         `proxy.verify_backends` is set. A Secret with one of `tls.crt` and `tls.key` alone cannot \
         be used. ingress-nginx does not read `ca.crl`.",
    ),
    row(
        PREFIXES,
        "proxy-ssl-verify",
        "on, off",
        "on: the certificates of backends with TLS are verified: 502 for others. The authorities \
         are those of `proxy-ssl-secret`, or else the system's roots. off: the setting \
         `proxy.verify_backends` decides.",
        |values, _, value| {
            values.terms.tls.verify = match value {
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
        "It verifies without a `proxy-ssl-secret`, or one without `ca.crt`, too. An invalid value \
         counts as on. Names are those under subjectAltName, and no common name.",
    ),
    row(
        PREFIXES,
        "proxy-ssl-verify-depth",
        "a number",
        "The most certificates between that of a backend and that of an authority in \
         `proxy-ssl-secret`; 1 without it.",
        |values, name, value| {
            // ingress-nginx takes 0 for the default.
            values.backend_tls.depth = match value.parse() {
                Ok(0) => None,
                Ok(depth) if depth <= MAX_DEPTH => Some(depth),
                _ => return Err(not(value, "a number up to 100")),
            };
            values.backend_tls.depth_from = Some(name.into());
            Ok(())
        },
    ),
    row(
        PREFIXES,
        "proxy-ssl-name",
        "a host",
        "The name that is sent to backends with TLS (SNI), and that their certificates are \
         verified for.",
        |values, _, value| {
            values.terms.tls.server_name = Some(parsed(value)?);
            Ok(())
        },
    )
    .differs(
        "Without it the name is the one of the Service's `externalName`, or else the address of \
         the endpoint.",
    ),
    row(
        PREFIXES,
        "proxy-ssl-server-name",
        "on, off",
        "Whether backends with TLS get the name (SNI). Without it they do.",
        |values, _, value| {
            values.backend_tls.hides_name = !switch(value)?;
            Ok(())
        },
    )
    .differs("Without it ingress-nginx sends no name. An address is never sent."),
    row(
        PREFIXES,
        "proxy-ssl-protocols",
        "versions of TLS, as in nginx",
        "The versions that are spoken with backends, of `TLSv1.2` and `TLSv1.3`; both without it.",
        |values, _, value| {
            values.backend_tls.versions = versions(value)?;
            Ok(())
        },
    )
    .differs(
        "Older versions are left out, and a list of older ones alone has no effect. It needs no \
         `proxy-ssl-secret`.",
    ),
    row(
        PREFIXES,
        "proxy-ssl-ciphers",
        "a list of cipher suites, as in OpenSSL",
        "The cipher suites of TLS 1.2 that backends are offered. Those of TLS 1.3 stay.",
        suites,
    )
    .differs(
        "Suites that gatelet does not have are left out: it has those with ECDHE and AES-GCM or \
         ChaCha20. If none is left, TLS 1.3 alone is spoken, or the paths return 503 where \
         `proxy-ssl-protocols` excludes it.",
    ),
    row(
        &[NGINX, HAPROXY, OLD],
        "secure-backends",
        "true, false",
        "true: TLS to the backends, whatever `backend-protocol` says.",
        |values, _, value| {
            values.backend_tls.secures = Some(boolean(value)?);
            Ok(())
        },
    )
    .on_services()
    .differs(ON_SERVICES),
    row(
        &[NGINX, OLD],
        "grpc-backend",
        "true, false",
        "true: `backend-protocol: GRPC`.",
        |values, _, value| {
            if boolean(value)? {
                values.terms.protocol.get_or_insert(Protocol::H2c);
            }
            Ok(())
        },
    ),
    row(
        OF_HAPROXY,
        "secure-crt-secret",
        SECRET,
        "Its keys `tls.crt` and `tls.key` are the certificate that backends with TLS get if they \
         ask for one. 503 if the Secret cannot be used.",
        |values, name, value| {
            values.backend_tls.identity = filled(value).map(|secret| NamedIdentity {
                annotation: name.into(),
                secret,
                secures: false,
            });
            Ok(())
        },
    )
    .on_services()
    .differs(FILES),
    row(
        OF_HAPROXY,
        "secure-verify-ca-secret",
        SECRET,
        "Its key `ca.crt` has the only authorities whose certificates are accepted of backends \
         with TLS, and `ca.crl` their lists of revoked certificates. The name in a certificate \
         counts where one of the two annotations below is set. 503 if the Secret cannot be used.",
        |values, name, value| {
            values.backend_tls.authorities = filled(value).map(|secret| NamedAuthorities {
                annotation: name.into(),
                secret,
                in_chain: false,
            });
            Ok(())
        },
    )
    .on_services()
    .differs(FILES),
    row(
        OF_HAPROXY,
        "ssl-ciphers-backend",
        "a list of cipher suites, as in OpenSSL",
        "As `proxy-ssl-ciphers`.",
        suites,
    )
    .on_services()
    .differs("Suites that gatelet does not have are left out."),
    row(
        OF_HAPROXY,
        "secure-sni",
        "a host, host, sni",
        "The name that is sent to backends with TLS (SNI), and that their certificates are \
         verified for where they are. host: the host of each request. sni: the name that its \
         client has sent.",
        |values, name, value| {
            let sent = match value {
                "host" => SentName::OfRequest(RequestName::Host),
                "sni" => SentName::OfRequest(RequestName::Sni),
                host => SentName::Fixed(parsed(host)?),
            };
            values.backend_tls.sni = Some((name.into(), sent));
            Ok(())
        },
    )
    .on_services()
    .differs(
        "With `sni`, where certificates are verified for it, requests of clients without one are \
         421: HAProxy sends them. Health checks do not begin TLS for the names of requests.",
    ),
    row(
        OF_HAPROXY,
        "secure-verify-hostname",
        "a host",
        "The name that certificates are verified for with `secure-verify-ca-secret`. It is not \
         sent.",
        |values, name, value| {
            values.backend_tls.verified_name = Some((name.into(), parsed(value)?));
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_TECHNOLOGIES,
        "server-ssl",
        "true, false",
        "As `secure-backends`.",
        |values, _, value| {
            values.backend_tls.secures = Some(boolean(value)?);
            Ok(())
        },
    )
    .on_services(),
    row(
        OF_TECHNOLOGIES,
        "server-proto",
        "h2",
        "HTTP/2 to the backends.",
        |values, _, value| {
            values.terms.protocol = match value {
                "h2" => Some(Protocol::H2c),
                _ => return Err(none_of(value, "h2")),
            };
            Ok(())
        },
    )
    .on_services()
    .differs("With TLS too, where HAProxy leaves the choice to the backend."),
    row(
        OF_TECHNOLOGIES,
        "server-ca",
        SECRET,
        "TLS to the backends. Its key `tls.crt` has the only authorities whose certificates are \
         accepted, whatever name they have. 503 if the Secret cannot be used.",
        |values, name, value| {
            values.backend_tls.authorities = filled(value).map(|secret| NamedAuthorities {
                annotation: name.into(),
                secret,
                in_chain: true,
            });
            Ok(())
        },
    )
    .on_services()
    .differs("HAProxy serves without verification while the Secret is missing."),
    row(
        OF_TECHNOLOGIES,
        "server-crt",
        SECRET,
        "TLS to the backends. Its keys `tls.crt` and `tls.key` are the certificate that they get \
         if they ask for one. 503 if the Secret cannot be used.",
        |values, name, value| {
            values.backend_tls.identity = filled(value).map(|secret| NamedIdentity {
                annotation: name.into(),
                secret,
                secures: true,
            });
            Ok(())
        },
    )
    .on_services()
    .differs("The keys `rsa.*`, `ecdsa.*` and `dsa.*` are not read."),
    row(
        OF_TRAEFIK,
        "service.serversscheme",
        "http, https, h2c",
        "On a Service: the protocol of its endpoints.",
        |values, _, value| {
            values.terms.protocol = match value {
                "http" => Some(Protocol::Http1),
                "https" => Some(Protocol::Https),
                "h2c" => Some(Protocol::H2c),
                _ => return Err(none_of(value, "http, https, h2c")),
            };
            Ok(())
        },
    )
    .of_services()
    .differs(
        "The setting `proxy.verify_backends` decides whether certificates are verified, and \
         HTTP/2 over TLS needs `appProtocol`.",
    ),
    row(
        OF_TRAEFIK,
        "service.serverstransport",
        "`NAMESPACE-NAME@kubernetescrd`",
        "On a Service: the ServersTransport (`traefik.io/v1alpha1`) has the terms of TLS to its \
         backends and some timeouts ([middlewares.md](middlewares.md#serverstransports)).",
        |values, name, value| {
            values.transport = filled(value).map(|transport| (name.into(), transport));
            Ok(())
        },
    )
    .of_services()
    .differs(
        "503 for one that does not exist, or whose Secrets cannot be used, where Traefik sends \
         requests without them.",
    ),
];

/// Reads the suites of TLS 1.2.
fn suites(values: &mut AnnotationValues, name: &str, value: &str) -> Result<(), InvalidValue> {
    let read = ciphers::parse(value);
    let read = read.ok_or_else(|| not(value, "a list of cipher suites"))?;
    for unknown in &read.unknown {
        let message = format!("gatelet does not have the cipher suite {unknown}");
        values.unsupported(name, &message);
    }
    values.backend_tls.suites = read.suites;
    values.backend_tls.suites_from = Some(name.into());
    Ok(())
}

/// Parses a host.
fn parsed(value: &str) -> Result<Host, InvalidValue> {
    Host::parse(value).map_err(|error| InvalidValue::Host(value.to_owned(), error))
}

/// Parses a list of versions.
fn versions(value: &str) -> Result<TlsVersions, InvalidValue> {
    const KNOWN: &str = "a list of TLSv1.2 and TLSv1.3";
    const OLD: &[&str] = &["SSLv2", "SSLv3", "TLSv1", "TLSv1.1"];

    let (mut old, mut new) = (false, false);
    for word in value.split_whitespace() {
        match word {
            "TLSv1.2" => old = true,
            "TLSv1.3" => new = true,
            _ if OLD.contains(&word) => {}
            _ => return Err(not(value, KNOWN)),
        }
    }
    match (old, new) {
        (true, true) => Ok(TlsVersions::Both),
        (true, false) => Ok(TlsVersions::Only12),
        (false, true) => Ok(TlsVersions::Only13),
        (false, false) => Err(not(value, KNOWN)),
    }
}
