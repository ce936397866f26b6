//! Certificates that are issued on this device: by the local CA, and self-signed. They do not
//! depend on the correct time.

use std::time::Duration;

use super::Engine;
use crate::{
    acme::{
        issuer::{Issuer, IssuerKind},
        order::keys,
        plan::{
            failure::{Class, Failure},
            record::StoredCertificate,
        },
        spec::CertificateSpec,
    },
    util::time::UnixSeconds,
};

/// The lifetime, unless the spec sets one.
const LIFE: Duration = Duration::from_secs(397 * 86_400);
/// The time by which certificates are backdated, for clients with slow clocks.
const EARLIER: Duration = Duration::from_secs(86_400);

impl Engine {
    /// Issues a certificate on this device and stores it.
    pub(crate) async fn issue_here(
        &self,
        spec: &CertificateSpec,
        issuer: &Issuer,
    ) -> Result<(), Failure> {
        let now = self.clock().guess(self.reading()).0;
        let begin = now - i64::try_from(EARLIER.as_secs()).unwrap_or(0);
        let life = spec.terms.duration.unwrap_or(LIFE);
        let names: Vec<String> = spec.names.iter().map(ToString::to_string).collect();

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
                keys::self_signed(spec, spec.key_type(issuer), begin, life + EARLIER)?
            }
            IssuerKind::Acme(_) => {
                return Err(Failure::new(
                    Class::Config,
                    "the issuer is not on this device",
                ));
            }
        };

        let certificate = keys::check(spec, &chain, &key, now)?;
        let before = self.stored(&spec.id);
        let previous = before.and_then(|stored| stored.into_previous(&names));

        let stored = StoredCertificate {
            chain,
            key,
            names,
            issuer: issuer.name.to_string(),
            directory: String::new(),
            not_before: certificate.not_before().0,
            not_after: certificate.not_after().0,
            stored: now,
            print: spec.fingerprint(issuer),
            ari: String::new(),
            revoked: false,
            adopted: false,
            unwanted: None,
            previous,
        };

        self.issued(&spec.id, stored, None, now).await
    }
}
