//! Address classes: all addresses that no rule of the generation tells apart get one number.
//!
//! CIDRs nest or are disjoint, never cross. So one sweep over them in order, with a stack of those that are open,
//! meets every elementary interval once; what a class is a member of is the class of the CIDR around it and the
//! sets of its own.

use std::collections::HashMap;

use ipnet::IpNet;

use super::heap::{Full, Heap};
use super::tree::{self, Step, push_step};
use fw_common::layout::Link;

/// A number for a set of addresses.
pub(super) type SetId = u32;

/// A CIDR of one family, and one set that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    first: u128,
    prefix_len: u8,
    set: SetId,
}

impl Range {
    /// With the family's place in arrays: 0 for IPv4, 1 for IPv6.
    pub(super) fn of(net: &IpNet, set: SetId) -> (usize, Self) {
        match net {
            IpNet::V4(net) => {
                let first = u128::from(u32::from(net.network()));
                (0, Self { first, prefix_len: net.prefix_len(), set })
            }
            IpNet::V6(net) => {
                (1, Self { first: u128::from(net.network()), prefix_len: net.prefix_len(), set })
            }
        }
    }

    fn last(self, bits: u32) -> u128 {
        let host_bits = bits - u32::from(self.prefix_len).min(bits);
        self.first | u128::MAX.checked_shr(128 - host_bits).unwrap_or(0)
    }
}

/// Classes of one family.
pub(super) struct Classes {
    bits: u32,
    steps: Vec<Step>,
    /// By class: the sets it lies in, sorted. Class 0 lies in none.
    members: Vec<Box<[SetId]>>,
}

impl Classes {
    /// Of the CIDRs of one family, whose addresses have `bits` bits.
    pub(super) fn new(mut ranges: Vec<Range>, bits: u32) -> Self {
        ranges.sort_unstable();
        ranges.dedup();
        let mut unions = Unions::new();
        let mut steps = vec![(0, 0)];
        let mut open: Vec<(u128, u32)> = Vec::new();
        for same in ranges.chunk_by(|a, b| (a.first, a.prefix_len) == (b.first, b.prefix_len)) {
            close(&mut open, &mut steps, Some(same[0].first));
            let around = open.last().map_or(0, |(_, class)| *class);
            let class = same.iter().fold(around, |class, range| unions.with(class, range.set));
            push_step(&mut steps, same[0].first, class);
            open.push((same[0].last(bits), class));
        }
        close(&mut open, &mut steps, None);
        let last = u128::MAX.checked_shr(128 - bits).unwrap_or(0);
        steps.retain(|(first, _)| *first <= last);
        let members = unions.in_use(&mut steps);
        Self { bits, steps, members }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// The sets of each class.
    pub(super) fn members(&self) -> &[Box<[SetId]>] {
        &self.members
    }

    /// The search that finds the class of an address.
    pub(super) fn search(&self, heap: &mut Heap<'_>) -> Result<Link, Full> {
        tree::addresses(heap, &self.steps, usize::from(self.bits == 128))
    }
}

/// Ends the CIDRs that end before `before`, or all.
fn close(open: &mut Vec<(u128, u32)>, steps: &mut Vec<Step>, before: Option<u128>) {
    while let Some((last, _)) = open.last().copied() {
        if before.is_some_and(|before| last >= before) {
            break;
        }
        open.pop();
        if let Some(next) = last.checked_add(1) {
            push_step(steps, next, open.last().map_or(0, |(_, class)| *class));
        }
    }
}

/// Sets of sets, each with a number.
struct Unions {
    members: Vec<Box<[SetId]>>,
    numbers: HashMap<Box<[SetId]>, u32>,
    extended: HashMap<(u32, SetId), u32>,
}

impl Unions {
    fn new() -> Self {
        let empty: Box<[SetId]> = Box::default();
        Self { members: vec![empty.clone()], numbers: HashMap::from([(empty, 0)]), extended: HashMap::new() }
    }

