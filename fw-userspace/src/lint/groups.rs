//! Security groups and prefix lists that nobody has, and rules whose peers match nothing.

use std::collections::HashSet;

use ipnet::IpNet;

use super::{Code, Lints, Place, rules};
use crate::model::{GroupRule, Policy, PrefixList, Traffic};

pub(super) fn check<'p>(policy: &'p Policy, lints: &mut Lints<'_, 'p>) {
    let with_members: HashSet<&str> = policy
        .interfaces
        .values()
        .flat_map(|interface| &interface.security_groups)
        .map(String::as_str)
        .collect();
    let mut named_groups: HashSet<&str> = HashSet::new();
    let mut named_lists: HashSet<&str> = HashSet::new();
    for (group, direction, index, rule) in rules(policy) {
        // A group that only its own rules name is of no use to anybody.
        named_groups.extend(rule.security_groups.iter().map(String::as_str).filter(|name| *name != group));
        named_lists.extend(rule.prefix_lists.iter().map(String::as_str));
        let empty: Vec<&String> =
            rule.security_groups.iter().filter(|name| !with_members.contains(name.as_str())).collect();
        // Whoever has no interface is told so once.
        let nobody_has_it = !with_members.contains(group);
        if !can_match(rule, policy, &with_members) {
            // CIDRs of the wrong family and stale references were reported one by one.
            let is_new = !rule.prefix_lists.is_empty()
                || rule.security_groups.iter().any(|name| !(nobody_has_it && name == group));
            if is_new {
                let message = "the rule has no effect: none of its peers can match".to_owned();
                lints.say(Place::Rule(group, direction, index), Code::RuleWithoutEffect, message);
            }
            continue;
        }
        for name in empty {
            let message =
                format!("\"security_groups\" names {name:?}, which no interface has: it matches nothing");
            let place = Place::RuleGroup(group, direction, index, name);
            if name != group {
                lints.say(place, Code::GroupReferenceEmpty, message);
            }
        }
    }
    for name in policy.security_groups.keys() {
        if !with_members.contains(name.as_str()) && !named_groups.contains(name.as_str()) {
            let message = format!("no interface has security group {name:?}, and no rule names it");
            lints.say(Place::Group(name), Code::GroupUnused, message);
        }
    }
    for name in policy.prefix_lists.keys().filter(|name| !named_lists.contains(name.as_str())) {
        lints.say(
            Place::PrefixList(name),
            Code::PrefixListUnused,
            format!("no rule names prefix list {name:?}"),
        );
    }
}

fn can_match(rule: &GroupRule, policy: &Policy, with_members: &HashSet<&str>) -> bool {
    let of_family = |net: &IpNet| match rule.traffic {
        Traffic::Icmp(_) => net.addr().is_ipv4(),
        Traffic::Icmpv6(_) => !net.addr().is_ipv4(),
        _ => true,
    };
    let list_can = |list: &PrefixList| list.entries.iter().any(of_family);
    rule.cidr_blocks.iter().any(of_family)
        || rule.security_groups.iter().any(|name| with_members.contains(name.as_str()))
        || rule.prefix_lists.iter().filter_map(|name| policy.prefix_lists.get(name)).any(list_can)
}
