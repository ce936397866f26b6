//! Users and their actions.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

/// The group whose members may do everything.
pub const MASTERS: &str = "system:masters";

/// The group of every user who is known.
const AUTHENTICATED: &str = "system:authenticated";

/// The beginning of the user names of ServiceAccounts.
const ACCOUNT: &str = "system:serviceaccount:";

/// A user as Kubernetes knows users: a name and groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The uid; empty for users without one.
    pub uid: String,
    /// The groups, in the order in which they became known.
    pub groups: Vec<String>,
    /// Further facts about the user, such as the identity of the credential.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Returns a user with these groups, and with that of every known user.
    pub fn known(name: &str, groups: impl IntoIterator<Item = String>) -> Self {
        let mut user = Self {
            name: name.to_owned(),
            groups: groups.into_iter().collect(),
            ..Self::default()
        };
        user.join(AUTHENTICATED);
        user
    }

    /// Returns the user that a ServiceAccount is.
    pub fn account(namespace: &str, name: &str) -> Self {
        let groups = Self::account_groups(namespace);
        Self::known(&Self::account_name(namespace, name), groups)
    }

    /// Returns the user name of a ServiceAccount.
    pub fn account_name(namespace: &str, name: &str) -> String {
        format!("{ACCOUNT}{namespace}:{name}")
    }

    /// Returns the groups of the ServiceAccounts of a namespace.
    pub fn account_groups(namespace: &str) -> [String; 2] {
        [
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ]
    }

    /// Returns the namespace and name of the ServiceAccount that a user name stands for.
    pub fn split_account(name: &str) -> Option<(&str, &str)> {
        let (namespace, name) = name.strip_prefix(ACCOUNT)?.split_once(':')?;
        let valid = !namespace.is_empty() && !name.is_empty() && !name.contains(':');
        valid.then_some((namespace, name))
    }

    /// Adds a group, unless the user is in it.
    pub fn join(&mut self, group: &str) {
        if !self.groups.iter().any(|known| known == group) {
            self.groups.push(group.to_owned());
        }
    }

    /// Returns true if the user may do everything.
    pub fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}

/// A request for a resource, as rules see it. Fields that do not apply are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceAction {
    /// The verb: `get`, `list`, `create`, ...
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The plural of the kind.
    pub resource: String,
    /// The part behind the name: `status`, `token`.
    pub subresource: String,
    /// The namespace; empty for all, and for kinds without namespaces.
    pub namespace: String,
    /// The name of the object.
    pub name: String,
}

/// The action that a request takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// An action on a resource.
    Resource(ResourceAction),
    /// A request for another path.
    Path {
        /// The method in lower case.
        verb: String,
        /// The path.
        path: String,
    },
}

impl Action {
    /// Returns the namespace of the action, empty for none.
    pub fn namespace(&self) -> &str {
        match self {
            Self::Resource(action) => &action.namespace,
            Self::Path { .. } => "",
        }
    }
}

impl fmt::Display for Action {
    /// Writes the action as a real API server does in a refusal: `get resource "pods" in API group
    /// "" in the namespace "shop"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self {
            Self::Path { verb, path } => return write!(f, "{verb} path {}", quote(path)),
            Self::Resource(action) => action,
        };

        let resource = match &*action.subresource {
            "" => action.resource.clone(),
            subresource => format!("{}/{subresource}", action.resource),
        };
        let (verb, group) = (&action.verb, quote(&action.group));
        write!(
            f,
            "{verb} resource {} in API group {group}",
            quote(&resource)
        )?;
        match &*action.namespace {
            "" => f.write_str(" at the cluster scope"),
            namespace => write!(f, " in the namespace {}", quote(namespace)),
        }
    }
}

/// Returns a text in quotes, as Go prints it with `%q`.
pub(super) fn quote(text: &str) -> String {
    Value::from(text).to_string()
}

/// Returns texts in quotes and brackets, as Go prints them with `%q`.
pub(super) fn quote_all<'t>(texts: impl IntoIterator<Item = &'t str>) -> String {
    let quoted: Vec<String> = texts.into_iter().map(quote).collect();
    format!("[{}]", quoted.join(" "))
}
