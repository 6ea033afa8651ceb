//! Open services that lose path MTU discovery.
//!
//! An ICMP error passes if it quotes a tracked connection. Flows of a rule that is open to everybody are not tracked
//! where the other direction lets everything out, so their errors need a rule of their own; without one, a client
//! behind a tunnel gets the handshake and then nothing. AWS behaves alike.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/network_mtu.html>

use std::collections::{BTreeMap, HashSet};

use fw_common::Direction;
use ipnet::IpNet;

use super::{Code, Lints, Place};
use crate::compile::untracked_tcp;
use crate::model::{GroupRule, IcmpMatch, Policy, SecurityGroup, Traffic};

pub(super) fn check<'p>(policy: &'p Policy, lints: &mut Lints<'_, 'p>) {
    // Interfaces mostly share their groups.
    let mut seen: HashSet<&[String]> = HashSet::new();
    let mut lacking: BTreeMap<(&str, usize), [bool; 2]> = BTreeMap::new();
    for interface in policy.interfaces.values().filter(|interface| interface.attachment.is_some()) {
        if !seen.insert(&interface.security_groups) {
            continue;
        }
        let groups: Vec<(&str, &SecurityGroup)> = interface
            .security_groups
            .iter()
            .filter_map(|name| policy.security_groups.get_key_value(name))
            .map(|(name, group)| (name.as_str(), group))
            .collect();
        let untracked = untracked_tcp(policy, &interface.security_groups);
        for (family, ipv4) in [true, false].into_iter().enumerate() {
            let lets_in = |rule: &GroupRule| is_open(rule, ipv4) && lets_error_in(rule.traffic, ipv4);
            let has_error = groups.iter().any(|(_, group)| group.ingress.iter().any(lets_in));
            if !untracked[family] || has_error {
                continue;
            }
            for (name, group) in &groups {
                let serves =
                    |rule: &GroupRule| is_open(rule, ipv4) && matches!(rule.traffic, Traffic::Tcp(_));
                if let Some(index) = group.ingress.iter().position(serves) {
                    lacking.entry((name, index)).or_default()[family] = true;
                }
            }
        }
    }
    for ((name, index), lacks) in lacking {
        let needs = match lacks {
            [true, false] => "icmp type 3 code 4",
            [false, true] => "icmpv6 type 2",
            _ => "icmp type 3 code 4 and icmpv6 type 2",
        };
        let message =
            format!("its flows are not tracked, and no rule lets {needs} in: path MTU discovery fails");
        lints.say(Place::Rule(name, Direction::Ingress, index), Code::PathMtuBlocked, message);
    }
}

fn is_open(rule: &GroupRule, ipv4: bool) -> bool {
    rule.cidr_blocks.iter().any(|net: &IpNet| net.prefix_len() == 0 && net.addr().is_ipv4() == ipv4)
}

fn lets_error_in(traffic: Traffic, ipv4: bool) -> bool {
    let (matched, kind, code) = match (traffic, ipv4) {
        (Traffic::All, _) => return true,
        (Traffic::Icmp(matched), true) => (matched, 3, 4),
        (Traffic::Icmpv6(matched), false) => (matched, 2, 0),
        _ => return false,
    };
    let IcmpMatch { kind: of_rule, code: of_code } = matched;
    of_rule.is_none_or(|given| given == kind) && of_code.is_none_or(|given| given == code)
}
