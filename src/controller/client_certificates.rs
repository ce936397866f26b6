//! Makes the terms for certificates of clients from annotations, and the Secrets that they name,
//! and decides which terms a host has. What cannot be made refuses every request.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Finding, Reason,
    annotations::{AnnotationFinding, CLOSED, ClientValues},
    compiled::CompiledIngresses,
    objects::{Name, Objects},
    secrets,
};
use crate::{
    objects::EventType,
    routing::{
        Authorities, CertificateFields, ClientCertificates, HostPattern, Refusal, VerifyClient,
    },
};

/// The prefix whose controller has fields of its own.
const HAPROXY: &str = "haproxy-ingress.github.io/";

/// The result of making terms.
#[derive(Debug, Default)]
pub(super) struct MadeTerms {
    /// The terms; `None` if the annotations ask for nothing.
    pub(super) terms: Option<Arc<ClientCertificates>>,
    /// The Secrets that they depend on, whether they exist or not.
    pub(super) secrets: Vec<Name>,
    pub(super) findings: Vec<AnnotationFinding>,
}

/// Makes the terms of an object in a namespace.
pub(super) fn make<'v>(
    objects: &Objects,
    namespace: &Arc<str>,
    values: impl IntoIterator<Item = (&'v Box<str>, &'v ClientValues)>,
) -> MadeTerms {
    let mut made = MadeTerms::default();
    for (prefix, values) in values {
        let annotation = format!("{prefix}auth-tls-secret");
        let Some(secret) = &values.secret else {
            if values.is_invalid {
                made.terms = Some(Arc::new(closed(values, Refusal::InvalidGuard)));
            } else {
                let notes = AnnotationFinding::without(&annotation, &values.from);
                made.findings.extend(notes);
            }
            continue;
        };

        let terms = made.terms_of(objects, namespace, prefix, secret, values);
        match &mut made.terms {
            None => made.terms = Some(Arc::new(terms)),
            Some(other) if other.admits_as(&terms) => {
                let other = Arc::make_mut(other);
                other.from = format!("{}, {}", other.from, terms.from).into();
                other.error_page = other.error_page.take().or(terms.error_page);
                other.fields = both(other.fields, terms.fields);
            }
            Some(other) => {
                let refused = closed(values, Refusal::InvalidGuard);
                *other = Arc::new(refused);
                let message = "it differs from the client certificates of another prefix";
                made.report(
                    Reason::InvalidAnnotation,
                    &annotation,
                    message.to_owned() + CLOSED,
                );
            }
        }
    }
    made
}

fn both(one: CertificateFields, other: CertificateFields) -> CertificateFields {
    CertificateFields {
        certificate: one.certificate || other.certificate,
        haproxy: one.haproxy || other.haproxy,
        haproxy_certificate: one.haproxy_certificate || other.haproxy_certificate,
    }
}

/// Returns terms that let nobody in.
fn closed(values: &ClientValues, refusal: Refusal) -> ClientCertificates {
    ClientCertificates {
        from: values.names().into(),
        verify: VerifyClient::On,
        authorities: Err(refusal),
        depth: 0,
        subject: None,
        error_page: None,
        fields: CertificateFields::default(),
    }
}

impl MadeTerms {
    /// Makes the terms of one prefix.
    fn terms_of(
        &mut self,
        objects: &Objects,
        namespace: &Arc<str>,
        prefix: &str,
        secret: &str,
        values: &ClientValues,
    ) -> ClientCertificates {
        let verify = values.verify.unwrap_or(VerifyClient::On);
        let authorities = match verify {
            _ if values.is_invalid => Err(Refusal::InvalidGuard),
            VerifyClient::Off => Ok(Authorities::default()),
            _ => self.authorities(objects, namespace, prefix, secret),
        };
        ClientCertificates {
            from: values.names().into(),
            verify,
            authorities: authorities.map(Arc::new),
            depth: values.depth.unwrap_or(1),
            subject: values.subject.clone(),
            error_page: values.error_page.clone(),
            fields: CertificateFields {
                certificate: values.passes_certificate,
                haproxy: prefix == HAPROXY,
                haproxy_certificate: values.passes_base64,
            },
        }
    }

    /// Reads the authorities of a Secret.
    fn authorities(
        &mut self,
        objects: &Objects,
        namespace: &Arc<str>,
        prefix: &str,
        secret: &str,
    ) -> Result<Authorities, Refusal> {
        let annotation = format!("{prefix}auth-tls-secret");
        let name = secrets::name(namespace, secret).map_err(|(reason, message)| {
            self.report(reason, &annotation, message + CLOSED);
            Refusal::InvalidGuard
        })?;
        self.secrets.push(name.clone());

        let fact = secrets::find(objects, &name, "has no key ca.crt");
        let read = fact.and_then(|fact| secrets::authorities(objects, &name, fact));
        read.map_err(|(reason, message)| {
            self.report(reason, &annotation, message + CLOSED);
            Refusal::UnknownAuthorities
        })
    }

