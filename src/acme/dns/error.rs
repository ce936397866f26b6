//! Errors of publishing, removing and looking up records.

use crate::util::text::one_line;

/// The largest number of bytes kept of a reason, which may contain the output of a program or
/// the response of a server.
const LONGEST: usize = 1000;

/// A failed DNS operation. Its message names the service, the record and the reason, in one line
/// without secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
   "{who} {at}{}: {}",
   record.as_ref().map(|record| format!(", {record}")).unwrap_or_default(),
   failure.reason
)]
pub struct DnsError {
    who: &'static str,
    at: String,
    record: Option<String>,
    failure: Failure,
}

impl DnsError {
    pub(super) fn new(
        who: &'static str,
        at: &str,
        record: Option<String>,
        failure: Failure,
    ) -> Self {
        Self {
            who,
            at: at.to_owned(),
            record,
            failure,
        }
    }

    /// Returns the seconds that the service asks to wait before the next attempt, if any.
    pub fn retry_after(&self) -> Option<u64> {
        self.failure.retry_after
    }
}

/// The part of a [`DnsError`] that is known where it occurs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    reason: String,
    retry_after: Option<u64>,
}

impl Failure {
    /// Creates a failure.
    pub(super) fn new(reason: impl std::fmt::Display) -> Self {
        Self {
            reason: one_line(reason, LONGEST),
            retry_after: None,
        }
    }

    /// Notes the seconds that the service asks to wait.
    pub(super) fn retry_after(self, seconds: Option<u64>) -> Self {
        Self {
            retry_after: seconds,
            ..self
        }
    }

    /// Puts the zone before the reason.
    pub(super) fn within(self, zone: &str) -> Self {
        self.after(&format!("zone {zone}"))
    }

    /// Puts a sentence before the reason.
    pub(super) fn after(self, sentence: &str) -> Self {
        Self {
            reason: one_line(format!("{sentence}: {}", self.reason), LONGEST),
            ..self
        }
    }

    /// Puts a sentence after the reason.
    pub(super) fn noting(self, sentence: &str) -> Self {
        Self {
            reason: format!("{}; {sentence}", self.reason),
            ..self
        }
    }

    /// Returns true if the reason contains these words.
    pub(super) fn says(&self, words: &str) -> bool {
        self.reason.contains(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_bounded_line() {
        let failure = Failure::new(format!("it said:\n\tno\u{1b}[31m {}", "é".repeat(5000)));
        let error = DnsError::new(
            "command",
            "/bin/hook",
            Some("_acme-challenge.a.test".to_owned()),
            failure,
        );
        let line = error.to_string();
        assert!(
            line.starts_with("command /bin/hook, _acme-challenge.a.test: it said: no [31m éé"),
            "{line}"
        );
        assert!(
            line.ends_with("é…") && line.chars().count() < 1100 && !line.contains(char::is_control)
        );
    }
}
