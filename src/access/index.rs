//! The index over roles and bindings that decides who may do what. It follows the changes of the
//! cluster, so that a decision reads only the bindings of its user.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    ops::ControlFlow,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

use serde::Deserialize;

use super::{
    rules::Rule,
    user::{Action, User, quote},
};
use crate::{
    objects::{Expired, Kind, RawObject, Revision, View, Watcher},
    util::sync::lock,
};

/// The kinds that decide.
const KINDS: [Kind; 4] = [
    Kind::ClusterRole,
    Kind::Role,
    Kind::ClusterRoleBinding,
    Kind::RoleBinding,
];

/// Namespace (empty for none) and name.
type Name = (Arc<str>, Arc<str>);

/// The verdict on an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// True if the user may take the action.
    pub allowed: bool,
    /// The binding that allows it, or the roles that could not be found; may be empty.
    pub reason: String,
}

/// The role that a binding grants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: Box<str>,
    /// The name of the role.
    pub name: Box<str>,
}

/// A role that a binding names and that does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{resource}.rbac.authorization.k8s.io {name} not found")]
struct NoRole {
    resource: &'static str,
    name: String,
}

/// A member of a binding.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: Box<str>,
    name: Box<str>,
    namespace: Box<str>,
}

/// A RoleBinding or ClusterRoleBinding.
#[derive(Debug)]
struct Binding {
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// A user, a group, or a ServiceAccount as the user that it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Member {
    User(Box<str>),
    Group(Box<str>),
}

impl Subject {
    /// Returns the user or group; `None` for a subject without a meaning. `namespace` is that of
    /// the binding.
    fn member(&self, namespace: &str) -> Option<Member> {
        match &*self.kind {
            "User" => Some(Member::User(self.name.clone())),
            "Group" => Some(Member::Group(self.name.clone())),
            "ServiceAccount" => {
                let own = self.namespace(namespace);
                let name = User::account_name(own, &self.name);
                (!own.is_empty()).then(|| Member::User(name.into()))
            }
            _ => None,
        }
    }

    fn namespace<'s>(&'s self, of_binding: &'s str) -> &'s str {
        match &*self.namespace {
            "" => of_binding,
            own => own,
        }
    }

    /// Describes the subject as a real API server does.
    fn describe(&self, namespace: &str) -> String {
        let name = match &*self.kind {
            "ServiceAccount" => format!("{}/{}", self.name, self.namespace(namespace)),
            _ => self.name.to_string(),
        };
        format!("{} {}", self.kind, quote(&name))
    }
}

/// Roles, bindings, and the bindings of each user and group.
#[derive(Debug, Default)]
struct Tables {
    /// The rules of each role; those of a ClusterRole have no namespace.
    roles: HashMap<Name, Arc<[Rule]>>,
    bindings: HashMap<Name, Arc<Binding>>,
    /// The names of the bindings by namespace and member.
    members: HashMap<Arc<str>, HashMap<Member, BTreeSet<Arc<str>>>>,
}

impl Tables {
    fn put(&mut self, object: &RawObject) {
        let name = (object.meta.namespace.clone(), object.meta.name.clone());
        match object.key.kind {
            Kind::Role | Kind::ClusterRole => {
                #[derive(Deserialize)]
                struct Role {
                    #[serde(default)]
                    rules: Option<Vec<Rule>>,
                }

                let rules = read::<Role>(object).and_then(|role| role.rules);
                self.roles.insert(name, rules.unwrap_or_default().into());
            }
            Kind::RoleBinding | Kind::ClusterRoleBinding => {
                #[derive(Deserialize)]
                #[serde(rename_all = "camelCase")]
                struct Body {
                    role_ref: RoleRef,
                    #[serde(default)]
                    subjects: Option<Vec<Subject>>,
                }

                self.remove_binding(&name);
                if let Some(body) = read::<Body>(object) {
                    self.put_binding(
                        name,
                        Binding {
                            role: body.role_ref,
                            subjects: body.subjects.unwrap_or_default(),
                        },
                    );
                }
            }
            _ => {}
        }
    }

    fn remove(&mut self, object: &RawObject) {
        let name = (object.meta.namespace.clone(), object.meta.name.clone());
        match object.key.kind {
            Kind::Role | Kind::ClusterRole => {
                self.roles.remove(&name);
            }
            _ => self.remove_binding(&name),
        }
    }

