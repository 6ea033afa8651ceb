//! Entries that never decide, because entries of lower number match all that they match: alone or together.
//!
//! Exact, by sets: an entry decides somewhere if at some address and traffic it is the lowest that matches. Blocks of
//! addresses hold each other or are apart, so two things can be in its way at an address below its own block: entries of
//! blocks around it, which one walk down the tree of blocks keeps in a segment tree, and entries of smaller blocks that
//! together leave no address, whose highest of the lowest numbers is known from below.

use super::axis::Span;
use super::envelope::{Piece, higher_of_both, lowest};
use super::first::{First, Key, Moment};
use super::list::{Entry, Places};
use super::trie::{Trie, Visit, walk};

/// Which of the entries never decide, by their places in the list.
pub(super) fn shadowed(entries: &[Entry]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|index| (entries[*index].prefix, entries[*index].number));
    let prefixes: Vec<_> = order.iter().map(|index| entries[*index].prefix).collect();
    let trie = Trie::of(&prefixes);
    let places = Places::of(entries.iter().map(|entry| entry.span));
    let pieces: Vec<Piece> = order
        .iter()
        .map(|index| &entries[*index])
        .map(|entry| Piece { places: places.range(entry.span), number: entry.number })
        .collect();
    let first = First::new(places.count(), Key::none(false));
    let covered = covered_from_below(&trie, &pieces);
    let mut search = Search { pieces: &pieces, covered, first, moments: Vec::new(), decides: Vec::new() };
    search.decides.resize(entries.len(), false);
    walk(&trie, &mut search);
    let decides = search.decides;
    let mut shadowed: Vec<usize> =
        order.into_iter().zip(decides).filter(|(_, decides)| !decides).map(|(index, _)| index).collect();
    shadowed.sort_unstable();
    shadowed
}

/// By node, where the nodes below leave no address: the highest of the numbers that decide among their entries.
fn covered_from_below(trie: &Trie, pieces: &[Piece]) -> Vec<Vec<Piece>> {
    let mut covered: Vec<Vec<Piece>> = Vec::with_capacity(trie.nodes.len());
    for node in &trie.nodes {
        let of_child = |child: usize| {
            let mut all = pieces[trie.nodes[child].own.clone()].to_vec();
            all.extend_from_slice(&covered[child]);
            lowest(all)
        };
        let here = match node.children[..] {
            [one, other] if node.is_tiled(trie) => higher_of_both(&of_child(one), &of_child(other)),
            _ => Vec::new(),
        };
        covered.push(here);
    }
    covered
}

struct Search<'s> {
    pieces: &'s [Piece],
    covered: Vec<Vec<Piece>>,
    first: First,
    moments: Vec<Moment>,
    decides: Vec<bool>,
}

impl Visit for Search<'_> {
    fn enter(&mut self, trie: &Trie, node: usize) {
        self.moments.push(self.first.now());
        let own = trie.nodes[node].own.clone();
        for piece in &self.pieces[own.clone()] {
            self.first.add(piece.places.clone(), Key::new(piece.number, false));
        }
        let without_below = self.first.now();
        for piece in &self.covered[node] {
            self.first.add(piece.places.clone(), Key::new(piece.number, false));
        }
        for (piece, decides) in self.pieces[own.clone()].iter().zip(&mut self.decides[own]) {
            let decided = self.first.decided(piece.places.clone());
            *decides = decided.is_some_and(|decided| decided.highest >= Key::new(piece.number, false));
        }
        self.first.back_to(without_below);
    }

    fn leave(&mut self) {
        if let Some(moment) = self.moments.pop() {
            self.first.back_to(moment);
        }
    }
}

