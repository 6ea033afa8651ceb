//! The interface's end of a packet: which of its addresses the source/destination check and the border of the subnet
//! tell apart.

use std::net::IpAddr;
use std::rc::Rc;

use fw_common::Direction;
use fw_common::address::Family;
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use crate::compile::Filter;

/// Addresses as numbers, both ends included.
pub(super) type Interval = (u128, u128);
/// Sorted; no two touch.
pub(super) type Intervals = Vec<Interval>;

/// ::ffff:0:0/96, which never passes on the wire (RFC 4942 section 2.2).
pub(super) const MAPPED: Interval = (0xffff_0000_0000, 0xffff_ffff_ffff);

/// What one side says of an address of the interface's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Local {
    pub(super) is_foreign: bool,
    pub(super) is_inside: bool,
}

/// One side's addresses.
pub(super) struct Ends {
    /// What the source/destination check lets through; `None` if it is off.
    own: Option<Intervals>,
    inside: Rc<Intervals>,
}

impl Ends {
    pub(super) fn new(filter: &Filter, direction: Direction, family: Family, inside: Rc<Intervals>) -> Self {
        let own = filter.source_dest_check.then(|| {
            let own = filter.own.iter().filter(|address| address.is_ipv4() == (family == Family::V4));
            let mut all: Intervals = own.map(|address| (number(*address), number(*address))).collect();
            all.extend(everybodys(direction, family));
            merged(all)
        });
        Self { own, inside }
    }

    /// Addresses of which both sides say the same, but for those that are foreign on both.
    pub(super) fn told_apart(sides: &[Self], family: Family) -> Vec<([Local; 2], Intervals)> {
        let last = if family == Family::V4 { u128::from(u32::MAX) } else { u128::MAX };
        let mut borders = vec![0];
        for side in sides {
            for (first, end) in side.own.iter().flatten().chain(side.inside.iter()) {
                borders.push(*first);
                borders.extend(end.checked_add(1).filter(|next| *next <= last));
            }
        }
        borders.sort_unstable();
        borders.dedup();
        let mut found: Vec<([Local; 2], Intervals)> = Vec::new();
        for (place, first) in borders.iter().enumerate() {
            let end = borders.get(place + 1).map_or(last, |next| next - 1);
            let is_mapped = family == Family::V6 && MAPPED.0 <= *first && end <= MAPPED.1;
            let says = [0, 1].map(|side: usize| sides[side].says(*first));
            if is_mapped || says.iter().all(|local| local.is_foreign) {
                continue;
            }
            match found.iter_mut().find(|(known, _)| *known == says) {
                Some((_, intervals)) => intervals.push((*first, end)),
                None => found.push((says, vec![(*first, end)])),
            }
        }
        found.into_iter().map(|(says, intervals)| (says, merged(intervals))).collect()
    }

    fn says(&self, address: u128) -> Local {
        let is_foreign = self.own.as_ref().is_some_and(|own| !contains(own, address));
        Local { is_foreign, is_inside: contains(&self.inside, address) }
    }
}

/// What the core takes for everybody's own: unspecified and link-local addresses, and inbound groups of receivers.
fn everybodys(direction: Direction, family: Family) -> Intervals {
    let (always, receivers): (&[Interval], &[Interval]) = match family {
        Family::V4 => (&[(0, 0)], &[(0xe000_0000, 0xefff_ffff), (0xffff_ffff, 0xffff_ffff)]),
        Family::V6 => (&[(0, 0), (0xfe80 << 112, (0xfec0 << 112) - 1)], &[(0xff << 120, u128::MAX)]),
    };
    let receivers = if direction == Direction::Ingress { receivers } else { &[] };
    [always, receivers].concat()
}

/// Sorted, those that touch made one.
pub(super) fn merged(mut intervals: Intervals) -> Intervals {
    intervals.sort_unstable();
    let mut merged: Intervals = Vec::with_capacity(intervals.len());
    for (first, end) in intervals {
        match merged.last_mut() {
            Some(last) if last.1.checked_add(1).is_none_or(|next| next >= first) => last.1 = last.1.max(end),
            _ => merged.push((first, end)),
        }
    }
    merged
}

