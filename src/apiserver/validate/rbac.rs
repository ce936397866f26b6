//! Checks of roles and bindings (pkg/apis/rbac/validation).

use serde_json::{Value, json};

use super::{
    names,
    problems::{Problems, list, pairs, text},
};

/// The API group of roles, and of the subjects of bindings that are users and groups.
const GROUP: &str = "rbac.authorization.k8s.io";

/// Checks a Role.
pub(super) fn role(object: &Value, problems: &mut Problems) {
    rules(object, true, problems);
}

/// Checks a ClusterRole.
pub(super) fn cluster_role(object: &Value, problems: &mut Problems) {
    rules(object, false, problems);
    if object["aggregationRule"].is_null() {
        return;
    }

    let selectors = list(object, "/aggregationRule/clusterRoleSelectors");
    if selectors.is_empty() {
        problems.required(
            "aggregationRule.clusterRoleSelectors",
            "at least one clusterRoleSelector required if aggregationRule is non-nil",
        );
    }
    for (number, selector) in selectors.iter().enumerate() {
        let field = format!("aggregationRule.clusterRoleSelectors[{number}]");
        let before = problems.0.len();
        label_selector(selector, &field, problems);
        if problems.0.len() > before {
            problems.invalid(field, Value::Null, "invalid label selector.");
        }
    }
}

fn rules(object: &Value, namespaced: bool, problems: &mut Problems) {
    for (number, rule) in list(object, "/rules").iter().enumerate() {
        let field = format!("rules[{number}]");
        let is_empty = |member: &str| list(rule, member).is_empty();
        if is_empty("/verbs") {
            problems.required(
                format!("{field}.verbs"),
                "verbs must contain at least one value",
            );
        }

        if is_empty("/nonResourceURLs") {
            if is_empty("/apiGroups") {
                let why = "resource rules must supply at least one api group";
                problems.required(format!("{field}.apiGroups"), why);
            }
            if is_empty("/resources") {
                let why = "resource rules must supply at least one resource";
                problems.required(format!("{field}.resources"), why);
            }
            continue;
        }

        let urls = format!("{field}.nonResourceURLs");
        if namespaced {
            let why = "namespaced rules cannot apply to non-resource URLs";
            problems.invalid(&urls, rule["nonResourceURLs"].clone(), why);
        }
        if !(is_empty("/apiGroups") && is_empty("/resources") && is_empty("/resourceNames")) {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            problems.invalid(&urls, rule["nonResourceURLs"].clone(), why);
        }
    }
}

/// Checks a selector of labels (k8s.io/apimachinery/pkg/apis/meta/v1/validation).
fn label_selector(selector: &Value, field: &str, problems: &mut Problems) {
    let labels = format!("{field}.matchLabels");
    for (key, value) in pairs(selector, "/matchLabels") {
        problems.all(&labels, key, names::qualified(key));
        problems.all(&labels, value, names::label_value(value));
    }

    for (number, expression) in list(selector, "/matchExpressions").iter().enumerate() {
        let field = format!("{field}.matchExpressions[{number}]");
        let values = list(expression, "/values");
        match text(expression, "/operator") {
            "In" | "NotIn" if values.is_empty() => problems.required(
                format!("{field}.values"),
                "must be specified when `operator` is 'In' or 'NotIn'",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => problems.forbidden(
                format!("{field}.values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => {
                let why = "not a valid selector operator";
                problems.invalid(format!("{field}.operator"), other, why);
            }
        }

        let key = text(expression, "/key");
        problems.all(format!("{field}.key"), key, names::qualified(key));
        for (number, value) in values.iter().filter_map(Value::as_str).enumerate() {
            let field = format!("{field}.values[{number}]");
            problems.all(field, value, names::label_value(value));
        }
    }
}

/// Checks a binding to a role of one of these kinds.
pub(super) fn binding(object: &Value, kinds: &[&str], problems: &mut Problems) {
    let group = text(object, "/roleRef/apiGroup");
    if group != GROUP {
        problems.unsupported("roleRef.apiGroup", group, &[GROUP]);
    }
    let kind = text(object, "/roleRef/kind");
    if !kinds.contains(&kind) {
        problems.unsupported("roleRef.kind", kind, kinds);
    }
    match text(object, "/roleRef/name") {
        "" => problems.required("roleRef.name", ""),
        name => problems.all("roleRef.name", name, names::path_segment(name)),
    }

    let namespaced = kinds.contains(&"Role");
    for (number, subject) in list(object, "/subjects").iter().enumerate() {
        check_subject(
            subject,
            namespaced,
            &format!("subjects[{number}]"),
            problems,
        );
    }
}

fn check_subject(subject: &Value, namespaced: bool, field: &str, problems: &mut Problems) {
    let (name, group) = (text(subject, "/name"), text(subject, "/apiGroup"));
    if name.is_empty() {
        problems.required(format!("{field}.name"), "");
    }

    let wrong_group = format!("{field}.apiGroup");
    match text(subject, "/kind") {
        "ServiceAccount" => {
            if !name.is_empty() {
                problems.all(format!("{field}.name"), name, names::subdomain(name));
            }
            if !group.is_empty() {
                problems.unsupported(wrong_group, group, &[""]);
            }
            if !namespaced && text(subject, "/namespace").is_empty() {
                problems.required(format!("{field}.namespace"), "");
            }
        }
        "User" | "Group" if group != GROUP => problems.unsupported(wrong_group, group, &[GROUP]),
        "User" | "Group" => {}
        other => problems.unsupported(
            format!("{field}.kind"),
            other,
            &["ServiceAccount", "User", "Group"],
        ),
    }
}

/// Refuses another role of a changed binding.
pub(super) fn binding_update(new: &Value, old: &Value, problems: &mut Problems) {
    if new["roleRef"] != old["roleRef"] {
        // Go names the fields of its internal type here.
        let role = |member: &str| text(&new["roleRef"], member);
        let shown = json!({
            "APIGroup": role("/apiGroup"),
            "Kind": role("/kind"),
            "Name": role("/name"),
        });
        problems.invalid("roleRef", shown, "cannot change roleRef");
    }
}
