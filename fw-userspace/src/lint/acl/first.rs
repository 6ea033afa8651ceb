//! Which entry decides at each place of the traffic axis, while entries come and go in the reverse order.
//!
//! A segment tree: an entry is written on the few nodes that make up its interval and is not pushed down, so that it can
//! be taken off again. Each node knows, for the places below it and the entries on it and below, the highest key that
//! decides somewhere and the lowest marked key that decides somewhere.

use std::ops::Range;

/// An entry: its number, and whether it is one that is looked for. A lower one decides first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u32);

impl Key {
    pub(super) fn new(number: u16, marked: bool) -> Self {
        Self(u32::from(number) << 1 | u32::from(marked))
    }

    /// No entry at all; above all others.
    pub(super) fn none(marked: bool) -> Self {
        Self(NO_NUMBER << 1 | u32::from(marked))
    }

    /// `None` where no entry decides.
    pub(super) fn number(self) -> Option<u16> {
        u16::try_from(self.0 >> 1).ok()
    }

    fn is_marked(self) -> bool {
        self.0 & 1 == 1
    }
}

const NO_NUMBER: u32 = 1 << 16;

/// What is known of some places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decided {
    /// The highest key that decides at one of them.
    pub(super) highest: Key,
    /// The lowest marked key that decides at one of them.
    pub(super) marked: Option<Key>,
}

impl Decided {
    fn beside(self, other: Self) -> Self {
        let marked = match (self.marked, other.marked) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self { highest: self.highest.max(other.highest), marked }
    }

    /// With one more entry that covers all of the places.
    fn under(self, key: Key) -> Self {
        let takes_some = self.highest > key;
        let marked = match self.marked {
            // At its place no entry changes anything.
            Some(marked) if marked <= key => Some(marked),
            _ => (takes_some && key.is_marked()).then_some(key),
        };
        Self { highest: self.highest.min(key), marked }
    }
}

#[derive(Debug, Clone, Copy)]
struct Node {
    own: Key,
    decided: Decided,
}

/// The tree; places are numbered from 0.
#[derive(Debug)]
pub(super) struct First {
    nodes: Vec<Node>,
    places: usize,
    /// What nodes were before, latest last.
    undo: Vec<(usize, Node)>,
}

/// A moment to go back to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(usize);

impl First {
    /// `none` decides where no entry does.
    pub(super) fn new(places: usize, none: Key) -> Self {
        let decided = Decided { highest: none, marked: none.is_marked().then_some(none) };
        let places = places.max(1);
        let nodes = vec![Node { own: none, decided }; 2 * places.next_power_of_two()];
        Self { nodes, places, undo: Vec::new() }
    }

    pub(super) fn now(&self) -> Moment {
        Moment(self.undo.len())
    }

    pub(super) fn back_to(&mut self, moment: Moment) {
        while self.undo.len() > moment.0
            && let Some((at, node)) = self.undo.pop()
        {
            self.nodes[at] = node;
        }
    }

    /// An entry comes that covers `places`.
    pub(super) fn add(&mut self, places: Range<usize>, key: Key) {
        if !places.is_empty() {
            self.add_below(1, 0..self.places.next_power_of_two(), &places, key);
        }
    }

    /// Who decides in `places`, of which there is at least one.
    pub(super) fn decided(&self, places: Range<usize>) -> Option<Decided> {
        self.decided_below(1, 0..self.places.next_power_of_two(), &places)
    }

    fn add_below(&mut self, at: usize, here: Range<usize>, places: &Range<usize>, key: Key) {
        if places.end <= here.start || here.end <= places.start {
            return;
        }
        let before = self.nodes[at];
        if before.own <= key {
            // Somebody who covers all of this node decides before it.
            return;
        }
        if places.start <= here.start && here.end <= places.end {
            self.nodes[at].own = key;
        } else {
            let middle = here.start.midpoint(here.end);
            self.add_below(2 * at, here.start..middle, places, key);
            self.add_below(2 * at + 1, middle..here.end, places, key);
        }
        self.undo.push((at, before));
        let below = if here.len() == 1 {
            let none = self.none();
            Decided { highest: none, marked: none.is_marked().then_some(none) }
        } else {
            self.nodes[2 * at].decided.beside(self.nodes[2 * at + 1].decided)
        };
        self.nodes[at].decided = below.under(self.nodes[at].own);
    }

    fn decided_below(&self, at: usize, here: Range<usize>, places: &Range<usize>) -> Option<Decided> {
        if places.end <= here.start || here.end <= places.start {
            return None;
        }
        let node = self.nodes[at];
        if places.start <= here.start && here.end <= places.end {
            return Some(node.decided);
        }
        let middle = here.start.midpoint(here.end);
        let left = self.decided_below(2 * at, here.start..middle, places);
        let right = self.decided_below(2 * at + 1, middle..here.end, places);
        let below = match (left, right) {
            (Some(left), Some(right)) => Some(left.beside(right)),
            (left, right) => left.or(right),
        };
        below.map(|below| below.under(node.own))
    }

    /// Node 0 is no node of the tree.
    fn none(&self) -> Key {
        self.nodes[0].own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::lcg::Lcg;

    #[test]
    fn the_tree_is_a_list() {
        for seed in 0..400 {
            let mut random = Lcg::new(seed);
            let count = 1 + random.below(9) as usize;
            let none = Key::none(random.below(2) == 0);
            let mut tree = First::new(count, none);
            let mut lists = vec![vec![none; count]];
            let mut moments = Vec::new();
            for number in 0..30 {
                if random.below(3) == 0
                    && let Some(moment) = moments.pop()
                {
                    tree.back_to(moment);
                    lists.pop();
                } else {
                    let (one, other) =
                        (random.below(count as u32) as usize, random.below(count as u32) as usize);
                    let (from, to) = (one.min(other), one.max(other) + 1);
                    let key = Key::new((random.below(50) * 32 + number) as u16, random.below(2) == 0);
                    moments.push(tree.now());
                    tree.add(from..to, key);
                    let mut list = lists.last().unwrap().clone();
                    list[from..to].iter_mut().for_each(|own| *own = key.min(*own));
                    lists.push(list);
                }
                let list = lists.last().unwrap();
                for from in 0..count {
                    for to in from + 1..=count {
                        let decided = tree.decided(from..to).unwrap();
                        assert_eq!(Some(decided.highest), list[from..to].iter().max().copied());
                        let marked = list[from..to].iter().filter(|key| key.is_marked()).min();
                        assert_eq!(decided.marked, marked.copied(), "{list:?} {from}..{to}");
                    }
                }
            }
        }
    }
}
