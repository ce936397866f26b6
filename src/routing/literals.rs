//! An index of texts: finds those that a path begins with, in time that depends on the path alone.
//!
//! It is a radix tree. A node stands for the text on the way to it; texts that begin alike share
//! the nodes of that beginning.

use std::collections::VecDeque;

/// The index. Each text has a value, its position in the order of precedence.
#[derive(Debug)]
pub(super) struct Literals {
    nodes: Vec<Node>,
    /// The first byte of the label of each node: what is compared before a node is visited.
    firsts: Vec<u8>,
    /// The labels of all nodes, one after another.
    labels: Vec<u8>,
    /// The positions of all nodes, one after another.
    positions: Vec<u32>,
    /// True if upper and lower case are the same.
    folds: bool,
}

/// A node. Its children follow each other.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    label: u32,
    label_length: u32,
    children: u32,
    child_count: u32,
    /// Length of the text on the way to it, with its own label.
    depth: u32,
    positions: u32,
    /// Number of its positions that are for the whole path alone. They come first.
    whole: u32,
    /// Number of the other ones.
    open: u32,
    /// The next node above it that has open positions; [`NONE`] without one.
    above: u32,
}

/// A text to be indexed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Literal<'a> {
    pub(super) text: &'a str,
    /// True if the path must not go on behind it.
    pub(super) is_whole: bool,
    pub(super) position: u32,
}

/// Stands for no node.
const NONE: u32 = u32::MAX;

/// Makes a number short. Lists of over 4 billion entries do not fit into memory.
fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(NONE)
}

impl Literals {
    /// Indexes texts; `None` if there are none.
    pub(super) fn of(literals: &[Literal<'_>], folds: bool) -> Option<Self> {
        if literals.is_empty() {
            return None;
        }

        let text = |literal: &Literal<'_>| match folds {
            true => literal.text.to_ascii_lowercase().into_boxed_str(),
            false => literal.text.into(),
        };
        let mut sorted: Vec<(Box<str>, bool, u32)> = literals
            .iter()
            .map(|literal| (text(literal), !literal.is_whole, literal.position))
            .collect();
        sorted.sort_unstable();

        let mut index = Self {
            nodes: vec![Node::default()],
            firsts: vec![0],
            labels: Vec::new(),
            positions: Vec::with_capacity(sorted.len()),
            folds,
        };
        index.grow(&sorted);
        index.shrink();
        Some(index)
    }

    /// Adds the nodes of these texts below the root, one level after another.
    fn grow(&mut self, sorted: &[(Box<str>, bool, u32)]) {
        let mut waiting = VecDeque::from([(0, sorted, NONE)]);
        while let Some((index, texts, above)) = waiting.pop_front() {
            let depth = self.nodes[index].depth as usize;
            let own = texts.partition_point(|(text, ..)| text.len() == depth);
            let (own, longer) = texts.split_at(own);

            let whole = own.partition_point(|(_, is_open, _)| !is_open);
            let positions = self.positions.len();
            self.positions
                .extend(own.iter().map(|(.., position)| *position));
            let first_child = self.nodes.len();
            let above_children = if whole < own.len() {
                short(index)
            } else {
                above
            };

            for group in
                longer.chunk_by(|(a, ..), (b, ..)| a.as_bytes()[depth] == b.as_bytes()[depth])
            {
                let (first, last) = (&group[0].0, &group[group.len() - 1].0);
                let pairs = first.bytes().zip(last.bytes());
                let end = pairs.take_while(|(a, b)| a == b).count();

                waiting.push_back((self.nodes.len(), group, above_children));
                self.firsts.push(first.as_bytes()[depth]);
                self.nodes.push(Node {
                    label: short(self.labels.len()),
                    label_length: short(end - depth),
                    depth: short(end),
                    above: above_children,
                    ..Node::default()
                });
                self.labels.extend_from_slice(&first.as_bytes()[depth..end]);
            }

            let children = self.nodes.len() - first_child;
            let node = &mut self.nodes[index];
            node.above = above;
            (node.children, node.child_count) = (short(first_child), short(children));
            (node.positions, node.whole, node.open) =
                (short(positions), short(whole), short(own.len() - whole));
        }
    }

    /// Returns the spare memory: there is an index for each large host.
    fn shrink(&mut self) {
        self.nodes.shrink_to_fit();
        self.firsts.shrink_to_fit();
        self.labels.shrink_to_fit();
        self.positions.shrink_to_fit();
    }

    /// Returns the first position whose text the path begins with and that `takes` accepts, given
    /// the position and the length of its text. Longer texts come before shorter ones.
    pub(super) fn find(&self, path: &str, takes: impl Fn(u32, usize) -> bool) -> Option<u32> {
        self.found(path, takes).next()
    }

    /// The same where the least position comes first, whatever the lengths of the texts are.
    pub(super) fn find_least(&self, path: &str, takes: impl Fn(u32, usize) -> bool) -> Option<u32> {
        self.found(path, takes).min()
    }

    /// Returns the first position that `takes` accepts of each text that the path begins with, the
    /// longest one first.
    fn found(&self, path: &str, takes: impl Fn(u32, usize) -> bool) -> impl Iterator<Item = u32> {
        let path = path.as_bytes();
        let (mut index, mut at) = (0, 0);
        let (mut last, mut whole) = (NONE, None);

        loop {
            let node = &self.nodes[index as usize];
            if node.open > 0 {
                last = index;
            }
            let Some(next) = path.get(at) else {
                let own = self.of_node(node, 0, node.whole);
                whole = own.iter().find(|one| takes(**one, at)).copied();
                break;
            };
            match self.child(node, *next) {
                Some(child) if self.begins_with(&path[at..], child) => {
                    at = self.nodes[child as usize].depth as usize;
                    index = child;
                }
                _ => break,
            }
        }

        let above = |node: &&Node| self.nodes.get(node.above as usize);
        let open = std::iter::successors(self.nodes.get(last as usize), above);
        let open = open.filter_map(move |node| {
            let own = self.of_node(node, node.whole, node.open);
            let depth = node.depth as usize;
            own.iter().find(|one| takes(**one, depth)).copied()
        });
        whole.into_iter().chain(open)
    }

    /// Returns the child whose label begins with this byte.
    fn child(&self, node: &Node, byte: u8) -> Option<u32> {
        let first = if self.folds {
            byte.to_ascii_lowercase()
        } else {
            byte
        };
        let from = node.children as usize;
        let firsts = &self.firsts[from..from + node.child_count as usize];
        let index = firsts.iter().position(|one| *one == first)?;
        Some(node.children + short(index))
    }

    /// Reports whether the rest of a path begins with the label of a node, given that the first
    /// byte is the same.
    fn begins_with(&self, rest: &[u8], node: u32) -> bool {
        let node = &self.nodes[node as usize];
        let length = node.label_length as usize;
        if length == 1 {
            return true;
        }
        let from = node.label as usize;
        let label = &self.labels[from..from + length];
        match rest.get(..length) {
            Some(start) if self.folds => start.eq_ignore_ascii_case(label),
            Some(start) => start == label,
            None => false,
        }
    }

    fn of_node(&self, node: &Node, from: u32, count: u32) -> &[u32] {
        let from = (node.positions + from) as usize;
        &self.positions[from..from + count as usize]
    }
}
