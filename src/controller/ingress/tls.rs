//! The entries under `tls` of an Ingress: their hosts, Secrets, and the certificates that they
//! claim.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use super::Compiler;
use crate::{
    controller::{
        CertificateSource, Message, Missing, Reason,
        annotations::Choice,
        certificates,
        compiled::{CertificateClaim, TlsEntry},
        objects::InspectError,
    },
    objects::{
        EventType, Kind,
        secret::{MANAGED, Owner},
        slim::IngressTls,
    },
    pki::CertificateTerms,
    routing::HostPattern,
};

impl Compiler<'_> {
    /// Returns the hosts that have TLS, and reports problems with their Secrets.
    pub(super) fn tls(&mut self) -> BTreeSet<HostPattern> {
        let fact = self.fact;
        let mut patterns = BTreeSet::new();

        for (t, tls) in fact.spec.tls.iter().enumerate() {
            // The backend has the certificate.
            if self.annotated.passthrough.from.is_some() {
                patterns.extend(self.hosts_of_entry(t, tls));
                continue;
            }

            let secret = tls
                .secret_name
                .as_deref()
                .filter(|name| !name.is_empty())
                .map(Arc::<str>::from);
            if let Some(secret) = &secret {
                self.out.secrets.push((self.name.0.clone(), secret.clone()));
            }

            let hosts = self.hosts_of_entry(t, tls);
            let claim = self.claim(t, &hosts, secret.as_ref());
            let mut is_reported = false;
            for pattern in hosts {
                let usable = secret.as_ref().is_some_and(|secret| {
                    let found = self.certificate(secret, &pattern);
                    let problem = found.as_ref().err();
                    if let Some(problem) = problem.filter(|_| !is_reported) {
                        self.report_secret(t, secret, problem, claim.is_some());
                    }

                    // A missing Secret is one finding. A mismatch differs from host to host.
                    is_reported |= problem.is_some_and(|problem| !problem.is_mismatch());
                    problem.is_none_or(SecretProblem::is_mismatch)
                });
                // The port alone has the certificate of all names.
                if self.is_tcp() && pattern == HostPattern::Any {
                    continue;
                }
                patterns.insert(pattern.clone());
                self.push_tls(TlsEntry {
                    pattern,
                    listed: true,
                    secret: secret.clone(),
                    usable,
                    claim: claim.clone(),
                });
            }
        }

        self.common_name();
        patterns
    }

    /// Returns the hosts of an entry under `tls`. An entry without hosts is for every host of the
    /// rules, and without rules for every request.
    fn hosts_of_entry(&mut self, t: usize, tls: &IngressTls) -> Vec<HostPattern> {
        let fact = self.fact;
        let rules = fact.spec.rules.iter().map(|rule| &*rule.host);
        let hosts: Vec<&str> = match (tls.hosts.is_empty(), fact.spec.rules.is_empty()) {
            (true, true) => vec![""],
            (true, false) => rules.collect(),
            (false, _) => tls.hosts.iter().map(|host| &**host).collect(),
        };

        let mut patterns = Vec::new();
        for (h, host) in hosts.into_iter().enumerate() {
            match HostPattern::parse(host) {
                Ok(pattern) => patterns.push(pattern),
                Err(_) => {
                    let field = format!("spec.tls[{t}].hosts[{h}]");
                    let message = format!("{host:?} is not a host");
                    self.warn(Reason::InvalidHost, field, message);
                }
            }
        }
        patterns
    }

    fn report_secret(
        &mut self,
        t: usize,
        secret: &Arc<str>,
        problem: &SecretProblem,
        is_claimed: bool,
    ) {
        let field = format!("spec.tls[{t}].secretName");
        let message = problem.message(secret);

        match problem {
            // gatelet replaces its own certificate.
            SecretProblem::Mismatch(_) if is_claimed => {}
            SecretProblem::Missing | SecretProblem::Forbidden => {
                let finding = self.finding(EventType::Warning, problem.reason(), field, message);
                self.out.missing.push((self.id(secret), finding));
            }
            SecretProblem::Mismatch(_) | SecretProblem::Invalid(_) => {
                self.warn(problem.reason(), field, message);
            }
        }
    }

    /// Checks the certificate in a Secret for a host.
    fn certificate(&self, secret: &Arc<str>, pattern: &HostPattern) -> Result<(), SecretProblem> {
        let name = (self.name.0.clone(), secret.clone());
        let Some(fact) = self.objects.secrets.get(&name) else {
            return Err(if self.objects.secrets_refused {
                SecretProblem::Forbidden
            } else {
                SecretProblem::Missing
            });
        };

        match &fact.holds {
            Err(why) => Err(SecretProblem::Invalid((*why).to_owned())),
            Ok(CertificateSource::Local) => Ok(()),
            Ok(CertificateSource::Secret {
                chain, private_key, ..
            }) => {
                let checked = (self.objects.inspect)(chain, &private_key.0, pattern);
                checked.map_err(|error| match error {
                    InspectError::Mismatch(why) => SecretProblem::Mismatch(why),
                    InspectError::Invalid(why) => SecretProblem::Invalid(why),
                })
            }
        }
    }

    pub(super) fn push_tls(&mut self, entry: TlsEntry) {
        if entry.listed || entry.pattern != HostPattern::Any {
            self.out.tls.push(entry);
        }
    }

    // === Certificate claims ===

    fn id(&self, name: &str) -> Arc<str> {
        format!("{}/{name}", self.name.0).into()
    }

    /// Claims the certificate of an entry under `tls`, if it has an issuer and the Secret is not
    /// provided by others. Returns the id of the claim.
    fn claim(
        &mut self,
        t: usize,
        hosts: &[HostPattern],
        secret: Option<&Arc<str>>,
    ) -> Option<Arc<str>> {
        let existing = secret.and_then(|secret| {
            let name = (self.name.0.clone(), secret.clone());
            self.objects.secrets.get(&name)
        });
        let owner = existing.map(|existing| existing.owner);
        if owner == Some(Owner::Other) {
            return None;
        }

        let issuers = self.issuers()?;
        let field = format!("spec.tls[{t}]");
        let names = match certificates::names(hosts, &self.annotated.addresses) {
            Ok(names) => names,
            Err(error) => {
                let (field, message) = (format!("{field}.hosts"), error.to_string());
                self.warn(Reason::InvalidCertificateRequest, field, message);
                return None;
            }
        };

        let first = names
            .iter()
            .find(|name| name.parse::<IpAddr>().is_err())
            .or_else(|| names.first());
        let Some(first) = first else {
            // Without an issuer of its own the Ingress does not ask for a certificate.
            if self.annotated.issuer.is_some() {
                let message = "the entry has no host to issue a certificate for".to_owned();
                self.warn(Reason::InvalidCertificateRequest, field, message);
            }
            return None;
        };

        if let Some((secret, Owner::Unlabelled)) = secret.zip(owner) {
            self.report_label(format!("{field}.secretName"), secret);
        }
        let id = secret.map_or_else(|| self.id(&format!("~{first}")), |secret| self.id(secret));
        if let Some(known) = self.out.claims.iter_mut().find(|claim| claim.id == id) {
            known.hosts.extend(names);
            return Some(id);
        }

        let renew_before = self.annotated.renew_before.as_ref();
        let terms = CertificateTerms {
            common_name: None,
            key_type: self.annotated.key_type,
            keep_key: self.annotated.keep_key,
            duration: self.annotated.duration,
            renew_before: renew_before.map(|(_, renew_before)| *renew_before),
        };

        let about = self.fact.about.clone();
        self.out.claims.push(CertificateClaim {
            id: id.clone(),
            about,
            secret: secret.cloned(),
            field: field.into(),
            hosts: names,
            issuers,
            terms,
        });
        Some(id)
    }

    /// Reports a Secret of ours without our label.
    fn report_label(&mut self, field: String, secret: &Arc<str>) {
        let message = format!(
            "Secret {secret} has lost its label {MANAGED}: gatelet puts it back; to keep gatelet \
             from writing to this Secret, set the label to \"false\""
        );
        self.warn(Reason::SecretLabelRemoved, field, message);
    }

    /// Returns the issuers for the certificates of this Ingress, or `None` if it does not ask for
    /// certificates. Reports an unknown issuer once.
    fn issuers(&mut self) -> Option<Vec<Box<str>>> {
        let settings = &self.objects.settings;
        let field_of = |name: &str| format!("metadata.annotations[{name}]");
        let default = settings.default_issuer.clone();

        let (field, names) = match &self.annotated.issuer {
            Some((_, Choice::NoIssuer)) => return None,
            Some((name, Choice::Named(names))) => (field_of(name), names.clone()),
            Some((name, Choice::Default)) => {
                let default = default.unwrap_or_else(|| "letsencrypt".into());
                (field_of(name), vec![default])
            }
            None => ("spec.tls".to_owned(), vec![default?]),
        };

        let is_reported = !self.out.issuers.is_empty();
        self.out.issuers.extend(names.iter().cloned());

        // Issuers of other namespaces are invisible to this one.
        let known: BTreeSet<&str> = settings
            .issuers
            .iter()
            .filter_map(|issuer| match issuer.split_once('/') {
                None => Some(&**issuer),
                Some((namespace, issuer)) => (*namespace == *self.name.0).then_some(issuer),
            })
            .collect();

        let Some(unknown) = names.iter().find(|name| !known.contains(&***name)) else {
            return Some(names);
        };

        if !is_reported {
            let known: Vec<&str> = known.into_iter().collect();
            let others = match known.join(", ") {
                list if list.is_empty() => "no issuer exists".to_owned(),
                list => format!("the known ones are {list}"),
            };
            let message = format!(
                "issuer {unknown} does not exist ({others}): gatelet asks for no certificate"
            );
            self.warn(Reason::UnknownIssuer, field, message);
        }
        None
    }

    /// Sets the common name in the claims that have it among their hosts.
    fn common_name(&mut self) {
        let Some((annotation, name)) = self.annotated.common_name.take() else {
            return;
        };

        let claims = &mut self.out.claims;
        let mut used = claims.is_empty();
        for claim in claims.iter_mut().filter(|one| one.hosts.contains(&name)) {
            claim.terms.common_name = Some(name.clone());
            used = true;
        }
        if !used {
            let field = format!("metadata.annotations[{annotation}]");
            let message = format!("{name} is not one of the certificate's hosts");
            self.warn(Reason::InvalidAnnotation, field, message);
        }
    }
}

