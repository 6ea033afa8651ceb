//! Unions of sets, each with a number. A union is an earlier one and one set more, so that even where CIDRs nest a
//! hundred deep in sets of their own, each costs a few bytes.

use std::collections::HashMap;

use super::classes::SetId;
use super::tree::Step;

/// Longer unions are not compared: should two be the same, both keep a number, which costs room and nothing else.
const MAX_COMPARED: u32 = 256;

#[derive(Debug, Clone, Copy)]
struct Union {
    /// A union with a lower number; itself for the empty one.
    less: u32,
    set: SetId,
    len: u32,
    /// The same whatever the order of the sets.
    sum: u64,
}

/// Number 0 is the empty one.
#[derive(Debug, Clone)]
pub(super) struct Unions {
    unions: Vec<Union>,
    extended: HashMap<(u32, SetId), u32>,
    by_sum: HashMap<u64, u32>,
}

impl Unions {
    pub(super) fn new() -> Self {
        let empty = Union { less: 0, set: SetId::MAX, len: 0, sum: 0 };
        Self { unions: vec![empty], extended: HashMap::new(), by_sum: HashMap::new() }
    }

    /// The union of `union` and a set that is not in it.
    pub(super) fn with(&mut self, union: u32, set: SetId) -> u32 {
        if let Some(extended) = self.extended.get(&(union, set)) {
            return *extended;
        }
        let Union { len, sum, .. } = self.unions[union as usize];
        let new = Union { less: union, set, len: len + 1, sum: sum.wrapping_add(mixed(set)) };
        let number = match self.by_sum.get(&new.sum) {
            Some(known) if self.sets_of(new).is_some_and(|sets| self.sets(*known) == Some(sets)) => *known,
            _ => {
                let number = self.unions.len() as u32;
                self.unions.push(new);
                self.by_sum.insert(new.sum, number);
                number
            }
        };
        self.extended.insert((union, set), number);
        number
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.unions.len()
    }

    /// All but the empty one, lower numbers first: the union with one set less, and that set.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, SetId)> {
        self.unions[1..].iter().map(|union| (union.less, union.set))
    }

    /// Keeps what the steps use, and renumbers their values. Returns the union of each number.
    ///
    /// Unions with the same highest set follow each other: sets of one list are numbered one after the other, so what a
    /// list tells apart is a short range of classes, and others need no rows in it.
    pub(super) fn in_use(self, steps: &mut [Step]) -> (Self, Vec<u32>) {
        const UNUSED: u32 = u32::MAX;
        let mut classes = vec![UNUSED; self.unions.len()];
        for (_, union) in steps.iter() {
            classes[*union as usize] = 0;
        }
        let mut highest = vec![0; self.unions.len()];
        for (number, union) in self.unions.iter().enumerate().skip(1) {
            highest[number] = union.set.max(highest[union.less as usize]);
        }
        let used = (1..classes.len()).filter(|union| classes[*union] != UNUSED);
        let mut used: Vec<u32> = used.map(|union| union as u32).collect();
        used.sort_by_key(|union| highest[*union as usize]);
        used.insert(0, 0);
        for (union, class) in used.iter().zip(0..) {
            classes[*union as usize] = class;
        }
        for (_, union) in steps {
            *union = classes[*union as usize];
        }
        // What others are made of is needed as well.
        let mut needed: Vec<bool> = classes.iter().map(|class| *class != UNUSED).collect();
        for (number, union) in self.unions.iter().enumerate().rev() {
            if needed[number] {
                needed[union.less as usize] = true;
            }
        }
        let mut numbers = vec![0; self.unions.len()];
        let mut kept = Self::new();
        for (number, union) in self.unions.iter().enumerate().skip(1).filter(|(number, _)| needed[*number]) {
            numbers[number] = kept.unions.len() as u32;
            kept.unions.push(Union { less: numbers[union.less as usize], ..*union });
        }
        used.iter_mut().for_each(|union| *union = numbers[*union as usize]);
        (kept, used)
    }

    /// Whether a union is that of these sets, sorted.
    pub(super) fn is_of(&self, union: u32, sets: &[SetId]) -> bool {
        let Union { len, sum, .. } = self.unions[union as usize];
        len as usize == sets.len()
            && sum == sets.iter().fold(0u64, |sum, set| sum.wrapping_add(mixed(*set)))
            && self.sets(union).is_some_and(|of| of == sets)
    }

    /// The sets of a union, sorted; `None` if they are too many to be compared.
    pub(super) fn sets(&self, union: u32) -> Option<Vec<SetId>> {
        self.sets_of(self.unions[union as usize])
    }

    fn sets_of(&self, mut union: Union) -> Option<Vec<SetId>> {
        if union.len > MAX_COMPARED {
            return None;
        }
        let mut sets = Vec::with_capacity(union.len as usize);
        while union.len > 0 {
            sets.push(union.set);
            union = self.unions[union.less as usize];
        }
        sets.sort_unstable();
        Some(sets)
    }
}

/// The finaliser of MurmurHash3: every bit of a number changes about half of the sum's.
fn mixed(set: SetId) -> u64 {
    let mixed = (u64::from(set) + 1).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ mixed >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_sets_does_not_matter() {
        let mut unions = Unions::new();
        let one = unions.with(0, 1);
        let both = unions.with(one, 2);
        let two = unions.with(0, 2);
        assert_eq!(unions.with(two, 1), both);
        assert_eq!(unions.sets(both), Some(vec![1, 2]));
        assert_eq!(unions.len(), 4);
    }

    #[test]
    fn a_union_too_long_to_compare_gets_another_number() {
        let mut unions = Unions::new();
        let up = (0..=MAX_COMPARED).fold(0, |union, set| unions.with(union, set));
        let down = (0..=MAX_COMPARED).rev().fold(0, |union, set| unions.with(union, set));
        assert_ne!(up, down);
    }

    #[test]
    fn only_what_is_used_is_kept() {
        let mut unions = Unions::new();
        let one = unions.with(0, 1);
        let both = unions.with(one, 2);
        let alone = unions.with(0, 3);
        let mut steps = [(0, 0), (5, both), (9, 0)];
        let (kept, classes) = unions.in_use(&mut steps);
        assert_eq!(steps, [(0, 0), (5, 1), (9, 0)]);
        assert_eq!(classes.len(), 2);
        assert_eq!(kept.sets(classes[1]), Some(vec![1, 2]));
        assert!(kept.iter().all(|(_, set)| set != 3), "{alone} is not needed");
    }
}
