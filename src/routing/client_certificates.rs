//! Certificates of clients: what a host asks of those that connect to it, and whom it lets in.

use std::sync::Arc;

use super::{Authorities, Pattern, PatternError, Refusal, expression};

/// The terms on which a host lets clients in by their certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The annotations that it is made from, for people.
    pub from: Box<str>,
    /// The clients that come in.
    pub verify: VerifyClient,
    /// The authorities that are trusted, or the reason why all clients are refused.
    pub authorities: Result<Arc<Authorities>, Refusal>,
    /// The most certificates between that of a client and that of an authority.
    pub depth: usize,
    /// The subject that a certificate must have.
    pub subject: Option<SubjectPattern>,
    /// The target of a redirect for those who do not come in.
    pub error_page: Option<Box<str>>,
    /// The fields that the backend gets about a certificate.
    pub fields: CertificateFields,
}

/// The clients that come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyClient {
    /// All: no client is asked for a certificate.
    Off,
    /// Those with a certificate of an authority.
    On,
    /// The same, and those without any certificate.
    Optional,
    /// The same, and those with a certificate of an unknown authority.
    OptionalNoCa,
}

/// The fields that the backend gets about a certificate, besides those with its subject, its issuer
/// and the result of its verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertificateFields {
    /// `ssl-client-cert` with the certificate, in the form of nginx.
    pub certificate: bool,
    /// The fields of HAProxy Ingress.
    pub haproxy: bool,
    /// `X-SSL-Client-Cert` with the certificate, in the form of HAProxy Ingress.
    pub haproxy_certificate: bool,
}

/// A regular expression for the subject of a certificate (RFC 4514), which may match any part of
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectPattern {
    text: Box<str>,
    pattern: Pattern,
}

impl ClientCertificates {
    /// Returns true if clients are asked for a certificate, and their handshake has to begin with
    /// these terms.
    pub fn asks(&self) -> bool {
        self.verify != VerifyClient::Off && self.authorities.is_ok()
    }

    /// Returns true if both ask clients in the same way, so that a client that was asked with one
    /// has been asked with the other.
    pub fn asks_as(&self, other: &Self) -> bool {
        let is_same = |one: &Arc<Authorities>, other: &Arc<Authorities>| {
            Arc::ptr_eq(one, other) || one.certificates == other.certificates
        };
        self.verify == other.verify
            && match (&self.authorities, &other.authorities) {
                (Ok(one), Ok(other)) => is_same(one, other),
                _ => false,
            }
    }

    /// Returns true if both let the same clients in.
    pub fn admits_as(&self, other: &Self) -> bool {
        (self.verify, self.depth) == (other.verify, other.depth)
            && self.authorities == other.authorities
            && self.subject == other.subject
    }
}

impl VerifyClient {
    /// Returns the name that annotations have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Optional => "optional",
            Self::OptionalNoCa => "optional_no_ca",
        }
    }
}

impl SubjectPattern {
    /// Compiles a regular expression.
    ///
    /// # Errors
    /// If it is no regular expression, needs more than one can do without going back, or is above a
    /// bound.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if let Some(operator) = expression::other_dialect(text) {
            return Err(PatternError::Syntax(
                format!("{operator:?} is not supported").into(),
            ));
        }
        Ok(Self {
            text: text.into(),
            pattern: Pattern::parse_within(text, false)?,
        })
    }

    /// Returns the expression.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns true if it matches a part of the subject.
    pub fn matches(&self, subject: &str) -> bool {
        self.pattern.matches(subject.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_matched_in_any_part() {
        for (text, subject, expected) in [
            ("CN=ann", "CN=ann,O=shop", true),
            ("CN=ann", "O=shop,CN=anna", true),
            ("CN=ann$", "CN=ann,O=shop", false),
            ("^CN=ann,", "CN=ann,O=shop", true),
            ("CN=(ann|bob)", "CN=bob", true),
            ("CN=ann|CN=bob", "O=shop,CN=bob", true),
            ("CN=ann", "CN=Ann", false),
            ("CN=ann", "", false),
            ("CN=.*", "", false),
        ] {
            let pattern = SubjectPattern::parse(text).expect(text);
            assert_eq!(pattern.matches(subject), expected, "{text} {subject}");
        }
        for text in ["CN=(", "CN=(?=a)", "CN=a++", "CN=)(", r"CN=(a)\1"] {
            assert!(SubjectPattern::parse(text).is_err(), "{text}");
        }
    }
}
