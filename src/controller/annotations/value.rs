//! Parsers of the values of annotations.

use std::{net::IpAddr, time::Duration};

use http::HeaderValue;
use ipnet::IpNet;

use crate::{
    controller::{UnsupportedGuards, server_url::ServerUrlError},
    routing::{
        Authority, FieldNamesError, HostError, HostPattern, LocationError, OriginError,
        PatternError, Protocol, VariablesError,
    },
};

/// The most characters in a common name (X.520 `ub-common-name`).
const MAX_COMMON_NAME: usize = 64;
/// The longest duration in Go, whose format users of cert-manager write: 2^63 nanoseconds.
const MAX_DURATION: Duration = Duration::from_nanos(i64::MAX.unsigned_abs());

/// The longest time of a timeout: a year.
const MAX_TIME: Duration = Duration::from_secs(366 * 24 * 3600);

/// The reason why an annotation does not have its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidValue {
    #[error("{value:?} is not one of {known}")]
    NoneOf { value: String, known: &'static str },
    #[error("{0:?} is not an address")]
    Address(String),
    #[error("{0:?} is not an address or a network (192.0.2.0/24)")]
    Network(String),
    #[error("{0:?} is not a number from 1 to 99")]
    Percentage(String),
    #[error("{0:?} is not a duration (2160h, 1h30m)")]
    Duration(String),
    #[error("{0} is not a size of keys of this algorithm")]
    KeySize(String),
    #[error("it is not shorter than the duration")]
    RenewalTooEarly,
    #[error("it does not name an issuer")]
    NoIssuer,
    #[error("{0:?} has an empty name")]
    EmptyName(String),
    #[error("none cannot be combined with issuers")]
    NoneBesideIssuers,
    #[error("it is empty")]
    Empty,
    #[error("a common name has at most {MAX_COMMON_NAME} characters")]
    LongCommonName,
    #[error("{0:?}: {1}")]
    Host(String, HostError),
    #[error("it has control characters")]
    Control,
    #[error("{0:?} is not {1}")]
    Not(String, &'static str),
    #[error("{0:?} is not a host")]
    Authority(String),
    #[error("{0:?} is not a path other than /")]
    Path(String),
    #[error("{0:?}: {1}")]
    Location(String, LocationError),
    #[error("{0}")]
    Origins(OriginError),
    #[error("{0}")]
    Pattern(PatternError),
    #[error("{0}")]
    Variables(VariablesError),
    #[error("{0:?}: {1}")]
    ServerUrl(String, ServerUrlError),
    #[error("the host of the request cannot be its own mirror")]
    OwnMirror,
    #[error("{0}")]
    FieldNames(FieldNamesError),
    #[error("{0:?} is not a field that can be set")]
    Field(String),
    #[error("there are more than {0}")]
    TooMany(usize),
    #[error("{0:?} is not plain text of the form that is needed")]
    Pair(String),
}

/// Parses a list of issuers.
pub(super) fn issuers(value: &str) -> Result<Vec<Box<str>>, InvalidValue> {
    let mut names: Vec<Box<str>> = Vec::new();
    for name in list(value) {
        match name {
            "" => return Err(InvalidValue::EmptyName(value.to_owned())),
            "none" => return Err(InvalidValue::NoneBesideIssuers),
            name if names.iter().any(|known| **known == *name) => {}
            name => names.push(name.into()),
        }
    }
    Ok(names)
}

/// Parses a common name.
pub(super) fn common_name(value: &str) -> Result<Box<str>, InvalidValue> {
    match HostPattern::parse(value) {
        Ok(HostPattern::Any) => Err(InvalidValue::Empty),
        Ok(pattern) if pattern.to_string().len() <= MAX_COMMON_NAME => {
            Ok(pattern.to_string().into())
        }
        Ok(_) => Err(InvalidValue::LongCommonName),
        Err(error) => Err(InvalidValue::Host(value.to_owned(), error)),
    }
}

/// Parses a protocol of backends.
pub(super) fn protocol(value: &str) -> Result<Protocol, InvalidValue> {
    match value.to_ascii_uppercase().as_str() {
        "HTTP" | "H1" => Ok(Protocol::Http1),
        "AUTO_HTTP" => Ok(Protocol::ByScheme),
        "HTTPS" | "H1-SSL" => Ok(Protocol::Https),
        "GRPC" | "H2" => Ok(Protocol::H2c),
        "GRPCS" | "H2-SSL" => Ok(Protocol::H2),
        _ => Err(none_of(value, "HTTP, HTTPS, AUTO_HTTP, GRPC, GRPCS")),
    }
}

/// Parses a decision about unsupported guards.
pub(super) fn guards(value: &str) -> Option<UnsupportedGuards> {
    match value {
        "refuse" => Some(UnsupportedGuards::Refuse),
        "ignore" => Some(UnsupportedGuards::Ignore),
        _ => None,
    }
}

/// Parses a boolean like Go's `strconv.ParseBool`, which other controllers use.
pub(super) fn boolean(value: &str) -> Result<bool, InvalidValue> {
    match value {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err(none_of(value, "true, false")),
    }
}

/// Parses a duration in Go's format: numbers with units, one after the other.
pub(super) fn duration(value: &str) -> Result<Duration, InvalidValue> {
    let wrong = || InvalidValue::Duration(value.to_owned());
    let mut rest = value;
    let mut seconds = 0.0;

    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_number(c)).ok_or_else(wrong)?);
        let (unit, after) = after.split_at(after.find(is_number).unwrap_or(after.len()));
        let number: f64 = number.parse().map_err(|_bad| wrong())?;
        seconds += number
            * match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return Err(wrong()),
            };
        rest = after;
    }

    let duration = Duration::try_from_secs_f64(seconds).ok();
    duration
        .filter(|duration| !duration.is_zero() && *duration <= MAX_DURATION)
        .ok_or_else(wrong)
}

