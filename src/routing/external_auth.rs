//! Logins that another server checks: where it is asked, and the effects of its response.

use std::{sync::Arc, time::Duration};

use http::Method;

use super::{Access, Backend, Server, Variables};

/// A login that another server checks, for each request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ExternalAuth {
    /// The annotations that it is made from, for people.
    pub from: Box<str>,
    /// Its URL, for people.
    pub url: Box<str>,
    /// The server that is asked.
    pub to: AuthTarget,
    /// The path and the query that it is asked for.
    pub target: Variables,
    /// The method of the request to it.
    pub method: AuthMethod,
    /// The fields of the client that it gets; `None` for all.
    pub sends: Option<Arc<FieldNames>>,
    /// Further fields that it gets.
    pub adds: Option<Arc<AuthFields>>,
    /// The controller whose fields about the request it gets.
    pub dialect: AuthDialect,
    /// `X-Auth-Request-Redirect`; the path and query of the request without it.
    pub redirect: Option<Variables>,
    /// The fields of its response that the backend gets, in place of those of the client.
    pub copies: Arc<FieldNames>,
    /// The response to a client that may not come in.
    pub failure: AuthFailure,
    /// The cookies of its response that the client gets.
    pub cookies: AuthCookieTerms,
    /// The terms on which its responses are remembered.
    pub cache: Option<AuthCaching>,
    /// The decision that is enough instead: an allowed address, or a login.
    pub or: Option<Arc<Access>>,
}

/// The controllers that tell the server about a request in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthDialect {
    /// `X-Original-*` and others, without the scheme of the request.
    Nginx,
    /// The same with the scheme.
    HaProxy,
    /// `X-Forwarded-*` alone, and the request as the steps before have left it.
    Traefik {
        /// True if it does not get the prefix that a step before has removed.
        hides_prefix: bool,
    },
}

/// The cookies of the server that the client gets with the response of the backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AuthCookieTerms {
    /// All, with some statuses of the response.
    WithSome,
    /// All, with any status.
    Always,
    /// Those with these names, in place of those of the backend.
    Named(Arc<[Box<str>]>),
}

/// The server that checks logins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AuthTarget {
    /// The rule of the host of the request that has the path.
    OwnHost,
    /// A server of its own.
    Server(Server),
}

/// Fields for the server in place of those of the client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthFields {
    /// Their names.
    pub names: Arc<FieldNames>,
    /// Their names in lower case, and values. An empty one is not sent.
    pub values: Box<[(Box<str>, Variables)]>,
}

impl AuthFields {
    /// Makes fields of their names in lower case and values.
    pub fn new(values: Vec<(Box<str>, Variables)>) -> Self {
        let names = values.iter().map(|(name, _)| name.replace('_', "-").into());
        Self {
            names: Arc::new(FieldNames(names.collect())),
            values: values.into(),
        }
    }
}

/// The method of the request to the server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AuthMethod {
    /// This one.
    Fixed(Method),
    /// That of the request.
    OfRequest,
}

/// The response to a client that may not come in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AuthFailure {
    /// 401 and 403 of the server, without its body, and 500 for everything else.
    Own {
        /// The target of a redirect in place of 401.
        sign_in: Option<Variables>,
    },
    /// The response of the server with these fields.
    PassOn(FieldNames),
    /// A redirect, whatever the server says.
    SignIn(Variables),
}

/// The terms on which the responses of the server are remembered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthCaching {
    /// The text that requests with the same response have in common.
    pub key: Variables,
    /// The time for each status.
    pub durations: Box<[(u16, Duration)]>,
}

/// Names of fields. `_` is the same as `-`, because servers with CGI take both for the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldNames(Box<[Box<str>]>);

/// The most names in a list.
const MAX_NAMES: usize = 64;

/// The reason why a list of names is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldNamesError {
    /// It has a text that is no name.
    #[error("{0:?} is not the name of a field")]
    Name(Box<str>),
    /// It is too long.
    #[error("there are more than {MAX_NAMES} names")]
    TooMany,
}

impl FieldNames {
    /// Parses names separated by commas. `*` at the end of one stands for any text; `-` alone is
    /// no name.
    ///
    /// # Errors
    /// If something in it is no name, or there are too many.
    pub fn parse(text: &str) -> Result<Self, FieldNamesError> {
        let words = text.split(',').map(str::trim);
        let words = words.filter(|word| !word.is_empty() && *word != "-");
        let names = words.map(|word| {
            let start = word.strip_suffix('*').unwrap_or(word);
            let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            let is_name = start.chars().all(is_token) && (word.ends_with('*') || !start.is_empty());
            match is_name {
                true => Ok(word.to_ascii_lowercase().replace('_', "-").into()),
                false => Err(FieldNamesError::Name(word.into())),
            }
        });
        let names: Box<[Box<str>]> = names.collect::<Result<_, _>>()?;
        if names.len() > MAX_NAMES {
            return Err(FieldNamesError::TooMany);
        }
        Ok(Self(names))
    }

    /// Returns the list that has every name.
    pub fn all() -> Self {
        Self(["*".into()].into())
    }

    /// Returns the list that has one name alone.
    pub fn of(name: &str) -> Self {
        Self([name.to_ascii_lowercase().replace('_', "-").into()].into())
    }

    /// Returns true if it has every name.
    pub fn is_all(&self) -> bool {
        self.0.iter().any(|name| **name == *"*")
    }

    /// Returns true if it has this name.
    pub fn has(&self, name: &[u8]) -> bool {
        self.0.iter().any(|known| match known.strip_suffix('*') {
            Some(start) => name
                .get(..start.len())
                .is_some_and(|name| is_same_name(name, start.as_bytes())),
            None => is_same_name(name, known.as_bytes()),
        })
    }

    /// Returns the names, each in lower case.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }
}

/// Returns true if two names of fields are the same for a server with CGI.
pub fn is_same_name(one: &[u8], other: &[u8]) -> bool {
    let plain = |byte: &u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.iter().map(plain).eq(other.iter().map(plain))
}

impl AuthTarget {
    /// Returns a server, or without one the rules of the host.
    pub fn of(server: Option<Server>) -> Self {
        server.map_or(Self::OwnHost, Self::Server)
    }

    /// Returns the backend, if it has one of its own.
    pub fn backend(&self) -> Option<&Arc<Backend>> {
        match self {
            Self::OwnHost => None,
            Self::Server(server) => Some(&server.backend.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_underscores() {
        let names = FieldNames::parse("X-User, x_group,, Remote-*").expect("names");
        for name in ["x-user", "X_USER", "x-group", "remote-", "Remote_Name"] {
            assert!(names.has(name.as_bytes()), "{name}");
        }
        for name in ["", "x-use", "x-users", "remote", "xuser"] {
            assert!(!names.has(name.as_bytes()), "{name}");
        }
        assert!(!names.is_all() && FieldNames::all().is_all());
        assert!(FieldNames::all().has(b"anything"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", " ", "-", ","] {
            assert_eq!(FieldNames::parse(text), Ok(FieldNames::default()), "{text}");
        }
        for text in ["a b", "x-*-y", "**", "a:b", "a\r\nb", "\u{e4}", "$x"] {
            assert!(FieldNames::parse(text).is_err(), "{text:?}");
        }
        assert!(FieldNames::parse(&"a,".repeat(100)).is_err());
    }
}
