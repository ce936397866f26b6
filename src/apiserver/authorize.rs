//! Decides whether a user may make a request, and as whom it is made.

use http::{Method, request::Parts};

use super::{Api, request::Query, status::ApiError};
use crate::{
    access::{Action, ResourceAction, User},
    util::percent,
};

/// The subresources of namespaces, which stand where the resources of a namespace do.
const NAMESPACE_PARTS: [&str; 2] = ["status", "finalize"];

/// Returns the action that a request takes (k8s.io/apiserver/pkg/endpoints/request/requestinfo.go).
///
/// The segments are those that [`Api::handle`] finds its handler by, so both see one path.
pub(super) fn action(head: &Parts, segments: &[&str]) -> Action {
    let (group, rest) = match segments {
        ["api", _version, rest @ ..] if !rest.is_empty() => ("", rest),
        ["apis", group, _version, rest @ ..] if !rest.is_empty() => (*group, rest),
        _ => {
            return Action::Path {
                verb: head.method.as_str().to_ascii_lowercase(),
                path: head.uri.path().to_owned(),
            };
        }
    };

    let (namespace, parts) = match rest {
        ["namespaces", namespace, part, ..] if NAMESPACE_PARTS.contains(part) => (*namespace, rest),
        ["namespaces", namespace, parts @ ..] if !parts.is_empty() => (*namespace, parts),
        ["namespaces", namespace] => (*namespace, rest),
        _ => ("", rest),
    };
    let part = |number: usize| decoded(parts.get(number).copied().unwrap_or_default());

    let mut action = ResourceAction {
        verb: String::new(),
        group: group.to_owned(),
        resource: part(0),
        subresource: part(2),
        namespace: decoded(namespace),
        name: part(1),
    };
    set_verb(&mut action, head);
    Action::Resource(action)
}

/// Sets the verb, and the name that a list is limited to.
fn set_verb(action: &mut ResourceAction, head: &Parts) {
    let named = !action.name.is_empty();

    action.verb = match (&head.method, named) {
        (&Method::POST, _) => "create",
        (&Method::PUT, _) => "update",
        (&Method::PATCH, _) => "patch",
        (&Method::DELETE, true) => "delete",
        (&Method::DELETE, false) => "deletecollection",
        (&Method::GET | &Method::HEAD, true) => "get",
        (&Method::GET | &Method::HEAD, false) => {
            let query = Query::parse(head.uri.query().unwrap_or_default());
            if let Some(name) = selected_name(query.text("fieldSelector")) {
                name.clone_into(&mut action.name);
            }
            match query.flag("watch") {
                true => "watch",
                false => "list",
            }
        }
        _ => "",
    }
    .to_owned();
}

/// Returns the name that a field selector requires.
fn selected_name(selector: &str) -> Option<&str> {
    selector.split(',').find_map(|part| {
        let value = part.strip_prefix("metadata.name=")?;
        let value = value.strip_prefix('=').unwrap_or(value);
        let is_name = !["", ".", ".."].contains(&value) && !value.contains(['/', '%']);
        is_name.then_some(value)
    })
}

fn decoded(segment: &str) -> String {
    String::from_utf8_lossy(&percent::decode(segment)).into_owned()
}

impl Api {
    /// Refuses an action that no rule allows to the user.
    pub(super) fn authorize(&self, user: &User, action: &Action) -> Result<(), ApiError> {
        let decision = self.index.decide(user, action);
        match decision.allowed {
            true => Ok(()),
            false => Err(ApiError::denied(&user.name, action, &decision.reason)),
        }
    }

    /// Returns the user as whom a request is made: the one of its `Impersonate-` headers, if `user`
    /// may impersonate it (k8s.io/apiserver/pkg/endpoints/filters/impersonation).
    pub(super) fn impersonate(&self, user: User, head: &Parts) -> Result<User, ApiError> {
        let Some(wanted) = Wanted::parse(head)? else {
            return Ok(user);
        };

        for action in wanted.actions() {
            self.authorize(&user, &action)?;
        }
        Ok(wanted.user)
    }
}

/// The user that the headers of a request name.
struct Wanted {
    user: User,
    /// The groups of the headers.
    groups: Vec<String>,
}

impl Wanted {
    fn parse(head: &Parts) -> Result<Option<Self>, ApiError> {
        const EXTRA: &str = "impersonate-extra-";
        let text =
            |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let one = |name: &str| head.headers.get(name).map(text).unwrap_or_default();

        let name = one("impersonate-user");
        let groups: Vec<String> = head
            .headers
            .get_all("impersonate-group")
            .iter()
            .map(text)
            .collect();
        let mut user = User {
            uid: one("impersonate-uid"),
            ..User::default()
        };
        for (header, value) in &head.headers {
            if let Some(key) = header.as_str().strip_prefix(EXTRA) {
                user.extra
                    .entry(decoded(key))
                    .or_default()
                    .push(text(value));
            }
        }

        if name.is_empty() {
            let nothing = groups.is_empty() && user.uid.is_empty() && user.extra.is_empty();
            return match nothing {
                true => Ok(None),
                false => Err(ApiError::bad_request(
                    "requested groups, a uid or extra without impersonating a user name",
                )),
            };
        }

        user.groups = all_groups(&name, &groups);
        user.name = name;
        Ok(Some(Self { user, groups }))
    }

    /// Returns the actions that the impersonating user must be allowed to take.
    fn actions(&self) -> Vec<Action> {
        let impersonate = |group: &str, resource: &str, name: &str| ResourceAction {
            verb: "impersonate".to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..ResourceAction::default()
        };
        const GROUP: &str = "authentication.k8s.io";

        let mut actions = vec![match User::split_account(&self.user.name) {
            Some((namespace, name)) => ResourceAction {
                namespace: namespace.to_owned(),
                ..impersonate("", "serviceaccounts", name)
            },
            None => impersonate("", "users", &self.user.name),
        }];
        actions.extend(
            self.groups
                .iter()
                .map(|group| impersonate("", "groups", group)),
        );
        for (key, values) in &self.user.extra {
            actions.extend(values.iter().map(|value| ResourceAction {
                subresource: key.clone(),
                ..impersonate(GROUP, "userextras", value)
            }));
        }
        if !self.user.uid.is_empty() {
            actions.push(impersonate(GROUP, "uids", &self.user.uid));
        }
        actions.into_iter().map(Action::Resource).collect()
    }
}

/// Returns the groups of an impersonated user: those of the headers, or those of a ServiceAccount,
/// and that of known or unknown users.
fn all_groups(name: &str, of_headers: &[String]) -> Vec<String> {
    const KNOWN: &str = "system:authenticated";
    const UNKNOWN: &str = "system:unauthenticated";

    let mut groups = of_headers.to_vec();
    if let (true, Some((namespace, _name))) = (groups.is_empty(), User::split_account(name)) {
        groups.extend(User::account_groups(namespace));
    }

    let has = |group: &str| groups.iter().any(|known| known == group);
    let added = match name {
        "system:anonymous" => (!has(UNKNOWN)).then_some(UNKNOWN),
        _ => (!has(KNOWN) && !has(UNKNOWN)).then_some(KNOWN),
    };
    groups.extend(added.map(str::to_owned));
    groups
}
