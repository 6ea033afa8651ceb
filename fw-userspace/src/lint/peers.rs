//! A peer that two rules of a group name for the same traffic. AWS, to which each peer is a rule, refuses the second.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>, `InvalidPermission.Duplicate`

use std::collections::hash_map::Entry;

use fw_common::Direction;
use ipnet::IpNet;
use rustc_hash::FxHashMap;

use super::{Code, Lints, Place};
use crate::model::{GroupRule, IcmpMatch, Policy, PortRange, Traffic};

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Peer<'p> {
    Net(IpNet),
    Group(&'p str),
    List(&'p str),
}

pub(super) fn check<'p>(policy: &'p Policy, lints: &mut Lints<'_, 'p>) {
    for (name, group) in &policy.security_groups {
        check_list(name, Direction::Ingress, &group.ingress, lints);
        check_list(name, Direction::Egress, &group.egress, lints);
    }
}

fn check_list<'p>(name: &'p str, direction: Direction, rules: &'p [GroupRule], lints: &mut Lints<'_, 'p>) {
    let mut by_traffic: FxHashMap<[u16; 3], Vec<usize>> = FxHashMap::default();
    for (index, rule) in rules.iter().enumerate() {
        by_traffic.entry(key(rule.traffic)).or_default().push(index);
    }
    // A peer stands in one rule once: a rule whose traffic no other has needs no look, however many peers it names.
    for indexes in by_traffic.values().filter(|indexes| indexes.len() > 1) {
        let mut first: FxHashMap<Peer<'p>, usize> = FxHashMap::default();
        for index in indexes.iter().copied() {
            let mut again = Vec::new();
            for peer in peers(&rules[index]) {
                match first.entry(peer) {
                    Entry::Occupied(before) => again.push((peer, *before.get())),
                    Entry::Vacant(place) => {
                        place.insert(index);
                    }
                }
            }
            if is_whole(&rules[index], &again, rules) {
                continue;
            }
            for (peer, before) in again {
                let (place, shown) = match peer {
                    Peer::Net(net) => (Place::RuleNet(name, direction, index, net), net.to_string()),
                    Peer::Group(group) => {
                        (Place::RuleGroup(name, direction, index, group), format!("group {group:?}"))
                    }
                    Peer::List(list) => {
                        (Place::RuleList(name, direction, index, list), format!("prefix list {list:?}"))
                    }
                };
                let message = format!("rule {:?} above has {shown} for the same traffic", rules[before].id);
                lints.say(place, Code::GroupPeerDuplicate, message);
            }
        }
    }
}

/// Whether the rule says all that another one says and nothing else, which was reported when the file was read.
fn is_whole(rule: &GroupRule, again: &[(Peer<'_>, usize)], rules: &[GroupRule]) -> bool {
    let Some((_, before)) = again.first() else { return false };
    let other = &rules[*before];
    again.iter().all(|(_, index)| index == before)
        && again.len() == peers(rule).count()
        && again.len() == peers(other).count()
        && rule.reserved == other.reserved
}

fn peers(rule: &GroupRule) -> impl Iterator<Item = Peer<'_>> {
    let nets = rule.cidr_blocks.iter().copied().map(Peer::Net);
    let groups = rule.security_groups.iter().map(|name| Peer::Group(name));
    nets.chain(groups).chain(rule.prefix_lists.iter().map(|name| Peer::List(name)))
}

/// The same for the same traffic only.
fn key(traffic: Traffic) -> [u16; 3] {
    let icmp = |tag, IcmpMatch { kind, code }: IcmpMatch| {
        let number = |value: Option<u8>| value.map_or(256, u16::from);
        [tag, number(kind), number(code)]
    };
    match traffic {
        Traffic::All => [0, 0, 0],
        Traffic::Tcp(PortRange { from, to }) => [1, from, to],
        Traffic::Udp(PortRange { from, to }) => [2, from, to],
        Traffic::Icmp(matched) => icmp(3, matched),
        Traffic::Icmpv6(matched) => icmp(4, matched),
        Traffic::Protocol(number) => [5, u16::from(number), 0],
    }
}
