//! Makes the terms of TLS to backends from annotations, and the Secrets that they name. What cannot
//! be made refuses every request.

use std::sync::Arc;

use super::{
    Reason,
    annotations::{AnnotationFinding, BackendTlsValues, CLOSED, NamedAuthorities, SentName},
    backend_terms::BackendTerms,
    backends::Backends,
    facts::SecretFact,
    objects::{Name, Objects},
    secrets::{self, Problem},
};
use crate::routing::{
    Authorities, CertificateNames, Identity, Protocol, Refusal, TlsTerms, TlsVersions, Verify,
};

/// The most certificates between that of a backend and that of an authority, as ingress-nginx has
/// it.
const USUAL_DEPTH: usize = 1;

/// The result of making terms.
#[derive(Debug, Default)]
pub(super) struct MadeBackendTls {
    /// The refusal, if the terms cannot be met.
    pub(super) refusal: Option<Refusal>,
    /// The Secrets that they depend on, whether they exist or not.
    pub(super) secrets: Vec<Name>,
    pub(super) findings: Vec<AnnotationFinding>,
}

/// Makes the terms of an object in a namespace, and adds them to those of its backends.
pub(super) fn make(
    objects: &Objects,
    backends: &mut Backends,
    namespace: &Arc<str>,
    values: &BackendTlsValues,
    to: &mut BackendTerms,
) -> MadeBackendTls {
    let mut making = Making {
        objects,
        namespace,
        values,
        terms: TlsTerms {
            hides_name: values.hides_name,
            versions: values.versions,
            suites: values.suites.clone(),
            ..TlsTerms::default()
        },
        made: MadeBackendTls::default(),
    };

    making.secret();
    making.identity();
    making.authorities(to);
    making.names(to);
    making.suites();
    making.note_without();

    let is_secured = values.secures.unwrap_or(false)
        || values.identity.as_ref().is_some_and(|one| one.secures)
        || values.authorities.as_ref().is_some_and(|one| one.in_chain);
    if is_secured {
        to.protocol = Some(match to.protocol {
            Some(Protocol::H2c | Protocol::H2) => Protocol::H2,
            _ => Protocol::Https,
        });
    }

    if making.made.refusal.is_none() {
        to.tls.terms = backends.share_tls(making.terms);
    }
    making.made
}

/// Terms that are being made.
struct Making<'a> {
    objects: &'a Objects,
    namespace: &'a Arc<str>,
    values: &'a BackendTlsValues,
    terms: TlsTerms,
    made: MadeBackendTls,
}

impl<'a> Making<'a> {
    /// Reads the Secret of ingress-nginx, which has a certificate, authorities, or both.
    fn secret(&mut self) {
        const LACKS: &str = "has neither ca.crt nor tls.crt with tls.key";

        let Some((annotation, secret)) = &self.values.secret else {
            return;
        };
        let read = |making: &mut Self| {
            let (name, fact) = making.find(secret, LACKS)?;
            let identity = secrets::identity(making.objects, &name, fact)?;
            let authorities = match fact.authorities {
                None => None,
                Some(_) => Some(secrets::authorities(making.objects, &name, fact)?),
            };
            if identity.is_none() && authorities.is_none() {
                let message = format!("Secret {} {LACKS}", name.1);
                return Err((Reason::InvalidSecret, message));
            }
            Ok((identity, authorities))
        };

        match read(self) {
            Err(problem) => self.refuse(annotation, problem),
            Ok((identity, authorities)) => {
                if authorities.is_some() {
                    self.terms.depth = Some(self.values.depth.unwrap_or(USUAL_DEPTH));
                }
                self.terms.identity = identity.map(Arc::new);
                self.terms.authorities = authorities.map(Arc::new);
            }
        }
    }

    /// Reads the Secret with a certificate alone.
    fn identity(&mut self) {
        const LACKS: &str = "has no tls.crt with tls.key";

        let Some(named) = &self.values.identity else {
            return;
        };
        let read = |making: &mut Self| -> Result<Identity, Problem> {
            let (name, fact) = making.find(&named.secret, LACKS)?;
            let identity = secrets::identity(making.objects, &name, fact)?;
            let message = || (Reason::InvalidSecret, format!("Secret {} {LACKS}", name.1));
            identity.ok_or_else(message)
        };
        match read(self) {
            Err(problem) => self.refuse(&named.annotation, problem),
            Ok(identity) => match &self.terms.identity {
                Some(other) if **other != identity => self.refuse_other(&named.annotation),
                _ => self.terms.identity = Some(Arc::new(identity)),
            },
        }
    }

