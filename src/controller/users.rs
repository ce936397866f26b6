//! The users in a Secret, in the forms that controllers have for them.

use std::fmt;

use crate::{
    routing::Users,
    util::password::{HashError, PasswordHash},
};

/// The key of a Secret with a file of users.
const FILE: &str = "auth";

/// The values of a Secret that may have users.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RawUsers(pub(super) Box<[(Box<str>, Box<[u8]>)]>);

/// The form in which a Secret has users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The key `auth` has lines like `name:hash`.
    File,
    /// The same, where `name::password` has a password in the clear.
    FileWithPlain,
    /// Each key is a name, and its value the hash.
    Map,
    /// The only key, with any name, has the lines of a file; or the keys `username` and `password`
    /// have one user, as in Secrets of type `kubernetes.io/basic-auth`.
    OnlyKey,
}

/// The users of a Secret.
#[derive(Debug, Default)]
pub(super) struct UserList {
    pub(super) users: Users,
    /// Those whose hash cannot be used.
    pub(super) unusable: Vec<(Box<str>, HashError)>,
}

impl Form {
    /// Names the place of the users, for people.
    pub(super) fn place(self) -> &'static str {
        match self {
            Self::File | Self::FileWithPlain => "in its key auth (name:hash in each line)",
            Self::OnlyKey => "in its only key (name:hash in each line)",
            Self::Map => "(a key for each name, with the hash)",
        }
    }
}

/// Hides the values.
impl fmt::Debug for RawUsers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.0.iter().map(|(key, _)| key);
        f.debug_list().entries(keys).finish()
    }
}

/// Parses the users of a Secret. The first of several with one name counts, usable or not.
pub(super) fn parse(raw: &RawUsers, form: Form) -> UserList {
    let mut list = UserList::default();
    let mut users: Vec<(Box<str>, PasswordHash)> = Vec::new();
    let mut add = |name: &str, hash: Result<PasswordHash, HashError>| {
        let is_known = |known: &str| *known == *name;
        if list.unusable.iter().any(|(known, _)| is_known(known)) {
            return;
        }
        match hash {
            Ok(hash) => users.push((name.into(), hash)),
            Err(error) if !users.iter().any(|(known, _)| is_known(known)) => {
                list.unusable.push((name.into(), error));
            }
            Err(_) => {}
        }
    };

    if form == Form::OnlyKey {
        match &raw.0[..] {
            [(password_key, password), (name_key, name)]
                if (&**password_key, &**name_key) == ("password", "username") =>
            {
                let (name, password) = (
                    String::from_utf8_lossy(name),
                    String::from_utf8_lossy(password),
                );
                add(&name, Ok(PasswordHash::plain(&password)));
            }
            [(_, lines)] => {
                let text = String::from_utf8_lossy(lines);
                for (name, rest) in text.lines().map(str::trim).filter_map(user) {
                    add(name, hash(rest, form));
                }
            }
            _ => {}
        }
        list.users = users.into_iter().collect();
        return list;
    }

    for (key, value) in &raw.0 {
        let text = String::from_utf8_lossy(value);
        match form {
            // A file is no hash of a user who has this name.
            Form::Map => add(key, PasswordHash::parse(text.trim())),
            Form::File | Form::FileWithPlain if **key == *FILE => {
                for line in text.lines().map(str::trim) {
                    if let Some((name, rest)) = user(line) {
                        add(name, hash(rest, form));
                    }
                }
            }
            Form::File | Form::FileWithPlain | Form::OnlyKey => {}
        }
    }

    list.users = users.into_iter().collect();
    list
}

/// Parses the users of a realm, in the only key of a Secret: lines like `name:realm:digest`.
pub(super) fn parse_digests(raw: &RawUsers, realm: &str) -> UserList {
    let [(_, lines)] = &raw.0[..] else {
        return UserList::default();
    };
    let text = String::from_utf8_lossy(lines);
    let of_realm = text.lines().map(str::trim).filter_map(|line| {
        let (name, rest) = user(line)?;
        let (of, hash) = rest.rsplit_once(':')?;
        (of == realm).then(|| (name, PasswordHash::digest(hash)))
    });

    let mut list = UserList::default();
    let mut users = Vec::new();
    for (name, hash) in of_realm {
        match hash {
            Ok(hash) => users.push((name.into(), hash)),
            Err(error) => list.unusable.push((name.into(), error)),
        }
    }
    list.users = users.into_iter().collect();
    list
}

