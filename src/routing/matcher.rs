//! The rules of one host in order of precedence, and the index that finds the one that matches.

use std::{cmp::Ordering, sync::Arc};

use super::{PathMatch, Route};

/// Number of rules from which an index is worth its memory. Fewer are compared one by one.
const INDEXED_FROM: usize = 9;

/// A rule that is not served, because another rule of the host has the same match.
#[derive(Debug)]
pub struct Loser {
    /// Its match.
    pub path: PathMatch,
    /// The rule.
    pub route: Arc<Route>,
    /// The rule that is served instead.
    pub winner: Arc<Route>,
}

/// Rules in order of precedence.
#[derive(Debug)]
pub(super) struct Matcher {
    rules: Box<[(PathMatch, Arc<Route>)]>,
    /// Number of `rules` at the front that are [`PathMatch::Exact`], sorted by path.
    exact: usize,
    /// Index of the rules behind those; `None` for few rules.
    index: Option<Box<Index>>,
}

/// Index of rules that are not exact. Each matches only paths that begin with its literal
/// ([`PathMatch::literal`]).
#[derive(Debug)]
struct Index {
    /// Rules whose literals distinguish case.
    literal: Literals,
    /// Rules whose literals do not: those of regular expressions.
    folded: Literals,
}

/// Rules sorted by literal. The rules of one literal follow each other, the first in precedence
/// last.
#[derive(Debug)]
struct Literals {
    entries: Box<[Entry]>,
    /// True if upper and lower case are the same.
    folds: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Position of the rule.
    rule: u32,
    /// The entry that is next in precedence for paths that begin with this literal: one with the
    /// same literal, or with the longest that this one begins with. [`NONE`] for the last one.
    next: u32,
}

/// Stands for no entry.
const NONE: u32 = u32::MAX;

// === Matcher ===

impl Matcher {
    /// Puts rules into order of precedence. Of rules with the same match the first given wins; the
    /// others are returned.
    ///
    /// `/foo` and `/foo/` are the same Prefix, because Ingress v1 ignores the trailing slash. If
    /// one object has both, `/foo/` takes the paths below `/foo`, and `/foo` takes only itself.
    pub(super) fn new(
        rules: impl IntoIterator<Item = (PathMatch, Arc<Route>)>,
    ) -> (Self, Vec<Loser>) {
        let mut sorted: Vec<(PathMatch, Arc<Route>)> = rules.into_iter().collect();
        sorted.sort_by(|(a, _), (b, _)| {
            (a.precedence(), a.literal()).cmp(&(b.precedence(), b.literal()))
        });

        let mut kept = Vec::with_capacity(sorted.len());
        let mut losers = Vec::new();
        let same = |(a, _): &(PathMatch, _), (b, _): &(PathMatch, _)| {
            a.precedence() == b.precedence() && a.literal() == b.literal()
        };
        for equal in sorted.chunk_by(same) {
            settle(equal, &mut kept, &mut losers);
        }

        let exact = kept
            .iter()
            .take_while(|(path, _)| matches!(path, PathMatch::Exact(_)))
            .count();
        let index = (kept.len() - exact >= INDEXED_FROM).then(|| Box::new(Index::of(&kept, exact)));

        let matcher = Self {
            rules: kept.into(),
            exact,
            index,
        };
        (matcher, losers)
    }

    /// Returns the rules in order of precedence.
    pub(super) fn rules(&self) -> &[(PathMatch, Arc<Route>)] {
        &self.rules
    }

    /// Returns the route of the first rule that matches a normalised path.
    pub(super) fn find(&self, path: &str) -> Option<&Arc<Route>> {
        let (exact, rest) = self.rules.split_at(self.exact);
        if let Ok(position) = exact.binary_search_by(|(rule, _)| rule.as_str().cmp(path)) {
            return Some(&exact[position].1);
        }

        let position = match &self.index {
            Some(index) => index.find(&self.rules, path)?,
            None => self.exact + rest.iter().position(|(rule, _)| rule.matches(path))?,
        };
        Some(&self.rules[position].1)
    }
}

