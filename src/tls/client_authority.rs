//! The authorities of certificates of clients: read from PEM, and verifying with them.

use std::{fmt, iter, sync::Arc};

use rustls::{
    DistinguishedName, RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use x509_parser::{
    prelude::{FromDer, X509Certificate},
    revocation_list::CertificateRevocationList,
};

use super::{
    ClientCertificateError, Found, Now, client_error::reason, old_certificate, provider,
    verification_clock::unix,
};
use crate::{
    routing::Authorities,
    util::{hash::sha256_fields, time::UnixSeconds},
};

/// The most authorities of a host.
const MAX_AUTHORITIES: usize = 256;

/// The authorities of a host, ready to verify.
pub struct ClientAuthority {
    verifier: Arc<dyn ClientCertVerifier>,
    authorities: Arc<Authorities>,
    /// The end of each authority.
    ends: Box<[UnixSeconds]>,
}

/// A problem of the authorities in a Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthoritiesError {
    /// `ca.crt` has no certificate.
    #[error("ca.crt has no PEM certificate{0}")]
    NoCertificate(Found),
    /// `ca.crt` cannot be read.
    #[error("ca.crt is not a list of certificates in PEM")]
    BadCertificates,
    /// One of the certificates cannot be used.
    #[error("certificate {0} in ca.crt cannot be used")]
    BadCertificate(usize),
    /// Too many certificates.
    #[error("ca.crt has more than {MAX_AUTHORITIES} certificates")]
    TooMany,
    /// `ca.crl` has no list.
    #[error("ca.crl has no list of revoked certificates (X509 CRL) in PEM")]
    NoList,
    /// A list cannot be used.
    #[error("ca.crl cannot be used: {0}")]
    BadList(Box<str>),
}

impl AuthoritiesError {
    /// Returns the problem with which no verifier can be made.
    pub(super) fn of(error: &VerifierBuilderError) -> Self {
        match error {
            VerifierBuilderError::InvalidCrl(why) => Self::BadList(format!("{why:?}").into()),
            _ => Self::NoCertificate(Found::Nothing),
        }
    }
}

/// Reads the authorities and the lists of revoked certificates in a Secret.
///
/// # Errors
/// If one of them cannot be used.
pub fn read_authorities(ca: &[u8], crl: Option<&[u8]>) -> Result<Authorities, AuthoritiesError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(ca).collect();
    let certificates = certificates.map_err(|_broken| AuthoritiesError::BadCertificates)?;
    if certificates.is_empty() {
        return Err(AuthoritiesError::NoCertificate(Found::of(ca)));
    }
    if certificates.len() > MAX_AUTHORITIES {
        return Err(AuthoritiesError::TooMany);
    }

    let lists = crl.map(|crl| {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(crl).collect();
        match lists {
            Ok(lists) if !lists.is_empty() => Ok(lists),
            _ => Err(AuthoritiesError::NoList),
        }
    });
    let lists = lists.transpose()?.unwrap_or_default();

    let bytes = |der: &[u8]| Box::from(der);
    let certificates: Box<[Box<[u8]>]> = certificates.iter().map(|one| bytes(one)).collect();
    let revocation_lists: Box<[Box<[u8]>]> = lists.iter().map(|one| bytes(one)).collect();
    let lists_end = revocation_lists.iter().map(|der| end_of_list(der));
    let lists_end: Result<Vec<_>, _> = lists_end.collect();
    let authorities = Authorities {
        id: id(&certificates, &revocation_lists),
        ends: ends(&certificates)?.into_iter().max().unwrap_or_default(),
        lists_end: lists_end?.into_iter().flatten().min(),
        certificates,
        revocation_lists,
    };
    let authorities = Arc::new(authorities);
    ClientAuthority::new(&authorities)?;
    Ok(Arc::unwrap_or_clone(authorities))
}

/// Returns the hash of both lists.
fn id(certificates: &[Box<[u8]>], lists: &[Box<[u8]>]) -> [u8; 32] {
    let count = (certificates.len() as u64).to_le_bytes();
    let both = certificates.iter().chain(lists).map(|one| &**one);
    sha256_fields(iter::once(&count[..]).chain(both))
}

