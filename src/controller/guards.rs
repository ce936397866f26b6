//! What becomes of an object whose access is restricted by annotations of another controller: it is
//! closed, unless its owner or the operator has decided otherwise.

use std::sync::Arc;

use super::{
    Finding, UnsupportedGuards,
    annotations::Complaint,
    index::{Index, Name},
    peers::{Meaning, PeerAnnotation},
};
use crate::{
    objects::EventType,
    routing::{Refusal, Route},
};

/// Where the decision about guards comes from, for people.
const ANNOTATION: &str = "gatelet.dev/unsupported-guards";
const SETTING: &str = "unsupported_guards in the settings";

/// What the annotations of other controllers make of an Ingress.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Its paths are answered with this.
    pub(super) refusal: Option<Refusal>,
    /// So is all else on its hosts, as far as the object may say so.
    pub(super) closes_hosts: bool,
    /// Plain HTTP is redirected, whatever else is said.
    pub(super) https_only: bool,
    /// It is meant to take a part of the requests, so its paths do not exist.
    pub(super) is_part: bool,
    pub(super) complaints: Vec<Complaint>,
}

/// Who says what becomes of guards: the object, else the setting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    guards: UnsupportedGuards,
    by: &'static str,
}

impl Decision {
    pub(super) fn new(of_object: Option<UnsupportedGuards>, setting: UnsupportedGuards) -> Self {
        match of_object {
            Some(guards) => Self { guards, by: ANNOTATION },
            None => Self { guards: setting, by: SETTING },
        }
    }

    fn ignores(self) -> bool {
        self.guards == UnsupportedGuards::Ignore
    }
}

/// Judges what stands on an Ingress.
pub(super) fn judge(annotations: &[PeerAnnotation], decision: Decision) -> Verdict {
    let mut verdict = Verdict::default();
    if annotations.iter().any(|one| one.meaning == Meaning::Part) {
        // It is not served at all, so nothing else of it makes a difference.
        verdict.is_part = true;
        let parts = annotations.iter().filter(|one| one.meaning == Meaning::Part);
        verdict.complaints = parts.map(canary).collect();
        return verdict;
    }

    let is_guarded = annotations.iter().any(|one| one.meaning.closes());
    for annotation in annotations {
        match annotation.meaning {
            Meaning::Guard(..) | Meaning::Passthrough if decision.ignores() => {
                verdict.complaints.push(ignored(annotation, decision));
            }
            Meaning::Guard(..) | Meaning::Passthrough => {
                verdict.complaints.push(closed(annotation));
                verdict.closes_hosts |= annotation.meaning.is_of_hosts();
                // That TLS is not terminated is the more surprising one.
                let refusal = refusal(annotation.meaning);
                if verdict.refusal.is_none() || refusal == Refusal::UnsupportedPassthrough {
                    verdict.refusal = Some(refusal);
                }
            }
            Meaning::HttpsOnly => verdict.https_only = true,
            // It is a part of what closes the paths, and that has been said.
            Meaning::Detail(_) if is_guarded => {}
            Meaning::Detail(of) => {
                let message = format!("it has no effect without {of}");
                verdict.complaints.push(told(annotation, "UnsupportedAnnotation", message));
            }
            Meaning::Unsupported(effect) => {
                let message = format!("it has no effect here: {effect}");
                verdict.complaints.push(told(annotation, "UnsupportedAnnotation", message));
            }
            Meaning::Unknown => {
                let message = "this annotation is not known here and has no effect".to_owned();
                verdict.complaints.push(told(annotation, "UnknownAnnotation", message));
            }
            Meaning::Part | Meaning::Nothing => {}
        }
    }
    verdict
}

/// What becomes of a path that leads to a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServiceOutcome {
    /// It is served.
    Served,
    /// It is answered with this.
    Refused(Refusal),
    /// It does not exist, because the Service is meant to have a part of the requests only.
    NotServed,
}