/// Returns the value, unless it is empty.
pub(super) fn filled(value: &str) -> Option<Box<str>> {
    (!value.is_empty()).then(|| value.into())
}

/// Returns the elements of a list separated by commas.
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

/// Parses `on` or `off`.
pub(super) fn switch(value: &str) -> Result<bool, InvalidValue> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(none_of(value, "on, off")),
    }
}

/// Returns the error of a value that is none of the known ones.
pub(super) fn none_of(value: &str, known: &'static str) -> InvalidValue {
    InvalidValue::NoneOf {
        value: value.to_owned(),
        known,
    }
}

/// Returns the error of a value that is not what it should be.
pub(super) fn not(value: &str, what: &'static str) -> InvalidValue {
    InvalidValue::Not(value.to_owned(), what)
}

/// Parses a number; `what` says which ones there are.
pub(super) fn number(value: &str, what: &'static str) -> Result<u32, InvalidValue> {
    value.parse().map_err(|_error| not(value, what))
}

/// Parses `Host` for backends.
pub(super) fn authority(value: &str) -> Result<HeaderValue, InvalidValue> {
    let wrong = || InvalidValue::Authority(value.to_owned());
    Authority::parse(value.as_bytes()).map_err(|_error| wrong())?;
    HeaderValue::from_str(value).map_err(|_error| wrong())
}

/// Parses a list of addresses and networks, separated by commas and white space.
pub(super) fn networks(value: &str) -> Result<Vec<IpNet>, InvalidValue> {
    let words = value.split(|c: char| c == ',' || c.is_whitespace());
    let words = words.filter(|word| !word.is_empty());
    let networks = words.map(|word| {
        let address = || word.parse::<IpAddr>().ok().map(IpNet::from);
        let network = word.parse().ok().or_else(address);
        network.ok_or_else(|| InvalidValue::Network(word.to_owned()))
    });
    let networks: Vec<IpNet> = networks.collect::<Result<_, _>>()?;
    if networks.is_empty() {
        return Err(InvalidValue::Empty);
    }
    Ok(networks)
}

/// The times of HAProxy, for people.
pub(super) const TIME: &str = "a time (10s, 1m), or milliseconds";

/// Parses a time of HAProxy: a number with one unit, or milliseconds.
pub(super) fn time(value: &str) -> Result<Duration, InvalidValue> {
    let wrong = || not(value, TIME);
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let microseconds: u64 = match &value[digits.len()..] {
        "us" => 1,
        "" | "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return Err(wrong()),
    };

    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: Option<u64> = digits.parse().ok().filter(|_| is_number);
    let time = number.and_then(|number| number.checked_mul(microseconds));
    let time = time.map(Duration::from_micros);
    let most = MAX_TIME;
    time.filter(|time| !time.is_zero() && *time <= most)
        .ok_or_else(wrong)
}

/// Splits a line with a name and a value as HAProxy Ingress does.
pub(super) fn colon_or_space(line: &str) -> Option<(&str, &str)> {
    line.split_once([':', ' ', '\t'])
}
