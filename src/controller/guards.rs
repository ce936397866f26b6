//! Closes objects whose access is restricted by annotations of another controller, unless their
//! owner or the operator decides otherwise.

use std::sync::Arc;

use super::{
    Finding, Reason, UnsupportedGuards,
    annotations::{self, AnnotationFinding},
    compiled::CompiledIngresses,
    endpoints,
    facts::ServiceFact,
    objects::{Name, Objects},
    peers::{Meaning, PeerAnnotation},
};
use crate::{
    objects::EventType,
    routing::{Refusal, Route},
};

/// The two places that can decide to ignore guards, as messages name them.
const ANNOTATION: &str = annotations::UNSUPPORTED_GUARDS;
const SETTING: &str = "unsupported_guards in the settings";

/// The outcome for an Ingress.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// The refusal for all its paths.
    pub(super) refusal: Option<Refusal>,
    /// True if other rules on its hosts return it too, as far as the object may decide about them.
    pub(super) closes_hosts: bool,
    /// True if plain HTTP is redirected, regardless of other annotations.
    pub(super) https_only: bool,
    /// True if it must receive only a part of the requests, so that its paths do not exist.
    pub(super) is_canary: bool,
    pub(super) findings: Vec<AnnotationFinding>,
}

/// A decision about guards, made by the object or else by the setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    guards: UnsupportedGuards,
    by: &'static str,
}

impl Decision {
    pub(super) fn new(of_object: Option<UnsupportedGuards>, setting: UnsupportedGuards) -> Self {
        match of_object {
            Some(guards) => Self {
                guards,
                by: ANNOTATION,
            },
            None => Self {
                guards: setting,
                by: SETTING,
            },
        }
    }

    /// Returns the name of the place that decides.
    pub(super) fn by(self) -> &'static str {
        self.by
    }

    pub(super) fn ignores(self) -> bool {
        self.guards == UnsupportedGuards::Ignore
    }
}

/// Judges the annotations on an Ingress.
pub(super) fn judge(annotations: &[PeerAnnotation], decision: Decision) -> Verdict {
    let mut verdict = Verdict::default();
    if annotations.iter().any(|one| one.meaning == Meaning::Canary) {
        // The Ingress is not served, so its other annotations make no difference.
        verdict.is_canary = true;
        let canaries = annotations
            .iter()
            .filter(|one| one.meaning == Meaning::Canary);
        verdict.findings = canaries.map(not_served).collect();
        return verdict;
    }

    let is_guarded = annotations.iter().any(|one| one.meaning.closes());
    for annotation in annotations {
        match annotation.meaning {
            Meaning::Guard(..) if decision.ignores() => {
                verdict.findings.push(ignored(annotation, decision));
            }
            Meaning::Guard(..) => {
                verdict.findings.push(closed(annotation));
                verdict.closes_hosts |= annotation.meaning.is_of_hosts();
                verdict.refusal = Some(Refusal::UnsupportedGuard);
            }
            Meaning::HttpsOnly => verdict.https_only = true,
            // The finding about the guard includes its details.
            Meaning::Detail(_) if is_guarded => {}
            _ => verdict.findings.extend(without_effect(annotation)),
        }
    }

    verdict
}

/// Returns the finding about an annotation without effect; `None` for another one, or if no user
/// would miss its effect.
fn without_effect(annotation: &PeerAnnotation) -> Option<AnnotationFinding> {
    let (reason, message) = match annotation.meaning {
        Meaning::Detail(of) => (
            Reason::UnsupportedAnnotation,
            format!("it has no effect without {of}"),
        ),
        Meaning::Unsupported(effect) => (
            Reason::UnsupportedAnnotation,
            format!("it has no effect here: {effect}"),
        ),
        Meaning::OnIngresses => (
            Reason::UnsupportedAnnotation,
            "it has no effect on a Service: gatelet reads it on an Ingress alone".to_owned(),
        ),
        Meaning::Unknown => (
            Reason::UnknownAnnotation,
            "gatelet does not know this annotation: it has no effect".to_owned(),
        ),
        Meaning::Guard(..) | Meaning::Canary | Meaning::HttpsOnly | Meaning::Nothing => {
            return None;
        }
    };
    Some(note(annotation, reason, message))
}

/// Returns the findings about the annotations without effect on a Service.
pub(super) fn notes_of_service(service: &Name, fact: &ServiceFact) -> Vec<Finding> {
    let is_guarded = fact.peers.iter().any(|one| one.meaning.closes());
    let is_reported =
        |one: &&PeerAnnotation| !(is_guarded && matches!(one.meaning, Meaning::Detail(_)));
    let notes = fact.peers.iter().filter(is_reported);
    let notes = notes.filter_map(without_effect).map(|one| {
        let field = format!("metadata.annotations[{}]", one.annotation);
        Finding {
            severity: one.severity,
            ..endpoints::finding(service, fact, one.reason, &field, one.message)
        }
    });
    notes.collect()
}

/// The outcome for a path that leads to a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServiceOutcome {
    /// The path is served.
    Served,
    /// The path returns this refusal.
    Refused(Refusal),
    /// The path does not exist, because the Service must receive only a part of the requests.
    NotServed,
}

/// Judges the annotations on a Service that a path leads to.
pub(super) fn judge_service(
    service: &str,
    annotations: &[PeerAnnotation],
    decision: Decision,
) -> (ServiceOutcome, Vec<AnnotationFinding>) {
    let mut outcome = ServiceOutcome::Served;
    let mut findings = Vec::new();

    for annotation in annotations {
        let finding = match annotation.meaning {
            Meaning::Canary => {
                outcome = ServiceOutcome::NotServed;
                not_served(annotation)
            }
            meaning if !meaning.closes() => continue,
            _ if decision.ignores() => ignored(annotation, decision),
            _ => {
                if outcome == ServiceOutcome::Served {
                    outcome = ServiceOutcome::Refused(Refusal::UnsupportedGuard);
                }
                closed(annotation)
            }
        };

        let message = format!(
            "{} of Service {service}: {}",
            annotation.name, finding.message
        );
        findings.push(AnnotationFinding { message, ..finding });
    }

    (outcome, findings)
}

