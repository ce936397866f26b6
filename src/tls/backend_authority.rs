//! Verifies certificates of backends with authorities of their own.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    pki_types::{CertificateDer, CertificateRevocationListDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    AuthoritiesError,
    client_authority::{ends, nearest},
    provider,
};
use crate::{
    routing::{Authorities, CertificateNames, Host, TlsTerms},
    util::time::UnixSeconds,
};

/// The authorities of a backend, ready to verify.
#[derive(Debug)]
pub(super) struct BackendAuthority {
    verifier: Arc<WebPkiServerVerifier>,
    authorities: Arc<Authorities>,
    /// The end of each authority.
    ends: Box<[UnixSeconds]>,
    /// The most certificates between that of the backend and that of an authority.
    depth: Option<usize>,
    /// The name that a certificate must have.
    names: CertificateNames,
}

impl BackendAuthority {
    /// Prepares authorities for these terms.
    ///
    /// # Errors
    /// If one of the certificates or lists cannot be used.
    pub(super) fn new(
        authorities: &Arc<Authorities>,
        terms: &TlsTerms,
    ) -> Result<Self, AuthoritiesError> {
        let all = authorities.certificates.iter();
        Ok(Self {
            verifier: verifier(authorities, all)?,
            authorities: authorities.clone(),
            ends: ends(&authorities.certificates)?.into(),
            depth: terms.depth,
            names: terms.names.clone(),
        })
    }

    /// Verifies a chain that leads to an authority.
    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let near = self.near(leaf, chain)?;
        let verify = |verifier: &WebPkiServerVerifier| {
            match verifier.verify_server_cert(leaf, &near, name, &[], now) {
                // The name is compared after the chain is verified.
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName
                    | CertificateError::NotValidForNameContext { .. },
                )) if self.names == CertificateNames::Any => Ok(()),
                verified => verified.map(|_verified| ()),
            }
        };
        verify(&self.verifier)?;

        // The verifier does not look at the ends of authorities.
        let now = seconds(now);
        let is_current = |end: &UnixSeconds| now <= *end;
        if self.ends.iter().all(is_current) {
            return Ok(());
        }
        let both = self.authorities.certificates.iter().zip(&self.ends);
        let current = both.filter(|(_, end)| is_current(end));
        let current = verifier(&self.authorities, current.map(|(der, _)| der));
        let expired = || Error::InvalidCertificate(CertificateError::Expired);
        current
            .map_err(|_none| expired())
            .and_then(|verifier| verify(&verifier).map_err(|_by_expired| expired()))
    }

    /// Returns the certificates of a chain that are near enough to its first one.
    fn near(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
    ) -> Result<Vec<CertificateDer<'static>>, Error> {
        let Some(depth) = self.depth else {
            return Ok(chain.iter().map(|one| one.clone().into_owned()).collect());
        };

        let parse = |der| Some(X509Certificate::from_der(der).ok()?.1);
        let all = std::iter::once(leaf).chain(chain);
        let parsed: Option<Vec<X509Certificate<'_>>> = all.map(|der| parse(&**der)).collect();
        let parsed = parsed.ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let near = nearest(&parsed, depth).into_iter();
        let near = near.filter_map(|at| chain.get(at.checked_sub(1)?));
        Ok(near.map(|one| one.clone().into_owned()).collect())
    }

    /// Verifies a certificate that is one of the authorities itself, as backends have it that sign
    /// their own.
    fn verify_pinned(
        &self,
        leaf: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let invalid = |why| Err(Error::InvalidCertificate(why));
        let Ok((_, parsed)) = X509Certificate::from_der(leaf) else {
            return invalid(CertificateError::BadEncoding);
        };

        let (validity, now) = (parsed.validity(), seconds(now));
        let is_for_servers = match parsed.extended_key_usage() {
            Ok(None) => true,
            Ok(Some(usage)) => usage.value.server_auth || usage.value.any,
            Err(_) => return invalid(CertificateError::BadEncoding),
        };
        match () {
            () if now < UnixSeconds(validity.not_before.timestamp()) => {
                invalid(CertificateError::NotValidYet)
            }
            () if now > UnixSeconds(validity.not_after.timestamp()) => {
                invalid(CertificateError::Expired)
            }
            () if !is_for_servers => invalid(CertificateError::InvalidPurpose),
            () if !self.authorities.revocation_lists.is_empty() => {
                invalid(CertificateError::UnknownRevocationStatus)
            }
            () if self.names == CertificateNames::Any => Ok(()),
            () => verify_server_name(&ParsedCertificate::try_from(leaf)?, name),
        }
    }
}

impl ServerCertVerifier for BackendAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let own_name = match &self.names {
            CertificateNames::Host(host) => Some(name_of(host)?),
            CertificateNames::Endpoint | CertificateNames::Any => None,
        };
        let server_name = own_name.as_ref().unwrap_or(server_name);

        let mut all = self.authorities.certificates.iter();
        let verified = match all.any(|one| **one == **end_entity) {
            true => self.verify_pinned(end_entity, server_name, now),
            false => self.verify_chain(end_entity, intermediates, server_name, now),
        };
        verified.map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// Returns a verifier for some of the authorities, with all lists of revoked certificates.
fn verifier<'a>(
    authorities: &Authorities,
    certificates: impl Iterator<Item = &'a Box<[u8]>>,
) -> Result<Arc<WebPkiServerVerifier>, AuthoritiesError> {
    let mut roots = RootCertStore::empty();
    for (at, der) in certificates.enumerate() {
        let added = roots.add(CertificateDer::from(&**der).into_owned());
        added.map_err(|_bad| AuthoritiesError::BadCertificate(at + 1))?;
    }

    let lists = authorities.revocation_lists.iter();
    let lists = lists.map(|der| CertificateRevocationListDer::from(der.to_vec()));
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
    let verifier = builder
        .with_crls(lists)
        .enforce_revocation_expiration()
        .build();
    verifier.map_err(|error| AuthoritiesError::of(&error))
}

/// Returns a name in the form of rustls.
fn name_of(host: &Host) -> Result<ServerName<'_>, Error> {
    let name = ServerName::try_from(host.as_str());
    name.map_err(|_not_sent| Error::InvalidCertificate(CertificateError::NotValidForName))
}

/// Returns a time of rustls in our form.
fn seconds(time: UnixTime) -> UnixSeconds {
    UnixSeconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
