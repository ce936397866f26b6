//! What the engine has to say to the owner of a wish: data, which others make an Event, a log line
//! and a metric of.

use std::sync::Arc;

/// Something happened to a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// [`CertificateSpec::id`](super::spec::CertificateSpec::id) of the wish.
    pub want: Arc<str>,
    /// CamelCase, stable; listed in `docs/certificates.md`.
    pub reason: NoticeReason,
    /// One sentence.
    pub message: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeReason {
    /// A person has to act before anything else is tried.
    Blocked,
    /// The CA was told to validate, and nobody came.
    ChallengeNeverSeen,
    /// The clock cannot be trusted, so nothing is ordered.
    ClockSuspect,
    /// A certificate came and is served.
    Issued,
    /// The CA has no chain with the issuer that is preferred.
    PreferredChainMissing,
    /// A CA says that a certificate should be renewed at another time than before, and why.
    RenewalMoved,
    /// An attempt failed; the next one is scheduled.
    Failed,
    /// A certificate was revoked.
    Revoked,
}

impl NoticeReason {
    /// As an Event spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Blocked => "CertificateBlocked",
            Self::ChallengeNeverSeen => "ChallengeNeverSeen",
            Self::ClockSuspect => "ClockSuspect",
            Self::Issued => "CertificateIssued",
            Self::PreferredChainMissing => "PreferredChainMissing",
            Self::RenewalMoved => "RenewalMoved",
            Self::Failed => "CertificateFailed",
            Self::Revoked => "CertificateRevoked",
        }
    }

    /// Whether something is wrong.
    pub fn is_warning(self) -> bool {
        !matches!(self, Self::Issued | Self::RenewalMoved | Self::Revoked)
    }
}
