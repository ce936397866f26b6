//! The rules of one host in order of precedence, and the index that finds the one that matches.

use std::{cmp::Reverse, sync::Arc};

use super::{
    PathMatch, Route, Rule,
    expression::Subject,
    literals::{Literal, Literals},
    rule::Head,
};

/// Number of rules from which an index is worth its memory. Fewer are compared one by one.
const INDEXED_FROM: usize = 9;

/// A rule that is not served, because another rule of the host has the same match.
#[derive(Debug)]
pub struct Loser {
    /// The rule.
    pub rule: Rule,
    /// The route of the rule that is served instead.
    pub winner: Arc<Route>,
}

/// Rules in order of precedence.
#[derive(Debug)]
pub(super) struct Matcher {
    rules: Box<[Rule]>,
    /// The index; `None` for few rules.
    index: Option<Box<Index>>,
    order: Order,
}

/// The order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// The longer path comes first.
    Length,
    /// The greater rank comes first.
    Rank,
    /// The paths are regular expressions as ingress-nginx has them: all are tried in their own
    /// order.
    Expressions,
}

/// Index of rules by the literal that begins all paths they match ([`PathMatch::literal`]).
#[derive(Debug)]
struct Index {
    /// Rules whose literals distinguish case.
    literal: Option<Literals>,
    /// Rules whose literals do not: those of regular expressions that are not evaluated.
    folded: Option<Literals>,
}

impl Matcher {
    /// Puts rules into order of precedence. Of rules with the same match the first given wins; the
    /// others are returned.
    ///
    /// `/foo` and `/foo/` are the same Prefix, because Ingress v1 ignores the trailing slash. If
    /// one object has both, `/foo/` takes the paths below `/foo`, and `/foo` takes only itself.
    ///
    /// If a rule has a rank of its own, all of them are in the order of their ranks; `host` is the
    /// length of the rule about the host.
    pub(super) fn new<R: Into<Rule>>(
        rules: impl IntoIterator<Item = R>,
        host: usize,
    ) -> (Self, Vec<Loser>) {
        let mut sorted: Vec<(Reverse<u64>, Rule)> = rules
            .into_iter()
            .map(Into::into)
            .map(|rule| (Reverse(rule.precedence()), rule))
            .collect();
        if sorted.iter().any(|(_, rule)| rule.is_expression()) {
            return Self::ordered(sorted.into_iter().map(|(_, rule)| rule).collect(), host);
        }

        let order = match sorted.iter().any(|(_, rule)| rule.is_ranked()) {
            true => Order::Rank,
            false => Order::Length,
        };
        sorted.sort_by(|(a, one), (b, other)| {
            (a, one.path.literal()).cmp(&(b, other.path.literal()))
        });

        let mut kept = Vec::with_capacity(sorted.len());
        let mut losers = Vec::new();
        let same_place = |(a, one): &(_, Rule), (b, other): &(_, Rule)| {
            a == b && one.path.literal() == other.path.literal()
        };
        for place in sorted.chunk_by(same_place) {
            let mut classes: Vec<Vec<&Rule>> = Vec::new();
            for (_, rule) in place {
                match classes.iter_mut().find(|class| class[0].is_same(rule)) {
                    Some(class) => class.push(rule),
                    None => classes.push(vec![rule]),
                }
            }
            for mut equal in classes {
                if order == Order::Rank {
                    equal.sort_by_key(|rule| Reverse(rule.rank(host)));
                }
                settle(&equal, &mut kept, &mut losers);
            }
        }

        if order == Order::Rank {
            kept.sort_by_key(|rule| Reverse(rule.rank(host)));
        }

        let index = (kept.len() >= INDEXED_FROM).then(|| Box::new(Index::of(&kept)));
        let matcher = Self {
            rules: kept.into(),
            index,
            order,
        };
        (matcher, losers)
    }

    /// Puts the rules of a host whose paths are regular expressions into order.
    fn ordered(mut rules: Vec<Rule>, host: usize) -> (Self, Vec<Loser>) {
        let is_ranked = rules.iter().any(Rule::is_ranked);
        let further = |rule: &Rule| {
            let conditions = rule.conditions.as_ref();
            conditions.map_or(0, |one| one.headers.len() + one.query.len())
        };
        rules.sort_by(|one, other| {
            let by_path = one.path.cmp(&other.path);
            let by_conditions = by_path.then_with(|| further(other).cmp(&further(one)));
            by_conditions.then_with(|| other.rank(host).cmp(&one.rank(host)))
        });

        let mut losers = Vec::new();
        let mut kept: Vec<Rule> = Vec::with_capacity(rules.len());
        for rule in rules {
            let same_path = kept.iter().rev().take_while(|one| one.path == rule.path);
            let winner = same_path.into_iter().find(|winner| winner.is_same(&rule));
            match winner.map(|winner| winner.route.clone()) {
                Some(winner) => losers.push(Loser { winner, rule }),
                None => kept.push(rule),
            }
        }

        if is_ranked {
            kept.sort_by_key(|rule| Reverse(rule.rank(host)));
        }

        let matcher = Self {
            rules: kept.into(),
            index: None,
            order: Order::Expressions,
        };
        (matcher, losers)
    }