/// Returns the end of a list, if it has one.
fn end_of_list(der: &[u8]) -> Result<Option<UnixSeconds>, AuthoritiesError> {
    let unread = |_bad| AuthoritiesError::BadList("it is not X.509".into());
    let (_, list) = CertificateRevocationList::from_der(der).map_err(unread)?;
    Ok(list.next_update().map(|time| UnixSeconds(time.timestamp())))
}

/// Returns the end of each authority.
pub(super) fn ends(certificates: &[Box<[u8]>]) -> Result<Vec<UnixSeconds>, AuthoritiesError> {
    let ends = certificates.iter().enumerate().map(|(at, der)| {
        let parsed = X509Certificate::from_der(der);
        let (_, parsed) = parsed.map_err(|_bad| AuthoritiesError::BadCertificate(at + 1))?;
        Ok(UnixSeconds(parsed.validity().not_after.timestamp()))
    });
    ends.collect()
}

impl ClientAuthority {
    /// Prepares authorities.
    ///
    /// # Errors
    /// If one of the certificates or lists cannot be used.
    pub(super) fn new(authorities: &Arc<Authorities>) -> Result<Self, AuthoritiesError> {
        let ends = ends(&authorities.certificates)?.into();
        let mut roots = RootCertStore::empty();
        for (at, der) in authorities.certificates.iter().enumerate() {
            let certificate = CertificateDer::from(&**der).into_owned();
            let added = roots.add(certificate);
            added.map_err(|_bad| AuthoritiesError::BadCertificate(at + 1))?;
        }

        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let lists = authorities.revocation_lists.iter();
        let lists = lists.map(|der| CertificateRevocationListDer::from(der.to_vec()));
        let verifier = builder
            .with_crls(lists)
            .enforce_revocation_expiration()
            .build();
        Ok(Self {
            verifier: verifier.map_err(|error| AuthoritiesError::of(&error))?,
            authorities: authorities.clone(),
            ends,
        })
    }

    /// Returns the names of the authorities, by which clients choose a certificate.
    pub(super) fn hints(&self) -> Vec<DistinguishedName> {
        self.verifier.root_hint_subjects().to_vec()
    }

