//! Pieces of datagrams: later ones follow the first, and overlap nothing of it.

use std::net::{IpAddr, Ipv6Addr};

use fw_common::{Direction, Reason, Verdict};
use fw_userspace::model::Traffic;

use super::rules::{AclSays, ask_acl, ask_groups, is_inside, rules};
use super::seen::{Piece, Seen};
use super::{Answer, Crossing, FirstFragment, Memory, fails_source_dest_check};
use crate::packet::Tcp;

impl Memory {
    pub(super) fn judge(&mut self, crossing: &Crossing<'_, '_>) -> Answer {
        let Crossing { at, direction, seen, .. } = *crossing;
        let key = |id| {
            let protocol = if seen.ipv6 { 0 } else { seen.protocol };
            (at.to_owned(), direction, seen.source, seen.destination, id, protocol)
        };
        match seen.piece {
            Piece::Whole => self.judge_layers(crossing),
            Piece::First { id, end } => {
                let answer = self.judge_layers(crossing);
                self.fragments.retain(|first| first.key != key(id));
                self.fragments.push(FirstFragment {
                    key: key(id),
                    when: self.now,
                    end,
                    answer: answer.clone(),
                });
                answer
            }
            Piece::Later { id, offset } => {
                let first = self.fragments.iter().find(|first| first.key == key(id));
                match first.filter(|first| self.now - first.when <= 30) {
                    Some(first) if offset < first.end => Answer::of(Reason::FragmentOverlapsHeader),
                    Some(first) => first.answer.clone(),
                    None => alone(crossing).unwrap_or(Answer::of(Reason::FragmentWithoutFirst)),
                }
            }
        }
    }
}

/// What becomes of a later fragment without its first: it passes if all whole packets do that it may be a part of, those of
/// each protocol by the same rule.
fn alone(crossing: &Crossing<'_, '_>) -> Option<Answer> {
    let Crossing { policy, interface, at, direction, seen, .. } = *crossing;
    // Only an interface's first address counts, where it must be the interface's own or lie in its subnet.
    let mut addresses = interface.into_iter().flat_map(|interface| &interface.addresses);
    let usual = addresses.find(|address| address.is_ipv6() == seen.ipv6);
    // Without one it is the address that nobody has, which is inside every subnet as well.
    let nobody = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let is_own = *usual.unwrap_or(&nobody) == seen.local(direction);
    let subnet = interface.map_or(Some(at), |interface| interface.subnet.as_deref());
    let is_neighbour =
        subnet.is_some_and(|subnet| is_inside(&policy.subnets[subnet].cidr_blocks, seen.remote(direction)));
    let is_foreign = interface.is_some_and(|it| fails_source_dest_check(it, seen, direction));
    let is_checked = interface.is_some_and(|it| it.source_dest_check && !it.addresses.is_empty());
    if seen.protocol == 6 || is_foreign || ((is_checked || is_neighbour) && !is_own) {
        return None;
    }
    let own = by_one_rule(crossing, seen.protocol)?;
    // Over IPv6 only the first says which protocol it is.
    let needed = if seen.ipv6 { &[6, 17, 58, 255][..] } else { &[] };
    let passes = needed.iter().all(|protocol| by_one_rule(crossing, *protocol).is_some());
    passes.then_some(own.0)
}

/// The answer to all packets of a protocol that has ports or types, or of all others, and whether they are tracked.
fn by_one_rule(crossing: &Crossing<'_, '_>, protocol: u8) -> Option<(Answer, bool)> {
    let tcp = Tcp::default();
    let seen = with(crossing.seen, protocol);
    let is_icmp = protocol == if seen.ipv6 { 58 } else { 1 };
    let variants: Vec<Seen<'_>> = match protocol {
        6 | 17 => {
            keys(crossing).into_iter().map(|port| Seen { ports: Some((0, port)), ..seen.clone() }).collect()
        }
        _ if is_icmp => {
            let kinds = keys(crossing).into_iter().map(u16::to_be_bytes);
            kinds.map(|[kind, code]| Seen { icmp: Some((kind, code, 0)), ..seen.clone() }).collect()
        }
        _ => {
            let numbers =
                (0..=255).filter(|number| ![6, 17, if seen.ipv6 { 58 } else { 1 }].contains(number));
            numbers.map(|number| with(&seen, number)).collect()
        }
    };
    let mut answers = variants.into_iter().map(|variant| {
        let tcp = (protocol == 6).then_some(&tcp);
        whole(crossing, &Seen { tcp, ..variant })
    });
    let first = answers.next()??;
    answers.all(|answer| answer.as_ref() == Some(&first)).then_some(first)
}

fn with<'s>(seen: &Seen<'s>, protocol: u8) -> Seen<'s> {
    Seen { protocol, piece: Piece::Whole, ports: None, icmp: None, tcp: None, ..seen.clone() }
}

/// Where some rule begins or ends: ports, or types with all their codes.
fn keys(crossing: &Crossing<'_, '_>) -> Vec<u16> {
    let Crossing { policy, interface, direction, .. } = *crossing;
    let of = |traffic: Traffic| match traffic {
        Traffic::Tcp(ports) | Traffic::Udp(ports) => vec![ports.from, ports.to.saturating_add(1)],
        Traffic::Icmp(matched) | Traffic::Icmpv6(matched) => {
            let kind = matched.kind.map_or(0, u16::from) << 8;
            let code = matched.code.map_or(0, u16::from);
            vec![kind, kind | code, (kind | code).saturating_add(1), kind.saturating_add(1 << 8)]
        }
        _ => Vec::new(),
    };
    let groups =
        interface.into_iter().flat_map(|it| rules(policy, it, direction)).map(|(_, rule)| rule.traffic);
    let acls = policy
        .network_acls
        .values()
        .flat_map(|acl| if direction == Direction::Ingress { &acl.ingress } else { &acl.egress });
    let mut keys: Vec<u16> = groups.chain(acls.map(|entry| entry.traffic)).flat_map(of).chain([0]).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The answer of the rules alone to a whole packet that passes, and whether its flow is tracked.
fn whole(crossing: &Crossing<'_, '_>, seen: &Seen<'_>) -> Option<(Answer, bool)> {
    let Crossing { policy, interface, at, direction, .. } = *crossing;
    let subnet = interface.map_or(Some(at), |interface| interface.subnet.as_deref());
    let (acl, says) =
        subnet.map_or(("", AclSays::Nothing), |subnet| ask_acl(policy, subnet, seen, direction));
    let (reason, acl) = match says {
        AclSays::Nothing => (Reason::Unfiltered, None),
        AclSays::Allow(number) => (Reason::AclAllow, Some((acl.to_owned(), number, direction))),
        AclSays::Deny(_) | AclSays::Default => return None,
    };
    let Some(interface) = interface.filter(|interface| !interface.security_groups.is_empty()) else {
        return Some((Answer { acl, ..Answer::of(reason) }, false));
    };
    let admitted = ask_groups(policy, interface, seen, direction, seen.remote(direction), false)?;
    let (group, rule, list) = admitted.named;
    let group = Some((group.to_owned(), rule, list));
    let answer = Answer { verdict: Verdict::Pass, reason: Reason::GroupRule, acl, group };
    Some((answer, admitted.untracked))
}
