//! Keeps users from granting rights that they do not have (pkg/registry/rbac/*/policybased).

use serde_json::Value;

use super::{Api, admit, request::ResourceRequest, status::ApiError};
use crate::{
    access::{self, Action, ResourceAction, RoleRef, Rule, User},
    objects::Kind,
};

/// The API group of roles and bindings.
const GROUP: &str = "rbac.authorization.k8s.io";

impl Api {
    /// Refuses a role or binding that grants rights which the user does not have and may not grant.
    /// `old` is the object before a change.
    pub(super) fn check_escalation(
        &self,
        request: &ResourceRequest<'_>,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let (user, kind) = (request.user, request.target.resource.kind);
        let is_role = matches!(kind, Kind::Role | Kind::ClusterRole);
        let grants = is_role || matches!(kind, Kind::RoleBinding | Kind::ClusterRoleBinding);
        if !grants || user.is_master() || old.is_some_and(|old| is_released(new, old)) {
            return Ok(());
        }

        match is_role {
            true => self.check_role(request, new, old),
            false => self.check_binding(request, new),
        }
    }

    fn check_role(
        &self,
        request: &ResourceRequest<'_>,
        new: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let target = request.target;
        let escalate = ResourceAction {
            verb: "escalate".to_owned(),
            group: GROUP.to_owned(),
            resource: target.resource.plural.to_owned(),
            namespace: target.namespace.clone().unwrap_or_default(),
            name: target.name.clone().unwrap_or_default(),
            ..ResourceAction::default()
        };
        if self
            .index
            .decide(request.user, &Action::Resource(escalate))
            .allowed
        {
            return Ok(());
        }

        let name = admit::text(new, "/metadata/name");
        let rules: Vec<Rule> = serde_json::from_value(new["rules"].clone()).unwrap_or_default();
        self.confirm(request, name, &rules)?;

        // An aggregated role can gather any right.
        let aggregates = |role: &Value| {
            let selectors = role.pointer("/aggregationRule/clusterRoleSelectors");
            selectors
                .and_then(Value::as_array)
                .is_some_and(|all| !all.is_empty())
        };
        let gathers = aggregates(new) || old.is_some_and(aggregates);
        if gathers && self.confirm(request, name, &full_authority()).is_err() {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            return Err(ApiError::forbidden(target.resource, name, why));
        }
        Ok(())
    }

    fn check_binding(&self, request: &ResourceRequest<'_>, new: &Value) -> Result<(), ApiError> {
        let role: RoleRef = serde_json::from_value(new["roleRef"].clone()).unwrap_or_default();
        let namespace = request.target.namespace.as_deref().unwrap_or_default();
        let resource = match &*role.kind {
            "Role" => "roles",
            "ClusterRole" => "clusterroles",
            // Validation refuses it.
            _ => return Ok(()),
        };

        let bind = ResourceAction {
            verb: "bind".to_owned(),
            group: GROUP.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: role.name.to_string(),
            ..ResourceAction::default()
        };
        if self
            .index
            .decide(request.user, &Action::Resource(bind))
            .allowed
        {
            return Ok(());
        }

        let name = admit::text(new, "/metadata/name");
        match self.index.rules_of_role(&role, namespace) {
            Some(rules) => self.confirm(request, name, &rules),
            // A real API server names the resource of the request here.
            None => Err(ApiError::not_found(request.target.resource, &role.name)),
        }
    }

    /// Refuses rules that grant more than the user may do in the namespace of the request.
    fn confirm(
        &self,
        request: &ResourceRequest<'_>,
        name: &str,
        rules: &[Rule],
    ) -> Result<(), ApiError> {
        let (user, target) = (request.user, request.target);
        let namespace = target.namespace.as_deref().unwrap_or_default();
        let (own, errors) = self.index.rules_of(user, namespace);
        let missing = access::missing(&own, rules)
            .map_err(|error| ApiError::forbidden(target.resource, name, &error.to_string()))?;
        if missing.is_empty() {
            return Ok(());
        }

        let mut why = describe(user, &missing);
        if let Some(errors) = errors {
            why.push_str(&format!(
                "; resolution errors: [{}]",
                errors.trim_matches(['[', ']'])
            ));
        }
        Err(ApiError::forbidden(target.resource, name, &why))
    }
}

fn describe(user: &User, missing: &[String]) -> String {
    let groups: Vec<String> = user
        .groups
        .iter()
        .map(|group| Value::from(group.as_str()).to_string())
        .collect();
    format!(
        "user {} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        Value::from(user.name.as_str()),
        groups.join(" "),
        missing.join("\n")
    )
}

/// Returns the rules that allow everything.
pub(super) fn full_authority() -> [Rule; 2] {
    let all = || vec!["*".into()];
    [
        Rule {
            verbs: all(),
            api_groups: all(),
            resources: all(),
            ..Rule::default()
        },
        Rule {
            verbs: all(),
            non_resource_urls: all(),
            ..Rule::default()
        },
    ]
}

/// Returns true if a change touches only the fields that release an object for its deletion.
fn is_released(new: &Value, old: &Value) -> bool {
    let content = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for ignored in [
                "finalizers",
                "ownerReferences",
                "resourceVersion",
                "managedFields",
            ] {
                metadata.remove(ignored);
            }
        }
        object
    };
    content(new) == content(old)
}
