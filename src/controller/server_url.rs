//! The URL of a server that is asked beside backends, as annotations write it: for logins, or for
//! copies of requests.

use crate::routing::{Authority, Host, Variables, VariablesError};

/// The most bytes of a URL.
const MAX_URL: usize = 2048;

/// The URL of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerUrl {
    pub(super) text: Box<str>,
    pub(super) server: UrlServer,
    /// The path and the query.
    pub(super) target: Variables,
}

/// The server in such a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UrlServer {
    /// The host of the request.
    OwnHost,
    /// A Service.
    Service {
        /// `None` for that of the object.
        namespace: Option<Box<str>>,
        name: Box<str>,
        port: UrlPort,
        https: bool,
        /// Host and port as they are written, for `Host`.
        authority: Box<str>,
        /// The host alone, for TLS.
        host: Option<Host>,
    },
    /// A host that DNS knows, or an address.
    Host {
        host: Host,
        port: u16,
        https: bool,
        /// Host and port as they are written, for `Host`.
        authority: Box<str>,
        /// True if the port is that of the scheme.
        is_default_port: bool,
    },
}

/// The port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UrlPort {
    Number(u16),
    Name(Box<str>),
}

/// The reason why such a URL is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ServerUrlError {
    #[error("it is not a URL that begins with http://, https:// or svc://")]
    Scheme,
    #[error("it has a character that no URL has")]
    Character,
    #[error("it has more than {MAX_URL} bytes")]
    TooLong,
    #[error("it has a user, a password or a fragment")]
    UserOrFragment,
    #[error("{0:?} is not a host with or without a port")]
    Host(Box<str>),
    #[error("$host stands alone or in the path: other variables do not choose the server")]
    VariableHost,
    #[error("{0:?} has no domain: write NAME.NAMESPACE.svc for a Service")]
    NoDomain(Box<str>),
    #[error("svc:// is followed by the name and the port of a Service of the same namespace")]
    Service,
    #[error("{0}")]
    Variables(VariablesError),
}

/// The variables for the host of the request.
const OWN: [&str; 6] = [
    "$host",
    "${host}",
    "$http_host",
    "${http_host}",
    "$best_http_host",
    "${best_http_host}",
];

/// The variables that begin with a path.
const PATHS: [&str; 4] = ["$request_uri", "${request_uri}", "$uri", "${uri}"];

/// The ends of the names of Services.
const CLUSTER: [&str; 2] = [".svc.cluster.local", ".svc"];

impl ServerUrl {
    /// Parses a URL. Variables may stand in its path and query; `$host` alone may be its host, and
    /// `$scheme` its scheme then.
    ///
    /// # Errors
    /// If it is no URL, or parts of a request could choose the server.
    pub(super) fn parse(text: &str) -> Result<Self, ServerUrlError> {
        if text.len() > MAX_URL {
            return Err(ServerUrlError::TooLong);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ServerUrlError::Character);
        }

        let (scheme, rest) = text.split_once("://").ok_or(ServerUrlError::Scheme)?;
        let scheme = scheme.to_ascii_lowercase();
        let (authority, target) = match &*scheme {
            "svc" | "service" => return Self::of_service(text, rest),
            "http" | "https" | "$scheme" | "${scheme}" | "$pass_access_scheme" => split(rest),
            _ => return Err(ServerUrlError::Scheme),
        };

        let server = match authority {
            own if OWN.contains(&own) => UrlServer::OwnHost,
            variable if variable.contains('$') || scheme.starts_with('$') => {
                return Err(ServerUrlError::VariableHost);
            }
            plain => server(plain, scheme == "https")?,
        };
        Self::new(text, server, target)
    }

    /// Parses the rest of a URL in the form of HAProxy Ingress: a Service, with or without its
    /// namespace.
    fn of_service(text: &str, rest: &str) -> Result<Self, ServerUrlError> {
        let end = rest.find('/').unwrap_or(rest.len());
        let (first, mut target) = rest.split_at(end);
        let (mut namespace, mut service) = (None, first);
        if !first.contains(':') {
            let rest = target.strip_prefix('/').ok_or(ServerUrlError::Service)?;
            let end = rest.find('/').unwrap_or(rest.len());
            namespace = Some(first.into());
            (service, target) = rest.split_at(end);
        }

        let (name, port) = service.split_once(':').ok_or(ServerUrlError::Service)?;
        let is_label = |label: &str| {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !label.is_empty() && label.len() < 64 && label.chars().all(is_part)
        };
        if ![name, port, first.split(':').next().unwrap_or_default()]
            .into_iter()
            .all(is_label)
        {
            return Err(ServerUrlError::Service);
        }

        let server = UrlServer::Service {
            namespace,
            name: name.into(),
            port: match port.parse() {
                Ok(number) => UrlPort::Number(number),
                Err(_name) => UrlPort::Name(port.into()),
            },
            https: false,
            authority: service.into(),
            host: None,
        };
        Self::new(text, server, target)
    }

    fn new(text: &str, server: UrlServer, target: &str) -> Result<Self, ServerUrlError> {
        if target.contains('#') {
            return Err(ServerUrlError::UserOrFragment);
        }
        let begins = target.starts_with('/') || PATHS.iter().any(|path| target.starts_with(path));
        let target = match begins {
            true => target.to_owned(),
            false => format!("/{target}"),
        };
        Ok(Self {
            text: text.into(),
            server,
            target: Variables::parse(&target).map_err(ServerUrlError::Variables)?,
        })
    }
}

