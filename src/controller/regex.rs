//! Paths that are regular expressions and are not evaluated: those of controllers other than
//! ingress-nginx, and those that cannot be. A request that one could match is refused, because a
//! shorter path may lack the guard of this one.
//!
//! Only the literal prefix of an expression is evaluated. Like ingress-nginx, [`Closed`] anchors an
//! expression at the start and ignores case.

use std::sync::Arc;

use crate::{
    objects::Texts,
    routing::{Closed, PathMatch, Route, Rule, expression::alternatives, path},
};

/// Alternatives are expanded to at most this many prefixes.
const MAX_PREFIXES: usize = 16;

/// Annotations of other controllers that turn the paths of their object into regular expressions,
/// with the values that do so. Those of ingress-nginx and Traefik are evaluated.
const DECLARING: &[(&str, &[&str])] = &[
    ("haproxy-ingress.github.io/path-type", &["regex"]),
    (
        "nginx.org/path-regex",
        &["case_sensitive", "case_insensitive", "exact"],
    ),
    ("alb.ingress.kubernetes.io/use-regex-path-match", TRUE),
];

const TRUE: &[&str] = &["1", "t", "T", "true", "True", "TRUE"];

/// Returns true if the annotations of an Ingress turn its paths into regular expressions.
pub(super) fn is_declared(annotations: &Texts) -> bool {
    DECLARING.iter().any(|(name, values)| {
        let value = annotations.get(*name);
        value.is_some_and(|value| values.contains(&value.trim()))
    })
}

/// Returns true if a path is a regular expression or another pattern. Characters that also occur in
/// plain paths (`/$metadata`, `/c++`, `/f(1)`) count only if an annotation declares expressions.
pub(super) fn is_pattern(path: &str, declared: bool) -> bool {
    const NEVER_PLAIN: [char; 8] = ['*', '[', ']', '{', '}', '\\', '^', '|'];
    const SOMETIMES: [char; 5] = ['(', ')', '+', '?', '$'];
    path.contains(NEVER_PLAIN)
        || (declared && path.contains(SOMETIMES))
        || path.contains("(?")
        || path.contains(".+")
        || path.len() > 1 && path.ends_with('$')
}

/// Returns matches that together take every path that an expression could match.
pub(super) fn could_match(text: &str) -> Vec<PathMatch> {
    let mut all: Vec<Closed> = Vec::new();
    // Kong marks an expression with a prefix that is not part of it.
    let expression = text
        .strip_prefix("/~")
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(text);

    for alternative in alternatives(expression) {
        let expanded = match alternative
            .trim_start_matches("(?i)")
            .trim_start_matches('^')
        {
            anchored if anchored.starts_with('/') => Expansion::of(anchored),
            // Only the first alternative is anchored.
            _ => Expansion {
                texts: vec!["/".to_owned()],
                elements: false,
            },
        };

        for prefix in expanded.texts {
            let closed = Closed {
                text: text.into(),
                prefix: normal(&prefix),
                elements: expanded.elements,
            };
            if !all.contains(&closed) {
                all.push(closed);
            }
        }
    }

    all.into_iter()
        .map(|closed| PathMatch::Closed(Box::new(closed)))
        .collect()
}

/// Returns a match that takes every path, for an expression that could be found anywhere.
pub(super) fn any_path(text: &str) -> PathMatch {
    PathMatch::Closed(Box::new(Closed {
        text: text.into(),
        prefix: "/".into(),
        elements: false,
    }))
}

/// Describes closed paths in a message.
pub(super) fn shown(closed: &[PathMatch]) -> String {
    let words = closed.iter().filter_map(|path| match path {
        PathMatch::Closed(closed) if closed.elements => {
            Some(format!("{} and what is below it", closed.prefix))
        }
        PathMatch::Closed(closed) => Some(format!("all that begins with {}", closed.prefix)),
        _ => None,
    });
    words.collect::<Vec<_>>().join(", ")
}

/// A rule that is refused because an expression of its namespace begins with the same literal path.
pub(super) struct Covered {
    pub(super) path: PathMatch,
    pub(super) route: Arc<Route>,
    pub(super) by: (PathMatch, Arc<Route>),
}

