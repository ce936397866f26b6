//! The rules of roles: what they allow, and which rights one set of rules has that another lacks
//! (k8s.io/component-helpers/auth/rbac/validation).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::user::{Action, ResourceAction, quote_all};

/// The most combinations of group, resource, verb and name that are compared with the rights of a
/// user. The roles of people and tools have some hundreds.
pub const MAX_TUPLES: usize = 20_000;

/// A rule of a role: `rbac.authorization.k8s.io/v1` PolicyRule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// The verbs; `*` is all.
    pub verbs: Vec<Box<str>>,
    /// The API groups; `*` is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<Box<str>>,
    /// The resources, `resource/subresource`, or `*/subresource`; `*` is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Box<str>>,
    /// The names of objects; empty for all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<Box<str>>,
    /// Paths that are no resources. A `*` at the end stands for all that begin so.
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<Box<str>>,
}

/// A set of rules with too many combinations to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rules have more than {MAX_TUPLES} combinations of group, resource, verb and name")]
pub struct TooManyTuples;

impl Rule {
    /// Returns true if the rule allows the action.
    pub fn allows(&self, action: &Action) -> bool {
        match action {
            Action::Resource(action) => self.allows_resource(action),
            Action::Path { verb, path } => {
                has(&self.verbs, verb)
                    && self
                        .non_resource_urls
                        .iter()
                        .any(|url| covers_url(url, path))
            }
        }
    }

    fn allows_resource(&self, action: &ResourceAction) -> bool {
        let names = &self.resource_names;
        has(&self.verbs, &action.verb)
            && has(&self.api_groups, &action.group)
            && self
                .resources
                .iter()
                .any(|resource| covers_resource(resource, &action.resource, &action.subresource))
            && (names.is_empty() || names.iter().any(|name| **name == *action.name))
    }

    /// Returns the rule as a real API server prints it in refusals.
    fn compact(&self) -> String {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let parts: Vec<String> = parts
            .into_iter()
            .filter(|(_name, values)| !values.is_empty())
            .map(|(name, values)| format!("{name}:{}", quote_all(values.iter().map(|v| &**v))))
            .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

/// Returns true if a list has a text, or the `*` that stands for all.
fn has(list: &[Box<str>], text: &str) -> bool {
    list.iter().any(|one| &**one == "*" || **one == *text)
}

/// Returns true if the resource of a rule stands for this resource and subresource.
fn covers_resource(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => rule == resource && subresource.is_empty(),
        Some((of, sub)) => (of == "*" || of == resource) && sub == subresource && !sub.is_empty(),
    }
}

fn covers_url(rule: &str, path: &str) -> bool {
    rule == path || (rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*')))
}

/// The smallest right: one verb on one resource of a group, perhaps of one name; or on a path.
#[derive(Clone, Copy, Debug)]
enum Tuple<'r> {
    Resource {
        verb: &'r str,
        group: &'r str,
        resource: &'r str,
        name: Option<&'r str>,
    },
    Path {
        verb: &'r str,
        url: &'r str,
    },
}

impl Tuple<'_> {
    fn is_covered(self, by: &Rule) -> bool {
        match self {
            Self::Path { verb, url } => {
                has(&by.verbs, verb) && by.non_resource_urls.iter().any(|own| covers_url(own, url))
            }
            Self::Resource {
                verb,
                group,
                resource,
                name,
            } => {
                let (plain, sub) = resource.split_once('/').unwrap_or((resource, ""));
                let names = &by.resource_names;
                has(&by.verbs, verb)
                    && has(&by.api_groups, group)
                    && by
                        .resources
                        .iter()
                        .any(|own| **own == *resource || covers_resource(own, plain, sub))
                    && (names.is_empty()
                        || name.is_some_and(|name| names.iter().any(|own| **own == *name)))
            }
        }
    }
}

/// Returns the rights that `rules` have and `own` lack, in the words of a real API server: sorted,
/// those that differ by verb alone in one.
///
/// # Errors
///
/// The rules have more than [`MAX_TUPLES`] combinations.
pub fn missing(own: &[Rule], rules: &[Rule]) -> Result<Vec<String>, TooManyTuples> {
    let mut verbs: BTreeMap<(&str, &str, Option<&str>), Vec<Box<str>>> = BTreeMap::new();
    let mut found = BTreeSet::new();

    for tuple in tuples(rules)? {
        if own.iter().any(|rule| tuple.is_covered(rule)) {
            continue;
        }

        match tuple {
            Tuple::Path { verb, url } => {
                let rule = Rule {
                    verbs: vec![verb.into()],
                    non_resource_urls: vec![url.into()],
                    ..Rule::default()
                };
                found.insert(rule.compact());
            }
            Tuple::Resource {
                verb,
                group,
                resource,
                name,
            } => verbs
                .entry((group, resource, name))
                .or_default()
                .push(verb.into()),
        }
    }

    for ((group, resource, name), verbs) in verbs {
        let rule = Rule {
            verbs,
            api_groups: vec![group.into()],
            resources: vec![resource.into()],
            resource_names: name.into_iter().map(Into::into).collect(),
            non_resource_urls: Vec::new(),
        };
        found.insert(rule.compact());
    }
    Ok(found.into_iter().collect())
}

/// Takes rules apart into their smallest rights.
fn tuples(rules: &[Rule]) -> Result<Vec<Tuple<'_>>, TooManyTuples> {
    let size = |rule: &Rule| {
        let resources = rule.api_groups.len().saturating_mul(rule.resources.len());
        let named = resources.saturating_mul(rule.resource_names.len().max(1));
        named
            .saturating_add(rule.non_resource_urls.len())
            .saturating_mul(rule.verbs.len())
    };
    let total = rules.iter().map(size).fold(0, usize::saturating_add);
    if total > MAX_TUPLES {
        return Err(TooManyTuples);
    }

    let mut all = Vec::with_capacity(total);
    for rule in rules {
        let names: Vec<Option<&str>> = match &rule.resource_names[..] {
            [] => vec![None],
            names => names.iter().map(|name| Some(&**name)).collect(),
        };

        for (group, resource) in rule
            .api_groups
            .iter()
            .flat_map(|group| rule.resources.iter().map(move |resource| (group, resource)))
        {
            for verb in &rule.verbs {
                all.extend(names.iter().map(|name| Tuple::Resource {
                    verb,
                    group,
                    resource,
                    name: *name,
                }));
            }
        }

        for url in &rule.non_resource_urls {
            all.extend(rule.verbs.iter().map(|verb| Tuple::Path { verb, url }));
        }
    }
    Ok(all)
}