    /// Verifies a chain, the certificate of the client first, with at most `depth` certificates
    /// between that and an authority.
    ///
    /// # Errors
    /// The first reason why it is not accepted.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        depth: usize,
        now: Now,
    ) -> Result<(), ClientCertificateError> {
        let Some(leaf) = chain.first() else {
            return Err(ClientCertificateError::Rejected);
        };
        let parse = |der| X509Certificate::from_der(der).map(|(_, certificate)| certificate);
        let parsed: Result<Vec<X509Certificate<'_>>, _> =
            chain.iter().map(|der| parse(&**der)).collect();
        let Ok(parsed) = parsed else {
            return Err(ClientCertificateError::Rejected);
        };

        let now = now.of_chain(&parsed);
        if parsed[0].subject() == parsed[0].issuer() {
            return self.verify_self_signed(leaf, &parsed[0], now);
        }
        if old_certificate::parse(leaf).is_some() {
            return self.verify_old(leaf, &parsed[0], now);
        }
        let at = unix(now);
        let near = nearest(&parsed, depth);
        let near: Vec<CertificateDer<'_>> = near.iter().map(|at| chain[*at].clone()).collect();
        let verified = self.verifier.verify_client_cert(leaf, &near, at);
        match verified.map_err(|error| reason(&error)) {
            Ok(_) if self.is_by_expired(leaf, &near, now) => Err(ClientCertificateError::Expired),
            Ok(_) => Ok(()),
            Err(ClientCertificateError::UnknownIssuer) if !near.is_empty() => {
                Err(ClientCertificateError::UnknownChain)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns true if a chain leads to no authority other than those that have expired. The
    /// verifier does not look at the ends of authorities.
    fn is_by_expired(
        &self,
        leaf: &CertificateDer<'_>,
        near: &[CertificateDer<'_>],
        now: UnixSeconds,
    ) -> bool {
        let is_current = |end: &UnixSeconds| now <= *end;
        if self.ends.iter().all(is_current) {
            return false;
        }

        let current = self.authorities.certificates.iter().zip(&self.ends);
        let current = current.filter(|(_, end)| is_current(end));
        let others = Authorities {
            certificates: current.map(|(der, _)| der.clone()).collect(),
            revocation_lists: self.authorities.revocation_lists.clone(),
            ..Authorities::default()
        };
        let verified = Self::new(&Arc::new(others)).map(|others| {
            let verified = others.verifier.verify_client_cert(leaf, near, unix(now));
            verified.is_ok()
        });
        !verified.unwrap_or(false)
    }

    /// Verifies a certificate without extensions: an authority must have issued it itself.
    fn verify_old(
        &self,
        der: &[u8],
        certificate: &X509Certificate<'_>,
        now: UnixSeconds,
    ) -> Result<(), ClientCertificateError> {
        in_time(certificate, now)?;
        let algorithms = provider().signature_verification_algorithms;
        let all = self.authorities.certificates.iter();
        let all = all.filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1));
        let mut issuers = all.filter(|one| old_certificate::is_issued_by(der, one, &algorithms));
        let Some(issuer) = issuers.next() else {
            return Err(ClientCertificateError::UnknownIssuer);
        };

        in_time(&issuer, now)?;
        if self.authorities.revocation_lists.is_empty() {
            return Ok(());
        }
        let lists = self.authorities.revocation_lists.iter();
        let mut lists = lists.filter_map(|der| {
            let (_, list) = CertificateRevocationList::from_der(der).ok()?;
            old_certificate::is_list_of(der, &list, &issuer, &algorithms).then_some(list)
        });
        let list = lists.next().ok_or(ClientCertificateError::NoList)?;
        let end = list.next_update().map(|end| UnixSeconds(end.timestamp()));
        let mut revoked = list.iter_revoked_certificates();
        match () {
            () if end.is_none_or(|end| end < now) => Err(ClientCertificateError::ListExpired),
            () if revoked.any(|one| *one.serial() == certificate.serial) => {
                Err(ClientCertificateError::Revoked)
            }
            () => Ok(()),
        }
    }

    /// Verifies a certificate that names itself as its issuer: it must be an authority itself.
    fn verify_self_signed(
        &self,
        der: &[u8],
        certificate: &X509Certificate<'_>,
        now: UnixSeconds,
    ) -> Result<(), ClientCertificateError> {
        in_time(certificate, now)?;
        let is_for_clients = match certificate.extended_key_usage() {
            Ok(None) => true,
            Ok(Some(usage)) => usage.value.client_auth,
            Err(_) => return Err(ClientCertificateError::Rejected),
        };
        match () {
            () if !is_for_clients => Err(ClientCertificateError::Purpose),
            () if !self
                .authorities
                .certificates
                .iter()
                .any(|one| **one == *der) =>
            {
                Err(ClientCertificateError::SelfSigned)
            }
            () if !self.authorities.revocation_lists.is_empty() => {
                Err(ClientCertificateError::NoList)
            }
            () => Ok(()),
        }
    }
}

/// Checks that a certificate is valid now.
fn in_time(
    certificate: &X509Certificate<'_>,
    now: UnixSeconds,
) -> Result<(), ClientCertificateError> {
    let validity = certificate.validity();
    match now {
        now if now < UnixSeconds(validity.not_before.timestamp()) => {
            Err(ClientCertificateError::NotYetValid)
        }
        now if now > UnixSeconds(validity.not_after.timestamp()) => {
            Err(ClientCertificateError::Expired)
        }
        _ => Ok(()),
    }
}

/// Returns the places of the certificates that can be issuers of the first one, over at most
/// `depth` steps.
pub(super) fn nearest(chain: &[X509Certificate<'_>], depth: usize) -> Vec<usize> {
    let mut found: Vec<usize> = Vec::new();
    let mut step = vec![0];
    for _ in 0..depth.min(chain.len()) {
        let is_issuer = |at: &usize| {
            let names = step.iter().map(|of: &usize| chain[*of].issuer());
            !found.contains(at) && names.into_iter().any(|name| name == chain[*at].subject())
        };
        let next: Vec<usize> = (1..chain.len()).filter(is_issuer).collect();
        if next.is_empty() {
            break;
        }
        found.extend(&next);
        step = next;
    }
    found
}

impl fmt::Debug for ClientAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientAuthority")
    }
}

#[cfg(test)]
mod tests;