    fn put_binding(&mut self, name: Name, binding: Binding) {
        let members = self.members.entry(name.0.clone()).or_default();
        for member in binding.subjects.iter().filter_map(|s| s.member(&name.0)) {
            members.entry(member).or_default().insert(name.1.clone());
        }
        self.bindings.insert(name, Arc::new(binding));
    }

    fn remove_binding(&mut self, name: &Name) {
        let (Some(binding), Some(members)) =
            (self.bindings.remove(name), self.members.get_mut(&name.0))
        else {
            return;
        };

        for member in binding.subjects.iter().filter_map(|s| s.member(&name.0)) {
            if let Some(names) = members.get_mut(&member) {
                names.remove(&name.1);
                if names.is_empty() {
                    members.remove(&member);
                }
            }
        }
        if members.is_empty() {
            self.members.remove(&name.0);
        }
    }

    /// Returns the rules of a role, or an error if there is no such role.
    fn rules(&self, role: &RoleRef, namespace: &Arc<str>) -> Result<&Arc<[Rule]>, NoRole> {
        let (namespace, resource) = match &*role.kind {
            "ClusterRole" => (Arc::from(""), "clusterrole"),
            _ => (namespace.clone(), "role"),
        };
        let name = (namespace, Arc::from(&*role.name));
        self.roles.get(&name).ok_or_else(|| NoRole {
            resource,
            name: quote(&role.name),
        })
    }

    /// Calls `f` with each binding of the user that counts in a namespace, and its rules. A role
    /// that is bound several times comes once.
    fn visit<'t>(
        &'t self,
        user: &User,
        namespace: &str,
        mut f: impl FnMut(&Name, &'t Binding, Result<&'t Arc<[Rule]>, NoRole>) -> ControlFlow<()>,
    ) {
        let members: Vec<Member> = std::iter::once(Member::User((&*user.name).into()))
            .chain(
                user.groups
                    .iter()
                    .map(|group| Member::Group((&**group).into())),
            )
            .collect();

        let mut seen = HashSet::new();
        let scopes = ["", namespace];
        for scope in &scopes[..if namespace.is_empty() { 1 } else { 2 }] {
            let Some((scope, of_scope)) = self.members.get_key_value(*scope) else {
                continue;
            };

            let names: BTreeSet<&Arc<str>> = members
                .iter()
                .filter_map(|member| of_scope.get(member))
                .flatten()
                .collect();

            for name in names {
                let name = (scope.clone(), name.clone());
                let Some(binding) = self.bindings.get(&name) else {
                    continue;
                };
                let rules = self.rules(&binding.role, scope);
                if let Ok(rules) = &rules
                    && !seen.insert(Arc::as_ptr(rules))
                {
                    continue;
                }
                if f(&name, binding, rules).is_break() {
                    return;
                }
            }
        }
    }
}

/// Tables of a revision, and the watches that lead to the next one.
struct State {
    revision: Revision,
    tables: Tables,
    watchers: Vec<Box<dyn Watcher>>,
}

/// The index over the roles and bindings of a cluster. Each decision is made on the newest ones.
pub struct Index {
    view: Arc<dyn View>,
    state: Mutex<State>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").finish_non_exhaustive()
    }
}

impl Index {
    /// Makes an index over the roles and bindings of `view`.
    pub fn new(view: Arc<dyn View>) -> Self {
        let state = State {
            revision: Revision(0),
            tables: Tables::default(),
            watchers: Vec::new(),
        };
        Self {
            view,
            state: Mutex::new(state),
        }
    }

    /// Decides on an action.
    pub fn decide(&self, user: &User, action: &Action) -> Decision {
        if user.is_master() {
            return Decision {
                allowed: true,
                reason: String::new(),
            };
        }

        let mut errors = Vec::new();
        let mut allowed = None;
        self.with(|tables| {
            tables.visit(user, action.namespace(), |name, binding, rules| {
                match rules {
                    Ok(rules) if rules.iter().any(|rule| rule.allows(action)) => {
                        allowed = Some(describe(name, binding, user));
                        return ControlFlow::Break(());
                    }
                    Ok(_) => {}
                    Err(error) => errors.push(error.to_string()),
                }
                ControlFlow::Continue(())
            });
        });

        Decision {
            allowed: allowed.is_some(),
            reason: match (allowed, join(&errors)) {
                (Some(binding), _) => format!("RBAC: allowed by {binding}"),
                (None, None) => String::new(),
                (None, Some(errors)) => format!("RBAC: {errors}"),
            },
        }
    }

