//! Describes YAML errors in one line, without the parser's own terms.

use serde_saphyr::{Error, MessageFormatter as _, UserMessageFormatter};

/// Returns `line 3: what is wrong`. The text that was parsed begins after `before` lines of its
/// file.
pub fn describe(error: &Error, before: u64) -> String {
    let what = match innermost(error) {
        Error::Budget { .. } => "it is too large or too complex".into(),
        inner => UserMessageFormatter.format_message(inner),
    };
    let what: String = what
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    match error.location() {
        Some(place) => format!("line {}: {what}", place.line() + before),
        None => what,
    }
}

fn innermost(error: &Error) -> &Error {
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => innermost(error),
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn wrong(text: &str) -> String {
        describe(&serde_saphyr::from_str::<Value>(text).unwrap_err(), 0)
    }

    #[test]
    fn an_error_is_one_line_with_its_place() {
        assert_eq!(wrong("a: ["), "line 1: unclosed bracket '['");
        assert_eq!(
            wrong("a: 1\na: 2"),
            "line 2: duplicate mapping key `a` is not allowed here"
        );
        assert_eq!(
            wrong("a: 1\n---\nb: 2"),
            "line 3: only single YAML document expected but multiple found"
        );
        assert_eq!(wrong("a: *b"), "line 1: reference to unknown value");
    }

    #[test]
    fn the_line_is_that_of_the_file() {
        let error = serde_saphyr::from_str::<Value>("a: 1\na: 2").unwrap_err();
        assert_eq!(
            describe(&error, 10),
            "line 12: duplicate mapping key `a` is not allowed here"
        );
    }

    #[test]
    fn bombs_are_too_complex_and_say_no_more() {
        let lists: String = (1..12)
            .map(|n| {
                format!(
                    "a{n}: &a{n} [{}]\n",
                    vec![format!("*a{}", n - 1); 9].join(",")
                )
            })
            .collect();
        let said = wrong(&format!("a0: &a0 [x]\n{lists}"));
        assert!(
            said.contains("too large or too complex") && !said.contains('{'),
            "{said}"
        );
    }
}
