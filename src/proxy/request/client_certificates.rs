//! Admits requests by the certificates of their clients. The handshake has shown that a client has
//! the key of its certificate; here the terms of the host of the request decide, as they are now.

use std::{
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use http::StatusCode;
use rustls::pki_types::CertificateDer;

use super::{
    error::{Error, Kind},
    fields::Fields,
    handle::{self, Response},
    headers::Replaced,
    steps::{Passing, redirect_to_https},
};
use crate::{
    proxy::{
        clock,
        conn::{ClientTls, Verdict},
    },
    routing::{
        Authorities, CertificateFields, ClientCertificates, FieldNames, Refusal, VerifyClient,
    },
    tls::{ClientCertificate, ClientCertificateError},
};

/// The longest time for which a certificate counts as verified: it may expire.
const VERIFIED: Duration = Duration::from_secs(60);

/// The beginnings of the names of fields about certificates, which come from us alone.
const ABOUT: [&[u8]; 2] = [b"ssl-client-", b"x-ssl-client-"];

/// The result of the verification if there is no certificate.
const NO_CERTIFICATE: &str = "NONE";

/// The same for [`Replaced`].
static OURS: LazyLock<Arc<FieldNames>> = LazyLock::new(|| {
    let names = FieldNames::parse("ssl-client-*,x-ssl-client-*");
    Arc::new(names.unwrap_or_default())
});

/// Returns true if a field with this name is about the certificate of a client. `_` is the same as
/// `-`.
pub(super) fn is_about_certificate(name: &[u8]) -> bool {
    ABOUT.iter().any(|start| {
        let name = name.get(..start.len());
        name.is_some_and(|name| crate::routing::is_same_name(name, start))
    })
}

/// Lets the request pass, with fields about the certificate for its backend, or returns the
/// response that refuses it.
///
/// # Errors
/// 400 and 403 as in nginx; 421 on a connection whose client was asked in another way; 503 if the
/// terms are not known.
pub(super) fn enter(
    request: &mut Passing<'_>,
    terms: &Arc<ClientCertificates>,
) -> Result<Option<Response>, Error> {
    let authorities = match &terms.authorities {
        Ok(authorities) => authorities,
        Err(refusal) => return Err(handle::refused(*refusal)),
    };

    let tls = request.conn.tls.as_ref();
    let client = tls.and_then(|tls| tls.client.as_deref());
    let is_asked = client.is_some_and(|client| client.asked.asks_as(terms));
    if terms.asks() && tls.is_some() && !is_asked {
        let why = "this host asks for certificates of clients: connect with its name";
        return Err(Error::client(Kind::Misdirected(why)));
    }
    if terms.verify == VerifyClient::On {
        // No client could show a certificate over plain HTTP.
        let redirect = redirect_to_https(request, StatusCode::PERMANENT_REDIRECT, None, true)?;
        if redirect.is_some() {
            return Ok(redirect);
        }
    }

    let outcome = match client.filter(|_| terms.asks()) {
        Some(client) => judge(client, authorities, terms)?,
        None => decide(None, terms),
    };
    match outcome {
        Ok(fields) => {
            let fields = Replaced {
                names: OURS.clone(),
                fields,
            };
            request.changes.replaced.push(fields);
            Ok(None)
        }
        Err(kind) => match &terms.error_page {
            Some(page) if kind != Kind::Forbidden => {
                Ok(Some(Response::redirect(StatusCode::FOUND, page)))
            }
            _ => Err(Error::client(kind)),
        },
    }
}

/// Returns the fields about the certificate that a request was admitted with, for a server that
/// checks logins.
pub(super) fn fields_of(request: &Passing<'_>) -> Option<Replaced> {
    let mut replaced = request.changes.replaced.iter();
    let ours = replaced.find(|one| Arc::ptr_eq(&one.names, &OURS))?;
    Some(Replaced {
        names: ours.names.clone(),
        fields: ours.fields.clone(),
    })
}

/// Returns the certificates of the client that a request was admitted with; `None` if its host has
/// asked for none, or the client has shown none.
pub(super) fn shown<'a>(request: &Passing<'a>) -> Option<&'a [CertificateDer<'static>]> {
    let fields = fields_of(request)?;
    let verify = fields.fields.iter().next()?;
    let client = request.conn.tls.as_ref()?.client.as_deref()?;
    (verify.value != NO_CERTIFICATE.as_bytes()).then_some(&client.chain)
}

