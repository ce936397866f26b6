//! Decides whether the certificate of a Secret is one that its issuer issued, so that the engine
//! may keep it and renew it like its own.

use rustls::pki_types::UnixTime;

use crate::{
    acme::issuer::{Issuer, IssuerKind},
    tls::{Certificate, LocalCa},
};

/// The longest lifetime of a certificate that is plausible for an ACME CA, in seconds. Public CAs
/// may issue for 398 days at most.
const MAX_LIFE: i64 = 400 * 86_400;

/// The reason why a certificate is not one of its issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotIssued {
    #[error("it is self-signed")]
    SelfSigned,
    #[error("it is not self-signed")]
    NotSelfSigned,
    #[error("it is valid for more than 400 days")]
    TooLong,
    #[error("another CA issued it")]
    OtherCa,
}

/// Checks that a certificate can be one of `issuer`. `stored` is the certificate of the same issuer
/// that the engine has. `is_written` is true if gatelet wrote the certificate into the Secret, so
/// that it came from the issuer, however unusual it is.
pub(super) fn check(
    issuer: &Issuer,
    certificate: &Certificate,
    stored: Option<&Certificate>,
    is_written: bool,
    local_ca: &LocalCa,
) -> Result<(), NotIssued> {
    match &issuer.kind {
        IssuerKind::LocalCa if is_of(local_ca, certificate) => Ok(()),
        IssuerKind::LocalCa => Err(NotIssued::OtherCa),
        IssuerKind::SelfSigned if certificate.is_self_signed() => Ok(()),
        IssuerKind::SelfSigned => Err(NotIssued::NotSelfSigned),
        IssuerKind::Acme(_) if is_written => Ok(()),
        IssuerKind::Acme(_) => {
            let life = certificate.not_after() - certificate.not_before();
            let other_than = |stored: &Certificate| {
                let organizations = organization(stored).zip(organization(certificate));
                organizations.is_some_and(|(stored, ours)| stored != ours)
            };

            if certificate.is_self_signed() {
                Err(NotIssued::SelfSigned)
            } else if life > MAX_LIFE {
                Err(NotIssued::TooLong)
            } else if is_of(local_ca, certificate) || stored.is_some_and(other_than) {
                Err(NotIssued::OtherCa)
            } else {
                Ok(())
            }
        }
    }
}

fn is_of(local_ca: &LocalCa, certificate: &Certificate) -> bool {
    let begin = u64::try_from(certificate.not_before().0).unwrap_or(0);
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(begin));
    let leaf = certificate.certified().cert.first();
    leaf.is_some_and(|leaf| local_ca.has_issued(leaf, at))
}

/// Returns the organization in the name of a certificate's issuer. Intermediate certificates of one
/// CA have different common names, but the same organization.
fn organization(certificate: &Certificate) -> Option<&str> {
    let mut parts = certificate.issuer().split(", ");
    parts.find_map(|part| part.strip_prefix("O="))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};

    use super::*;
    use crate::{acme::issuer::AcmeIssuer, util::time::UnixSeconds};

    const DAY: i64 = 86_400;

    fn issuer(kind: IssuerKind) -> Issuer {
        Issuer {
            name: "lab".into(),
            kind,
        }
    }

    fn acme() -> Issuer {
        issuer(IssuerKind::Acme(Box::default()))
    }

    fn params(days: i64) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
        let begin = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let life = Duration::from_secs((days * DAY).unsigned_abs());
        (params.not_before, params.not_after) = (begin.into(), (begin + life).into());
        params
    }

    fn read(chain: &str, key: &str) -> Certificate {
        Certificate::from_pem(chain.as_bytes(), key.as_bytes()).expect("a pair")
    }

    /// Makes a certificate of a CA of this organization.
    fn of(organization: &str, days: i64) -> Certificate {
        let ca_key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name
            .push(DnType::OrganizationName, organization);
        let ca = rcgen::Issuer::new(ca, ca_key);
        let key = KeyPair::generate().expect("a key");
        let leaf = params(days).signed_by(&key, &ca).expect("a certificate");
        read(&leaf.pem(), &key.serialize_pem())
    }

    fn self_signed(days: i64) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let leaf = params(days).self_signed(&key).expect("a certificate");
        read(&leaf.pem(), &key.serialize_pem())
    }

    fn local(ca: &LocalCa) -> Certificate {
        let life = Duration::from_secs(90 * 86_400);
        let issued = ca
            .issue_for(&["a.example".to_owned()], UnixSeconds(1_700_000_000), life)
            .expect("a certificate");
        read(&issued.chain_pem, &issued.key_pem)
    }

    #[test]
    fn a_foreign_certificate_with_our_label_is_not_adopted() {
        let ours = LocalCa::generate("ours").expect("a CA");
        // It has the same name, but another key.
        let theirs = LocalCa::generate("ours").expect("a CA");
        let (own_ca, selfish) = (issuer(IssuerKind::LocalCa), issuer(IssuerKind::SelfSigned));

        for (issuer, certificate, expected) in [
            (&acme(), of("Lab", 90), Ok(())),
            (&acme(), self_signed(3_650), Err(NotIssued::SelfSigned)),
            (&acme(), self_signed(90), Err(NotIssued::SelfSigned)),
            (&acme(), of("Lab", 401), Err(NotIssued::TooLong)),
            (&acme(), local(&ours), Err(NotIssued::OtherCa)),
            (&own_ca, local(&ours), Ok(())),
            (&own_ca, local(&theirs), Err(NotIssued::OtherCa)),
            (&own_ca, of("Lab", 90), Err(NotIssued::OtherCa)),
            (&own_ca, self_signed(90), Err(NotIssued::OtherCa)),
            (&selfish, self_signed(90), Ok(())),
            (&selfish, of("Lab", 90), Err(NotIssued::NotSelfSigned)),
        ] {
            let checked = check(issuer, &certificate, None, false, &ours);
            assert_eq!(checked, expected, "{:?} {certificate:?}", issuer.kind);
        }
    }

    #[test]
    fn a_certificate_of_another_ca_than_before_is_not_adopted() {
        let local_ca = LocalCa::generate("ours").expect("a CA");
        let issuer = issuer(IssuerKind::Acme(Box::<AcmeIssuer>::default()));
        let (stored, same, other) = (of("Lab", 90), of("Lab", 90), of("Other", 90));
        let check = |certificate, is_written| {
            check(&issuer, certificate, Some(&stored), is_written, &local_ca)
        };
        assert_eq!(check(&same, false), Ok(()));
        assert_eq!(check(&other, false), Err(NotIssued::OtherCa));

        // A certificate that gatelet wrote is one of the issuer, perhaps from another replica.
        assert_eq!(check(&other, true), Ok(()));
        assert_eq!(check(&self_signed(3_650), true), Ok(()));
    }
}
