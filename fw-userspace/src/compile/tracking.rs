//! What AWS does not track: flows that a rule admits from everywhere, when one rule of the other direction lets
//! everything of that protocol out to everywhere. Judged by family, as published.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html>

use fw_common::layout::Column;

use super::entry::{Entry, keys, open_families};
use crate::model::{GroupRule, Interface, Policy, PortRange, Traffic};

/// By protocol (TCP, UDP) and family: one rule of the other direction allows all responses to everywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Responses([[bool; 2]; 2]);

impl Responses {
    /// What the entries of the other direction allow.
    pub(super) fn of<'a>(other_direction: impl IntoIterator<Item = &'a Entry>) -> Self {
        let mut responses = Self::default();
        for entry in other_direction {
            responses.add(entry.traffic, entry.is_open);
        }
        responses
    }

    /// Whether flows in this column can be untracked.
    pub(super) fn allowed(self, column: Column, family: usize) -> bool {
        let [tcp, udp] = self.0;
        match column {
            Column::Tcp => tcp[family],
            Column::Udp => udp[family],
            Column::Icmp | Column::Other => false,
        }
    }

    fn add(&mut self, traffic: Traffic, is_open: [bool; 2]) {
        const ALL_PORTS: PortRange = PortRange { from: 0, to: 0xffff };
        let protocols = match traffic {
            Traffic::All => [true, true],
            Traffic::Tcp(ALL_PORTS) => [true, false],
            Traffic::Udp(ALL_PORTS) => [false, true],
            _ => [false, false],
        };
        for (by_family, covers) in self.0.iter_mut().zip(protocols) {
            for (allowed, open) in by_family.iter_mut().zip(is_open) {
                *allowed |= covers && open;
            }
        }
    }
}

/// Whether `new` removes or narrows an open rule that made flows untracked in `old`, on some interface. Such flows
/// have no entry and would be strays under the new rules.
pub fn open_rules_narrowed(old: &Policy, new: &Policy) -> bool {
    old.interfaces.iter().any(|(name, before)| {
        let Some(after) = new.interfaces.get(name) else { return false };
        // Without groups everything passes, and nothing has an entry.
        if after.security_groups.is_empty() {
            return false;
        }
        if before.security_groups.is_empty() {
            return true;
        }
        let before = untracked_ports(old, before);
        let after = untracked_ports(new, after);
        before.iter().zip(&after).any(|(before, after)| !covers(after, before))
    })
}

/// Merged port ranges, by direction, family and protocol.
fn untracked_ports(policy: &Policy, interface: &Interface) -> Vec<Vec<(u16, u16)>> {
    let groups: Vec<_> =
        interface.security_groups.iter().filter_map(|name| policy.security_groups.get(name)).collect();
    let ingress: Vec<&GroupRule> = groups.iter().flat_map(|group| &group.ingress).collect();
    let egress: Vec<&GroupRule> = groups.iter().flat_map(|group| &group.egress).collect();
    let mut all = Vec::new();
    for (rules, other) in [(&ingress, &egress), (&egress, &ingress)] {
        let mut responses = Responses::default();
        for rule in other {
            responses.add(rule.traffic, open_families(&rule.cidr_blocks));
        }
        for family in [0, 1] {
            for column in [Column::Tcp, Column::Udp] {
                let ports = rules
                    .iter()
                    .filter(|rule| {
                        responses.allowed(column, family) && open_families(&rule.cidr_blocks)[family]
                    })
                    .filter_map(|rule| keys(rule.traffic, family, column, false));
                all.push(merged(ports.collect()));
            }
        }
    }
    all
}

fn merged(mut ranges: Vec<(u16, u16)>) -> Vec<(u16, u16)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u16, u16)> = Vec::new();
    for (from, to) in ranges {
        match merged.last_mut() {
            Some(last) if u32::from(from) <= u32::from(last.1) + 1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

fn covers(outer: &[(u16, u16)], inner: &[(u16, u16)]) -> bool {
    inner.iter().all(|inner| outer.iter().any(|outer| outer.0 <= inner.0 && inner.1 <= outer.1))
}
