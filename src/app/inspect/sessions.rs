//! Sticky sessions for `explain`.

use crate::{
    admin::StepReport,
    routing::{Route, Stickiness},
};

/// Returns the step that keeps a client at an endpoint, if there is one.
pub(super) fn step(route: &Route) -> Option<StepReport> {
    let policy = route.policy.as_ref()?;
    let (from, effect) = match policy.stickiness.as_ref()? {
        Stickiness::Cookie(cookie) => (
            &cookie.from,
            format!(
                "the client stays at its endpoint by the cookie {}",
                cookie.name
            ),
        ),
        Stickiness::Hash(hash) => (
            &hash.from,
            format!(
                "requests with the same {} have the same endpoint",
                hash.text.as_str()
            ),
        ),
    };
    Some(StepReport {
        step: "sticky session".to_owned(),
        from: from.to_string(),
        effect,
    })
}
