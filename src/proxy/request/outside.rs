//! The scheme and port by which a client reaches us from outside. Between it and our listener there
//! may be a proxy that terminates TLS, a port mapping or a Service, so our own ports say little.
//! The client's `Host` shows the port.

use super::fields::{FieldName, Fields, elements};
use crate::proxy::conn::ConnInfo;

/// A URI scheme of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Without TLS.
    Http,
    /// Over TLS.
    Https,
}

/// The address of gatelet as a client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outside {
    /// The scheme that it uses, with us or with the trusted proxy in front of us.
    pub(crate) scheme: Scheme,
    /// The port that it connects to.
    pub(crate) port: u16,
    /// The port on which it reaches HTTPS.
    pub(crate) https_port: u16,
}

impl Scheme {
    /// Parses a scheme, or the WebSocket scheme that some proxies send for WebSocket requests.
    fn parse(name: &[u8]) -> Option<Self> {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        match () {
            () if is(b"https") || is(b"wss") => Some(Self::Https),
            () if is(b"http") || is(b"ws") => Some(Self::Http),
            () => None,
        }
    }

    /// Returns the name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Returns the default port of the scheme.
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// The ports of HTTPS.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HttpsPorts {
    /// The port of our listener; `None` without one.
    pub(crate) listener: Option<u16>,
    /// The port that clients see behind a port mapping or a balancer
    /// ([`Settings::external_https_port`](crate::proxy::Settings::external_https_port)).
    pub(crate) external: Option<u16>,
}

impl Outside {
    /// Derives it from a request whose `Host` has the port `host_port`.
    ///
    /// A `Host` without a port means the default port of the scheme. If its port is that of our
    /// listener, the client came directly and can reach our HTTPS listener too. Every other port is
    /// mapped, and so is that of HTTPS: 443, unless [`HttpsPorts::external`] is set.
    ///
    /// A balancer that speaks the PROXY protocol sends the port itself. If that is 443 and there is
    /// no TLS, the balancer has terminated TLS; ingress-nginx concludes the same.
    pub(crate) fn of(
        conn: &ConnInfo,
        fields: &Fields,
        host_port: Option<u16>,
        https: HttpsPorts,
    ) -> Self {
        let balancer = conn.listener.is_none().then(|| conn.local.port());
        let own = if conn.tls.is_some() || balancer == Some(443) {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let forwarded = if conn.trusted { scheme(fields) } else { None };
        let proxied =
            conn.trusted && (forwarded.is_some() || fields.contains(FieldName::XForwardedFor));
        let scheme = forwarded.unwrap_or(own);

        let listener = conn.listener.filter(|_| !proxied);
        let https_port = match (host_port, https.external) {
            (Some(port), _) if Some(port) == listener => https.listener,
            (None, None) if listener == Some(80) => https.listener,
            _ => None,
        };

        // If a proxy terminated TLS and put our own port into `Host`, the client's port is unknown.
        let host_port = host_port.filter(|port| scheme == own || Some(*port) != conn.listener);
        let host_port = host_port.or_else(|| balancer.filter(|_| !proxied));

        Self {
            scheme,
            port: host_port.unwrap_or_else(|| scheme.port()),
            https_port: https_port.or(https.external).unwrap_or(443),
        }
    }

    /// Returns the port as text, written to the end of `buffer`.
    pub(crate) fn port_text(self, buffer: &mut [u8; 5]) -> &[u8] {
        let mut start = buffer.len();
        let mut left = self.port;
        while start == buffer.len() || left > 0 {
            start -= 1;
            buffer[start] = b'0' + (left % 10) as u8;
            left /= 10;
        }
        &buffer[start..]
    }
}

/// Returns the client's scheme from `X-Forwarded-Proto`. Each proxy of a chain may add its own, so
/// the first is that of the outermost proxy; most frameworks read it the same way.
fn scheme(fields: &Fields) -> Option<Scheme> {
    let first = elements(fields.get(FieldName::XForwardedProto)?).next()?;
    Scheme::parse(first)
}

/// Returns true if `X-Forwarded-Proto` has a value that not every backend understands: anything but
/// one scheme.
pub(crate) fn is_scheme_unclear(fields: &Fields) -> bool {
    let mut values = fields.all(FieldName::XForwardedProto);
    values
        .next()
        .is_some_and(|first| Scheme::parse(first).is_none())
        || values.next().is_some()
}

#[cfg(test)]
mod tests;
