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

    /// Which connections of an interface may be older than their entries once `new` takes the place of these rules: those
    /// that had none, where `new` removes or narrows an open rule. `None` if there are none.
    pub fn older(&self, interface: &str, new: &Self) -> Option<Older> {
        match (self.interfaces.get(interface)?, new.interfaces.get(interface)?) {
            (_, None) => None,
            (None, Some(_)) => Some(Older { all: true, ..Older::default() }),
            (Some(before), Some(after)) => {
                let before = tcp_of(self.untracked.get(*before as usize)?);
                let after = tcp_of(new.untracked.get(*after as usize)?);
                let is_narrowed = before.iter().flatten().zip(after.iter().flatten());
                let is_narrowed = is_narrowed.into_iter().any(|(before, after)| !covers(after, before));
                is_narrowed.then_some(Older { all: false, untracked: before })
            }
        }
    }
}

/// Ports of services over TCP, by direction and family: merged, sorted.
type TcpPorts = [[Vec<(u16, u16)>; 2]; 2];

/// Connections that may be older than their entries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Older {
    /// Any: nothing was filtered.
    pub(super) all: bool,
    /// Those to these ports, which had no entry.
    pub(super) untracked: TcpPorts,
}

impl Older {
    /// All of them.
    pub fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// These and others.
    pub(super) fn add(&mut self, other: Self) {
        self.all |= other.all;
        let ports = self.untracked.iter_mut().flatten().zip(other.untracked.into_iter().flatten());
        for (ports, other) in ports {
            let both = std::mem::take(ports).into_iter().chain(other).collect();
            *ports = merged(both);
        }
    }
}

fn tcp_of([in4, _, in6, _, out4, _, out6, _]: &Untracked) -> TcpPorts {
    [[in4.clone(), in6.clone()], [out4.clone(), out6.clone()]]
}

/// Which connections of an interface may be older than their entries once one policy takes the place of the other.
pub fn older_connections(old: &Policy, new: &Policy, interface: &str) -> Option<Older> {
    OpenRules::of(old).older(interface, &OpenRules::of(new))
}

/// Whether there are untracked TCP flows to the members of these groups, by family.
pub(crate) fn untracked_tcp(policy: &Policy, groups: &[String]) -> [bool; 2] {
    let [tcp4, _, tcp6, ..] = untracked_ports(policy, groups);
    [!tcp4.is_empty(), !tcp6.is_empty()]
}

/// Whether a rule of these groups admits TCP flows that are tracked.
pub(crate) fn tracks_tcp(policy: &Policy, groups: &[String]) -> bool {
    let untracked = tcp_of(&untracked_ports(policy, groups));
    groups.iter().filter_map(|name| policy.security_groups.get(name)).any(|group| {
        [&group.ingress, &group.egress].into_iter().zip(&untracked).any(|(rules, untracked)| {
            rules.iter().any(|rule| {
                untracked.iter().enumerate().any(|(family, untracked)| {
                    names_family(rule, policy, family == 0)
                        && keys(rule.traffic, family, Column::Tcp, false)
                            .is_some_and(|ports| !covers(untracked, &[ports]))
                })
            })
        })
    })
}

/// Whether a peer of the rule can be of this family; a group's members may be of both.
fn names_family(rule: &GroupRule, policy: &Policy, ipv4: bool) -> bool {
    let lists = rule.prefix_lists.iter().filter_map(|name| policy.prefix_lists.get(name));
    let mut nets = lists.flat_map(|list| &list.entries).chain(&rule.cidr_blocks);
    !rule.security_groups.is_empty() || nets.any(|net| net.addr().is_ipv4() == ipv4)
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
