//! Sticky sessions and groups of endpoints for `explain`.

use crate::{
    admin::StepReport,
    routing::{EndpointGroups, GroupWeight, Route, Stickiness},
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

/// Returns the steps that choose among groups of endpoints.
pub(super) fn groups(route: &Route) -> impl Iterator<Item = StepReport> {
    let selector = route
        .policy
        .as_ref()
        .and_then(|policy| policy.selector.as_ref());
    let by_request = selector.map(|selector| {
        let header = selector
            .header
            .iter()
            .map(|name| format!("the field {name}"));
        let cookie = selector
            .cookie
            .iter()
            .map(|name| format!("the cookie {name}"));
        let by: Vec<String> = header.chain(cookie).collect();
        let effect = format!("{} names the group", by.join(", then "));
        (selector.from.to_string(), effect)
    });

    let backend = route.backends().next();
    let groups = backend.and_then(|backend| backend.settings.groups.as_deref());
    let by_weight = groups.filter(|groups| !groups.weights.is_empty());
    let by_weight = by_weight.map(|groups| ("blue-green-balance".to_owned(), shown(groups)));

    let both = by_request.into_iter().chain(by_weight);
    both.map(|(from, effect)| StepReport {
        step: "group of endpoints".to_owned(),
        from,
        effect,
    })
}

fn shown(groups: &EndpointGroups) -> String {
    let one = |group: &GroupWeight| format!("{}={}={}", group.label, group.value, group.weight);
    let all: Vec<String> = groups.weights.iter().map(one).collect();
    let of = match groups.per_endpoint {
        true => "each endpoint",
        false => "all endpoints of the group",
    };
    format!("weights for {of}: {}", all.join(", "))
}
