//! Certificates that are issued on this device: by the local CA, and self-signed. They do not
//! depend on the correct time.

use std::time::Duration;

use super::keys;
use crate::acme::{
    issuer::{Issuer, IssuerKind},
    plan::{Class, Failure},
    spec::CertificateSpec,
    state::Context,
};

/// The lifetime, unless the spec sets one.
const LIFE: Duration = Duration::from_secs(397 * 86_400);
/// The time by which certificates are backdated, for clients with slow clocks.
const EARLIER: Duration = Duration::from_secs(86_400);

/// Issues a certificate on this device and stores it.
pub(crate) async fn issue(
    context: &Context,
    spec: &CertificateSpec,
    issuer: &Issuer,
) -> Result<(), Failure> {
    let now = context.time.guess();
    let begin = now - EARLIER;
    let life = spec.terms.duration.unwrap_or(LIFE);

    let (chain, key) = match &issuer.kind {
        IssuerKind::LocalCa => {
            let names = spec.names_as_text();
            let issued = context.local_ca.issue_for(&names, begin, life + EARLIER);
            let issued = issued.map_err(|error| Failure::new(Class::Config, error.to_string()))?;
            (issued.chain_pem, issued.key_pem)
        }
        IssuerKind::SelfSigned => {
            keys::self_signed(spec, spec.key_type(issuer), begin, life + EARLIER).await?
        }
        IssuerKind::Acme(_) => {
            return Err(Failure::new(
                Class::Config,
                "the issuer is not on this device",
            ));
        }
    };

    let certificate = keys::check(spec, &chain, &key, now)?;
    let stored = keys::stored(spec, issuer, &certificate, (chain, key), now);
    context.issued(&spec.id, stored, None).await
}
