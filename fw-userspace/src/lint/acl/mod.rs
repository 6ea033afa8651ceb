//! Network ACLs: entries that never decide, requests without replies, ACLs that nobody has.

mod axis;
mod envelope;
mod first;
mod list;
mod reply;
mod shadow;
mod trie;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fw_common::Direction;
use ipnet::IpNet;

use super::{Code, Lints, Place};
use crate::model::{AclChoice, AclEntry, Action, NetworkAcl, Policy, Subnet};
use axis::Family;
use list::Entry;
use trie::Prefix;

pub(super) fn check<'p>(policy: &'p Policy, lints: &mut Lints<'_, 'p>) {
    let mut steps = MAX_STEPS;
    let mut subnets: HashMap<&str, Vec<&Subnet>> = HashMap::new();
    for subnet in policy.subnets.values() {
        if let AclChoice::Named(name) = &subnet.network_acl {
            subnets.entry(name).or_default().push(subnet);
        }
    }
    for (name, acl) in &policy.network_acls {
        let users = subnets.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        if users.is_empty() {
            let message = format!("no subnet has network ACL {name:?}, its entries decide nothing");
            lints.say(Place::Acl(name), Code::AclUnused, message);
        }
        for family in [Family::Ipv4, Family::Ipv6] {
            let lists = [list::entries(&acl.ingress, family), list::entries(&acl.egress, family)];
            for (entries, direction) in lists.iter().zip([Direction::Ingress, Direction::Egress]) {
                say_shadowed(name, direction, entries, &mut steps, lints);
            }
            if users.iter().any(|subnet| has_family(subnet, family)) {
                let inside = inside(users, family);
                say_lost(name, &lists, &inside, family, lints);
            }
        }
        say_inside(name, acl, users, lints);
    }
}

fn say_shadowed<'p>(
    name: &'p str,
    direction: Direction,
    entries: &[Entry],
    steps: &mut usize,
    lints: &mut Lints<'_, 'p>,
) {
    let shadowed = shadow::shadowed(entries);
    if shadowed.is_empty() {
        return;
    }
    // An entry that says exactly what another one says was reported when the file was read.
    let mut seen = HashSet::new();
    let again: Vec<bool> =
        entries.iter().map(|entry| !seen.insert((entry.prefix, entry.span.from, entry.span.to))).collect();
    for index in shadowed.into_iter().filter(|index| !again[*index]) {
        let Entry { number, action, .. } = entries[index];
        let why = match shadow::deciders(entries, index, steps) {
            Some(deciders) => by_whom(&deciders, action),
            None => "entries of lower number match everything that it does".to_owned(),
        };
        let message = format!("entry {number} never decides: {why}");
        lints.say(Place::Entry(name, direction, number), Code::AclEntryShadowed, message);
    }
}

/// `entries 90 (deny) and 100 (allow) together match all of it first`
fn by_whom(deciders: &[&Entry], action: Action) -> String {
    let shown = |entry: &&Entry| {
        let word = if entry.action == Action::Allow { "allow" } else { "deny" };
        format!("{} ({word})", entry.number)
    };
    let mut shown: Vec<String> = deciders.iter().take(MAX_NAMED).map(shown).collect();
    if deciders.len() > MAX_NAMED {
        shown.push(format!("{} others", deciders.len() - MAX_NAMED));
    }
    let effect = match deciders.iter().filter(|entry| entry.action == action).count() {
        0 => "and does the opposite",
        same if same == deciders.len() => "and does the same",
        _ => "and does the opposite for some of it",
    };
    match shown.pop() {
        Some(only) if shown.is_empty() => format!("entry {only} matches all of it first {effect}"),
        Some(last) => {
            let effect = effect.replace("does", "do");
            format!("entries {} and {last} together match all of it first {effect}", shown.join(", "))
        }
        None => String::new(),
    }
}

fn say_lost<'p>(
    name: &'p str,
    lists: &[Vec<Entry>; 2],
    inside: &[Prefix],
    family: Family,
    lints: &mut Lints<'_, 'p>,
) {
    let mut told: Vec<(Vec<&str>, reply::Lost)> = Vec::new();
    for lost in reply::lost(&lists[0], &lists[1], inside, family) {
        // An entry for every protocol is told once.
        match told.iter_mut().find(|(_, other)| lost.is_beside(other)) {
            Some((protocols, _)) => protocols.push(lost.protocol),
            None => told.push((vec![lost.protocol], lost)),
        }
    }
    for (protocols, reply::Lost { direction, number, address, denied_by, .. }) in told {
        let address = match family {
            Family::Ipv4 => IpAddr::V4(Ipv4Addr::from((address >> trie::IPV4_SHIFT) as u32)),
            Family::Ipv6 => IpAddr::V6(Ipv6Addr::from(address)),
        };
        let protocols = protocols.join(", ");
        let (passes, other) = match direction {
            Direction::Ingress => (format!("lets {protocols} requests in, from {address} for one"), "egress"),
            Direction::Egress => (format!("lets {protocols} requests out, to {address} for one"), "ingress"),
        };
        let denied = match denied_by {
            Some(denying) => format!("{other} entry {denying} denies replies"),
            None => format!("no {other} entry lets all replies pass"),
        };
        let message = format!("entry {number} {passes}, but {denied}");
        lints.say(Place::Entry(name, direction, number), Code::AclReplyBlocked, message);
    }
}

fn say_inside<'p>(name: &'p str, acl: &NetworkAcl, users: &[&Subnet], lints: &mut Lints<'_, 'p>) {
    for (entries, direction) in [(&acl.ingress, Direction::Ingress), (&acl.egress, Direction::Egress)] {
        for AclEntry { rule_number, cidr, .. } in entries.iter().filter(|entry| is_inside(users, &entry.cidr))
        {
            let message = format!("entry {rule_number} matches nothing: {cidr} is inside the subnet itself");
            let place = Place::Entry(name, direction, *rule_number);
            lints.say(place, Code::AclEntryInsideSubnet, message);
        }
    }
}

/// The addresses that the ACL judges in none of its subnets.
fn inside(users: &[&Subnet], family: Family) -> Vec<Prefix> {
    let blocks = users.iter().flat_map(|subnet| &subnet.cidr_blocks);
    let of_family = blocks.filter(|block| block.addr().is_ipv4() == (family == Family::Ipv4));
    of_family.filter(|block| is_inside(users, block)).map(|block| Prefix::of(*block)).collect()
}

/// What stays inside a subnet meets no ACL; but a router's leg sees only what crosses, forged or not.
fn is_inside(users: &[&Subnet], net: &IpNet) -> bool {
    let has =
        |subnet: &&Subnet| subnet.leg.is_none() && subnet.cidr_blocks.iter().any(|block| block.contains(net));
    !users.is_empty() && users.iter().all(has)
}

fn has_family(subnet: &Subnet, family: Family) -> bool {
    subnet.cidr_blocks.iter().any(|block| block.addr().is_ipv4() == (family == Family::Ipv4))
}

/// Of naming the entries that shadow others: a few hundredths of a second. Which are shadowed is known without.
const MAX_STEPS: usize = 4_000_000;

/// Entries in a message.
const MAX_NAMED: usize = 5;
