//! Annotations about certificates of clients.

use super::{
    row::{Annotation, HAPROXY, NGINX, OLD, OURS, nothing, row},
    value::{InvalidValue, boolean, filled, none_of, not},
    values::{AnnotationValues, ClientValues},
};
use crate::routing::{SubjectPattern, VerifyClient};

/// The prefixes of controllers with these names.
const EVERYBODY: &[&str] = &[OURS, NGINX, HAPROXY, OLD];
const OF_NGINX: &[&str] = &[OURS, NGINX, OLD];
const OF_HAPROXY: &[&str] = &[OURS, HAPROXY, OLD];

const MODES: &str = "on, off, optional, optional_no_ca";
/// The longest path that is verified, as in OpenSSL.
const MAX_DEPTH: usize = 100;

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        EVERYBODY,
        "auth-tls-secret",
        "the name of a Secret of the same namespace, or its namespace and name",
        "Its key `ca.crt` has the authorities of client certificates, and `ca.crl` their lists of \
         revoked certificates. Applies to the whole host. 400 for clients without a certificate, \
         or with a wrong one. The backend gets `ssl-client-verify`, `ssl-client-subject-dn` and \
         `ssl-client-issuer-dn`, and none of these from clients.",
        |values, name, value| {
            client(values, name).secret = filled(value);
            Ok(())
        },
    )
    .guard()
    .differs(
        "Plain HTTP is redirected to HTTPS. 421 on a connection for another host. Secrets of other \
         namespaces close the host. HAProxy returns 495 and 496.",
    ),
    row(
        EVERYBODY,
        "auth-tls-verify-client",
        MODES,
        "on: as above; this is the default. optional: clients without a certificate come in, with \
         `ssl-client-verify: NONE`. optional_no_ca: those with a certificate of an unknown \
         authority too, with `FAILED` and the reason. off: no client is asked.",
        |values, name, value| {
            let mode = match value {
                "" | "on" => VerifyClient::On,
                "off" => VerifyClient::Off,
                "optional" => VerifyClient::Optional,
                "optional_no_ca" => VerifyClient::OptionalNoCa,
                _ => return refuse(values, name, none_of(value, MODES)),
            };
            client(values, name).verify = Some(mode);
            Ok(())
        },
    )
    .guard()
    .differs(
        "ingress-nginx takes other values for on. With optional_no_ca HAProxy lets expired \
         certificates in too.",
    ),
    row(
        OF_NGINX,
        "auth-tls-verify-depth",
        "a number",
        "The most certificates between that of the client and that of the authority; 1 without it.",
        |values, name, value| {
            // ingress-nginx takes 0 for the default.
            let depth = match value.parse() {
                Ok(0) => 1,
                Ok(depth) if depth <= MAX_DEPTH => depth,
                _ if value.is_empty() => 1,
                _ => return refuse(values, name, not(value, "a number up to 100")),
            };
            client(values, name).depth = Some(depth);
            Ok(())
        },
    )
    .guard(),
    row(
        EVERYBODY,
        "auth-tls-error-page",
        "a URL",
        "302 to it instead of 400.",
        |values, name, value| {
            let lower = value.to_ascii_lowercase();
            let is_url = ["http://", "https://"]
                .iter()
                .any(|start| lower.starts_with(start));
            let is_url = is_url && value.bytes().all(|byte| byte.is_ascii_graphic());
            if !value.is_empty() && !is_url {
                return refuse(values, name, not(value, "a URL of HTTP"));
            }
            client(values, name).error_page = filled(value);
            Ok(())
        },
    )
    .guard()
    .differs("Named locations of nginx close the host."),
    row(
        OF_NGINX,
        "auth-tls-pass-certificate-to-upstream",
        "true, false",
        "The backend gets the certificate in `ssl-client-cert`, as PEM with percent-encoding.",
        |values, name, value| {
            let passes = boolean(value)?;
            client(values, name).passes_certificate = passes;
            Ok(())
        },
    ),
    row(
        OF_NGINX,
        "auth-tls-match-cn",
        "a regular expression that begins with `CN=`",
        "403 if the subject of the certificate (RFC 4514) has no part that it matches.",
        |values, name, value| {
            let subject = match value {
                "" => None,
                text if !text.starts_with("CN=") => {
                    return refuse(
                        values,
                        name,
                        not(text, "an expression that begins with CN="),
                    );
                }
                text => match SubjectPattern::parse(text) {
                    Ok(subject) => Some(subject),
                    Err(error) => {
                        return refuse(values, name, InvalidValue::Pattern(error));
                    }
                },
            };
            client(values, name).subject = subject;
            Ok(())
        },
    )
    .guard(),
    row(
        OF_HAPROXY,
        "auth-tls-cert-header",
        "true, false",
        "The backend gets the certificate in `X-SSL-Client-Cert`, as base64. Under \
         `haproxy-ingress.github.io/` it gets `X-SSL-Client-CN`, `X-SSL-Client-DN` and \
         `X-SSL-Client-SHA1` in any case.",
        |values, name, value| {
            match boolean(value) {
                Ok(passes) => client(values, name).passes_base64 = passes,
                Err(error) => return refuse(values, name, error),
            }
            Ok(())
        },
    )
    .guard()
    .differs("Without quotation marks. The subject is in the form of RFC 4514."),
    row(
        OF_HAPROXY,
        "auth-tls-strict",
        "true, false",
        "None: a host whose authorities are not known returns 503.",
        nothing,
    )
    .guard(),
];

/// Returns the settings that annotations with the prefix of this one make.
fn client<'a>(values: &'a mut AnnotationValues, name: &str) -> &'a mut ClientValues {
    let end = name.find('/').map_or(0, |slash| slash + 1);
    let client = values.clients.entry(name[..end].into()).or_default();
    client.from.push(name.into());
    client
}

/// Closes the whole host: the annotation is about all of it.
fn refuse(
    values: &mut AnnotationValues,
    name: &str,
    error: InvalidValue,
) -> Result<(), InvalidValue> {
    client(values, name).is_invalid = true;
    Err(error)
}
