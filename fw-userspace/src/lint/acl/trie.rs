//! The prefixes of some entries as a tree, and a walk that meets every set of addresses that the same entries match.

use std::ops::Range;

use ipnet::IpNet;

/// A block of addresses; IPv4 in the upper 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Prefix {
    pub(super) start: u128,
    pub(super) length: u8,
}

impl Prefix {
    pub(super) fn of(net: IpNet) -> Self {
        match net {
            IpNet::V4(net) => {
                Self { start: u128::from(u32::from(net.network())) << IPV4_SHIFT, length: net.prefix_len() }
            }
            IpNet::V6(net) => Self { start: u128::from(net.network()), length: net.prefix_len() },
        }
    }

    pub(super) fn end(self) -> u128 {
        self.start | u128::MAX.checked_shr(u32::from(self.length)).unwrap_or(0)
    }
}

/// What IPv4 addresses are shifted by.
pub(super) const IPV4_SHIFT: u32 = 96;

/// A prefix that has entries, or where two that have some part ways.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) prefix: Prefix,
    /// Its own, among the entries sorted by prefix.
    pub(super) own: Range<usize>,
    /// Nodes, the one of lower addresses first.
    pub(super) children: Vec<usize>,
}

impl Node {
    /// Whether the children leave none of its addresses.
    pub(super) fn is_tiled(&self, trie: &Trie) -> bool {
        let half = |child: &usize| trie.nodes[*child].prefix.length == self.prefix.length + 1;
        self.children.len() == 2 && self.children.iter().all(half)
    }

    /// The first address that no child has.
    pub(super) fn bare_address(&self, trie: &Trie) -> Option<u128> {
        let mut at = self.prefix.start;
        for child in &self.children {
            let child = trie.nodes[*child].prefix;
            if at < child.start {
                break;
            }
            at = child.end().checked_add(1)?;
        }
        (at <= self.prefix.end()).then_some(at)
    }
}

/// The tree; children come before their parents.
#[derive(Debug, Default)]
pub(super) struct Trie {
    pub(super) nodes: Vec<Node>,
    pub(super) root: Option<usize>,
}

impl Trie {
    /// Of prefixes that are sorted; the same one may come several times.
    pub(super) fn of(sorted: &[Prefix]) -> Self {
        let mut groups: Vec<(Prefix, Range<usize>)> = Vec::new();
        for (index, prefix) in sorted.iter().enumerate() {
            match groups.last_mut() {
                Some((last, own)) if last == prefix => own.end = index + 1,
                _ => groups.push((*prefix, index..index + 1)),
            }
        }
        let mut trie = Self::default();
        trie.root = trie.add(&groups);
        trie
    }

    /// At most 129 deep: every step down is at least one bit.
    fn add(&mut self, groups: &[(Prefix, Range<usize>)]) -> Option<usize> {
        let (first, last) = (groups.first()?, groups.last()?);
        let shared = (first.0.start ^ last.0.start).leading_zeros() as u8;
        let length = shared.min(first.0.length);
        // Bits behind the length are of the first block alone.
        let prefix = Prefix { start: first.0.start & !Prefix { start: 0, length }.end(), length };
        let (own, below) = if first.0.length == length {
            (first.1.clone(), &groups[1..])
        } else {
            (first.1.start..first.1.start, groups)
        };
        let upper_half = 1_u128 << (127 - length.min(127));
        let middle = below.partition_point(|(prefix, _)| prefix.start & upper_half == 0);
        let (lower, upper) = below.split_at(middle);
        let children = [self.add(lower), self.add(upper)].into_iter().flatten().collect();
        self.nodes.push(Node { prefix, own, children });
        Some(self.nodes.len() - 1)
    }
}

/// What is done on the way.
pub(super) trait Visit {
    /// Goes in: whatever is in force from here down.
    fn enter(&mut self, trie: &Trie, node: usize);
    /// Goes out of the node that was entered last.
    fn leave(&mut self);
}

/// Visits every node, parents around their children.
pub(super) fn walk(trie: &Trie, visit: &mut impl Visit) {
    fn below(trie: &Trie, node: usize, visit: &mut impl Visit) {
        visit.enter(trie, node);
        for child in &trie.nodes[node].children {
            below(trie, *child, visit);
        }
        visit.leave();
    }
    if let Some(root) = trie.root {
        below(trie, root, visit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::lcg::Lcg;

    #[test]
    fn nodes_hold_their_children_and_all_entries() {
        for seed in 0..500 {
            let mut random = Lcg::new(seed);
            let mut prefixes: Vec<Prefix> = (0..random.below(30))
                .map(|_| {
                    let length = *random.pick(&[0, 1, 2, 3, 4, 127, 128]);
                    let mask = !Prefix { start: 0, length }.end();
                    Prefix { start: u128::from(random.below(8)) << 124 & mask, length }
                })
                .collect();
            prefixes.sort();
            let trie = Trie::of(&prefixes);
            let mut owned = 0;
            for node in &trie.nodes {
                owned += node.own.len();
                assert!(prefixes[node.own.clone()].iter().all(|prefix| *prefix == node.prefix));
                for child in &node.children {
                    let child = trie.nodes[*child].prefix;
                    assert!(child.length > node.prefix.length);
                    assert!(node.prefix.start <= child.start && child.end() <= node.prefix.end());
                }
                let bare = node.bare_address(&trie);
                assert_eq!(bare.is_none(), node.is_tiled(&trie));
                let has = |child: &usize, address| {
                    let prefix = trie.nodes[*child].prefix;
                    prefix.start <= address && address <= prefix.end()
                };
                assert!(bare.is_none_or(|bare| !node.children.iter().any(|child| has(child, bare))));
            }
            assert_eq!(owned, prefixes.len());
        }
    }
}
