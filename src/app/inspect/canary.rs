//! The choice between a backend and its canary for `explain`.

use std::sync::Arc;

use crate::{
    admin::StepReport,
    routing::{Backend, CanaryDecision, CanaryTerms, Head, Split},
};

/// Returns the backends that may have a request, and the step that chooses, if there is a canary.
pub(super) fn choices<'s>(
    split: &'s Split,
    head: &impl Head,
) -> (Vec<&'s Arc<Backend>>, Option<StepReport>) {
    let Some(canary) = split.canary() else {
        return (split.backends().collect(), None);
    };

    let terms = &canary.terms;
    let decision = terms.decide(head);
    let (main, taken, mut effect) = match decision {
        CanaryDecision::Header(takes) => (!takes, takes, by(takes, &header(terms))),
        CanaryDecision::Cookie(takes) => (!takes, takes, by(takes, &cookie(terms))),
        CanaryDecision::Weight => {
            let CanaryTerms { weight, total, .. } = **terms;
            let effect = format!("{weight} of {total} requests go to the canary");
            (weight < total, weight > 0, effect)
        }
    };
    if taken && !canary.has_endpoints() {
        effect += ", which has no endpoints: all go to the main backend";
    }

    let (main, taken) = match canary.has_endpoints() {
        true => (main, taken),
        false => (true, false),
    };
    let mains = split.main_backends().filter(|_| main);
    let backends = mains.chain(Some(&canary.backend).filter(|_| taken));
    let origin = &canary.origin;
    let step = StepReport {
        step: "canary".to_owned(),
        from: format!("Ingress {}/{}", origin.namespace, origin.name),
        effect,
    };
    (backends.collect(), Some(step))
}

fn by(takes: bool, what: &str) -> String {
    let to = if takes {
        "the canary"
    } else {
        "the main backend"
    };
    format!("to {to}, by the {what}")
}

fn header(terms: &CanaryTerms) -> String {
    let name = terms.header.as_ref().map(|header| header.name.as_str());
    format!("field {}", name.unwrap_or_default())
}

fn cookie(terms: &CanaryTerms) -> String {
    format!("cookie {}", terms.cookie.as_deref().unwrap_or_default())
}