/// Names the protection that a closing annotation asks for.
fn protection(meaning: Meaning) -> &'static str {
    match meaning {
        Meaning::Guard(what, _) => what,
        _ => "TLS that the backend terminates itself",
    }
}

fn closed(annotation: &PeerAnnotation) -> AnnotationFinding {
    let reach = if annotation.meaning.is_of_hosts() {
        "and everything else on these hosts "
    } else {
        ""
    };
    AnnotationFinding {
        severity: EventType::Warning,
        reason: Reason::UnsupportedGuard,
        annotation: annotation.name.clone(),
        message: format!(
            "it asks for {}, which is not supported: the paths {reach}return 503. Protect the \
             backend in another way and remove the annotation, or set {ANNOTATION}: ignore to \
             serve them without it",
            protection(annotation.meaning)
        ),
    }
}

/// Judges an annotation that asks for something that is not supported, and may be a guard.
pub(super) fn not_supported(
    annotation: &str,
    why: &str,
    decision: Decision,
) -> (AnnotationFinding, Option<Refusal>) {
    let (severity, effect, refusal) = match decision.ignores() {
        true => (
            EventType::Normal,
            format!(
                "nothing of it has an effect, and the paths are served without it, because of {}",
                decision.by
            ),
            None,
        ),
        false => (
            EventType::Warning,
            format!(
                "the paths return 503. Say it with other annotations, or set {ANNOTATION}: ignore \
                 to serve them without it"
            ),
            Some(Refusal::UnsupportedGuard),
        ),
    };

    let finding = AnnotationFinding {
        severity,
        reason: Reason::UnsupportedGuard,
        annotation: annotation.into(),
        message: format!("{why}: {effect}"),
    };
    (finding, refusal)
}

fn ignored(annotation: &PeerAnnotation, decision: Decision) -> AnnotationFinding {
    let what = protection(annotation.meaning);
    let message = format!(
        "it asks for {what}, which is not supported: the paths are served without it, because \
         of {}",
        decision.by
    );
    note(annotation, Reason::UnsupportedGuard, message)
}

fn not_served(annotation: &PeerAnnotation) -> AnnotationFinding {
    AnnotationFinding {
        severity: EventType::Warning,
        reason: Reason::UnsupportedCanary,
        annotation: annotation.name.clone(),
        message:
            "it asks for a part of the requests only, which is not supported: these paths are not \
                  served, and other Ingresses get all requests"
                .to_owned(),
    }
}

/// Returns the finding about a Service whose annotation has conditions on fields.
pub(super) fn part_of_service(service: &str) -> AnnotationFinding {
    AnnotationFinding::warning(
        Reason::UnsupportedCanary,
        "http-header-match",
        format!(
            "http-header-match of Service {service}: it is for Ingresses: these paths are not \
             served, and other Ingresses get all requests"
        ),
    )
}

fn note(annotation: &PeerAnnotation, reason: Reason, message: String) -> AnnotationFinding {
    AnnotationFinding {
        severity: EventType::Normal,
        reason,
        annotation: annotation.name.clone(),
        message,
    }
}

// === Whole hosts ===

/// The Ingresses that close a host, oldest first, each with the refusal.
pub(super) struct ClosedHost<'a> {
    /// The namespace that had the host first. Ingresses of others close their own namespace's rules
    /// only.
    owner: Option<&'a str>,
    by: Vec<(&'a Name, Refusal)>,
}

impl ClosedHost<'_> {
    /// Finds the Ingress that closes the rules of another on this host.
    pub(super) fn closer(&self, of: &Name) -> Option<&(&Name, Refusal)> {
        self.by
            .iter()
            .find(|(by, _)| by.0 == of.0 || self.owner == Some(&*by.0))
    }

    /// Returns the route of an Ingress as it is on this host.
    pub(super) fn apply(&self, of: &Name, route: &Arc<Route>) -> Arc<Route> {
        match self.closer(of) {
            Some((_, refusal)) => Arc::new(Route::refused(route.origin.clone(), *refusal)),
            None => route.clone(),
        }
    }
}

/// Finds the Ingresses that close a host, among all that have it, oldest first.
pub(super) fn closed_host<'a>(compiled: &CompiledIngresses, names: &[&'a Name]) -> ClosedHost<'a> {
    let closes = |name: &&'a Name| Some((*name, compiled.get(*name)?.closes_hosts?));
    ClosedHost {
        owner: names.first().map(|name| &*name.0),
        by: names.iter().filter_map(closes).collect(),
    }
}

/// Returns findings for Ingresses whose rules another one closes.
pub(super) fn closed_by_others(
    objects: &Objects,
    compiled: &CompiledIngresses,
    names: &[&Name],
    closed: &ClosedHost<'_>,
) -> Vec<Finding> {
    let findings = names.iter().filter_map(|name| {
        if compiled.get(*name)?.closes_hosts.is_some() {
            return None;
        }

        let (by, _) = closed.closer(name)?;
        let message = format!(
            "Ingress {}/{} asks for a guard on the whole host, which is not supported: these rules \
             return 503",
            by.0, by.1
        );
        objects.finding(name, Reason::UnsupportedGuard, "spec.rules", message)
    });

    findings.collect()
}
