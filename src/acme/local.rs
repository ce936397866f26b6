//! Certificates that need no CA outside: of the local CA, and self-signed. They do not mind what
//! time it is.

use std::time::Duration;

use super::{
    engine::Engine,
    failure::{Class, Failure},
    issuer::{Issuer, IssuerKind},
    keys,
    record::StoredCertificate,
    spec::CertificateSpec,
};
use crate::util::time::UnixSeconds;

/// How long they live where nobody says.
const LIFE: Duration = Duration::from_secs(397 * 86_400);
/// They begin earlier by this, for clients whose clocks are slow.
const EARLIER: Duration = Duration::from_secs(86_400);

impl Engine {
    /// Makes a certificate here and keeps it.
    pub(super) async fn issue_here(
        &self,
        want: &CertificateSpec,
        issuer: &Issuer,
    ) -> Result<(), Failure> {
        let now = self.clock().guess(self.reading()).0;
        let begin = now - i64::try_from(EARLIER.as_secs()).unwrap_or(0);
        let life = want.terms.duration.unwrap_or(LIFE);
        let names: Vec<String> = want.names.iter().map(ToString::to_string).collect();
        let (chain, key) = match &issuer.kind {
            IssuerKind::LocalCa => {
                let issued = self
                    .local_ca()
                    .issue_for(&names, UnixSeconds(begin), life + EARLIER);
                let issued =
                    issued.map_err(|error| Failure::new(Class::Config, error.to_string()))?;
                (issued.chain_pem, issued.key_pem)
            }
            IssuerKind::SelfSigned => {
                keys::self_signed(want, want.key_type(issuer), begin, life + EARLIER)?
            }
            IssuerKind::Acme(_) => {
                return Err(Failure::new(
                    Class::Config,
                    "the issuer is not on this device",
                ));
            }
        };
        let certificate = keys::check(want, &chain, &key, now)?;
        let before = self.held(&want.id);
        let previous = before.and_then(|held| held.into_previous(&names));
        let held = StoredCertificate {
            chain,
            key,
            names,
            issuer: issuer.name.to_string(),
            directory: String::new(),
            not_before: certificate.not_before().0,
            not_after: certificate.not_after().0,
            stored: now,
            print: want.fingerprint(issuer),
            ari: String::new(),
            revoked: false,
            unwanted: None,
            previous,
        };
        self.issued(&want.id, held, None, now).await
    }
}