/// Judges what stands on a Service that a path leads to.
pub(super) fn judge_service(
    service: &str,
    annotations: &[PeerAnnotation],
    decision: Decision,
) -> (ServiceOutcome, Vec<Complaint>) {
    let mut outcome = ServiceOutcome::Served;
    let mut complaints = Vec::new();
    for annotation in annotations {
        let complaint = match annotation.meaning {
            Meaning::Part => {
                outcome = ServiceOutcome::NotServed;
                canary(annotation)
            }
            meaning if !meaning.closes() => continue,
            _ if decision.ignores() => ignored(annotation, decision),
            meaning => {
                if outcome == ServiceOutcome::Served {
                    outcome = ServiceOutcome::Refused(refusal(meaning));
                }
                closed(annotation)
            }
        };
        let message = format!("{} of Service {service}: {}", annotation.name, complaint.message);
        complaints.push(Complaint { message, ..complaint });
    }
    (outcome, complaints)
}

fn refusal(meaning: Meaning) -> Refusal {
    match meaning {
        Meaning::Passthrough => Refusal::UnsupportedPassthrough,
        _ => Refusal::UnsupportedGuard,
    }
}

/// What an annotation that closes paths asks for.
fn asked(meaning: Meaning) -> &'static str {
    match meaning {
        Meaning::Guard(what, _) => what,
        _ => "TLS that the backend itself terminates",
    }
}

fn closed(annotation: &PeerAnnotation) -> Complaint {
    let reach = if annotation.meaning.is_of_hosts() { "and all else on these hosts " } else { "" };
    Complaint {
        severity: EventType::Warning,
        reason: "UnsupportedGuard",
        annotation: annotation.name.clone(),
        message: format!(
            "it asks for {}, which is not supported: the paths {reach}answer 503. Let the backend see to it and \
             remove the annotation, or serve without it by {ANNOTATION}: ignore",
            asked(annotation.meaning)
        ),
    }
}

fn ignored(annotation: &PeerAnnotation, decision: Decision) -> Complaint {
    let what = asked(annotation.meaning);
    let message = format!("it asks for {what}, which is not supported: served without it, as {} decides", decision.by);
    told(annotation, "UnsupportedGuard", message)
}

fn canary(annotation: &PeerAnnotation) -> Complaint {
    Complaint {
        severity: EventType::Warning,
        reason: "UnsupportedCanary",
        annotation: annotation.name.clone(),
        message: "it lets the Ingress have a part of the requests only, which is not supported: its paths are not \
                  served, and those of other Ingresses are as if it were not there"
            .to_owned(),
    }
}

fn told(annotation: &PeerAnnotation, reason: &'static str, message: String) -> Complaint {
    Complaint { severity: EventType::Normal, reason, annotation: annotation.name.clone(), message }
}

// === Whole hosts ===

/// The Ingresses that close a host, oldest first, each with what it is answered with then.
pub(super) struct ClosedHost<'a> {
    /// The namespace that had the host first. Others decide for their own rules only.
    owner: Option<&'a str>,
    by: Vec<(&'a Name, Refusal)>,
}

impl ClosedHost<'_> {
    /// Who closes the rules of an Ingress, and with what.
    fn closer(&self, of: &Name) -> Option<&(&Name, Refusal)> {
        self.by.iter().find(|(by, _)| by.0 == of.0 || self.owner == Some(&*by.0))
    }

    /// The route as it is on this host.
    pub(super) fn apply(&self, of: &Name, route: &Arc<Route>) -> Arc<Route> {
        match self.closer(of) {
            Some((_, refusal)) => Arc::new(Route::refused(route.origin.clone(), *refusal)),
            None => route.clone(),
        }
    }
}

impl Index {
    /// Returns which of the Ingresses of a host, oldest first, close all of it.
    pub(super) fn closed_hosts<'a>(&self, names: &[&'a Name]) -> ClosedHost<'a> {
        let closes = |name: &&'a Name| Some((*name, self.compiled.get(*name)?.closes_hosts?));
        ClosedHost { owner: names.first().map(|name| &*name.0), by: names.iter().filter_map(closes).collect() }
    }

    /// What those are told whose rules on the host another Ingress closes.
    pub(super) fn closed_by_others(&self, names: &[&Name], closed: &ClosedHost<'_>) -> Vec<Finding> {
        let findings = names.iter().filter_map(|name| {
            if self.compiled.get(*name)?.closes_hosts.is_some() {
                return None;
            }
            let (by, _) = closed.closer(name)?;
            let message = format!(
                "Ingress {}/{} asks for a guard on the whole host that is not supported: its rules answer 503",
                by.0, by.1
            );
            self.finding(&name.0, &name.1, "UnsupportedGuard", "spec.rules", message)
        });
        findings.collect()
    }
}
