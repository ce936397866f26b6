//! The reasons why certificates of clients are not accepted.

use rustls::{CertificateError, Error};

/// The reason why a certificate of a client is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum ClientCertificateError {
    /// No authority has issued it.
    UnknownIssuer,
    /// No authority has issued those that lead from it, or too many are between it and one.
    UnknownChain,
    /// It is its own issuer, and no authority.
    SelfSigned,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// It is revoked.
    Revoked,
    /// No list of its issuer shows whether it is revoked.
    NoList,
    /// The list of its issuer has expired.
    ListExpired,
    /// It is not for clients.
    Purpose,
    /// A signature is wrong.
    Signature,
    /// It has anything else that cannot be accepted.
    Rejected,
}

/// Translates an error of rustls.
pub(super) fn reason(error: &Error) -> ClientCertificateError {
    let Error::InvalidCertificate(error) = error else {
        return ClientCertificateError::Rejected;
    };
    match error {
        CertificateError::UnknownIssuer => ClientCertificateError::UnknownIssuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ClientCertificateError::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ClientCertificateError::NotYetValid
        }
        CertificateError::Revoked => ClientCertificateError::Revoked,
        CertificateError::UnknownRevocationStatus => ClientCertificateError::NoList,
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            ClientCertificateError::ListExpired
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            ClientCertificateError::Purpose
        }
        CertificateError::BadSignature => ClientCertificateError::Signature,
        _ => ClientCertificateError::Rejected,
    }
}

impl ClientCertificateError {
    /// Returns the reason in the words of OpenSSL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownIssuer => "unable to verify the first certificate",
            Self::UnknownChain => "unable to get local issuer certificate",
            Self::SelfSigned => "self-signed certificate",
            Self::Expired => "certificate has expired",
            Self::NotYetValid => "certificate is not yet valid",
            Self::Revoked => "certificate revoked",
            Self::NoList => "unable to get certificate CRL",
            Self::ListExpired => "CRL has expired",
            Self::Purpose => "unsuitable certificate purpose",
            Self::Signature => "certificate signature failure",
            Self::Rejected => "certificate rejected",
        }
    }

    /// Returns true if only the authority is missing.
    pub fn is_untrusted(self) -> bool {
        matches!(
            self,
            Self::UnknownIssuer | Self::UnknownChain | Self::SelfSigned
        )
    }
}
