//! Asks clients for a certificate during the handshake. It proves that the client has the key of
//! its certificate; whether the certificate is accepted is decided for each request, so that the
//! client gets a response with the reason.

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};

use super::old_certificate;

/// The most certificates of a client.
const MAX_CHAIN: usize = 16;
/// The most bytes of them. They are kept while the connection is open.
const MAX_BYTES: usize = 32 * 1024;

/// Accepts every certificate whose key the client has, and clients without one.
#[derive(Debug)]
pub(super) struct Asking {
    /// The names of the authorities, by which clients choose a certificate.
    pub(super) hints: Vec<DistinguishedName>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for Asking {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = intermediates.iter().map(|one| one.len()).sum::<usize>() + end_entity.len();
        if bytes > MAX_BYTES || intermediates.len() >= MAX_CHAIN {
            let error = CertificateError::ApplicationVerificationFailure;
            return Err(Error::InvalidCertificate(error));
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match old_certificate::parse(cert) {
            None => verify_tls12_signature(message, cert, dss, &self.algorithms),
            Some(old) => old_certificate::verify_tls12(message, &old, dss, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match old_certificate::parse(cert) {
            None => verify_tls13_signature(message, cert, dss, &self.algorithms),
            Some(old) => old_certificate::verify_tls13(message, &old, dss, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
