//! Host names: the grammar of `Host` and `:authority`, and the patterns of rules.

use std::sync::Arc;

/// A host name in canonical form: lower case, without port and trailing dot. An IPv6 literal keeps its brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

/// The hosts a rule is for, as Ingress v1 spells them (`spec.rules[].host`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Exactly this host.
    Exact(Host),
    /// `*.suffix`: exactly one more label in front of the suffix, which is kept here without `*.`.
    Wildcard(Host),
    /// Every host that no other pattern takes.
    Any,
}
