//! ICMP codes that no host sends with their type, so that a rule for the pair never matches anything honest.

use fw_common::Direction;

use super::{Code, Lints, Place, rules};
use crate::model::{IcmpMatch, Policy, Traffic};

pub(super) fn check<'p>(policy: &'p Policy, lints: &mut Lints<'_, 'p>) {
    for (group, direction, index, rule) in rules(policy) {
        if let Some(message) = never_sent(rule.traffic) {
            lints.say(Place::Rule(group, direction, index), Code::IcmpNeverSent, message);
        }
    }
    for (name, acl) in &policy.network_acls {
        for (list, direction) in [(&acl.ingress, Direction::Ingress), (&acl.egress, Direction::Egress)] {
            for entry in list {
                // With a CIDR of the other family type and code are not looked at.
                let is_own = matches!(entry.traffic, Traffic::Icmp(_)) == entry.cidr.addr().is_ipv4();
                if let Some(message) = never_sent(entry.traffic).filter(|_| is_own) {
                    lints.say(Place::Entry(name, direction, entry.rule_number), Code::IcmpNeverSent, message);
                }
            }
        }
    }
}

fn never_sent(traffic: Traffic) -> Option<String> {
    let (name, IcmpMatch { kind, code }, table) = match traffic {
        Traffic::Icmp(matched) => ("icmp", matched, ICMP),
        Traffic::Icmpv6(matched) => ("icmpv6", matched, ICMPV6),
        _ => return None,
    };
    let (kind, code) = (kind?, code?);
    let (_, codes) = table.iter().find(|(known, _)| *known == kind)?;
    if codes.contains(&code) {
        return None;
    }
    let sent = match codes {
        [only] => format!("is sent with code {only} only"),
        [first, .., last] if usize::from(last - first) + 1 == codes.len() => {
            format!("is sent with codes {first} to {last} only")
        }
        codes => {
            let codes: Vec<String> = codes.iter().map(u8::to_string).collect();
            format!("is sent with codes {} only", codes.join(", "))
        }
    };
    Some(format!("\"icmp_code\" is {code}, {name} type {kind} {sent}: this matches nothing"))
}

/// Types and the codes that they have. Types that are not here may have any.
/// <https://www.iana.org/assignments/icmp-parameters/icmp-parameters.xhtml>
const ICMP: &[(u8, &[u8])] = &[
    (0, &[0]),
    (3, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
    (4, &[0]),
    (5, &[0, 1, 2, 3]),
    (8, &[0]),
    (9, &[0, 16]),
    (10, &[0]),
    (11, &[0, 1]),
    (12, &[0, 1, 2]),
    (13, &[0]),
    (14, &[0]),
    (15, &[0]),
    (16, &[0]),
    (17, &[0]),
    (18, &[0]),
    (42, &[0]),
    (43, &[0, 1, 2, 3, 4]),
];

/// <https://www.iana.org/assignments/icmpv6-parameters/icmpv6-parameters.xhtml>
const ICMPV6: &[(u8, &[u8])] = &[
    (1, &[0, 1, 2, 3, 4, 5, 6, 7, 8]),
    (2, &[0]),
    (3, &[0, 1]),
    (4, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    (128, &[0]),
    (129, &[0]),
    (130, &[0]),
    (131, &[0]),
    (132, &[0]),
    (133, &[0]),
    (134, &[0]),
    (135, &[0]),
    (136, &[0]),
    (137, &[0]),
    (138, &[0, 1, 255]),
    (139, &[0, 1, 2]),
    (140, &[0, 1, 2]),
    (143, &[0]),
    (160, &[0]),
    (161, &[0, 1, 2, 3, 4]),
];