/// Removes the rules whose path is the literal prefix of an expression of their namespace: without
/// evaluating the expression, a request cannot be assigned to one of the two. An expression of
/// another namespace removes nothing.
pub(super) fn cover(rules: &mut Vec<Rule>) -> Vec<Covered> {
    let expressions: Vec<(PathMatch, Arc<Route>)> = rules
        .iter()
        .filter(|rule| matches!(rule.path, PathMatch::Closed(_)))
        .map(|rule| (rule.path.clone(), rule.route.clone()))
        .collect();
    if expressions.is_empty() {
        return Vec::new();
    }

    let mut covered = Vec::new();
    rules.retain(|rule| {
        let (path, route) = (&rule.path, &rule.route);
        let by = expressions.iter().find(|(expression, by)| {
            let PathMatch::Closed(closed) = expression else {
                return false;
            };
            by.origin.namespace == route.origin.namespace && path.is_as_long_as(closed)
        });
        covered.extend(by.map(|by| Covered {
            path: path.clone(),
            route: route.clone(),
            by: by.clone(),
        }));
        by.is_none()
    });
    covered
}

/// Normalizes a prefix as request paths are normalized.
fn normal(prefix: &str) -> Box<str> {
    let normal = path::normalize(prefix).or_else(|_broken| {
        // A prefix may end within an escape; the text before it is a prefix, too.
        path::normalize(prefix.split('%').next().unwrap_or("/"))
    });
    normal.map_or_else(
        |_cannot_be| "/".into(),
        |normal| {
            if normal.is_empty() {
                "/".into()
            } else {
                normal.into()
            }
        },
    )
}

/// The literal prefixes of an expression.
struct Expansion {
    texts: Vec<String>,
    /// True if a match can only end there or continue with a slash.
    elements: bool,
}

impl Expansion {
    fn of(expression: &str) -> Self {
        let mut expansion = Self {
            texts: vec![String::new()],
            elements: false,
        };

        let mut rest = expression;
        while !rest.is_empty() {
            if ends_element(rest) {
                expansion.elements = true;
                return expansion;
            }
            let Some((atom, length)) = atom(rest) else {
                return expansion;
            };
            rest = &rest[length..];

            if is_optional(rest) || !expansion.append(&atom) {
                return expansion;
            }
            // A repeated atom occurs at least once; the rest is unknown.
            if rest.starts_with('+') {
                return expansion;
            }
        }

        expansion
    }

    /// Appends each alternative to each prefix. Returns false if there would be too many.
    fn append(&mut self, alternatives: &[String]) -> bool {
        if self.texts.len() * alternatives.len() > MAX_PREFIXES {
            return false;
        }
        self.texts = self
            .texts
            .iter()
            .flat_map(|text| alternatives.iter().map(move |more| format!("{text}{more}")))
            .collect();
        true
    }
}