/// Splits the part behind the scheme into the authority and the rest.
fn split(rest: &str) -> (&str, &str) {
    let path = PATHS.iter().filter_map(|path| rest.find(path)).min();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    rest.split_at(path.map_or(end, |path| path.min(end)))
}

/// Parses a host with or without a port.
fn server(authority: &str, https: bool) -> Result<UrlServer, ServerUrlError> {
    if authority.contains('@') {
        return Err(ServerUrlError::UserOrFragment);
    }
    let wrong = || ServerUrlError::Host(authority.into());
    let parsed = Authority::parse(authority.as_bytes()).map_err(|_why| wrong())?;
    let host = Host::parse(&parsed.host).map_err(|_why| wrong())?;
    let default = if https { 443 } else { 80 };
    let port = parsed.port.unwrap_or(default);
    if port == 0 {
        return Err(wrong());
    }

    let labels: Vec<&str> = CLUSTER
        .iter()
        .find_map(|end| host.as_str().strip_suffix(end))
        .map_or_else(Vec::new, |name| name.split('.').collect());
    if let [name, namespace] = labels[..] {
        return Ok(UrlServer::Service {
            namespace: Some(namespace.into()),
            name: name.into(),
            port: UrlPort::Number(port),
            https,
            authority: authority.into(),
            host: Some(host.clone()),
        });
    }

    if !host.as_str().contains('.') && host.ip().is_none() {
        return Err(ServerUrlError::NoDomain(host.as_str().into()));
    }
    Ok(UrlServer::Host {
        host,
        port,
        https,
        authority: authority.into(),
        is_default_port: port == default,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the server and the target of a URL in short.
    fn short(text: &str) -> String {
        let url = ServerUrl::parse(text).expect(text);
        let server = match url.server {
            UrlServer::OwnHost => "own".to_owned(),
            UrlServer::Service {
                namespace,
                name,
                port,
                https,
                authority,
                ..
            } => {
                let namespace = namespace.unwrap_or_default();
                format!("service {namespace}/{name} {port:?} {https} {authority}")
            }
            UrlServer::Host {
                host,
                port,
                https,
                authority,
                ..
            } => format!("host {} {port} {https} {authority}", host.as_str()),
        };
        format!("{server} {}", url.target.as_str())
    }

    #[test]
    fn urls_lead_to_a_server() {
        for (text, expected) in [
            ("https://$host/oauth2/auth", "own /oauth2/auth"),
            ("$scheme://$http_host/a?b=$arg_c", "own /a?b=$arg_c"),
            (
                "http://auth.example",
                "host auth.example 80 false auth.example /",
            ),
            (
                "HTTPS://Auth.Example:8443/x?y",
                "host auth.example 8443 true Auth.Example:8443 /x?y",
            ),
            (
                "http://auth.example$request_uri",
                "host auth.example 80 false auth.example $request_uri",
            ),
            (
                "http://auth.example?x=$host",
                "host auth.example 80 false auth.example /?x=$host",
            ),
            ("http://10.0.0.2", "host 10.0.0.2 80 false 10.0.0.2 /"),
            (
                "http://[2001:db8::1]:8080/x",
                "host [2001:db8::1] 8080 false [2001:db8::1]:8080 /x",
            ),
            (
                "http://proxy.auth.svc.cluster.local:4180/auth",
                "service auth/proxy Number(4180) false proxy.auth.svc.cluster.local:4180 /auth",
            ),
            (
                "https://proxy.auth.svc",
                "service auth/proxy Number(443) true proxy.auth.svc /",
            ),
            (
                "http://pod.proxy.auth.svc.cluster.local/",
                "host pod.proxy.auth.svc.cluster.local 80 false \
                 pod.proxy.auth.svc.cluster.local /",
            ),
            (
                "svc://proxy:80/auth",
                "service /proxy Number(80) false proxy:80 /auth",
            ),
            (
                "service://other/proxy:web",
                "service other/proxy Name(\"web\") false proxy:web /",
            ),
        ] {
            assert_eq!(short(text), expected, "{text}");
        }
    }

    #[test]
    fn what_leads_to_no_server_is_refused() {
        for text in [
            "",
            "basic",
            "/auth",
            "ftp://auth.example/",
            "javascript://auth.example/",
            "http://",
            "http:///auth",
            "http://auth",
            "http://auth:80/x",
            "http://user@auth.example/",
            "http://user:password@auth.example/",
            "http://auth.example/#x",
            "http://auth.example:0/",
            "http://auth.example:99999/",
            "http://auth.example/a b",
            "http://auth.example/\u{e4}",
            "http://auth.example/\r\nx",
            "http://auth.example$arg_x",
            "http://$arg_server/",
            "http://$http_x_server/auth",
            "http://$host.evil.example/",
            "http://$host:4180/auth",
            "$scheme://auth.example/",
            "http://auth.example/?x=$unknown",
            "http://auth.example/?x=$1",
            "svc://proxy",
            "svc://proxy/auth",
            "svc://:80/",
            "svc://pro.xy:80/",
            "svc://a/b/c:80",
        ] {
            assert!(ServerUrl::parse(text).is_err(), "{text}");
        }
        let long = format!("http://auth.example/{}", "a".repeat(3000));
        assert_eq!(ServerUrl::parse(&long), Err(ServerUrlError::TooLong));
    }
}
