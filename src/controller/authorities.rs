//! The authorities of certificates of clients in Secrets.

use crate::{objects::slim::Secret, routing::Authorities};

/// Reads the authorities and lists of revoked certificates in a Secret (`ca.crt`, or `tls.ca` as
/// Traefik has it, and `ca.crl`, as PEM). The caller provides it, because this module does not know
/// X.509.
pub type ReadAuthorities =
    Box<dyn Fn(&[u8], Option<&[u8]>) -> Result<Authorities, InvalidAuthorities> + Send + Sync>;

/// The reason why authorities cannot be used, as a part of a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidAuthorities(pub String);

/// The authorities in a Secret, as PEM.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RawAuthorities {
    pub(super) ca: Box<[u8]>,
    /// The lists of revoked certificates, if there are any.
    pub(super) crl: Option<Box<[u8]>>,
}

/// Reads nothing: hosts that ask for certificates of clients are closed.
pub(super) fn unread(_ca: &[u8], _crl: Option<&[u8]>) -> Result<Authorities, InvalidAuthorities> {
    let why = "certificates of clients are not verified here";
    Err(InvalidAuthorities(why.to_owned()))
}

impl RawAuthorities {
    /// Returns those of a Secret; `None` if it has none.
    pub(super) fn of(secret: &Secret<'_>) -> Option<Result<Self, &'static str>> {
        if !secret.has_authorities() {
            return None;
        }
        let key = Secret::AUTHORITIES
            .iter()
            .find(|key| secret.data.contains_key(**key));
        let Some(ca) = key.and_then(|key| secret.value(key)) else {
            return Some(Err("ca.crt is not base64"));
        };

        let has_lists = secret.data.contains_key("ca.crl");
        let crl = match has_lists.then(|| secret.value("ca.crl")) {
            None => None,
            Some(Some(crl)) => Some(crl.into()),
            Some(None) => return Some(Err("ca.crl is not base64")),
        };
        let ca = ca.into();
        Some(Ok(Self { ca, crl }))
    }
}
