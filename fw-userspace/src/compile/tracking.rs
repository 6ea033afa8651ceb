//! What AWS does not track: flows that a rule admits from everywhere, when one rule of the other direction lets
//! everything of that protocol out to everywhere. Judged by family, as published.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html>

use std::collections::{BTreeMap, HashMap};

use fw_common::layout::Column;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, keys, open_families};
use crate::model::{GroupRule, Policy, PortRange, Traffic};

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

/// By direction, family and protocol (TCP, UDP), the ports whose flows are untracked: merged, sorted.
type Untracked = [Vec<(u16, u16)>; 8];

/// Which flows the rules leave untracked, by interface: enough to tell whether other rules narrow it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRules {
    /// Of interfaces that have a device; `None` without groups, where everything passes and nothing has an entry.
    interfaces: BTreeMap<String, Option<u32>>,
    /// Each once; interfaces with the same groups have the same.
    untracked: Vec<Untracked>,
}

impl OpenRules {
    /// Those of a policy.
    pub fn of(policy: &Policy) -> Self {
        let mut open = Self::default();
        let mut known: HashMap<&[String], u32> = HashMap::new();
        for (name, interface) in &policy.interfaces {
            let groups = interface.security_groups.as_slice();
            if interface.attachment.is_none() {
                continue;
            }
            let untracked = (!groups.is_empty()).then(|| {
                *known.entry(groups).or_insert_with(|| {
                    open.untracked.push(untracked_ports(policy, groups));
                    (open.untracked.len() - 1) as u32
                })
            });
            open.interfaces.insert(name.clone(), untracked);
        }
        open
    }

    /// Whether `new` removes or narrows an open rule that made flows untracked here, on some interface. Such flows
    /// have no entry and would be strays under the new rules.
    pub fn narrowed_by(&self, new: &Self) -> bool {
        self.interfaces.iter().any(|(name, before)| match (before, new.interfaces.get(name)) {
            (_, None | Some(None)) => false,
            (None, Some(Some(_))) => true,
            (Some(before), Some(Some(after))) => {
                let before = self.untracked.get(*before as usize).into_iter().flatten();
                let after = new.untracked.get(*after as usize).into_iter().flatten();
                before.zip(after).any(|(before, after)| !covers(after, before))
            }
        })
    }
}

/// Whether `new` removes or narrows an open rule of `old`, see [`OpenRules::narrowed_by`].
pub fn open_rules_narrowed(old: &Policy, new: &Policy) -> bool {
    OpenRules::of(old).narrowed_by(&OpenRules::of(new))
}

/// Whether there are untracked TCP flows to the members of these groups, by family.
pub(crate) fn untracked_tcp(policy: &Policy, groups: &[String]) -> [bool; 2] {
    let [tcp4, _, tcp6, ..] = untracked_ports(policy, groups);
    [!tcp4.is_empty(), !tcp6.is_empty()]
}

fn untracked_ports(policy: &Policy, groups: &[String]) -> Untracked {
    let groups: Vec<_> = groups.iter().filter_map(|name| policy.security_groups.get(name)).collect();
    let open = |rules: &mut dyn Iterator<Item = &GroupRule>| -> Vec<(Traffic, [bool; 2])> {
        let rules = rules.map(|rule| (rule.traffic, open_families(&rule.cidr_blocks)));
        rules.filter(|(_, is_open)| *is_open != [false; 2]).collect()
    };
    let ingress = open(&mut groups.iter().flat_map(|group| &group.ingress));
    let egress = open(&mut groups.iter().flat_map(|group| &group.egress));
    let mut all = Untracked::default();
    let mut places = all.iter_mut();
    for (rules, other) in [(&ingress, &egress), (&egress, &ingress)] {
        let mut responses = Responses::default();
        for (traffic, is_open) in other {
            responses.add(*traffic, *is_open);
        }
        for family in [0, 1] {
            for (column, place) in [Column::Tcp, Column::Udp].into_iter().zip(&mut places) {
                if responses.allowed(column, family) {
                    let rules = rules.iter().filter(|(_, is_open)| is_open[family]);
                    *place = merged(
                        rules.filter_map(|(traffic, _)| keys(*traffic, family, column, false)).collect(),
                    );
                }
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

/// Both merged: no range of `inner` lies in two of `outer`.
fn covers(outer: &[(u16, u16)], inner: &[(u16, u16)]) -> bool {
    inner.iter().all(|inner| {
        let next = outer.partition_point(|outer| outer.0 <= inner.0);
        next > 0 && inner.1 <= outer[next - 1].1
    })
}
