//! Why a record could not be published, removed or looked up.

/// Characters of a reason that are kept: it may hold the output of a program or the answer of a
/// server.
const LONGEST: usize = 1000;

/// Why a DNS step failed: who was asked, for what, and what came of it, in one line without
/// secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{who} {at}{}: {reason}", record.as_ref().map(|record| format!(", {record}")).unwrap_or_default())]
pub struct DnsError {
    who: &'static str,
    at: String,
    record: Option<String>,
    reason: String,
    permanent: bool,
}

impl DnsError {
    pub(super) fn new(
        who: &'static str,
        at: &str,
        record: Option<String>,
        failure: Failure,
    ) -> Self {
        let Failure { reason, permanent } = failure;
        Self {
            who,
            at: at.to_owned(),
            record,
            reason,
            permanent,
        }
    }

    /// Whether the same step fails again until somebody changes a setting: a wrong key or token, a
    /// zone that is not there, a program that does not exist. Timeouts, overload and a wrong clock
    /// are not permanent.
    pub fn is_permanent(&self) -> bool {
        self.permanent
    }
}

/// The part of a [`DnsError`] that is known where it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    reason: String,
    permanent: bool,
}

impl Failure {
    /// Of a setting, or a refusal that will be repeated.
    pub(super) fn permanent(reason: impl std::fmt::Display) -> Self {
        Self {
            reason: one_line(reason),
            permanent: true,
        }
    }

    /// Of the moment.
    pub(super) fn passing(reason: impl std::fmt::Display) -> Self {
        Self {
            reason: one_line(reason),
            permanent: false,
        }
    }
}

/// What others say, on one line of bounded length.
fn one_line(text: impl std::fmt::Display) -> String {
    let text = text.to_string();
    let words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|w| !w.is_empty())
        .collect();
    let mut line = words.join(" ");
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push_str("...");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_of_bounded_length_that_names_everything() {
        let failure = Failure::permanent(format!("it said:\n\tno\u{1b}[31m {}", "é".repeat(5000)));
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
            line.ends_with("é...")
                && line.chars().count() < 1100
                && !line.contains(char::is_control)
        );
        assert!(error.is_permanent());
    }
}