    /// Reads the Secret with authorities alone: backends are verified.
    fn authorities(&mut self, to: &mut BackendTerms) {
        let Some(named) = &self.values.authorities else {
            return;
        };
        to.tls.verify = Verify::Always;

        let read = |making: &mut Self, named: &NamedAuthorities| -> Result<Authorities, Problem> {
            let (key, read): (_, fn(&_, &_, &_) -> _) = match named.in_chain {
                true => ("has no tls.crt", secrets::authorities_in_chain),
                false => ("has no key ca.crt", secrets::authorities),
            };
            let (name, fact) = making.find(&named.secret, key)?;
            read(making.objects, &name, fact)
        };

        match read(self, named) {
            Err(problem) => self.refuse(&named.annotation, problem),
            Ok(authorities) => match &self.terms.authorities {
                Some(other) if **other != authorities => self.refuse_other(&named.annotation),
                _ => self.terms.authorities = Some(Arc::new(authorities)),
            },
        }
    }

    /// Chooses the names that are sent and verified.
    fn names(&mut self, to: &mut BackendTerms) {
        match &self.values.sni {
            Some((_, SentName::OfRequest(name))) if to.tls.server_name.is_none() => {
                to.tls.request_name = Some(*name);
            }
            Some((_, SentName::Fixed(host))) => {
                to.tls.server_name.get_or_insert_with(|| host.clone());
            }
            Some((_, SentName::OfRequest(_))) | None => {}
        }

        if self.values.authorities.is_some() {
            let has_name = to.tls.server_name.is_some() || to.tls.request_name.is_some();
            self.terms.names = match &self.values.verified_name {
                Some((_, host)) => CertificateNames::Host(host.clone()),
                None if has_name => CertificateNames::Endpoint,
                None => CertificateNames::Any,
            };
        }
    }

    /// Leaves out TLS 1.2 if it has no suite.
    fn suites(&mut self) {
        let (Some([]), Some(annotation)) = (self.terms.suites.as_deref(), &self.values.suites_from)
        else {
            return;
        };
        match self.terms.versions {
            TlsVersions::Both | TlsVersions::Only13 => self.terms.versions = TlsVersions::Only13,
            TlsVersions::Only12 => {
                let message = "it has no cipher suite that gatelet has".to_owned();
                self.refuse(annotation, (Reason::InvalidAnnotation, message));
            }
        }
    }

    /// Reports annotations that have no effect without others.
    fn note_without(&mut self) {
        if self.made.refusal.is_some() {
            return;
        }
        if let Some(annotation) = &self.values.depth_from
            && self.terms.depth.is_none()
        {
            self.note("a proxy-ssl-secret with ca.crt", annotation);
        }
        if let Some((annotation, _)) = &self.values.verified_name
            && self.values.authorities.is_none()
        {
            self.note("secure-verify-ca-secret", annotation);
        }
    }

    fn note(&mut self, needed: &str, annotation: &str) {
        let annotation = [annotation.into()];
        let notes = AnnotationFinding::without(needed, &annotation);
        self.made.findings.extend(notes);
    }

    /// Finds a Secret, and remembers that the terms depend on it.
    fn find(&mut self, secret: &str, lacks: &str) -> Result<(Name, &'a SecretFact), Problem> {
        let name = secrets::name(self.namespace, secret)?;
        self.made.secrets.push(name.clone());
        let fact = secrets::find(self.objects, &name, lacks)?;
        Ok((name, fact))
    }

    fn refuse_other(&mut self, annotation: &str) {
        let message = "it differs from the Secret of another annotation".to_owned();
        self.refuse(annotation, (Reason::InvalidAnnotation, message));
    }

    fn refuse(&mut self, annotation: &str, (reason, message): Problem) {
        self.made.refusal = Some(Refusal::UnmetBackendTls);
        let finding = AnnotationFinding::warning(reason, annotation, message + CLOSED);
        self.made.findings.push(finding);
    }
}

impl BackendTlsValues {
    /// Returns true if no annotation of a Service says anything.
    pub(super) fn is_unset(&self) -> bool {
        self.secures.is_none()
            && self.identity.is_none()
            && self.authorities.is_none()
            && self.sni.is_none()
            && self.verified_name.is_none()
            && self.suites.is_none()
    }

    /// Returns these values with those of a Service in place of the same ones.
    pub(super) fn with_service(&self, service: Self) -> Self {
        Self {
            secures: service.secures.or(self.secures),
            identity: service.identity.or_else(|| self.identity.clone()),
            authorities: service.authorities.or_else(|| self.authorities.clone()),
            sni: service.sni.or_else(|| self.sni.clone()),
            verified_name: service.verified_name.or_else(|| self.verified_name.clone()),
            suites: service.suites.or_else(|| self.suites.clone()),
            suites_from: service.suites_from.or_else(|| self.suites_from.clone()),
            ..self.clone()
        }
    }
}