    /// The union of what `class` lies in and `set`.
    fn with(&mut self, class: u32, set: SetId) -> u32 {
        if let Some(extended) = self.extended.get(&(class, set)) {
            return *extended;
        }
        let members = &self.members[class as usize];
        let union = match members.binary_search(&set) {
            Ok(_) => class,
            Err(place) => {
                let mut members = members.to_vec();
                members.insert(place, set);
                let members = members.into_boxed_slice();
                match self.numbers.get(&members) {
                    Some(number) => *number,
                    None => {
                        let number = self.members.len() as u32;
                        self.numbers.insert(members.clone(), number);
                        self.members.push(members);
                        number
                    }
                }
            }
        };
        self.extended.insert((class, set), union);
        union
    }

    /// Renumbers what the steps use, in their order, and drops the rest.
    fn in_use(self, steps: &mut [Step]) -> Vec<Box<[SetId]>> {
        let mut numbers = vec![u32::MAX; self.members.len()];
        numbers[0] = 0;
        let mut members = vec![Box::default()];
        for (_, class) in steps {
            let number = &mut numbers[*class as usize];
            if *number == u32::MAX {
                *number = members.len() as u32;
                members.push(self.members[*class as usize].clone());
            }
            *class = *number;
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::lcg::Lcg;

    fn members_at(classes: &Classes, key: u128) -> &[SetId] {
        let class = classes.steps.iter().take_while(|(first, _)| *first <= key).last();
        &classes.members[class.map_or(0, |(_, class)| *class as usize)]
    }

    #[test]
    fn an_address_lies_in_exactly_the_sets_that_contain_it() {
        let mut random = Lcg::new(3);
        for _ in 0..300 {
            let nets: Vec<(IpNet, SetId)> = (0..random.below(40))
                .map(|_| {
                    let address = std::net::Ipv4Addr::from(0x0a00_0000 | random.below(0x400) << 22 >> 12);
                    let prefix_len = random.below(33) as u8;
                    let net = IpNet::new(address.into(), prefix_len).expect("a valid length");
                    (net.trunc(), random.below(12))
                })
                .collect();
            let ranges = nets.iter().map(|(net, set)| Range::of(net, *set).1).collect();
            let classes = Classes::new(ranges, 32);
            for _ in 0..200 {
                let key = match random.below(3) {
                    0 => random.next(),
                    1 => u32::MAX,
                    _ => 0x0a00_0000 | random.below(0x10_0000),
                };
                let address = std::net::IpAddr::from(std::net::Ipv4Addr::from(key));
                let mut expected: Vec<SetId> =
                    nets.iter().filter(|(net, _)| net.contains(&address)).map(|(_, set)| *set).collect();
                expected.sort_unstable();
                expected.dedup();
                assert_eq!(members_at(&classes, u128::from(key)), expected, "{address} in {nets:?}");
            }
        }
    }

    #[test]
    fn equal_neighbours_are_one_class() {
        let nets: [IpNet; 3] =
            ["10.0.0.0/25", "10.0.0.128/25", "10.0.0.0/24"].map(|net| net.parse().expect("valid"));
        let classes = Classes::new(nets.iter().map(|net| Range::of(net, 7).1).collect(), 32);
        assert_eq!(classes.steps, [(0, 0), (0x0a00_0000, 1), (0x0a00_0100, 0)]);
        assert_eq!(classes.len(), 2);
    }

    #[test]
    fn the_last_address_may_be_in_a_set() {
        let net: IpNet = "ffff::/16".parse().expect("valid");
        let classes = Classes::new(vec![Range::of(&net, 1).1], 128);
        assert_eq!(members_at(&classes, u128::MAX), [1]);
        let net: IpNet = "255.0.0.0/8".parse().expect("valid");
        let classes = Classes::new(vec![Range::of(&net, 1).1], 32);
        assert_eq!(classes.steps.len(), 2);
    }
}
