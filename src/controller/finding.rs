//! Findings: problems and notes about single objects.

use std::{fmt, sync::Arc};

use crate::objects::{EventType, Kind, ObjectRef};

/// A problem or note for the owner of an object. Findings are data: they never stop a compile.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    /// The object concerned.
    pub about: ObjectRef,
    /// `Warning` for what takes a rule down or weakens it, `Normal` for a note.
    pub severity: EventType,
    /// The kind of problem.
    pub reason: Reason,
    /// The field concerned (`spec.rules[0].http.paths[0].path`); empty for the whole object.
    pub field: Box<str>,
    /// The cause.
    pub message: Message,
}

impl Finding {
    /// Reports whether paths are closed because of it. Every message about that says so, with the
    /// status that clients get.
    pub fn closes(&self) -> bool {
        self.severity == EventType::Warning && self.message.to_string().contains("503")
    }
}

/// The cause of a finding, in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Any sentence.
    Text(Box<str>),
    /// An object of the same namespace does not exist.
    Missing(Missing),
}

/// An object that another one names and that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Missing {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// The consequence for the object that names it.
    pub effect: &'static str,
}

impl<T: Into<Box<str>>> From<T> for Message {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Missing(Missing { kind, name, effect }) => {
                write!(f, "{} {name} does not exist: {effect}", kind.name())
            }
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The kind of a [`Finding`]. `docs/findings.md` lists them for users.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// All reasons, in alphabetical order.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Returns the name that Events, metrics and reports use. It is stable.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }
        }
    };
}

reasons! {
    /// Two Ingresses ask for different certificates in the same Secret.
    CertificateConflict,
    /// The certificate in a Secret that gatelet does not renew has expired.
    CertificateExpired,
    /// The certificate in a Secret that gatelet does not renew expires soon.
    CertificateExpiring,
    /// The certificate in a Secret is for other hosts.
    CertificateMismatch,
    /// A ConfigMap that an annotation names does not exist.
    ConfigMapNotFound,
    /// No endpoints have a port with the name of the Service's port.
    EndpointPortMismatch,
    /// No endpoint of a Service is in a group that has requests.
    EndpointsWithoutGroup,
    /// An older Ingress of another namespace has the host too.
    HostTaken,
    /// The value of an annotation is not valid.
    InvalidAnnotation,
    /// No certificate can be issued for the hosts of an entry under `tls`.
    InvalidCertificateRequest,
    /// A ConfigMap has a field that cannot be set.
    InvalidConfigMap,
    /// A host is not valid.
    InvalidHost,
    /// A ConfigMap labelled as an issuer does not describe one.
    InvalidIssuer,
    /// A Middleware is not valid.
    InvalidMiddleware,
    /// A path or its type is not valid.
    InvalidPath,
    /// An entry of a ConfigMap with ports is not valid.
    InvalidPort,
    /// The certificate or key in a Secret cannot be used.
    InvalidSecret,
    /// A ServersTransport is not valid.
    InvalidServersTransport,
    /// The paths of the host are regular expressions because of another Ingress.
    PathIsExpression,
    /// A different rule has the same host and path.
    PathTaken,
    /// The cluster does not allow gatelet to read Pods.
    PodsForbidden,
    /// A port belongs to gatelet itself or to an older object.
    PortTaken,
    /// A port cannot be opened on this device.
    PortUnavailable,
    /// Clients of a port use the PROXY protocol otherwise than the port expects.
    ProxyMismatch,
    /// The label of a Secret that gatelet writes was removed.
    SecretLabelRemoved,
    /// A Secret does not exist, and gatelet does not issue its certificate.
    SecretNotFound,
    /// The cluster does not allow gatelet to read Secrets.
    SecretsForbidden,
    /// A Service of the mini cluster has a selector, but no Pods exist there.
    SelectorWithoutPods,
    /// The last TLS handshake with an endpoint failed.
    TlsHandshakeFailed,
    /// Configuration of nginx is translated into steps.
    TranslatedSnippet,
    /// A field of the object cannot be decoded.
    Undecodable,
    /// An annotation is unknown.
    UnknownAnnotation,
    /// No issuer has this name.
    UnknownIssuer,
    /// A Middleware does not exist.
    UnknownMiddleware,
    /// The Service does not have this port.
    UnknownPort,
    /// A ServersTransport does not exist.
    UnknownServersTransport,
    /// The Service does not exist.
    UnknownService,
    /// An annotation asks for something that gatelet does not do.
    UnsupportedAnnotation,
    /// The backend of a path is not a Service.
    UnsupportedBackend,
    /// The object must receive only a part of the requests.
    UnsupportedCanary,
    /// An annotation restricts access in a way that gatelet does not support.
    UnsupportedGuard,
    /// A Middleware asks for something that gatelet does not do.
    UnsupportedMiddleware,
    /// A path is a regular expression or a wildcard.
    UnsupportedPath,
    /// A ServersTransport asks for something that gatelet does not do.
    UnsupportedServersTransport,
    /// A key of the ConfigMap of ingress-nginx has no effect.
    UnsupportedSetting,
    /// A canary takes no requests of a rule.
    UnusedCanary,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
