//! Sets of keys of a column (ports, ICMP types and codes, protocol numbers), each with a number: the same set, whichever
//! generation says it, has the same one.

use std::rc::Rc;

use fw_common::address::Family;
use fw_common::packet::protocol;
use fw_common::related;
use rustc_hash::FxHashMap;

/// Number of a set.
pub(super) type KeySet = u32;
/// By column what passes: TCP, UDP, ICMP, other protocols.
pub(super) type Row = [KeySet; 4];
/// Both ends included.
pub(super) type Range = (u16, u16);

/// All sets that were met.
pub(super) struct KeySets {
    sets: Vec<Rc<[Range]>>,
    numbers: FxHashMap<Rc<[Range]>, KeySet>,
    known: FxHashMap<(Operation, KeySet, KeySet), KeySet>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    And,
    Or,
    Without,
}

impl KeySets {
    /// No key.
    pub(super) const NONE: KeySet = 0;
    /// Every key.
    pub(super) const ALL: KeySet = 1;
    /// Nothing passes.
    pub(super) const NOTHING: Row = [Self::NONE; 4];
    /// Everything passes.
    pub(super) const EVERYTHING: Row = [Self::ALL; 4];

    pub(super) fn new() -> Self {
        let mut new = Self { sets: Vec::new(), numbers: FxHashMap::default(), known: FxHashMap::default() };
        new.number(Vec::new());
        new.number(vec![(0, u16::MAX)]);
        new
    }

    /// The number of a set; its ranges are sorted and do not touch.
    pub(super) fn number(&mut self, ranges: Vec<Range>) -> KeySet {
        let ranges: Rc<[Range]> = ranges.into();
        if let Some(number) = self.numbers.get(&ranges) {
            return *number;
        }
        let number = self.sets.len() as KeySet;
        self.sets.push(Rc::clone(&ranges));
        self.numbers.insert(ranges, number);
        number
    }

    /// Its ranges, sorted; no two touch.
    pub(super) fn ranges(&self, set: KeySet) -> &[Range] {
        &self.sets[set as usize]
    }

    pub(super) fn and(&mut self, one: Row, other: Row) -> Row {
        self.each(Operation::And, one, other)
    }

    pub(super) fn or(&mut self, one: Row, other: Row) -> Row {
        self.each(Operation::Or, one, other)
    }

    pub(super) fn without(&mut self, one: Row, other: Row) -> Row {
        self.each(Operation::Without, one, other)
    }

    fn each(&mut self, operation: Operation, one: Row, other: Row) -> Row {
        let mut row = one;
        for (one, other) in row.iter_mut().zip(other) {
            *one = self.combined(operation, *one, other);
        }
        row
    }

    fn combined(&mut self, operation: Operation, one: KeySet, other: KeySet) -> KeySet {
        match (operation, one, other) {
            (Operation::And, Self::ALL, set) | (Operation::And, set, Self::ALL) => return set,
            (Operation::And, Self::NONE, _) | (Operation::And, _, Self::NONE) => return Self::NONE,
            (Operation::Or, Self::NONE, set) | (Operation::Or, set, Self::NONE) => return set,
            (Operation::Without, set, Self::NONE) => return set,
            (Operation::Without, _, Self::ALL) => return Self::NONE,
            (Operation::Without, one, other) if one == other => return Self::NONE,
            (_, one, other) if one == other => return one,
            _ => {}
        }
        if let Some(known) = self.known.get(&(operation, one, other)) {
            return *known;
        }
        let says = |one: bool, other: bool| match operation {
            Operation::And => one && other,
            Operation::Or => one || other,
            Operation::Without => one && !other,
        };
        let ranges = swept(self.ranges(one), self.ranges(other), says);
        let number = self.number(ranges);
        self.known.insert((operation, one, other), number);
        number
    }

    /// The keys that a packet can have.
    pub(super) fn possible(&mut self, family: Family) -> Row {
        let other = self.number(other_protocols(family));
        [Self::ALL, Self::ALL, Self::ALL, other]
    }

