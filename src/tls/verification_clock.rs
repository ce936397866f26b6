//! The time at which certificates of others are verified. A device without a battery has a clock
//! that is late until the network has told it the time.

use std::{
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::util::{clock::RELEASED, time::UnixSeconds};

/// The best guess of the time that this device has.
#[derive(Default)]
pub struct VerificationClock(OnceLock<Guess>);

/// Returns the best guess of the time.
type Guess = Box<dyn Fn() -> UnixSeconds + Send + Sync>;

/// The time at which a certificate is verified.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// The best guess.
    pub time: UnixSeconds,
    /// True if the clock of this device shows an earlier time, so that it is wrong, and the guess
    /// may be too early.
    pub is_late: bool,
}

impl VerificationClock {
    /// Sets the source of guesses. The wall clock is used until then.
    pub fn set(&self, guess: impl Fn() -> UnixSeconds + Send + Sync + 'static) {
        // The first one counts, and there is only one.
        let _ = self.0.set(Box::new(guess));
    }

    /// Returns the time at which certificates are verified.
    pub fn now(&self) -> Now {
        let time = match self.0.get() {
            Some(guess) => guess(),
            None => UnixSeconds::now().max(RELEASED),
        };
        // Read after it: a clock that is right does not count as late at the end of a second.
        let wall = UnixSeconds::now();
        Now {
            time,
            is_late: wall < time,
        }
    }
}

impl fmt::Debug for VerificationClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VerificationClock")
    }
}

impl Now {
    /// Returns the time to verify a chain at. If the clock is late, the latest date in the chain
    /// has passed at least.
    pub(super) fn of_chain<'a>(
        self,
        chain: impl IntoIterator<Item = &'a X509Certificate<'a>>,
    ) -> UnixSeconds {
        if !self.is_late {
            return self.time;
        }
        let begins = chain
            .into_iter()
            .map(|one| UnixSeconds(one.validity().not_before.timestamp()));
        begins.fold(self.time, UnixSeconds::max)
    }
}

/// Returns a time in the form of rustls.
pub(super) fn unix(time: UnixSeconds) -> UnixTime {
    let seconds = u64::try_from(time.0).unwrap_or(0);
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

/// Verifies certificates of servers at the time of our clock.
#[derive(Debug)]
pub(super) struct ByClock {
    pub(super) verifier: Arc<dyn ServerCertVerifier>,
    pub(super) clock: Arc<VerificationClock>,
}

impl ServerCertVerifier for ByClock {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let all = std::iter::once(end_entity).chain(intermediates);
        // One that cannot be parsed is refused below.
        let parsed = all.filter_map(|der| Some(X509Certificate::from_der(der).ok()?.1));
        let parsed: Vec<X509Certificate<'_>> = parsed.collect();
        let now = unix(self.clock.now().of_chain(&parsed));
        self.verifier
            .verify_server_cert(end_entity, intermediates, server_name, ocsp, now)
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
