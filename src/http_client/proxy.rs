//! Proxies for outgoing connections, from the variables `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`
//! and `NO_PROXY`, in lower or upper case.

use std::{fmt, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};
use ipnet::IpNet;

use super::{error::HttpError, target::Origin};
use crate::util::{hash::fnv1a, percent};

/// The proxies by scheme, and their exceptions. By default there is no proxy.
#[derive(Clone, Debug, Default)]
pub struct Proxy {
    https: Option<Server>,
    http: Option<Server>,
    not: Vec<Not>,
}

/// A proxy.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) origin: Origin,
    /// `Proxy-Authorization`, made from the URL's user and password.
    pub(super) authorization: Option<HeaderValue>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin.authority())
    }
}

/// An exception of `NO_PROXY`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Not {
    Everything,
    Net(IpNet),
    /// A name and all below it, with a port or with any.
    Name(Box<str>, Option<u16>),
}

impl Proxy {
    /// Reads the variables of the environment.
    ///
    /// # Errors
    /// A variable is set to something other than an http or https URL. SOCKS is not supported.
    pub fn from_environment() -> Result<Self, HttpError> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// Hashes the variables of the environment that decide how a CA is reached, so that what they
    /// caused is over once they are changed.
    pub fn environment_fingerprint() -> u64 {
        Self::fingerprint(|name| std::env::var(name).ok())
    }

    pub(super) fn fingerprint(read: impl Fn(&str) -> Option<String>) -> u64 {
        const NAMES: [&str; 6] = [
            "HTTPS_PROXY",
            "HTTP_PROXY",
            "ALL_PROXY",
            "NO_PROXY",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
        ];
        let values = NAMES.map(|name| (read(&name.to_ascii_lowercase()), read(name)));
        fnv1a(format!("{values:?}").as_bytes())
    }

    pub(super) fn from_variables(read: impl Fn(&str) -> Option<String>) -> Result<Self, HttpError> {
        // Lower case takes precedence, as in curl.
        let get = |name: &str| {
            let found = |name: &str| {
                read(name)
                    .map(|value| value.trim().to_owned())
                    .filter(|value| !value.is_empty())
            };
            found(&name.to_ascii_lowercase())
                .or_else(|| found(name))
                .map(|value| (name.to_owned(), value))
        };

        let server = |own: &str| {
            let Some((name, value)) = get(own).or_else(|| get("ALL_PROXY")) else {
                return Ok(None);
            };
            Server::parse(&value)
                .map(Some)
                .ok_or(HttpError::ProxyUrl(name))
        };
        let not = get("NO_PROXY").map(|(_, list)| list).unwrap_or_default();
        Ok(Self {
            https: server("HTTPS_PROXY")?,
            http: server("HTTP_PROXY")?,
            not: not.split([',', ' ']).filter_map(Not::parse).collect(),
        })
    }

    /// Returns the proxy for a server, if it needs one. Servers on this machine never do.
    pub(super) fn towards(&self, origin: &Origin) -> Option<&Server> {
        let server = if origin.tls {
            self.https.as_ref()
        } else {
            self.http.as_ref()
        }?;
        let address: Option<IpAddr> = origin.host.parse().ok();
        let here = address.map_or_else(
            || &*origin.host == "localhost",
            |address| address.is_loopback(),
        );
        (!here && !self.not.iter().any(|not| not.covers(origin, address))).then_some(server)
    }
}

impl Server {
    /// Parses a URL, or a host with a port, which means http.
    fn parse(text: &str) -> Option<Self> {
        let text = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let uri: Uri = text.parse().ok()?;
        let origin = Origin::of(&uri).ok()?;

        let user = uri.authority()?.as_str().rsplit_once('@');
        let authorization = user.and_then(|(user, _)| {
            let colon = if user.contains(':') { "" } else { ":" };
            let login = STANDARD.encode(percent::decode(&format!("{user}{colon}")));
            let mut value = HeaderValue::from_str(&format!("Basic {login}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Some(Self {
            origin,
            authorization,
        })
    }
}

impl Not {
    fn parse(item: &str) -> Option<Self> {
        if item.is_empty() {
            return None;
        }
        if item == "*" {
            return Some(Self::Everything);
        }
        if let Ok(net) = item.parse() {
            return Some(Self::Net(net));
        }
        if let Ok(address) = item.parse::<IpAddr>() {
            return Some(Self::Net(address.into()));
        }

        let (name, port) = match item.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (item, None),
        };
        let name = name
            .trim_start_matches('*')
            .trim_start_matches('.')
            .to_ascii_lowercase();
        (!name.is_empty()).then(|| Self::Name(name.into(), port))
    }

    fn covers(&self, origin: &Origin, address: Option<IpAddr>) -> bool {
        match self {
            Self::Everything => true,
            Self::Net(net) => address.is_some_and(|address| net.contains(&address)),
            Self::Name(name, port) => {
                let below = origin
                    .host
                    .strip_suffix(&**name)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
                below && port.is_none_or(|port| port == origin.port)
            }
        }
    }
}
