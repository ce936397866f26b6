//! Annotations about paths: regular expressions, and what the backend gets in their place.

use http::{HeaderName, HeaderValue};

use super::{
    row::{Annotation, HAPROXY, HAPROXY_OLD, HAPROXY_TECHNOLOGIES, NGINX, OLD, OURS, TRAEFIK, row},
    value::{InvalidValue, boolean, colon_or_space, none_of, not},
    values::{AnnotationValues, PathKind},
};
use crate::routing::{Edit, GoPattern, HeaderMatch, Pattern, RewriteTarget, TextMatch, path};

const PREFIXES: &[&str] = &[OURS, NGINX, OLD];
const OF_HAPROXY: &[&str] = &[HAPROXY_TECHNOLOGIES, HAPROXY_OLD];
const OF_INGRESS: &[&str] = &[HAPROXY, OLD];

/// The most rules of a rewriting.
const MAX_RULES: usize = 16;

/// The rows.
pub(super) const ROWS: &[Annotation] = &[
    row(
        PREFIXES,
        "use-regex",
        "true, false",
        "The paths are regular expressions, and so are all paths of their hosts, of other \
         Ingresses too: without case, anchored at the start alone, the longest text first.",
        |values, _, value| {
            values.rewrite.regex = boolean(value)?;
            Ok(())
        },
    )
    .guard()
    .differs(
        "Look-around and backreferences close the path. A path with dot segments or a line feed \
         behind escapes is taken by no expression.",
    ),
    row(
        PREFIXES,
        "rewrite-target",
        "a path or a URL; groups of the path's expression as `$1` to `$9`, and the variables of \
         `temporal-redirect`, may stand in it",
        "The backend gets this path and the query of the request. The paths are regular \
         expressions, as with `use-regex`. A URL: 302 to it.",
        |values, name, value| {
            if value.is_empty() {
                return Ok(());
            }
            let target = RewriteTarget::parse(value);
            let target = target.map_err(|error| InvalidValue::Location(value.to_owned(), error))?;
            values.rewrite.target = Some((name.into(), value.into(), target));
            Ok(())
        },
    )
    .guard()
    .differs(
        "Escapes of the request stay as they are. Guards see the path of the request; a result \
         with dot segments is 400. Other variables close the paths.",
    ),
    row(
        &[HAPROXY],
        "rewrite-target",
        "a path",
        "The backend gets this path in place of the path of the rule, at the beginning of that of \
         the request. On a Service too.",
        |values, name, value| {
            if !value.is_empty() {
                values.rewrite.swap = Some((name.into(), plain_path(value)?));
            }
            Ok(())
        },
    )
    .guard()
    .on_services()
    .differs("Guards see the path of the request."),
    row(
        OF_HAPROXY,
        "path-rewrite",
        "a path; or an expression and a path, in which its groups stand as `\\1` to `\\9`; several \
         in lines",
        "The backend gets this path and the query of the request, if the expression is found in \
         the path.",
        |values, name, value| {
            let rules = value.lines().filter(|line| !line.trim().is_empty());
            let rules: Vec<Edit> = rules.map(path_rule).collect::<Result<_, _>>()?;
            if rules.len() > MAX_RULES {
                return Err(InvalidValue::TooMany(MAX_RULES));
            }
            values.rewrite.rules = rules.into_iter().map(|rule| (name.into(), rule)).collect();
            Ok(())
        },
    )
    .guard()
    .on_services()
    .differs(
        "Look-around, backreferences and formats (`%[...]`) close the paths. Escapes of the \
         request stay as they are, and guards see its path.",
    ),
    row(
        OF_INGRESS,
        "path-type",
        "begin, exact, prefix, regex",
        "The meaning of paths with `pathType: ImplementationSpecific`. regex: an expression for \
         the beginning of the path, with case; of several paths the one with the longest literal \
         beginning comes first. begin is the default.",
        |values, _, value| {
            values.rewrite.kind = Some(match &*value.to_ascii_lowercase() {
                "begin" => PathKind::Begin,
                "exact" => PathKind::Exact,
                "prefix" => PathKind::Prefix,
                "regex" => PathKind::Regex,
                _ => return Err(none_of(value, "begin, exact, prefix, regex")),
            });
            Ok(())
        },
    )
    .differs(
        "begin does not ignore case. Look-around and backreferences close the path, and \
         expressions do not come after all other paths.",
    ),
    row(
        OF_INGRESS,
        "http-header-match",
        "lines with a name, a colon or a space, and a value",
        "The paths are for requests with these fields alone: all of them, each with one of its \
         values. Of rules with the same path, those with more fields come first.",
        |values, _, value| header_matches(values, value, |text| Ok(TextMatch::Exact(text.into()))),
    )
    .on_services()
    .differs("With a line that is no field the paths are not served, and on a Service neither."),
    row(
        OF_INGRESS,
        "http-header-match-regex",
        "lines with a name, a colon or a space, and a regular expression",
        "The same with values in which the expression is found.",
        |values, _, value| {
            header_matches(values, value, |text| {
                let pattern = Pattern::parse_within(text, false);
                let pattern = pattern.map_err(InvalidValue::Pattern)?;
                Ok(TextMatch::Pattern(Box::new(pattern)))
            })
        },
    )
    .on_services()
    .differs(
        "With a line that is none, or with look-around and backreferences, the paths are not \
         served, and on a Service neither.",
    ),
    row(
        PREFIXES,
        "x-forwarded-prefix",
        "text",
        "`X-Forwarded-Prefix` for the backend of rewritten paths.",
        |values, name, value| {
            let field = HeaderValue::from_str(value).map_err(|_error| InvalidValue::Control)?;
            values.rewrite.prefix = (!value.is_empty()).then(|| (name.into(), field));
            Ok(())
        },
    ),
    row(
        &[TRAEFIK],
        "router.pathmatcher",
        "Path, PathPrefix, PathRegexp",
        "How paths of the type `ImplementationSpecific` match: the whole path, its beginning as \
         without the annotation, or a regular expression that is found anywhere in it.",
        |values, _, value| {
            values.rewrite.kind = match value {
                "" | "PathPrefix" => None,
                "Path" => Some(PathKind::Exact),
                "PathRegexp" => Some(PathKind::Found),
                _ => return Err(none_of(value, "Path, PathPrefix, PathRegexp")),
            };
            Ok(())
        },
    )
    .guard()
    .differs(
        "503, not 404, for a value that is none of them. Expressions are compared by bytes, \
         without empty elements of the path, and an escaped slash stays one in lower case too.",
    ),
    row(
        &[TRAEFIK],
        "router.priority",
        "a whole number; 0 for none",
        "The place of the paths among all rules of their host, the greater number first. Rules \
         without one have the length of their rule in Traefik: with the host `HOST` and the path \
         `PATH`, 26 and the lengths of both.",
        |values, name, value| {
            let number: i32 = value
                .parse()
                .map_err(|_bad| not(value, "a whole number from -2147483648 to 2147483647"))?;
            values.rewrite.priority = (number != 0).then(|| (name.into(), number));
            Ok(())
        },
    )
    .guard()
    .differs(
        "Rules of a more specific host come first. It counts on hosts that the namespace of the \
         Ingress had first. An `Exact` path is as long as a prefix, so that it comes first.",
    ),
];