/// The entries that decide in the place of one that never does, in their order. `None` once it took too many steps,
/// which are taken off `steps`.
pub(super) fn deciders<'e>(entries: &'e [Entry], index: usize, steps: &mut usize) -> Option<Vec<&'e Entry>> {
    let shadowed = entries.get(index)?;
    let whole = (shadowed.prefix.start, shadowed.prefix.end(), shadowed.span);
    let mut left = vec![whole];
    let mut deciders = Vec::new();
    for entry in &entries[..index] {
        *steps = steps.checked_sub(left.len())?;
        let (start, end) = (entry.prefix.start, entry.prefix.end());
        let mut rest = Vec::with_capacity(left.len());
        for (from, to, span) in left.iter().copied() {
            let Some(both) = entry.span.and(span).filter(|_| start <= to && from <= end) else {
                rest.push((from, to, span));
                continue;
            };
            let (inner, outer) = (from.max(start), to.min(end));
            // The addresses before and behind, then the traffic before and behind at the addresses of both.
            if from < inner {
                rest.push((from, inner - 1, span));
            }
            if outer < to {
                rest.push((outer + 1, to, span));
            }
            if span.from < both.from {
                rest.push((inner, outer, Span { from: span.from, to: both.from - 1 }));
            }
            if both.to < span.to {
                rest.push((inner, outer, Span { from: both.to + 1, to: span.to }));
            }
        }
        if rest != left {
            deciders.push(entry);
            left = rest;
        }
        if left.is_empty() {
            return Some(deciders);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::axis::END;
    use super::super::trie::Prefix;
    use super::*;
    use crate::compile::lcg::Lcg;
    use crate::model::Action;

    /// Eight blocks of addresses and six pieces of traffic; entries have one to all of each.
    fn random_entries(random: &mut Lcg, count: u32) -> Vec<Entry> {
        const CUTS: [u32; 7] = [0, 80, 81, 0x1_0000, 0x2_0000, 0x3_0000, END];
        let entry = |number: u32, random: &mut Lcg| {
            let length = random.below(4) as u8;
            let mask = !Prefix { start: 0, length }.end();
            let (one, other) = (random.below(6) as usize, random.below(6) as usize);
            let span = Span { from: CUTS[one.min(other)], to: CUTS[one.max(other) + 1] - 1 };
            let prefix = Prefix { start: u128::from(random.below(8)) << 125 & mask, length };
            let action = *random.pick(&[Action::Allow, Action::Deny]);
            Entry { number: number as u16 * 10 + 10, action, prefix, span }
        };
        (0..count).map(|number| entry(number, random)).collect()
    }

    /// One packet of each kind that entries can tell apart.
    fn first_of_each(entries: &[Entry]) -> Vec<Option<usize>> {
        let traffic = [0, 80, 81, 0x1_0000, 0x2_0000, 0x3_0000];
        let packets = (0..8_u128).flat_map(|block| traffic.map(|place| (block << 125, place)));
        let matches = |entry: &Entry, (address, place): (u128, u32)| {
            entry.prefix.start <= address
                && address <= entry.prefix.end()
                && entry.span.has(Span { from: place, to: place })
        };
        packets.map(|packet| entries.iter().position(|entry| matches(entry, packet))).collect()
    }

    #[test]
    fn an_entry_is_shadowed_if_no_packet_finds_it_first() {
        let mut found = 0;
        for seed in 0..4000 {
            let mut random = Lcg::new(seed);
            let count = random.below(24);
            let entries = random_entries(&mut random, count);
            let first = first_of_each(&entries);
            let expected: Vec<usize> =
                (0..entries.len()).filter(|index| !first.contains(&Some(*index))).collect();
            assert_eq!(shadowed(&entries), expected, "seed {seed}: {entries:#?}");
            found += expected.len();
            for index in expected {
                let named = deciders(&entries, index, &mut usize::MAX.clone()).unwrap();
                // Alone with those that are named the entry is shadowed too, and each of them takes something.
                let with = |named: &[&Entry]| {
                    let mut list: Vec<Entry> = named.iter().map(|entry| **entry).collect();
                    list.push(entries[index]);
                    list
                };
                assert!(shadowed(&with(&named)).contains(&named.len()), "seed {seed}");
                let mut deciding = first
                    .iter()
                    .zip(first_of_each(&[entries[index]]))
                    .filter_map(|(first, matches)| matches.and(*first))
                    .map(|first| entries[first].number)
                    .collect::<Vec<_>>();
                deciding.sort_unstable();
                deciding.dedup();
                let named: Vec<u16> = named.iter().map(|entry| entry.number).collect();
                assert_eq!(named, deciding, "seed {seed}");
            }
        }
        assert!(found > 1000, "too few: {found}");
    }

    #[test]
    fn halves_together_shadow_a_whole_ipv6_block() {
        let all = Span { from: 0, to: END - 1 };
        let entry = |number, start: u128, length| Entry {
            number,
            action: Action::Allow,
            prefix: Prefix { start: start << 120, length },
            span: all,
        };
        let halves = [entry(10, 0x20, 4), entry(20, 0x30, 4), entry(30, 0x20, 3)];
        assert_eq!(shadowed(&halves), [2]);
        let without = [entry(10, 0x20, 4), entry(20, 0x30, 5), entry(30, 0x20, 3)];
        assert_eq!(shadowed(&without), [0_usize; 0]);
    }
}
