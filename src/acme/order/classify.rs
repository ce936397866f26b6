//! Classifies errors of a CA for the next attempt. Only a refusal by the protocol is final, never
//! an error of the network.

use crate::{
    acme::{
        ca::{ClientError, ErrorKind, Problem},
        plan::{Class, Failure},
    },
    util::time::UnixSeconds,
};

/// Converts an error of the client into a failure.
pub(crate) fn failure(error: &ClientError) -> Failure {
    let retry_after = error
        .retry_after
        .and_then(|wait| i64::try_from(wait.as_secs()).ok());
    let mut failure = match &error.kind {
        ErrorKind::Transport(_) | ErrorKind::Nonsense { .. } => {
            Failure::new(Class::Transport, error.to_string())
        }
        ErrorKind::NotOffered(_) => Failure::new(Class::Config, error.to_string()),
        ErrorKind::Problem(problem) => {
            of_problem(problem, retry_after, error.date.map(UnixSeconds))
        }
    };
    if failure.retry_after.is_none() {
        failure.retry_after = retry_after;
    }
    failure
}

/// Converts a problem document (RFC 8555 section 6.7) into a failure.
pub(crate) fn of_problem(
    problem: &Problem,
    retry_after: Option<i64>,
    date: Option<UnixSeconds>,
) -> Failure {
    let text = describe(problem);

    if let Some(link) = unpause_link(problem) {
        let advice = format!("open {link} to end the CA's pause, then run `gatelet certs renew`");
        return Failure::new(Class::Paused, text).advise(advice);
    }

    match problem.kind.as_str() {
        "rateLimited" => {
            let until = retry_after.or_else(|| Some((date_in(&problem.detail)? - date?).max(0)));
            Failure {
                retry_after: until,
                ..Failure::new(Class::RateLimited, text)
            }
        }
        "userActionRequired" => Failure::new(Class::Paused, text).advise(
            "do what the CA asks for; if it has new terms of service, `gatelet certs renew` agrees \
            to them",
        ),
        "rejectedIdentifier" | "unsupportedIdentifier" => Failure::new(Class::Config, text)
            .advise("use a name that this CA issues for, or another issuer"),
        "externalAccountRequired" => Failure::new(Class::Config, text)
            .advise("set `eab` of this issuer to the credentials that the CA gave you"),
        "invalidContact" | "unsupportedContact" => {
            Failure::new(Class::Config, text).advise("correct the `contacts` of this issuer")
        }
        "invalidProfile" => {
            Failure::new(Class::Config, text).advise("correct the `profile` of this issuer")
        }
        "badCSR" | "badPublicKey" | "badSignatureAlgorithm" | "badRevocationReason" => {
            Failure::new(Class::Config, text).advise("use another key type")
        }
        "accountDoesNotExist" => Failure::new(Class::Account, text),
        "unauthorized" => {
            Failure::new(Class::Account, text).advise("ask the CA why it refuses the account")
        }
        "caa" => Failure::new(Class::Validation, text)
            .advise("allow this CA in the CAA records of the domain"),
        "connection" | "dns" | "incorrectResponse" | "tls" => Failure::new(Class::Validation, text),

        // Of the error types that are specific to a CA, only a 429 is a refusal. Others count as
        // problems of the CA itself.
        _ if problem.status == 429 => Failure {
            retry_after,
            ..Failure::new(Class::RateLimited, text)
        },
        _ => Failure::new(Class::Transport, text),
    }
}

/// Returns the CA's own words, including those about single names, cut to a bounded length.
pub(crate) fn describe(problem: &Problem) -> String {
    /// The longest text that is readable in an Event.
    const LONGEST: usize = 600;
    let mut text = problem.to_string();
    if text.len() > LONGEST {
        let end = (0..=LONGEST)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Returns true if the CA rejected the request itself, rather than its sender or its timing.
pub(crate) fn is_verdict(error: &ClientError) -> bool {
    match &error.kind {
        ErrorKind::Problem(problem) => {
            (400..500).contains(&problem.status) && !error.is("rateLimited")
        }
        ErrorKind::Transport(_) | ErrorKind::Nonsense { .. } | ErrorKind::NotOffered(_) => false,
    }
}

/// Returns the link to the page that ends a pause. Let's Encrypt pauses names with an error of type
/// `rateLimited` that contains such a link.
fn unpause_link(problem: &Problem) -> Option<&str> {
    let words = problem
        .detail
        .split_whitespace()
        .chain(problem.instance.as_deref());
    let mut links = words
        .map(|word| word.trim_matches(['.', ',', '(', ')', '<', '>']))
        .filter(|word| word.starts_with("https://"));
    links.find(|link| link.contains("unpause") || problem.detail.contains("paused"))
}

/// Parses the time in `retry after 2026-11-26 12:34:56 UTC`.
fn date_in(detail: &str) -> Option<UnixSeconds> {
    let lower = detail.to_ascii_lowercase();
    let rest = &detail[lower.find("retry after ")? + "retry after ".len()..];
    let mut words = rest.split([' ', 'T']);
    let (day, time) = (words.next()?, words.next()?);
    let time = time.trim_end_matches(|c: char| !c.is_ascii_digit());
    format!("{day}T{time}Z").parse().ok()
}

#[cfg(test)]
mod tests;
