//! Annotations about HTTPS, the protocol of backends, and guards that are not supported.

use http::StatusCode;

use super::{
    row::{Annotation, HAPROXY, HAPROXY_OLD, HAPROXY_TECHNOLOGIES, NGINX, OLD, OURS, TRAEFIK, row},
    traffic::{REDIRECT, redirect_code},
    value::{InvalidValue, boolean, guards, none_of, not, protocol},
    values::AnnotationValues,
};
use crate::{
    controller::{backend_terms::SendsProxy, ciphers},
    routing::{ProxyVersion, Reach},
};

/// The parts of a header that are left out.
const NO_NAME: &str = "The header has nothing about certificates of clients and ALPN: -cn is as \
                       without.";

const OF_TECHNOLOGIES: &[&str] = &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD];

/// The Services that have no address.
const NO_ADDRESS: &str = "A Service without an address, and every one of the mini cluster, is \
                          reached at its endpoints.";

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        &[OURS, NGINX],
        "ssl-redirect",
        "true, false",
        "Redirects plain HTTP to HTTPS for hosts under `spec.tls`; without it the setting \
         `ssl_redirect` decides.",
        |values, _, value| {
            values.https.redirect = Some(boolean(value)?);
            Ok(())
        },
    ),
    row(
        &[HAPROXY],
        "ssl-redirect",
        "true, false",
        "The same with the status 302.",
        |values, _, value| {
            values.https.redirect = Some(boolean(value)?);
            values.https.status.get_or_insert(StatusCode::FOUND);
            Ok(())
        },
    )
    .on_services()
    .differs("Without it the status is 308."),
    row(
        OF_TECHNOLOGIES,
        "ssl-redirect",
        "true, false",
        "true: redirects plain HTTP to HTTPS (302), for hosts that are not under `spec.tls` too.",
        |values, _, value| {
            let is_on = boolean(value)?;
            values.https.redirect = Some(is_on);
            values.https.forced |= is_on;
            values.https.status.get_or_insert(StatusCode::FOUND);
            Ok(())
        },
    )
    .differs("Without it the status is 308."),
    row(
        &[OURS, HAPROXY, HAPROXY_TECHNOLOGIES, HAPROXY_OLD, OLD],
        "ssl-redirect-code",
        REDIRECT,
        "The status of redirects to HTTPS.",
        |values, _, value| {
            values.https.status = Some(redirect_code(value)?);
            Ok(())
        },
    ),
    row(
        &[OURS, HAPROXY_TECHNOLOGIES, HAPROXY_OLD, OLD],
        "ssl-redirect-port",
        "a port from 1 to 65535",
        "The port of redirects to HTTPS.",
        |values, _, value| {
            let port = value.parse().ok().filter(|port| *port != 0);
            let port = port.ok_or_else(|| not(value, "a port from 1 to 65535"))?;
            values.https.port = Some(port);
            Ok(())
        },
    )
    .differs("Without it the port is the one by which clients reach gatelet, not 8443."),
    row(
        &[OURS, NGINX],
        "force-ssl-redirect",
        "true, false",
        "Redirects plain HTTP to HTTPS for hosts that are not under `spec.tls` too.",
        |values, _, value| {
            values.https.forced = boolean(value)?;
            Ok(())
        },
    ),
    row(
        &[OURS, NGINX, HAPROXY, OLD],
        "backend-protocol",
        "HTTP, HTTPS, AUTO_HTTP, GRPC, GRPCS, or of HAProxy Ingress h1, h1-ssl, h2, h2-ssl",
        "The protocol of the backends; without it `appProtocol` of the Service's port decides. \
         AUTO_HTTP: HTTPS for the requests of clients with HTTPS, and HTTP for others.",
        |values, _, value| {
            values.terms.protocol = Some(protocol(value)?);
            Ok(())
        },
    )
    .on_services()
    .differs(
        "With AUTO_HTTP a trusted proxy says what the client used (`X-Forwarded-Proto`). FCGI is \
         not supported.",
    ),
    row(
        &[OURS, NGINX, HAPROXY, OLD],
        "service-upstream",
        "true, false",
        "true: requests go to the address of the Service (`clusterIP`), and the cluster chooses \
         the endpoint. Sticky sessions and further attempts have no other one then.",
        |values, name, value| {
            let is_on = boolean(value)?;
            values.service_upstream = is_on.then(|| name.into());
            values.terms.reach = match is_on {
                true => Reach::Service,
                false => Reach::Endpoints,
            };
            Ok(())
        },
    )
    .on_services()
    .differs(NO_ADDRESS),
    row(
        &[NGINX, OLD],
        "connection-proxy-header",
        "keep-alive, close",
        "close: each connection to a backend has one request, and ends with its response. \
         keep-alive: as without it, connections are kept.",
        |values, _, value| {
            values.terms.closes = match value.to_ascii_lowercase().as_str() {
                "close" => true,
                "keep-alive" => false,
                _ => return Err(none_of(value, "keep-alive, close")),
            };
            Ok(())
        },
    )
    .differs("The field is not sent. Upgrades (WebSocket) work with close too."),
    row(
        &[TRAEFIK],
        "service.nativelb",
        "true, false",
        "On a Service: as `service-upstream`, for all paths to the Service.",
        |values, _, value| {
            values.terms.reach = match boolean(value)? {
                true => Reach::Service,
                false => Reach::Endpoints,
            };
            Ok(())
        },
    )
    .of_services()
    .differs(NO_ADDRESS),
    row(
        &[TRAEFIK],
        "service.passhostheader",
        "true, false",
        "On a Service, false: its backends get the address of their endpoint as `Host`, and not \
         the one that the client sent.",
        |values, _, value| {
            values.policy.sends_address = !boolean(value)?;
            Ok(())
        },
    )
    .of_services(),
    row(
        &[HAPROXY, OLD],
        "proxy-protocol",
        "v1, v2, v2-ssl, v2-ssl-cn, no",
        "Connections to the backends begin with a header of the PROXY protocol, of this version. \
         Each has the requests of one client connection alone.",
        |values, name, value| {
            if value == "no" {
                values.terms.sends_proxy = Some(SendsProxy::No);
                return Ok(());
            }
            proxy(values, name, value, value)
        },
    )
    .on_services()
    .differs(NO_NAME),
    row(
        &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD, OLD],
        "send-proxy-protocol",
        "proxy, proxy-v1, proxy-v2, proxy-v2-ssl, proxy-v2-ssl-cn",
        "The same; proxy is proxy-v1.",
        |values, name, value| {
            let lower = value.to_ascii_lowercase();
            let version = match &*lower {
                "" => return Ok(()),
                "proxy" => "v1",
                other => other.strip_prefix("proxy-").unwrap_or("none"),
            };
            proxy(values, name, value, version)
        },
    )
    .on_services()
    .differs(NO_NAME),
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
        &[NGINX, HAPROXY, OLD],
        "ssl-ciphers",
        "a list of cipher suites, as in OpenSSL",
        "None: clients are offered the same suites on all hosts, those with ECDHE and AES-GCM or \
         ChaCha20. A finding names those that the list does not have.",
        |values, name, value| {
            let read = ciphers::parse(value);
            let read = read.ok_or_else(|| not(value, "a list of cipher suites"))?;
            let others = read.others().join(", ");
            if !others.is_empty() {
                let message = format!(
                    "the cipher suites are the same on all hosts: clients are offered {others} too"
                );
                values.unsupported(name, &message);
            }
            Ok(())
        },
    ),
    row(
        &[NGINX, OLD],
        "ssl-prefer-server-ciphers",
        "true, false",
        "None: the order of the suites is that of gatelet, as with true. For false a finding says \
         so.",
        |values, name, value| {
            if !boolean(value)? {
                let message = "the order of cipher suites is that of gatelet, not of the client";
                values.unsupported(name, message);
            }
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

/// Reads the version of the header of the PROXY protocol.
fn proxy(
    values: &mut AnnotationValues,
    name: &str,
    value: &str,
    version: &str,
) -> Result<(), InvalidValue> {
    let version = match version {
        "v1" => ProxyVersion::V1,
        "v2" => ProxyVersion::V2,
        "v2-ssl" | "v2-ssl-cn" => ProxyVersion::V2Tls,
        _ => return Err(none_of(value, "the versions of the PROXY protocol")),
    };
    if value.ends_with("-cn") {
        let message = "the header has no name of the certificate of a client";
        values.unsupported(name, message);
    }
    values.terms.sends_proxy = Some(SendsProxy::Version(version));
    Ok(())
}
