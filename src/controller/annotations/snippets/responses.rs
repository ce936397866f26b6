//! Directives of nginx that respond instead of the backend: `return`, and `if` and `location`
//! around it.

use http::{HeaderValue, StatusCode};

use crate::{
    controller::nginx_config::{Directive, is_harmless},
    routing::{
        Condition, Conditional, Elsewhere, Location, OwnResponse, PathTest, Pattern, Test, Then,
        Variables,
    },
};

/// The media type of a response without another one, as ingress-nginx has it.
const DEFAULT_TYPE: HeaderValue = HeaderValue::from_static("text/html");

/// Reads the words behind `return`, for the requests that meet the condition.
pub(super) fn returned(
    annotation: &str,
    condition: Option<Condition>,
    rest: &[&str],
    media_type: Option<&HeaderValue>,
) -> Option<Conditional> {
    let (status, text) = match rest {
        [url] if url.contains("://") => (StatusCode::FOUND, Some(*url)),
        [status] => (status_of(status)?, None),
        [status, text] => (status_of(status)?, Some(*text)),
        _ => return None,
    };
    let then = match (status.as_u16(), text) {
        (301..=303 | 307 | 308, Some(url)) => Then::Redirect(Box::new(Elsewhere {
            from: annotation.into(),
            status,
            to: Location::parse(url)
                .or_else(|_| Location::parse_path(url))
                .ok()?,
            of_root: false,
        })),
        (400..=599, None) => Then::Refuse(status),
        // nginx ends the connection.
        (444, Some(_)) => return None,
        (200..=299 | 400..=599, _) => Then::Respond(Box::new(OwnResponse {
            status,
            media_type: media_type.cloned().unwrap_or(DEFAULT_TYPE),
            text: Variables::parse(&unescaped(text.unwrap_or_default())).ok()?,
        })),
        _ => return None,
    };

    Some(Conditional {
        from: annotation.into(),
        path: None,
        condition,
        then,
    })
}

/// Reads an `if` with these words and this block: it may have a `return` alone.
pub(super) fn conditional(
    annotation: &str,
    words: &[&str],
    block: &[Directive],
    media_type: Option<&HeaderValue>,
) -> Option<Conditional> {
    let [then] = block else { return None };
    let words_then: Vec<&str> = then.words.iter().map(String::as_str).collect();
    match (&words_then[..], &then.block) {
        (["return", rest @ ..], None) => {
            returned(annotation, Some(condition(words)?), rest, media_type)
        }
        _ => None,
    }
}

/// Reads a `location` with these words and this block: it may have a `return` or `deny all`, also
/// in `if`, and directives that decide nothing.
pub(super) fn location(
    annotation: &str,
    words: &[&str],
    block: &[Directive],
) -> Option<Vec<Conditional>> {
    let path = path_test(words)?;
    let media_type = block.iter().find_map(media_type);
    let mut made = Vec::new();
    let mut is_denied = false;

    for directive in block {
        let words: Vec<&str> = directive.words.iter().map(String::as_str).collect();
        match (&words[..], &directive.block) {
            (["return", rest @ ..], None) => {
                made.push(returned(annotation, None, rest, media_type.as_ref())?);
            }
            (["if", ..], Some(block)) => {
                let one = conditional(annotation, &words[1..], block, media_type.as_ref())?;
                made.push(one);
            }
            (["deny", "all"], None) => is_denied = true,
            // These directives do not decide who may come in.
            _ if is_harmless(directive) || self::media_type(directive).is_some() => {}
            _ => return None,
        }
    }

    // nginx asks who may come in after `return`.
    if is_denied {
        made.push(returned(annotation, None, &["403"], None)?);
    }
    // Without a response the requests would reach files of nginx.
    let ends = made.last().is_some_and(|last| last.condition.is_none());
    for one in &mut made {
        one.path = Some(path.clone());
    }
    ends.then_some(made)
}

/// Reads the media type of responses, if the directive is about it.
pub(super) fn media_type(directive: &Directive) -> Option<HeaderValue> {
    match &directive.words[..] {
        [name, value] if name == "default_type" => HeaderValue::from_str(value).ok(),
        [name, field, value, ..]
            if name == "add_header" && field.eq_ignore_ascii_case("content-type") =>
        {
            HeaderValue::from_str(value).ok()
        }
        _ => None,
    }
}

/// Reads the words behind `location`.
fn path_test(words: &[&str]) -> Option<PathTest> {
    let pattern = |text: &str, ignores_case| {
        let pattern = Pattern::parse_within(text, ignores_case).ok()?;
        Some(PathTest::Matches(pattern))
    };
    let start = |path: &str, is_final| {
        path.starts_with('/').then(|| PathTest::Start {
            path: path.into(),
            is_final,
        })
    };

    match words {
        ["=", path] => path
            .starts_with('/')
            .then(|| PathTest::Exact((*path).into())),
        ["^~", path] => start(path, true),
        ["~", text] => pattern(text, false),
        ["~*", text] => pattern(text, true),
        [path] => start(path, false),
        _ => None,
    }
}

/// Reads the words of a condition.
fn condition(words: &[&str]) -> Option<Condition> {
    let mut words: Vec<&str> = words.to_vec();
    let first = words.first_mut()?;
    *first = first.strip_prefix('(')?;
    let last = words.last_mut()?;
    *last = last.strip_suffix(')')?;
    words.retain(|word| !word.is_empty());

    let (text, test, is_negated) = match words[..] {
        [text] => (text, Test::Filled, false),
        [text, operator @ ("=" | "!="), value] => (text, Test::Is(value.into()), operator == "!="),
        [text, operator @ ("~" | "~*" | "!~" | "!~*"), pattern] => {
            let pattern = Pattern::parse_within(pattern, operator.ends_with('*')).ok()?;
            (text, Test::Matches(pattern), operator.starts_with('!'))
        }
        _ => return None,
    };
    if !text.starts_with('$') {
        return None;
    }

    Some(Condition {
        text: Variables::parse(text).ok()?,
        test,
        is_negated,
    })
}

fn status_of(text: &str) -> Option<StatusCode> {
    StatusCode::from_u16(text.parse().ok()?).ok()
}

/// Replaces the escapes that nginx knows in any word.
fn unescaped(text: &str) -> String {
    let text = text.replace("\\n", "\n").replace("\\t", "\t");
    text.replace("\\r", "\r")
}
