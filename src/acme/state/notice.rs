//! Notices from the engine to the owners of specs. They are plain data, from which other modules
//! make Events, log lines and metrics.

use std::sync::Arc;

/// A notice about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The [`CertificateSpec::id`](crate::acme::spec::CertificateSpec::id) of its spec.
    pub certificate: Arc<str>,
    /// The reason, as listed in `docs/certificates.md`.
    pub reason: NoticeReason,
    /// The message, one sentence.
    pub message: String,
}

/// The reason for a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeReason {
    /// The CA has ended the account, and a new one was made.
    AccountReplaced,
    /// The operator has to act before the next attempt.
    Blocked,
    /// Validation was triggered, but no request of the CA reached this device.
    ChallengeNeverSeen,
    /// The clock cannot be trusted, so nothing is ordered.
    ClockSuspect,
    /// A certificate was issued and is active.
    Issued,
    /// The CA does not offer the preferred chain.
    PreferredChainMissing,
    /// The CA asks for an earlier renewal than before.
    RenewalMoved,
    /// An attempt failed; the next one is scheduled.
    Failed,
    /// A certificate was revoked.
    Revoked,
}

impl NoticeReason {
    /// Returns the reason in the spelling of Events: CamelCase and stable.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccountReplaced => "AccountReplaced",
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

    /// Returns true for reasons that need attention.
    pub fn is_warning(self) -> bool {
        !matches!(self, Self::Issued | Self::RenewalMoved | Self::Revoked)
    }
}
