//! Responses to requests that meet a condition, instead of the backend's.

use http::StatusCode;

use super::{Elsewhere, Pattern, Variables};

/// A response of our own to the requests that meet a condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conditional {
    /// The annotation that it is made from, for people.
    pub from: Box<str>,
    /// The condition; `None` for every request.
    pub condition: Option<Condition>,
    /// The response.
    pub then: Then,
}

/// The response to a request that meets a condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// A refusal with this status, from 400 to 599.
    Refuse(StatusCode),
    /// A redirect.
    Redirect(Box<Elsewhere>),
}

/// A condition on a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The text that is looked at.
    pub text: Variables,
    /// The test of it.
    pub test: Test,
    /// True if it must be the opposite.
    pub is_negated: bool,
}

/// A test of a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// It is neither empty nor `0`.
    Filled,
    /// It is this one.
    Is(Box<str>),
    /// It matches as a whole.
    Matches(Pattern),
}

impl Condition {
    /// Reports whether the text meets it.
    pub fn holds(&self, text: &[u8]) -> bool {
        let holds = match &self.test {
            Test::Filled => !matches!(text, b"" | b"0"),
            Test::Is(other) => text == other.as_bytes(),
            Test::Matches(pattern) => pattern.matches(text),
        };
        holds != self.is_negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_hold_as_in_nginx() {
        let holds = |test: &Test, is_negated, text: &str| {
            let condition = Condition {
                text: Variables::parse("$http_x").expect("a variable"),
                test: test.clone(),
                is_negated,
            };
            condition.holds(text.as_bytes())
        };

        for (test, yes, no) in [
            (Test::Filled, "a", ["", "0"]),
            (Test::Is("a".into()), "a", ["A", "ab"]),
            (
                Test::Matches(Pattern::parse("(?i).*bot.*").expect("a pattern")),
                "GoogleBot/1",
                ["curl", ""],
            ),
        ] {
            assert!(
                holds(&test, false, yes) && !holds(&test, true, yes),
                "{test:?}"
            );

            for text in no {
                assert!(
                    !holds(&test, false, text) && holds(&test, true, text),
                    "{text}"
                );
            }
        }
    }
}