/// Decides between rules with the same match; the first wins.
fn settle(
    equal: &[(PathMatch, Arc<Route>)],
    kept: &mut Vec<(PathMatch, Arc<Route>)>,
    losers: &mut Vec<Loser>,
) {
    let Some(((path, winner), rest)) = equal.split_first() else {
        return;
    };

    // One object may send `/a` and `/a/` to different services; then neither shadows the other.
    let is_twin = |(other, route): &&(PathMatch, Arc<Route>)| {
        let ends =
            |path: &PathMatch| matches!(path, PathMatch::Prefix(path) if path.ends_with('/'));
        matches!((path, other), (PathMatch::Prefix(_), PathMatch::Prefix(_)))
            && ends(path) != ends(other)
            && route.origin.is_of_same_object(&winner.origin)
    };
    let twin = rest.iter().find(is_twin);

    for (other, route) in rest
        .iter()
        .filter(|(_, route)| twin.is_none_or(|(_, twin)| !Arc::ptr_eq(twin, route)))
    {
        let winner = twin
            .filter(|(path, _)| path == other)
            .map_or(winner, |(_, twin)| twin);
        losers.push(Loser {
            path: other.clone(),
            route: route.clone(),
            winner: winner.clone(),
        });
    }

    match (path, twin) {
        (path, None) => kept.push((path.clone(), winner.clone())),
        (path, Some((other, twin))) => {
            let (slash, plain) = if path.as_str().ends_with('/') {
                ((path, winner), (other, twin))
            } else {
                ((other, twin), (path, winner))
            };

            kept.push((PathMatch::Below(slash.0.as_str().into()), slash.1.clone()));
            kept.push((plain.0.clone(), plain.1.clone()));
        }
    }
}

// === Index ===

impl Index {
    /// Indexes the rules from this position on.
    fn of(rules: &[(PathMatch, Arc<Route>)], from: usize) -> Self {
        let positions = |folds| {
            (from..rules.len())
                .filter(|position| matches!(rules[*position].0, PathMatch::Closed(_)) == folds)
                .collect()
        };
        Self {
            literal: Literals::of(rules, positions(false), false),
            folded: Literals::of(rules, positions(true), true),
        }
    }

    /// Returns the position of the first rule that matches.
    fn find(&self, rules: &[(PathMatch, Arc<Route>)], path: &str) -> Option<usize> {
        let literal = self.literal.find(rules, path);
        let folded = self.folded.find(rules, path);
        literal.into_iter().chain(folded).min()
    }
}

impl Literals {
    fn of(rules: &[(PathMatch, Arc<Route>)], mut positions: Vec<usize>, folds: bool) -> Self {
        let literal = |position: usize| rules[position].0.literal().as_bytes();
        positions.sort_by(|a, b| compare(literal(*a), literal(*b), folds).then(b.cmp(a)));

        // Sorted like this, a literal comes after all literals that it begins with. Those are kept
        // on a stack, together with the entries that have the same one.
        let mut entries: Vec<Entry> = Vec::with_capacity(positions.len());
        let mut open: Vec<u32> = Vec::new();
        for position in positions {
            let begins_with = |entry: &u32| {
                let other = literal(entries[*entry as usize].rule as usize);
                common(literal(position), other, folds) == other.len()
            };
            while open.last().is_some_and(|entry| !begins_with(entry)) {
                open.pop();
            }

            let entry = Entry {
                rule: u32::try_from(position).unwrap_or(NONE),
                next: open.last().copied().unwrap_or(NONE),
            };
            open.push(u32::try_from(entries.len()).unwrap_or(NONE));
            entries.push(entry);
        }

        Self {
            entries: entries.into(),
            folds,
        }
    }

    /// Returns the position of the first rule that matches.
    ///
    /// Every literal that the path begins with is a beginning of the greatest literal that is not
    /// greater than the path, so it is on the chain of that one.
    fn find(&self, rules: &[(PathMatch, Arc<Route>)], path: &str) -> Option<usize> {
        let literal = |entry: &Entry| rules[entry.rule as usize].0.literal().as_bytes();
        let not_greater = |entry: &Entry| {
            compare(literal(entry), path.as_bytes(), self.folds) != Ordering::Greater
        };

        let last = self.entries.partition_point(not_greater).checked_sub(1)?;
        let mut entry = &self.entries[last];
        let shared = common(literal(entry), path.as_bytes(), self.folds);
        loop {
            let (rule, _) = &rules[entry.rule as usize];
            if rule.literal().len() <= shared && rule.matches(path) {
                return Some(entry.rule as usize);
            }
            entry = self.entries.get(entry.next as usize)?;
        }
    }
}

/// Compares two texts, in lower case if `folds`.
fn compare(a: &[u8], b: &[u8], folds: bool) -> Ordering {
    if folds {
        let (a, b) = (a.iter(), b.iter());
        a.map(u8::to_ascii_lowercase)
            .cmp(b.map(u8::to_ascii_lowercase))
    } else {
        a.cmp(b)
    }
}

/// Returns the number of bytes at the front that two texts share, in lower case if `folds`.
fn common(a: &[u8], b: &[u8], folds: bool) -> usize {
    let pairs = a.iter().zip(b);
    if folds {
        pairs.take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count()
    } else {
        pairs.take_while(|(a, b)| a == b).count()
    }
}

#[cfg(test)]
mod tests;
