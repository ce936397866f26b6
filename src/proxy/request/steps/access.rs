//! Lets in those who may come in: by their address, and by name and password (RFC 7617) or
//! a digest of them.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;

use super::{
    Passing,
    digest::{self, Checked},
};
use crate::{
    proxy::{
        logins,
        request::{
            access_log::Record,
            error::{Error, Kind},
            fields::{FieldName, Fields},
            handle::{self, Response},
            headers,
        },
    },
    routing::{Access, Entry, Login, SetField},
};

/// Lets the request pass, or returns the response that refuses it.
///
/// # Errors
/// 403 for a client whose address may not come in, 503 if its login cannot be checked.
pub(super) async fn enter(
    request: &mut Passing<'_>,
    access: &Access,
    record: Option<&mut Record>,
) -> Result<Option<Response>, Error> {
    // It is for us, even where the address alone is enough.
    let login = access.login.as_ref();
    request.changes.hides_authorization |= login.is_some_and(|login| !login.passes_on);

    let client = match access.depth {
        None => request.client(),
        Some(depth) => headers::address_at(&request.head.fields, request.conn, depth),
    };
    let login = match access.entry(client) {
        Entry::Open => return Ok(None),
        Entry::Closed => {
            let kind = access.status.map_or(Kind::Forbidden, Kind::Rejected);
            return Err(Error::client(kind));
        }
        Entry::Login(login) => login,
    };
    let mut challenge = Some(login.challenge.clone());
    if let Some(realm) = &login.digest_realm {
        match digest::check(request, login, realm) {
            Checked::Right(user) => {
                name_user(request, login, user.as_bytes());
                return Ok(None);
            }
            wrong => challenge = digest::challenge(request, realm, wrong == Checked::Stale),
        }
    } else if is_logged_in(request, login).await? {
        if let Some((user, _)) = credentials(&request.head.fields) {
            name_user(request, login, &user);
        }
        return Ok(None);
    }

    let (worker, fields) = (request.worker, &request.head.fields);
    let mut response = handle::fail(worker, Error::client(Kind::Unauthorized), fields, record);
    if let Some(challenge) = challenge {
        let challenge = challenge.as_bytes();
        response.head.fields.set("www-authenticate", challenge);
    }
    Ok(Some(response))
}

/// Sends the name of the user to the backend, if it is asked for.
fn name_user(request: &mut Passing<'_>, login: &Login, user: &[u8]) {
    let Some(name) = &login.user_field else {
        return;
    };
    request.changes.remove(name);
    // A name that no field can have is left out.
    if let Ok(value) = HeaderValue::from_bytes(user) {
        request.changes.set(Arc::new(SetField {
            from: Box::default(),
            name: name.clone(),
            value,
        }));
    }
}

/// Reports whether the request has the name and password of a user.
pub(super) async fn is_logged_in(request: &Passing<'_>, login: &Login) -> Result<bool, Error> {
    if let Some(realm) = &login.digest_realm {
        return Ok(matches!(
            digest::check(request, login, realm),
            Checked::Right(_)
        ));
    }
    let Some((name, password)) = credentials(&request.head.fields) else {
        return Ok(false);
    };
    let Some(hash) = login.users.find(&name) else {
        return Ok(false);
    };
    if hash.is_cheap() {
        return Ok(hash.verify(&password));
    }

    let client = request.client();
    let client = client.unwrap_or_else(|| request.conn.client.ip());
    let (comparer, logins) = (&request.worker.shared.comparer, &request.worker.logins);
    // Boxed: the future of every request would reserve the space for it.
    Box::pin(logins::is_right(comparer, logins, hash, &password, client)).await
}

/// Returns the name and password of a request. Of several fields none counts: the next reader may
/// choose another one.
fn credentials(fields: &Fields) -> Option<(Vec<u8>, Vec<u8>)> {
    let mut values = fields.all(FieldName::Authorization);
    let value = values.next().filter(|_| values.next().is_none())?;
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }

    let decoded = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = memchr::memchr(b':', &decoded)?;
    Some((decoded[..colon].to_vec(), decoded[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Option<(String, String)> {
        let mut fields = Fields::default();
        for value in values {
            fields.push(b"authorization", value.as_bytes());
        }
        let text = |bytes| String::from_utf8(bytes).expect("text");
        credentials(&fields).map(|(name, password)| (text(name), text(password)))
    }

    #[test]
    fn credentials_are_one_field_of_the_basic_scheme() {
        let expected = |name: &str, password: &str| Some((name.to_owned(), password.to_owned()));
        assert_eq!(of(&["Basic YW5uOm9uZQ=="]), expected("ann", "one"));
        assert_eq!(of(&["basic  YW5uOm9uZQ=="]), expected("ann", "one"));
        assert_eq!(of(&["Basic YW5uOmE6Yg=="]), expected("ann", "a:b"));
        assert_eq!(of(&["Basic Og=="]), expected("", ""));
        for none in [
            &[][..],
            &["Basic YW5uOm9uZQ==", "Basic YW5uOm9uZQ=="],
            &["Bearer YW5uOm9uZQ=="],
            &["BasicYW5uOm9uZQ=="],
            &["Basic YW5u"],
            &["Basic ann:one"],
            &["Basic"],
            &[""],
        ] {
            assert_eq!(of(none), None, "{none:?}");
        }
    }
}