    /// Returns true if the paths are regular expressions, and this one can be read in two ways, so
    /// that nothing takes it.
    pub(super) fn refuses(&self, path: &str) -> bool {
        self.order == Order::Expressions && Subject::of(path).is_none()
    }

    /// Returns the rules in order of precedence.
    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the route of the first rule that matches a request with this normalised path.
    pub(super) fn find(&self, path: &str, head: &impl Head) -> Option<&Arc<Route>> {
        let rule = match &self.index {
            _ if self.order == Order::Expressions => {
                let subject = Subject::of(path)?;
                let takes = |rule: &&Rule| match &rule.path {
                    PathMatch::Expression(expression) => expression.takes(&subject),
                    other => other.matches(path),
                };
                let mut rules = self.rules.iter();
                rules.find(|rule| takes(rule) && rule.conditions_hold(head))?
            }
            Some(index) => index.find(&self.rules, path, head, self.order)?,
            None => self.rules.iter().find(|rule| rule.matches(path, head))?,
        };
        Some(&rule.route)
    }
}

/// Decides between rules with the same match; the first wins.
fn settle(equal: &[&Rule], kept: &mut Vec<Rule>, losers: &mut Vec<Loser>) {
    let Some((winner, rest)) = equal.split_first() else {
        return;
    };

    // One object may send `/a` and `/a/` to different services; then neither shadows the other.
    let is_twin = |other: &&&Rule| {
        let ends =
            |path: &PathMatch| matches!(path, PathMatch::Prefix(path) if path.ends_with('/'));
        matches!(
            (&winner.path, &other.path),
            (PathMatch::Prefix(_), PathMatch::Prefix(_))
        ) && ends(&winner.path) != ends(&other.path)
            && other.route.origin.is_of_same_object(&winner.route.origin)
    };
    let twin = rest.iter().find(is_twin).copied();

    for rule in rest
        .iter()
        .filter(|rule| twin.is_none_or(|twin| !Arc::ptr_eq(&twin.route, &rule.route)))
    {
        let winner = twin.filter(|twin| twin.path == rule.path).unwrap_or(winner);
        losers.push(Loser {
            rule: (*rule).clone(),
            winner: winner.route.clone(),
        });
    }

    let Some(twin) = twin else {
        kept.push((*winner).clone());
        return;
    };
    let (slash, plain) = if winner.path.as_str().ends_with('/') {
        (*winner, twin)
    } else {
        (twin, *winner)
    };
    kept.push(Rule {
        path: PathMatch::Below(slash.path.as_str().into()),
        ..slash.clone()
    });
    kept.push(plain.clone());
}

impl Index {
    fn of(rules: &[Rule]) -> Self {
        let (mut literal, mut folded) = (Vec::new(), Vec::new());
        for (position, rule) in (0..).zip(rules) {
            let list = match rule.path {
                PathMatch::Closed(_) => &mut folded,
                _ => &mut literal,
            };
            list.push(Literal {
                text: rule.path.literal(),
                is_whole: matches!(rule.path, PathMatch::Exact(_)),
                position,
            });
        }
        Self {
            literal: Literals::of(&literal, false),
            folded: Literals::of(&folded, true),
        }
    }

    /// Returns the first rule that matches.
    fn find<'r>(
        &self,
        rules: &'r [Rule],
        path: &str,
        head: &impl Head,
        order: Order,
    ) -> Option<&'r Rule> {
        let takes = |position: u32, length: usize| {
            let rule = &rules[position as usize];
            rule.path.takes_after(path, length) && rule.conditions_hold(head)
        };
        let find = |literals: &Option<Literals>| match order {
            Order::Rank => literals.as_ref()?.find_least(path, takes),
            Order::Length | Order::Expressions => literals.as_ref()?.find(path, takes),
        };

        let literal = find(&self.literal);
        let folded = find(&self.folded);
        let first = literal.into_iter().chain(folded).min()?;
        Some(&rules[first as usize])
    }
}

#[cfg(test)]
mod tests;