/// Returns the verdict on the client of a connection: the last one, or else a new one.
fn judge(
    client: &ClientTls,
    authorities: &Authorities,
    terms: &Arc<ClientCertificates>,
) -> Result<Result<Fields, Kind>, Error> {
    let now = clock::now();
    let last = client.verdict.borrow();
    let is_current =
        |verdict: &&Verdict| Arc::ptr_eq(&verdict.terms, terms) && verdict.is_current(now);
    if let Some(verdict) = last.as_ref().filter(is_current) {
        return Ok(verdict.outcome.clone());
    }
    drop(last);

    let outcome = match &client.chain[..] {
        [] => decide(None, terms),
        [leaf, ..] => {
            let refused = || handle::refused(Refusal::UnknownAuthorities);
            let authority = client.trusted.authority(&authorities.id);
            let authority = authority.ok_or_else(refused)?;
            let now = client.trusted.clock().now();
            let verified = authority.verify(&client.chain, terms.depth, now);
            decide(Some((leaf, verified)), terms)
        }
    };

    *client.verdict.borrow_mut() = Some(Verdict {
        terms: terms.clone(),
        until: now + VERIFIED,
        outcome: outcome.clone(),
    });
    Ok(outcome)
}

/// Decides about a client with a certificate (DER) and the result of its verification, or without
/// any. Returns the fields for the backend, or the error.
fn decide(
    shown: Option<(&[u8], Result<(), ClientCertificateError>)>,
    terms: &ClientCertificates,
) -> Result<Fields, Kind> {
    let (der, verify) = match shown {
        None if terms.verify == VerifyClient::On => {
            return Err(Kind::BadRequest("no required SSL certificate was sent"));
        }
        None => (None, NO_CERTIFICATE.to_owned()),
        Some((der, Ok(()))) => (Some(der), "SUCCESS".to_owned()),
        Some((der, Err(error))) => {
            let is_optional = terms.verify == VerifyClient::OptionalNoCa && error.is_untrusted();
            if !is_optional {
                return Err(Kind::BadRequest(error.as_str()));
            }
            (Some(der), format!("FAILED:{error}"))
        }
    };

    let certificate = match der {
        Some(der) => {
            let unread = Kind::BadRequest(ClientCertificateError::Rejected.as_str());
            Some((der, ClientCertificate::read(der).ok_or(unread)?))
        }
        None => None,
    };
    let subject = certificate.as_ref().map_or("", |(_, one)| &one.subject);
    let is_wanted = terms
        .subject
        .as_ref()
        .is_none_or(|one| one.matches(subject));
    if !is_wanted {
        return Err(Kind::Forbidden);
    }
    let certificate = certificate.as_ref().map(|(der, one)| (*der, one));
    Ok(fields(&verify, certificate, terms.fields))
}

/// Returns the fields about a certificate (DER).
fn fields(
    verify: &str,
    certificate: Option<(&[u8], &ClientCertificate)>,
    wanted: CertificateFields,
) -> Fields {
    let mut fields = Fields::default();
    fields.push(b"ssl-client-verify", verify.as_bytes());
    let Some((der, certificate)) = certificate else {
        return fields;
    };

    // A subject may be empty, and nginx sends no empty fields.
    let mut push = |name: &[u8], value: &str| {
        if !value.is_empty() {
            fields.push(name, value.as_bytes());
        }
    };
    push(b"ssl-client-subject-dn", &certificate.subject);
    push(b"ssl-client-issuer-dn", &certificate.issuer);
    if wanted.certificate {
        push(b"ssl-client-cert", &ClientCertificate::escaped_pem(der));
    }
    if wanted.haproxy {
        push(b"x-ssl-client-cn", &certificate.common_name);
        push(b"x-ssl-client-dn", &certificate.subject);
        push(b"x-ssl-client-sha1", &ClientCertificate::sha1(der));
    }
    if wanted.haproxy_certificate {
        push(b"x-ssl-client-cert", &ClientCertificate::base64(der));
    }
    fields
}

impl Verdict {
    fn is_current(&self, now: Instant) -> bool {
        now < self.until
    }
}
