//! The annotations of Services that ask for ports.

use std::fmt;

use crate::{objects::RawObject, routing::Port};

/// The annotation with the TCP ports of a Service.
const TCP_LISTEN: &str = "gatelet.dev/tcp-listen";
/// The most ports in one annotation.
const MAX_ENTRIES: usize = 100;

/// The annotations of a Service that asks for ports, as they are written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PortAnnotations {
    /// `metadata.creationTimestamp`: of two Services that ask for the same port, the older has it.
    pub(super) created: Box<str>,
    values: Box<[(&'static str, Box<str>)]>,
}

/// One port that a Service asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ask {
    /// The port that clients connect to.
    pub(super) port: Port,
    /// The port of the Service that it leads to.
    pub(super) target: Target,
}

/// A port of a Service, as it is written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// By its number.
    Number(u16),
    /// By its name.
    Name(Box<str>),
}

/// The reason why an annotation asks for no port.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AskError {
    #[error("{0:?} is not a port from 1 to 65535, or PORT:PORT-OF-THE-SERVICE")]
    NotPort(String),
    #[error("more than {MAX_ENTRIES} ports")]
    TooMany,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl PortAnnotations {
    /// Takes the annotations about ports from a Service; `None` if there are none.
    pub(super) fn of(object: &RawObject) -> Option<Box<Self>> {
        let annotations = &object.meta.annotations;
        let values: Box<[_]> = [TCP_LISTEN]
            .into_iter()
            .filter_map(|name| Some((name, annotations.get(name)?.clone())))
            .collect();
        if values.is_empty() {
            return None;
        }
        Some(Box::new(Self {
            created: object.meta.creation_timestamp.clone(),
            values,
        }))
    }

    /// Reads the ports, each with the field that asks for it.
    pub(super) fn read(&self) -> Vec<(String, Result<Ask, AskError>)> {
        let mut asks = Vec::new();
        for (name, value) in &self.values {
            let field = format!("metadata.annotations[{name}]");
            let entries = value.split(',').map(str::trim);
            let entries = entries.filter(|entry| !entry.is_empty());
            for (count, entry) in entries.enumerate() {
                if count == MAX_ENTRIES {
                    asks.push((field, Err(AskError::TooMany)));
                    break;
                }
                asks.push((field.clone(), Ask::parse(entry)));
            }
        }
        asks
    }
}

impl Ask {
    /// Parses `PORT` or `PORT:TARGET`.
    fn parse(entry: &str) -> Result<Self, AskError> {
        let invalid = || AskError::NotPort(entry.to_owned());
        let number = |text: &str| {
            let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
            let number = text.parse().ok().filter(|number| is_plain && *number != 0);
            number.ok_or_else(invalid)
        };

        let (listen, target) = entry.split_once(':').unwrap_or((entry, entry));
        let listen = number(listen.trim())?;
        let target = match target.trim() {
            "" => return Err(invalid()),
            name if name.bytes().any(|byte| byte.is_ascii_alphabetic()) => {
                Target::Name(name.into())
            }
            text => Target::Number(number(text)?),
        };

        Ok(Self {
            port: Port::tcp(listen),
            target,
        })
    }
}