/// Returns whether the atom before the rest of an expression is optional.
fn is_optional(rest: &str) -> bool {
    rest.starts_with(['*', '?'])
        || rest
            .strip_prefix('{')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Returns whether a match can only end before the rest of an expression or continue with a slash.
fn ends_element(rest: &str) -> bool {
    const ENDS: [&str; 8] = [
        "(/|$)", "($|/)", "(?:/|$)", "(?:$|/)", "(/.*)?", "(?:/.*)?", "(/.*|$)", "/?$",
    ];
    rest.starts_with('$') || ENDS.iter().any(|end| rest.starts_with(end))
}

/// Reads the first atom of an expression: its literal alternatives and its length in bytes.
fn atom(rest: &str) -> Option<(Vec<String>, usize)> {
    let first = rest.chars().next()?;
    match first {
        '\\' => {
            let escaped = rest[1..]
                .chars()
                .next()
                .filter(|escaped| !escaped.is_alphanumeric())?;
            Some((vec![escaped.to_string()], 1 + escaped.len_utf8()))
        }
        '(' => group(rest),
        '[' | ')' | '|' | '^' | '$' | '*' | '+' | '?' | '{' => None,
        '.' if rest[1..].starts_with(['*', '+', '?', '{']) => None,
        literal => Some((vec![literal.to_string()], literal.len_utf8())),
    }
}

/// Reads a group of literal alternatives.
fn group(rest: &str) -> Option<(Vec<String>, usize)> {
    let end = rest.find(')')?;
    let inner = rest[1..end]
        .strip_prefix("?:")
        .unwrap_or_else(|| &rest[1..end]);
    let alternatives = inner
        .split('|')
        .map(literal)
        .collect::<Option<Vec<String>>>()?;
    Some((alternatives, end + 1))
}

/// Reads an expression without special characters.
fn literal(expression: &str) -> Option<String> {
    let mut text = String::new();
    let mut rest = expression;
    while !rest.is_empty() {
        let (atom, length) = atom(rest).filter(|_| !rest.starts_with('('))?;
        rest = &rest[length..];
        if is_optional(rest) || rest.starts_with('+') {
            return None;
        }
        text.push_str(atom.first()?);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_closes_all_that_it_could_match() {
        for (text, closed) in [
            ("/(.*)", "all that begins with /"),
            ("/.*", "all that begins with /"),
            ("/?(.*)", "all that begins with /"),
            ("/api/(.*)", "all that begins with /api/"),
            ("/api(/|$)(.*)", "/api and what is below it"),
            ("/api(/.*)?", "/api and what is below it"),
            ("/api/?$", "/api and what is below it"),
            ("^/api$", "/api and what is below it"),
            ("/api/*", "all that begins with /api"),
            ("/apis?/x", "all that begins with /api"),
            (
                "/(api|auth|)/v1/.*",
                "all that begins with /api/v1/, all that begins with /auth/v1/, all that begins \
                    with //v1/",
            ),
            (
                "/(?:api|auth)(/|$)(.*)",
                "/api and what is below it, /auth and what is below it",
            ),
            ("/a+b", "all that begins with /a"),
            ("/v[0-9]+/x", "all that begins with /v"),
            (
                "/x\\.(jpg|png)$",
                "/x.jpg and what is below it, /x.png and what is below it",
            ),
            ("/~/users/\\d+$", "all that begins with /users/"),
            ("/users/{id}", "all that begins with /users/"),
            ("/users/a{2}", "all that begins with /users/"),
            ("/\\d+", "all that begins with /"),
            (
                "/a|/b/.*",
                "all that begins with /a, all that begins with /b/",
            ),
            ("/a|b", "all that begins with /a, all that begins with /"),
            ("/(?i)x", "all that begins with /"),
            ("/(a(b)c)/d", "all that begins with /"),
            ("/%61bc/(.*)", "all that begins with /abc/"),
            ("/a/../b/(.*)", "all that begins with /b/"),
            ("/a%4[12]", "all that begins with /a"),
            ("/\u{fc}(.*)", "all that begins with /%C3%BC"),
            ("/(", "all that begins with /"),
            ("/a\\", "all that begins with /a"),
        ] {
            assert_eq!(shown(&could_match(text)), closed, "{text}");
        }
    }

    #[test]
    fn paths_with_special_characters_are_patterns() {
        for (path, plain, declared) in [
            ("/", false, false),
            ("/a.b/c-d_e~f", false, false),
            ("/$metadata", false, true),
            ("/c++", false, true),
            ("/f(1)", false, true),
            ("/a$", true, true),
            ("/a.+", true, true),
            ("/a/*", true, true),
            ("/(.*)", true, true),
            ("/a(/|$)", true, true),
            ("/[id]", true, true),
            ("/{id}", true, true),
            ("/\\d", true, true),
            ("^/a", true, true),
        ] {
            assert_eq!(
                (is_pattern(path, false), is_pattern(path, true)),
                (plain, declared),
                "{path}"
            );
        }
    }

    proptest::proptest! {
        /// No text panics, and every prefix is a path.
        #[test]
        fn any_text_closes_a_path(text in "/[a-c/%.()|\\\\$^*+?{}\\[\\]\u{e4}2]{0,20}") {
            for path in could_match(&text) {
                let PathMatch::Closed(closed) = path else { panic!("{text}") };
                proptest::prop_assert!(closed.prefix.starts_with('/'));
            }
        }
    }
}
