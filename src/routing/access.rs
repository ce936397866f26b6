//! The decision about who may come in: lists of addresses, and a login.

use std::{net::IpAddr, num::NonZeroUsize, sync::Arc};

use http::{HeaderName, HeaderValue, StatusCode};

use super::Prefixes;
use crate::util::password::PasswordHash;

/// The conditions under which a client may come in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Access {
    /// The annotations that it is made from, for people.
    pub from: Box<str>,
    /// The addresses that may not come in. They precede those that may.
    pub denied: Prefixes,
    /// Lists of addresses, each of which must have that of the client.
    pub allowed: Box<[Prefixes]>,
    /// The login.
    pub login: Option<Login>,
    /// True if an allowed address needs no login, and a login no allowed address.
    pub satisfy_any: bool,
    /// The status for a client whose address may not come in; `None` for 403.
    pub status: Option<StatusCode>,
    /// The place of the client in `X-Forwarded-For`, counted from its end; `None` for the client as
    /// the trusted proxies name it.
    pub depth: Option<NonZeroUsize>,
}

/// A login by name and password (RFC 7617), or by digests of them (RFC 7616).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    /// `WWW-Authenticate`: the scheme and the realm.
    pub challenge: HeaderValue,
    /// The realm of a login by digests; `None` for one by passwords.
    pub digest_realm: Option<Box<str>>,
    /// The users that may log in.
    pub users: Arc<Users>,
    /// True if the backend gets the login too.
    pub passes_on: bool,
    /// The field with the name of the user for the backend.
    pub user_field: Option<HeaderName>,
}

/// Users with the hashes of their passwords.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Users(Box<[(Box<str>, PasswordHash)]>);

/// The judgement about the address of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressVerdict {
    /// All lists of allowed addresses have it.
    Allowed,
    /// It may not come in.
    Denied,
    /// There is no list of allowed addresses, and it is not denied.
    Unlisted,
}

/// The next step of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// The client may come in.
    Open,
    /// The client may not come in.
    Closed,
    /// The client must log in.
    Login(&'a Login),
}

impl Access {
    /// Judges the address of a client. One that is not known is in no list of allowed addresses,
    /// and in every list of denied ones.
    pub fn judge(&self, address: Option<IpAddr>) -> AddressVerdict {
        let Some(address) = address else {
            let has_lists = !self.denied.is_empty() || !self.allowed.is_empty();
            return if has_lists {
                AddressVerdict::Denied
            } else {
                AddressVerdict::Unlisted
            };
        };

        if self.denied.contains(address) || self.allowed.iter().any(|list| !list.contains(address))
        {
            AddressVerdict::Denied
        } else if self.allowed.is_empty() {
            AddressVerdict::Unlisted
        } else {
            AddressVerdict::Allowed
        }
    }

    /// Decides about a client by its address.
    pub fn entry(&self, address: Option<IpAddr>) -> Entry<'_> {
        match (self.judge(address), &self.login) {
            (AddressVerdict::Denied, Some(login)) if self.satisfy_any => Entry::Login(login),
            (AddressVerdict::Denied, _) => Entry::Closed,
            (AddressVerdict::Allowed, Some(_)) if self.satisfy_any => Entry::Open,
            (_, Some(login)) => Entry::Login(login),
            (_, None) => Entry::Open,
        }
    }

    /// Returns true if a client with this address may come in without more.
    pub fn lets_in(&self, address: IpAddr) -> bool {
        matches!(self.entry(Some(address)), Entry::Open)
    }
}

impl Users {
    /// Returns the hash of a user's password.
    pub fn find(&self, name: &[u8]) -> Option<&PasswordHash> {
        let at = self
            .0
            .binary_search_by(|(known, _)| known.as_bytes().cmp(name));
        Some(&self.0[at.ok()?].1)
    }

    /// Returns their number.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The first of several with one name counts.
impl FromIterator<(Box<str>, PasswordHash)> for Users {
    fn from_iter<T: IntoIterator<Item = (Box<str>, PasswordHash)>>(users: T) -> Self {
        let mut users: Vec<_> = users.into_iter().collect();
        users.sort_by(|(one, _), (other, _)| one.cmp(other));
        users.dedup_by(|(later, _), (first, _)| later == first);
        Self(users.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(networks: &[&str]) -> Prefixes {
        let networks = networks.iter().map(|one| one.parse().expect("a network"));
        networks.collect()
    }

    fn login() -> Login {
        let users = [("ann", "one"), ("bob", "two"), ("ann", "three")];
        let users = users.map(|(name, word)| (name.into(), PasswordHash::plain(word)));
        Login {
            challenge: HeaderValue::from_static("Basic realm=\"\""),
            users: Arc::new(users.into_iter().collect()),
            digest_realm: None,
            passes_on: false,
            user_field: None,
        }
    }

    /// Returns the decision about each address: `o`pen, `c`losed or `l`ogin.
    fn decisions(access: &Access, addresses: &[&str]) -> String {
        let entry = |address: &&str| match access.entry(address.parse().ok()) {
            Entry::Open => 'o',
            Entry::Closed => 'c',
            Entry::Login(_) => 'l',
        };
        addresses.iter().map(entry).collect()
    }

    #[test]
    fn lists_and_login_are_combined() {
        let inside = ["10.1.0.1", "10.2.0.1", "192.0.2.1", "unknown"];
        let none = Access::default();
        let denied = Access {
            denied: list(&["10.1.0.0/16"]),
            ..Access::default()
        };
        let allowed = Access {
            allowed: [list(&["10.0.0.0/8"])].into(),
            ..denied.clone()
        };
        let both = Access {
            allowed: [list(&["10.0.0.0/8"]), list(&["10.2.0.0/16"])].into(),
            ..Access::default()
        };
        for (access, without, all, any) in [
            (none, "oooo", "llll", "llll"),
            (denied, "cooc", "cllc", "llll"),
            (allowed, "cocc", "clcc", "loll"),
            (both, "cocc", "clcc", "loll"),
        ] {
            assert_eq!(decisions(&access, &inside), without, "{access:?}");
            let with = Access {
                login: Some(login()),
                ..access.clone()
            };
            assert_eq!(decisions(&with, &inside), all, "{with:?}");
            let with = Access {
                satisfy_any: true,
                ..with
            };
            assert_eq!(decisions(&with, &inside), any, "{with:?}");
            let alone = Access {
                satisfy_any: true,
                ..access
            };
            assert_eq!(decisions(&alone, &inside), without, "{alone:?}");
        }
    }

    #[test]
    fn the_first_of_two_users_with_one_name_counts() {
        let login = login();
        assert_eq!(login.users.len(), 2);
        let hash = login.users.find(b"ann").expect("a user");
        assert!(hash.verify(b"one") && !hash.verify(b"three"));
        assert!(login.users.find(b"an").is_none() && login.users.find(b"\xff").is_none());
    }
}
