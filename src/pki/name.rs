//! Names and addresses that a certificate can be issued for.

use std::{fmt, net::IpAddr};

use crate::routing::{Host, HostPattern};

/// A name or address in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CertificateName {
    /// A DNS name in canonical form.
    Dns(Box<str>),
    /// A wildcard: the DNS name behind `*.`, in canonical form.
    Wildcard(Box<str>),
    /// An address (RFC 8738).
    Ip(IpAddr),
}

/// A text that no certificate can be issued for; at most its first 80 characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name or address that a certificate can be for")]
pub struct CertificateNameError(String);

impl CertificateName {
    /// Parses a host as it stands under `spec.tls[].hosts`, or an address, with or without
    /// brackets.
    pub fn parse(text: &str) -> Result<Self, CertificateNameError> {
        let error = || CertificateNameError(text.chars().take(80).collect());
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self::Ip(address));
        }

        // The same canonical form as in the routing table, so that the two can be compared.
        let pattern = HostPattern::parse(text).map_err(|_invalid| error())?;
        Self::of(&pattern).ok_or_else(error)
    }

    /// Returns the name of a host or wildcard. `None` for [`HostPattern::Any`], and for names that
    /// no CA accepts.
    pub fn of(pattern: &HostPattern) -> Option<Self> {
        match pattern {
            HostPattern::Exact(host) => match host.ip() {
                Some(address) => Some(Self::Ip(address)),
                None => has_public_form(host).then(|| Self::Dns(host.as_str().into())),
            },
            HostPattern::Wildcard(suffix) => {
                has_public_form(suffix).then(|| Self::Wildcard(suffix.as_str().into()))
            }
            HostPattern::Any => None,
        }
    }

    /// Returns the host that clients connect to. `None` for a wildcard.
    pub fn host(&self) -> Option<Host> {
        let text = match self {
            Self::Dns(name) => name.to_string(),
            Self::Ip(IpAddr::V6(v6)) => format!("[{v6}]"),
            Self::Ip(v4) => v4.to_string(),
            Self::Wildcard(_) => return None,
        };
        Host::parse(&text).ok()
    }

    /// Returns the identifier of its authorization: the name itself, or the part behind `*.`.
    pub fn base(&self) -> String {
        match self {
            Self::Dns(name) | Self::Wildcard(name) => name.to_string(),
            Self::Ip(address) => address.to_string(),
        }
    }
}

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Wildcard(name) => write!(f, "*.{name}"),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// Reports whether CAs accept the name. They refuse addresses behind `*.`, underscores (CA/Browser
/// Forum baseline requirements 7.1.4.2.1), and labels that begin or end with `-` (RFC 1123 section
/// 2.1).
fn has_public_form(host: &Host) -> bool {
    let is_good =
        |label: &str| !label.starts_with('-') && !label.ends_with('-') && !label.contains('_');
    host.ip().is_none() && host.as_str().split('.').all(is_good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_brought_to_canonical_form() {
        for (text, name, base) in [
            ("A.Test", "a.test", "a.test"),
            ("*.A.Test", "*.a.test", "a.test"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
            ("[2001:DB8::1]", "2001:db8::1", "2001:db8::1"),
        ] {
            let parsed = CertificateName::parse(text).expect("a name");
            assert_eq!((&*parsed.to_string(), &*parsed.base()), (name, base));
        }
    }

    #[test]
    fn names_that_cas_refuse_are_errors() {
        for text in ["", "a_b.test", "-a.test", "a-.test", "*.a_b.test", "a b"] {
            assert!(CertificateName::parse(text).is_err(), "{text}");
        }
        let long = "é_".repeat(200);
        let error = CertificateName::parse(&long).expect_err("an underscore");
        assert!(error.to_string().chars().count() < 200);
    }
}