pub(super) fn contains(intervals: &[Interval], address: u128) -> bool {
    let next = intervals.partition_point(|(first, _)| *first <= address);
    next.checked_sub(1).is_some_and(|place| address <= intervals[place].1)
}

/// As few CIDRs as there can be.
pub(super) fn cidrs(intervals: &[Interval], family: Family) -> Vec<IpNet> {
    let mut cidrs = Vec::new();
    for (first, last) in intervals {
        match family {
            Family::V4 => {
                let end = |address: u128| std::net::Ipv4Addr::from(address as u32);
                cidrs.extend(Ipv4Subnets::new(end(*first), end(*last), 0).map(IpNet::from));
            }
            Family::V6 => {
                let (first, last) = (std::net::Ipv6Addr::from(*first), std::net::Ipv6Addr::from(*last));
                cidrs.extend(Ipv6Subnets::new(first, last, 0).map(IpNet::from));
            }
        }
    }
    cidrs
}

/// CIDRs of one family as one network and what is left out of it, where that is shorter.
pub fn all_but(nets: &[IpNet]) -> Option<(IpNet, Vec<IpNet>)> {
    let family = if nets.first()?.addr().is_ipv4() { Family::V4 } else { Family::V6 };
    let ends = |net: &IpNet| (number(net.network()), number(net.broadcast()));
    let intervals = merged(nets.iter().map(ends).collect());
    let (first, last) = (intervals.first()?.0, intervals.last()?.1);
    let bits = nets.first()?.max_prefix_len();
    let common = bits - (128 - (first ^ last).leading_zeros()) as u8;
    let around = IpNet::new(address(first, family), common).ok()?.trunc();
    let (mut out, mut next) = (Intervals::new(), ends(&around).0);
    for (first, last) in intervals {
        if next < first {
            out.push((next, first - 1));
        }
        next = last.saturating_add(1);
    }
    if next <= ends(&around).1 && last < ends(&around).1 {
        out.push((next, ends(&around).1));
    }
    let out = cidrs(&out, family);
    (out.len() + 1 < nets.len()).then_some((around, out))
}

/// The number of an address in its family.
pub(super) fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address of a number.
pub(super) fn address(number: u128, family: Family) -> IpAddr {
    match family {
        Family::V4 => std::net::Ipv4Addr::from(number as u32).into(),
        Family::V6 => std::net::Ipv6Addr::from(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("valid")).collect()
    }

    #[test]
    fn a_network_with_a_hole_is_said_by_its_hole() {
        let around = |first, last, hole: (u128, u128), family| {
            cidrs(&[(first, hole.0 - 1), (hole.1 + 1, last)], family)
        };
        let hole = (0x0a00_0000, 0x0aff_ffff);
        let all = around(0, u128::from(u32::MAX), hole, Family::V4);
        assert_eq!(all.len(), 8);
        let [net, out] = [nets(&["0.0.0.0/0"]), nets(&["10.0.0.0/8"])];
        assert_eq!(all_but(&all), Some((net[0], out)));
        let hole = (0xfe80 << 112, (0xfec0 << 112) - 1);
        let all = around(0, u128::MAX, hole, Family::V6);
        assert_eq!(all_but(&all), Some((nets(&["::/0"])[0], nets(&["fe80::/10"]))));
        // Its ends may be left out too.
        let all = cidrs(&[(0x0a00_0001, 0x0a00_00fe)], Family::V4);
        let out = nets(&["10.0.0.0/32", "10.0.0.255/32"]);
        assert_eq!(all_but(&all), Some((nets(&["10.0.0.0/24"])[0], out)));
        assert_eq!(all_but(&nets(&["10.0.0.0/24"])), None);
        assert_eq!(all_but(&nets(&["10.0.0.0/24", "10.0.2.0/24"])), None);
        assert_eq!(all_but(&[]), None);
    }
}