/// A Secret that does not serve a host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum SecretProblem {
    Missing,
    Forbidden,
    Invalid(String),
    Mismatch(String),
}

impl SecretProblem {
    fn reason(&self) -> Reason {
        match self {
            Self::Missing => Reason::SecretNotFound,
            Self::Forbidden => Reason::SecretsForbidden,
            Self::Invalid(_) => Reason::InvalidSecret,
            Self::Mismatch(_) => Reason::CertificateMismatch,
        }
    }

    /// Returns the message of its finding.
    fn message(&self, secret: &Arc<str>) -> Message {
        match self {
            Self::Missing => Message::Missing(Missing {
                kind: Kind::Secret,
                name: secret.clone(),
                effect: "the local CA serves its hosts",
            }),
            Self::Forbidden => format!(
                "Secret {secret} is unknown, because the cluster does not allow gatelet to read \
                 Secrets: the local CA serves its hosts"
            )
            .into(),
            Self::Invalid(why) => format!("Secret {secret} cannot be used: {why}").into(),
            Self::Mismatch(why) => format!("Secret {secret} does not fit: {why}").into(),
        }
    }

    /// Returns true if the certificate is served all the same.
    fn is_mismatch(&self) -> bool {
        matches!(self, Self::Mismatch(_))
    }
}
