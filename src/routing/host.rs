//! Host names: the grammar of `Host` and `:authority`, and the patterns of rules.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

/// The longest host name (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 253;

/// A host name in canonical form: lower case, without port and trailing dot. An IPv6 literal keeps
/// its brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

/// The hosts a rule is for, as Ingress v1 spells them (`spec.rules[].host`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Exactly this host.
    Exact(Host),
    /// `*.suffix`: exactly one more label in front of the suffix, which is kept here without `*.`.
    Wildcard(Host),
    /// Every host that no other pattern matches.
    Any,
}

/// A checked `Host` field or `:authority` (RFC 9112 section 3.2, RFC 3986 section 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host in canonical form.
    pub host: Cow<'a, str>,
    /// The port, if one was given.
    pub port: Option<u16>,
}

/// The reason why a host is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// No characters.
    #[error("the host is empty")]
    Empty,
    /// Over 253 characters, or a label over 63.
    #[error("the host is too long")]
    TooLong,
    /// A character that no host has, or an empty label.
    #[error("the host has a character that is not allowed")]
    Character,
    /// `[...]` that is no IPv6 address.
    #[error("the host is not an IPv6 address")]
    Ipv6,
    /// Not a number up to 65535.
    #[error("the port is not a number up to 65535")]
    Port,
}

// === Host ===

impl Host {
    /// Parses a host without port. Upper case and one trailing dot are brought to the canonical
    /// form.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        canonical(text.as_bytes()).map(|host| Self(host.into()))
    }

    /// Returns the canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the address, if the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.0
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .ok()
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self(match ip {
            IpAddr::V4(v4) => v4.to_string().into(),
            IpAddr::V6(v6) => format!("[{v6}]").into(),
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

// === HostPattern ===

impl HostPattern {
    /// Parses `spec.rules[].host`: empty is [`HostPattern::Any`], a leading `*.` makes a wildcard.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        match text.strip_prefix("*.") {
            _ if text.is_empty() => Ok(Self::Any),
            Some(suffix) => Host::parse(suffix).map(Self::Wildcard),
            None => Host::parse(text).map(Self::Exact),
        }
    }

    /// Returns the length of the rule about the host as Traefik writes it, which counts for the
    /// places of rules ([`Rule::rank`](super::Rule::rank)).
    pub(super) fn rule_length(&self) -> usize {
        const AROUND: &str = "Host(\"\") && ";
        match self {
            Self::Exact(host) => AROUND.len() + host.as_str().len(),
            Self::Wildcard(suffix) => AROUND.len() + "*.".len() + suffix.as_str().len(),
            Self::Any => 0,
        }
    }

    /// Reports whether the pattern matches a canonical host.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.as_str() == host,
            Self::Wildcard(suffix) => wildcard_suffix(host) == Some(suffix.as_str()),
            Self::Any => true,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => host.fmt(f),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
            Self::Any => f.write_str("*"),
        }
    }
}

// === Authority ===

impl<'a> Authority<'a> {
    /// Checks the bytes of a `Host` field or `:authority`. Allocates only to bring upper case to
    /// lower.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HostError> {
        let end = match bytes.first() {
            None => return Err(HostError::Empty),
            Some(b'[') => {
                bytes
                    .iter()
                    .position(|b| *b == b']')
                    .ok_or(HostError::Ipv6)?
                    + 1
            }
            Some(_) => bytes.iter().position(|b| *b == b':').unwrap_or(bytes.len()),
        };

        let (host, rest) = bytes.split_at(end);
        let port = match rest {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(port(digits)?),
            _ => return Err(HostError::Character),
        };

        Ok(Self {
            host: canonical(host)?,
            port,
        })
    }
}

/// Returns the part of a host behind its first label; `None` for a single label.
pub(super) fn wildcard_suffix(host: &str) -> Option<&str> {
    host.split_once('.')
        .filter(|(label, _)| !label.is_empty())
        .map(|(_, suffix)| suffix)
}

fn port(digits: &[u8]) -> Result<u16, HostError> {
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HostError::Port);
    }
    let number = digits
        .iter()
        .fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    u16::try_from(number).map_err(|_too_large| HostError::Port)
}

fn canonical(host: &[u8]) -> Result<Cow<'_, str>, HostError> {
    let host = host.strip_suffix(b".").unwrap_or(host);
    if host.is_empty() {
        return Err(HostError::Empty);
    }
    if host.len() > MAX_HOST {
        return Err(HostError::TooLong);
    }

    // The loop below accepts only ASCII, so this refuses nothing that it would accept.
    let text = std::str::from_utf8(host).map_err(|_not_ascii| HostError::Character)?;
    if let Some(literal) = text.strip_prefix('[') {
        let address: Ipv6Addr = literal
            .strip_suffix(']')
            .and_then(|inner| inner.parse().ok())
            .ok_or(HostError::Ipv6)?;
        return Ok(Cow::Owned(format!("[{address}]")));
    }

    let mut upper = false;
    let mut label = 0;
    for byte in host {
        match byte {
            b'.' if label == 0 => return Err(HostError::Character),
            b'.' => label = 0,
            // Underscores are no host name (RFC 952), but browsers send them and nginx serves them.
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'A'..=b'Z' => {
                upper = true;
                label += 1;
            }
            _ => return Err(HostError::Character),
        }
        if label > 63 {
            return Err(HostError::TooLong);
        }
    }

    if label == 0 {
        return Err(HostError::Character);
    }

    Ok(if upper {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    })
}

#[cfg(test)]
mod tests;