/// Returns the name in a line, and what is behind it.
fn user(line: &str) -> Option<(&str, &str)> {
    if line.starts_with('#') {
        return None;
    }
    line.split_once(':').filter(|(name, _)| !name.is_empty())
}

/// Parses what is behind the name in a line. Behind a further colon is a comment.
fn hash(text: &str, form: Form) -> Result<PasswordHash, HashError> {
    match text.strip_prefix(':') {
        Some(password) if form == Form::FileWithPlain && !password.is_empty() => {
            Ok(PasswordHash::plain(password))
        }
        _ if text.starts_with("{PLAIN}") => PasswordHash::parse(text),
        _ => PasswordHash::parse(text.split(':').next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=";

    fn raw(values: &[(&str, &str)]) -> RawUsers {
        let values = values.iter();
        RawUsers(
            values
                .map(|(key, value)| ((*key).into(), value.as_bytes().into()))
                .collect(),
        )
    }

    fn is_right(list: &UserList, name: &str, password: &str) -> bool {
        let hash = list.users.find(name.as_bytes());
        hash.is_some_and(|hash| hash.verify(password.as_bytes()))
    }

    #[test]
    fn a_file_has_a_user_in_each_line() {
        let file = format!("# users\n\nann:{SHA}\r\nbob:{SHA}:the second\nno user\n:{SHA}\n");
        let raw = raw(&[("auth", &file), ("other", "eve:{PLAIN}x")]);
        let list = parse(&raw, Form::File);
        assert_eq!(list.users.len(), 2);
        assert!(is_right(&list, "ann", "secret") && is_right(&list, "bob", "secret"));
        assert!(list.unusable.is_empty());
    }

    #[test]
    fn a_map_has_a_user_in_each_key() {
        let raw = raw(&[("ann", SHA), ("bob", "secret\n"), ("eve", "{PLAIN}x\n")]);
        let list = parse(&raw, Form::Map);
        assert!(is_right(&list, "ann", "secret") && is_right(&list, "eve", "x"));
        assert_eq!(list.unusable, [("bob".into(), HashError::Unknown)]);
    }

    #[test]
    fn digests_are_those_of_the_realm() {
        let digest = "8ca523f5e9506fed4657c9700eebdbec";
        let file = format!("ann:a:{digest}\nbob:b:{digest}\n# x:a:{digest}\neve:a:{SHA}\nno:a\n");
        let list = parse_digests(&raw(&[("any", &file)]), "a");
        assert_eq!((list.users.len(), list.unusable.len()), (1, 1));
        let ann = list.users.find(b"ann").expect("a user");
        assert!(ann.is_right_digest(str::to_owned, &digest.to_uppercase()));
        assert!(!ann.is_right_digest(|_| "x".to_owned(), digest));
        assert!(!ann.verify(digest.as_bytes()), "it is no password");
        assert!(
            parse_digests(&raw(&[("a", &file), ("b", "")]), "a")
                .users
                .is_empty()
        );
    }

    #[test]
    fn passwords_in_the_clear_are_of_one_form_only() {
        let raw = raw(&[("auth", "ann::open\nbob::\n")]);
        assert!(is_right(&parse(&raw, Form::FileWithPlain), "ann", "open"));
        let list = parse(&raw, Form::File);
        assert!(list.users.is_empty() && list.unusable.len() == 2);
    }

    #[test]
    fn the_first_line_of_a_user_counts() {
        let file = format!("ann:x\nann:{SHA}\nbob:{{PLAIN}}a\nbob:{SHA}\nbob:x");
        let list = parse(&raw(&[("auth", &file)]), Form::File);
        assert!(!is_right(&list, "ann", "secret"));
        assert!(is_right(&list, "bob", "a") && !is_right(&list, "bob", "secret"));
        assert_eq!(list.unusable.len(), 1);
    }
}