    /// What can open a flow to an exempt service: of ICMP, requests only.
    pub(super) fn openings(&mut self, family: Family) -> Row {
        let requests = (0..=u8::MAX).filter(|kind| related::is_request(family, *kind));
        let keys = requests.map(|kind| (u16::from_be_bytes([kind, 0]), u16::from_be_bytes([kind, 0xff])));
        let icmp = self.number(merged(keys));
        [Self::ALL, Self::ALL, icmp, Self::ALL]
    }
}

/// Numbers that have a column of their own are no other protocols, and IPv6 headers that are looked behind are none.
pub(super) fn other_protocols(family: Family) -> Vec<Range> {
    let never: &[u8] = match family {
        Family::V4 => &[protocol::ICMP, protocol::TCP, protocol::UDP],
        Family::V6 => &[0, protocol::TCP, protocol::UDP, 43, 44, 51, protocol::ICMPV6, 60],
    };
    let other = (0..=u8::MAX).filter(|number| !never.contains(number));
    merged(other.map(|number| (u16::from(number), u16::from(number))))
}

/// Ranges in their order, those that touch made one.
pub(super) fn merged(ranges: impl IntoIterator<Item = Range>) -> Vec<Range> {
    let mut merged: Vec<Range> = Vec::new();
    for (from, to) in ranges {
        match merged.last_mut() {
            Some(last) if last.1.checked_add(1).is_none_or(|next| next >= from) => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// Where `says` holds of being in one and being in the other.
fn swept(one: &[Range], other: &[Range], says: impl Fn(bool, bool) -> bool) -> Vec<Range> {
    let borders = |ranges: &[Range]| -> Vec<u32> {
        ranges.iter().flat_map(|(from, to)| [u32::from(*from), u32::from(*to) + 1]).collect()
    };
    let [one, other] = [borders(one), borders(other)];
    let (mut ranges, mut start) = (Vec::new(), None);
    let (mut i, mut j) = (0, 0);
    loop {
        let at = match (one.get(i), other.get(j)) {
            (Some(one), Some(other)) => *one.min(other),
            (Some(at), None) | (None, Some(at)) => *at,
            (None, None) => break,
        };
        i += usize::from(one.get(i) == Some(&at));
        j += usize::from(other.get(j) == Some(&at));
        // Behind an odd number of borders is inside.
        match (says(i % 2 == 1, j % 2 == 1), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                ranges.push((from as u16, (at - 1) as u16));
                start = None;
            }
            _ => {}
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every set of keys around both ends of the column, by its bits.
    fn set(bits: u16) -> Vec<Range> {
        let keys = (0..8).map(|bit| if bit < 4 { bit } else { 0xfff8 + bit });
        merged(keys.enumerate().filter(|(bit, _)| bits >> bit & 1 != 0).map(|(_, key)| (key, key)))
    }

    #[test]
    fn operations_are_those_of_sets() {
        let mut keys = KeySets::new();
        for one in 0..256u16 {
            for other in 0..256u16 {
                let row = |keys: &mut KeySets, bits| [keys.number(set(bits)), 0, 1, 1];
                let (a, b) = (row(&mut keys, one), row(&mut keys, other));
                assert_eq!(keys.and(a, b), row(&mut keys, one & other));
                assert_eq!(keys.or(a, b), row(&mut keys, one | other));
                let [tcp, udp, icmp, _] = keys.without(a, b);
                assert_eq!([tcp, udp, icmp], [keys.number(set(one & !other)), 0, 0]);
            }
        }
    }

    #[test]
    fn possible_keys_have_no_column_of_their_own() {
        let mut keys = KeySets::new();
        let [.., other] = keys.possible(Family::V4);
        assert_eq!(keys.ranges(other), [(0, 0), (2, 5), (7, 16), (18, 255)]);
        let [.., icmp, _] = keys.openings(Family::V6);
        assert_eq!(keys.ranges(icmp), [(0x8000, 0x80ff)]);
    }
}