    fn report(&mut self, reason: Reason, annotation: &str, message: String) {
        let finding = AnnotationFinding::warning(reason, annotation, message);
        self.findings.push(finding);
    }
}

/// Returns findings about the annotations of a Service: only hosts ask for certificates.
pub(super) fn on_service(
    values: &BTreeMap<Box<str>, ClientValues>,
) -> impl Iterator<Item = AnnotationFinding> {
    let names = values.values().filter_map(|values| values.from.first());
    names.map(|name| AnnotationFinding {
        severity: EventType::Warning,
        reason: Reason::UnsupportedGuard,
        annotation: name.clone(),
        message: format!("client certificates are supported on Ingresses alone{CLOSED}"),
    })
}

// === Hosts ===

/// The terms of a host.
#[derive(Debug, Default)]
pub(super) struct HostTerms<'a> {
    pub(super) terms: Option<Arc<ClientCertificates>>,
    /// The Ingresses that ask for other terms: their rules are closed.
    pub(super) closed: BTreeSet<&'a Name>,
    pub(super) findings: Vec<Finding>,
}

/// Decides which terms a host has. The namespace that had the host first decides, and there the
/// oldest Ingress that asks. `names` are in the order of age, `canaries` take a part of their
/// requests.
pub(super) fn of_host<'a>(
    objects: &Objects,
    compiled: &CompiledIngresses,
    host: &HostPattern,
    names: &[&'a Name],
    canaries: &[&'a Name],
) -> HostTerms<'a> {
    let of = |name: &Name| compiled.get(name)?.client_certificates.as_ref();
    let all = names.iter().chain(canaries).copied();
    let Some(eldest) = names
        .first()
        .filter(|_| all.clone().any(|one| of(one).is_some()))
    else {
        return HostTerms::default();
    };

    let mut owners = names.iter().filter(|name| name.0 == eldest.0);
    let winner = owners.find_map(|name| Some((*name, of(name)?)));
    let mut host_terms = HostTerms {
        terms: winner.map(|(_, terms)| terms.clone()),
        ..HostTerms::default()
    };
    for name in all {
        let Some(own) = of(name).filter(|_| winner.is_none_or(|(winner, _)| winner != name)) else {
            continue;
        };
        let finding = match winner {
            Some((winner, terms)) if terms.admits_as(own) => {
                let is_same = (&terms.error_page, terms.fields) == (&own.error_page, own.fields);
                (!is_same).then(|| other_page(objects, host, winner, name))
            }
            winner => {
                host_terms.closed.insert(name);
                let by = winner.map_or(*eldest, |(winner, _)| winner);
                Some(match canaries.contains(&name) {
                    true => unused_canary(objects, host, by, name),
                    false => other_terms(objects, host, by, name),
                })
            }
        };
        host_terms.findings.extend(finding.flatten());
    }
    host_terms
}

/// Reports an Ingress whose error page or fields do not apply.
fn other_page(
    objects: &Objects,
    host: &HostPattern,
    winner: &Name,
    other: &Name,
) -> Option<Finding> {
    let message = format!(
        "host {host} has the client certificates of {}: the error page and the fields for backends \
         are those",
        objects.elder(winner, other)
    );
    let mut finding = objects.finding(other, Reason::HostTaken, "metadata.annotations", message)?;
    finding.severity = EventType::Normal;
    Some(finding)
}

/// Reports a canary that gets no requests.
fn unused_canary(
    objects: &Objects,
    host: &HostPattern,
    by: &Name,
    canary: &Name,
) -> Option<Finding> {
    let message = format!(
        "it gets no requests of host {host}: Ingress {}/{} decides about client certificates \
         there, in another way than this one",
        by.0, by.1
    );
    objects.finding(
        canary,
        Reason::UnusedCanary,
        "metadata.annotations",
        message,
    )
}

/// Reports an Ingress whose rules are closed.
fn other_terms(objects: &Objects, host: &HostPattern, by: &Name, other: &Name) -> Option<Finding> {
    let message = format!(
        "{} decides about the client certificates of host {host}, in another way than this one: \
         these rules return 503",
        objects.elder(by, other)
    );
    objects.finding(other, Reason::HostTaken, "metadata.annotations", message)
}

impl ClientValues {
    /// Names the annotations, for people.
    fn names(&self) -> String {
        let mut names: Vec<&str> = self.from.iter().map(|name| &**name).collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }
}
