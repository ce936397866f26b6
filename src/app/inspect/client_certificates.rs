//! The terms of a host for certificates of clients, for `explain`.

use crate::{
    admin::StepReport,
    routing::{ClientCertificates, VerifyClient},
};

/// Returns the step, and the outcome if it is the same for every client.
pub(super) fn step(terms: &ClientCertificates, is_https: bool) -> (StepReport, Option<String>) {
    let (effect, outcome) = match (&terms.authorities, terms.verify) {
        (Err(refusal), _) => {
            let outcome = format!("{}: {}", refusal.status().as_u16(), refusal.reason());
            (outcome.clone(), Some(outcome))
        }
        (Ok(_), VerifyClient::On) if !is_https => {
            let outcome = "308 to https".to_owned();
            (outcome.clone(), Some(outcome))
        }
        (Ok(_), _) => (effect(terms, is_https), None),
    };
    let report = StepReport {
        step: "client certificate".to_owned(),
        from: terms.from.to_string(),
        effect,
    };
    (report, outcome)
}

/// Describes the effect on clients.
fn effect(terms: &ClientCertificates, is_https: bool) -> String {
    let count = terms
        .authorities
        .as_ref()
        .map_or(0, |one| one.certificates.len());
    let authorities = match count {
        1 => "of 1 authority".to_owned(),
        count => format!("of {count} authorities"),
    };
    let refused = match &terms.error_page {
        None => "400".to_owned(),
        Some(page) => format!("302 to {page}"),
    };

    let mut effect = match terms.verify {
        VerifyClient::On => format!("{refused} without a certificate {authorities}"),
        VerifyClient::Off => "no client is asked for a certificate".to_owned(),
        _ if !is_https => "comes in without a certificate".to_owned(),
        VerifyClient::Optional => {
            format!("{refused} with a certificate that is not {authorities}")
        }
        VerifyClient::OptionalNoCa => format!("{refused} with a certificate that is not valid"),
    };
    if let Some(subject) = &terms.subject {
        effect += &format!(", 403 unless its subject matches {}", subject.as_str());
    }
    effect
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::routing::{Authorities, CertificateFields, Refusal, SubjectPattern};

    #[test]
    fn every_way_to_ask_is_explained() {
        let terms = |verify, authorities| ClientCertificates {
            from: "auth-tls-secret".into(),
            verify,
            authorities,
            depth: 1,
            subject: None,
            error_page: None,
            fields: CertificateFields::default(),
        };
        let one = Arc::new(Authorities {
            certificates: [[].into()].into(),
            ..Authorities::default()
        });
        let effect = |verify, is_https| step(&terms(verify, Ok(one.clone())), is_https).0.effect;
        let on = effect(VerifyClient::On, true);
        assert_eq!(on, "400 without a certificate of 1 authority");
        assert_eq!(effect(VerifyClient::On, false), "308 to https");
        let optional = effect(VerifyClient::Optional, true);
        assert_eq!(
            optional,
            "400 with a certificate that is not of 1 authority"
        );

        let closed = terms(VerifyClient::On, Err(Refusal::UnknownAuthorities));
        assert!(
            step(&closed, true)
                .1
                .is_some_and(|outcome| outcome.starts_with("503: "))
        );

        let named = ClientCertificates {
            subject: SubjectPattern::parse("CN=ann").ok(),
            error_page: Some("https://a.example/".into()),
            ..terms(VerifyClient::On, Ok(one))
        };
        assert_eq!(
            step(&named, true).0.effect,
            "302 to https://a.example/ without a certificate of 1 authority, 403 unless its \
             subject matches CN=ann"
        );
    }
}