    /// Returns the rules that a user has in a namespace (empty for those without one), and a
    /// message if roles could not be found.
    pub fn rules_of(&self, user: &User, namespace: &str) -> (Vec<Rule>, Option<String>) {
        let (mut all, mut errors) = (Vec::new(), Vec::new());
        self.with(|tables| {
            tables.visit(user, namespace, |_name, _binding, rules| {
                match rules {
                    Ok(rules) => all.extend(rules.iter().cloned()),
                    Err(error) => errors.push(error.to_string()),
                }
                ControlFlow::Continue(())
            });
        });
        (all, join(&errors))
    }

    /// Returns the rules of the role that a binding of this namespace names; `None` if there is no
    /// such role.
    pub fn rules_of_role(&self, role: &RoleRef, namespace: &str) -> Option<Arc<[Rule]>> {
        self.with(|tables| tables.rules(role, &namespace.into()).ok().cloned())
    }

    /// Calls `f` with the tables of the newest revision.
    fn with<T>(&self, f: impl FnOnce(&Tables) -> T) -> T {
        let mut state = lock(&self.state);
        let newest = self.view.revision();
        if state.watchers.is_empty() || (state.revision != newest && state.follow(newest).is_err())
        {
            state.load(&*self.view);
        }
        f(&state.tables)
    }
}

impl State {
    /// Reads everything. Without watches the next decision does so again.
    fn load(&mut self, view: &dyn View) {
        // The watches begin before the lists: a change is seen twice rather than not at all.
        let from = view.revision();
        let watchers = KINDS.map(|kind| view.watch(kind, from));
        self.watchers = watchers
            .into_iter()
            .collect::<Result<_, Expired>>()
            .unwrap_or_default();

        self.tables = Tables::default();
        for kind in KINDS {
            for object in &view.list(kind, None).items {
                self.tables.put(object);
            }
        }
        self.revision = from;
    }

    /// Applies the changes up to a revision, which have happened already.
    fn follow(&mut self, to: Revision) -> Result<(), Expired> {
        let mut context = Context::from_waker(Waker::noop());
        for watcher in &mut self.watchers {
            while let Poll::Ready(change) = watcher.next().as_mut().poll(&mut context) {
                let change = change?;
                match change.deleted {
                    true => self.tables.remove(&change.object),
                    false => self.tables.put(&change.object),
                }
            }
        }
        self.revision = to;
        Ok(())
    }
}

/// Describes the binding that allows an action, and the subject of it that the user is.
fn describe((namespace, name): &Name, binding: &Binding, user: &User) -> String {
    let is_user = |subject: &&Subject| match subject.member(namespace) {
        Some(Member::User(name)) => *name == *user.name,
        Some(Member::Group(group)) => user.groups.iter().any(|own| *own == *group),
        None => false,
    };

    let subject = binding.subjects.iter().find(is_user);
    let subject = subject.map(|subject| subject.describe(namespace));

    let (kind, name) = match &**namespace {
        "" => ("ClusterRoleBinding", name.to_string()),
        namespace => ("RoleBinding", format!("{name}/{namespace}")),
    };

    let RoleRef {
        kind: role_kind,
        name: role,
    } = &binding.role;
    format!(
        "{kind} {} of {role_kind} {} to {}",
        quote(&name),
        quote(role),
        subject.unwrap_or_default()
    )
}

/// Joins errors as Go's aggregate does; `None` if there are none.
fn join(errors: &[String]) -> Option<String> {
    match errors {
        [] => None,
        [one] => Some(one.clone()),
        many => {
            let mut unique: Vec<&str> = Vec::new();
            for error in many {
                if !unique.contains(&error.as_str()) {
                    unique.push(error);
                }
            }
            match unique[..] {
                [one] => Some(one.to_owned()),
                _ => Some(format!("[{}]", unique.join(", "))),
            }
        }
    }
}

/// Decodes a role or binding. One that cannot be read grants nothing.
fn read<'o, T: Deserialize<'o>>(object: &'o RawObject) -> Option<T> {
    object
        .view()
        .inspect_err(|error| tracing::warn!(%error, "a role or binding grants nothing"))
        .ok()
}