/// Reads conditions on fields, one in a line.
fn header_matches(
    values: &mut AnnotationValues,
    value: &str,
    condition: impl Fn(&str) -> Result<TextMatch, InvalidValue>,
) -> Result<(), InvalidValue> {
    let lines = value.lines().map(str::trim).filter(|line| !line.is_empty());
    let matches = lines.map(|line| {
        let wrong = || InvalidValue::Field(line.to_owned());
        let (name, text) = colon_or_space(line).ok_or_else(wrong)?;
        let text = text.trim();
        let name = HeaderName::try_from(name).map_err(|_error| wrong())?;
        let is_fine = !text.is_empty() && HeaderValue::from_str(text).is_ok();
        let value = is_fine.then(|| condition(text)).ok_or_else(wrong)??;
        Ok(HeaderMatch {
            name,
            value,
            each: true,
        })
    });

    let known = &mut values.matches;
    let read: Result<Vec<HeaderMatch>, InvalidValue> = matches.collect();
    // Without its conditions the Ingress would take the requests of others.
    known.is_unknown |= read.is_err();
    known.headers.extend(read?);
    if known.headers.len() > MAX_RULES {
        known.is_unknown = true;
        return Err(InvalidValue::TooMany(MAX_RULES));
    }
    Ok(())
}

/// Parses a path without a query.
fn plain_path(value: &str) -> Result<Box<str>, InvalidValue> {
    let wrong = || not(value, "a path without a query and dot segments");
    let is_plain = value.starts_with('/') && value.bytes().all(|byte| byte.is_ascii_graphic());
    let normal = path::normalize(value).ok();
    let normal =
        normal.filter(|normal| is_plain && *normal == value && !value.contains(['?', '#']));
    normal.map(|normal| (*normal).into()).ok_or_else(wrong)
}

/// Parses a rule of HAProxy: an expression, and what takes the place of the whole path.
fn path_rule(rule: &str) -> Result<Edit, InvalidValue> {
    let words: Vec<&str> = rule.split_whitespace().collect();
    let (expression, path) = match words[..] {
        [path] => ("", path),
        [expression, path] => (expression, path),
        _ => return Err(not(rule, "an expression and a path")),
    };
    let by = template(path).ok_or_else(|| not(path, "a path with groups like \\1"))?;
    // The whole path is replaced, wherever the expression is found.
    let whole = GoPattern::parse(&format!("(?s)^.*?(?:{expression}).*$"));
    let own = GoPattern::parse(expression);
    let pattern = own.and(whole).map_err(InvalidValue::Pattern)?;
    Ok(Edit::Rewrite(pattern, by))
}

/// Returns the text of a path with groups in the form of Go.
fn template(path: &str) -> Option<Box<str>> {
    let mut out = String::new();
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next()? {
                '\\' => out.push('\\'),
                group @ '1'..='9' => {
                    out.push_str("${");
                    out.push(group);
                    out.push('}');
                }
                _ => return None,
            },
            '$' => out.push_str("$$"),
            '%' | '?' | '#' => return None,
            other if other.is_ascii_graphic() => out.push(other),
            _ => return None,
        }
    }
    (out.starts_with('/') || out.starts_with("${")).then(|| out.into())
}
