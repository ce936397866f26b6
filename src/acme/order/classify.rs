//! Classifies errors of a CA for the next attempt. Only a refusal by the protocol is final, never
//! an error of the network.

use crate::{
    acme::{
        ca::{ClientError, ErrorKind, Problem},
        plan::{Class, Failure},
    },
    util::{text::one_line, time::UnixSeconds},
};

impl From<&ClientError> for Failure {
    fn from(error: &ClientError) -> Self {
        let failure = match &error.kind {
            ErrorKind::Problem(problem) => of_problem(problem, error.date),
            ErrorKind::NotOffered(_) => Self::new(Class::Config, error.to_string()),
            ErrorKind::Transport(_) | ErrorKind::Nonsense { .. } => {
                Self::new(Class::Transport, error.to_string())
            }
        };
        Self {
            retry_after: error.retry_after.or(failure.retry_after),
            date: error.date,
            ..failure
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::from(&error)
    }
}

/// Converts a problem document (RFC 8555 section 6.7) into a failure. `date` is the CA's time.
pub(crate) fn of_problem(problem: &Problem, date: Option<UnixSeconds>) -> Failure {
    let text = describe(problem);

    if let Some(link) = unpause_link(problem) {
        let advice = format!("open {link} to end the CA's pause, then run `gatelet certs renew`");
        return Failure::new(Class::Paused, text).advise(advice);
    }

    let (class, advice) = match problem.kind.as_str() {
        "rateLimited" => (Class::RateLimited, ""),
        "userActionRequired" => (
            Class::Paused,
            "do what the CA asks for; if it has new terms of service, `gatelet certs renew` agrees \
            to them",
        ),
        "rejectedIdentifier" | "unsupportedIdentifier" => (
            Class::Config,
            "use a name that this CA issues for, or another issuer",
        ),
        "externalAccountRequired" => (
            Class::Config,
            "set `eab` of this issuer to the credentials that the CA gave you",
        ),
        "invalidContact" | "unsupportedContact" => {
            (Class::Config, "correct the `contacts` of this issuer")
        }
        "invalidProfile" => (Class::Config, "correct the `profile` of this issuer"),
        "badCSR" | "badPublicKey" | "badSignatureAlgorithm" | "badRevocationReason" => {
            (Class::Config, "use another key type")
        }
        "accountDoesNotExist" => (Class::Account, ""),
        "unauthorized" => (Class::Account, "ask the CA why it refuses the account"),
        "caa" => (
            Class::Validation,
            "allow this CA in the CAA records of the domain",
        ),
        "connection" | "dns" | "incorrectResponse" | "tls" => (Class::Validation, ""),

        // Of the error types that are specific to a CA, only a 429 is a refusal. Others count as
        // problems of the CA itself.
        _ if problem.status == 429 => (Class::RateLimited, ""),
        _ => (Class::Transport, ""),
    };

    let until = date_in(&problem.detail).filter(|_| class == Class::RateLimited);
    Failure {
        retry_after: until
            .zip(date)
            .map(|(until, now)| until.saturating_since(now)),
        ..Failure::new(class, text).advise(advice)
    }
}

/// Returns the CA's own words, including those about single names, cut to a bounded length.
pub(crate) fn describe(problem: &Problem) -> String {
    /// The longest text that is readable in an Event.
    const LONGEST: usize = 600;
    one_line(problem, LONGEST)
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
