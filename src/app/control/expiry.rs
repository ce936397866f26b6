//! Findings about certificates that end soon and that gatelet does not renew: those in Secrets of
//! other owners, and what certificates of clients are verified with.

use std::collections::BTreeSet;

use super::parsed::Parsed;
use crate::{
    controller::{Finding, Reason, TlsHost},
    objects::{EventType, ObjectRef},
    routing::Authorities,
    tls::Certificate,
    util::time::UnixSeconds,
};

/// The time before the end of a certificate, in seconds, in which it counts as ending.
const SOON: i64 = 14 * 86_400;
/// The same for a list of revoked certificates, which may be made every week.
const SOON_OF_LIST: i64 = 86_400;

/// Returns true if gatelet does not renew the certificate in the Secret of a host.
pub(super) fn is_foreign(host: &TlsHost) -> bool {
    host.certificate.is_none()
}

/// Returns a finding for each Ingress and Secret whose certificate ends soon or has ended. `now` is
/// the time, if it is known; without it there are no findings.
pub(super) fn findings(
    hosts: &[TlsHost],
    parsed: &Parsed,
    now: Option<UnixSeconds>,
) -> Vec<Finding> {
    let Some(now) = now else {
        return Vec::new();
    };

    let mut known = BTreeSet::new();
    let mut findings = Vec::new();
    for host in hosts.iter().filter(|host| is_foreign(host)) {
        let Some((secret, certificate)) = parsed.of_host(host) else {
            continue;
        };
        let Some((reason, verb)) = state(&certificate, now) else {
            continue;
        };
        if !known.insert((host.ingress.key.clone(), secret.clone())) {
            continue;
        }

        let (name, end) = (&secret.name, certificate.not_after());
        let message = format!(
            "the certificate in Secret {name} {verb} at {end}, and gatelet does not renew it"
        );
        findings.push(Finding {
            about: host.ingress.clone(),
            severity: EventType::Warning,
            reason,
            field: "spec.tls".into(),
            message: message.into(),
        });
    }
    findings
}

/// Returns a finding for each Ingress that asks for certificates of clients and will accept none
/// soon, or accepts none. `now` is the time, if it is known.
pub(super) fn of_authorities<'a>(
    asking: impl Iterator<Item = (&'a ObjectRef, &'a Authorities)>,
    now: Option<UnixSeconds>,
) -> Vec<Finding> {
    let Some(now) = now else {
        return Vec::new();
    };
    let parts = asking.flat_map(|(about, authorities)| {
        let lists = authorities
            .lists_end
            .map(|end| ("ca.crl", end, SOON_OF_LIST));
        let all = [Some(("ca.crt", authorities.ends, SOON)), lists];
        all.into_iter().flatten().map(move |part| (about, part))
    });
    let ending = parts.filter(|(_, (_, end, soon))| *end - now <= *soon);
    let findings = ending.map(|(about, (key, end, _))| {
        let (reason, verb) = match end <= now {
            true => (Reason::CertificateExpired, "expired"),
            false => (Reason::CertificateExpiring, "expires"),
        };
        let message =
            format!("{key} of client certificates {verb} at {end}: then none is accepted");
        Finding {
            about: about.clone(),
            severity: EventType::Warning,
            reason,
            field: "metadata.annotations".into(),
            message: message.into(),
        }
    });
    findings.collect()
}

/// Returns the reason and the verb for a certificate that ends soon: within 14 days, or within the
/// last quarter of a shorter lifetime.
fn state(certificate: &Certificate, now: UnixSeconds) -> Option<(Reason, &'static str)> {
    let (begin, end) = (certificate.not_before(), certificate.not_after());
    if end <= now {
        return Some((Reason::CertificateExpired, "expired"));
    }
    let soon = SOON.min((end - begin) / 4);
    (end - now <= soon).then_some((Reason::CertificateExpiring, "expires"))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;
    use crate::{
        controller::CertificateSource,
        objects::{Key, Kind, ObjectRef},
        routing::HostPattern,
        util::secretive::Secretive,
    };

    const BEGIN: UnixSeconds = UnixSeconds(1_800_000_000);
    const DAY: i64 = 86_400;

    /// A host whose Secret has a certificate for some days from `BEGIN` on.
    fn host(days: i64, certificate: Option<&str>) -> TlsHost {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
        params.not_before = SystemTime::from(BEGIN).into();
        params.not_after = SystemTime::from(BEGIN + days * DAY).into();
        let pair = KeyPair::generate().expect("a key");
        let made = params.self_signed(&pair).expect("a certificate");

        let key = |kind, name: &str| Key {
            kind,
            namespace: "web".into(),
            name: name.into(),
        };
        TlsHost {
            pattern: HostPattern::parse("a.example").expect("a host"),
            source: CertificateSource::Secret {
                key: key(Kind::Secret, "theirs"),
                version: "1".into(),
                chain: made.pem().into_bytes().into(),
                private_key: Secretive(pair.serialize_pem().into_bytes().into()),
            },
            ingress: ObjectRef {
                key: key(Kind::Ingress, "app"),
                uid: "1".into(),
            },
            secret_name: Some("theirs".into()),
            certificate: certificate.map(Into::into),
        }
    }

    fn reason(host: &TlsHost, now: Option<UnixSeconds>) -> Option<Reason> {
        // Two hosts of one Ingress with one Secret have one finding.
        let hosts = [host.clone(), host.clone()];
        let findings = findings(&hosts, &Parsed::default(), now);
        assert!(findings.len() <= 1, "{findings:?}");
        findings.first().map(|one| one.reason)
    }

    #[test]
    fn authorities_that_end_are_reported() {
        let about = host(1, None).ingress;
        let authorities = Authorities {
            ends: BEGIN,
            ..Authorities::default()
        };
        let reason = |now| {
            let asking = [(&about, &authorities)].into_iter();
            of_authorities(asking, now).first().map(|one| one.reason)
        };
        assert_eq!(reason(Some(BEGIN - 15 * DAY)), None);
        let soon = reason(Some(BEGIN - 13 * DAY));
        assert_eq!(soon, Some(Reason::CertificateExpiring));
        assert_eq!(reason(Some(BEGIN)), Some(Reason::CertificateExpired));
        assert_eq!(reason(None), None);

        let of_list = |end| {
            let authorities = Authorities {
                ends: BEGIN + 100 * DAY,
                lists_end: Some(end),
                ..Authorities::default()
            };
            let asking = [(&about, &authorities)].into_iter();
            of_authorities(asking, Some(BEGIN)).len()
        };
        assert_eq!((of_list(BEGIN + 2 * DAY), of_list(BEGIN + DAY)), (0, 1));
    }

    #[test]
    fn a_foreign_certificate_that_ends_is_reported() {
        let (long, short) = (host(90, None), host(4, None));
        for (host, day, expected) in [
            (&long, 75, None),
            (&long, 76, Some(Reason::CertificateExpiring)),
            (&long, 90, Some(Reason::CertificateExpired)),
            (&short, 2, None),
            (&short, 3, Some(Reason::CertificateExpiring)),
            (&short, 5, Some(Reason::CertificateExpired)),
        ] {
            assert_eq!(reason(host, Some(BEGIN + day * DAY)), expected, "{day}");
        }
        assert_eq!(reason(&long, None), None, "the time is not known");

        let ours = host(90, Some("web/theirs"));
        assert_eq!(reason(&ours, Some(BEGIN + 91 * DAY)), None);
    }
}
