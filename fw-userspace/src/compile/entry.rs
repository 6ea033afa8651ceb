//! One rule as the searches see it: sets of addresses, a range of keys in some columns, what a match means.

use fw_common::layout::{Column, Rule};
use ipnet::IpNet;

use crate::model::{AclEntry, Action, GroupRule, IcmpMatch, PortRange, Traffic};

/// Place of an entry in its [`super::book::Book`].
pub(super) type EntryId = u32;

/// Which layer a list of entries belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ListKind {
    /// What nothing matches is dropped by the implicit last entry, which has this slot.
    Acl { implicit_slot: u32 },
    /// What nothing matches is not allowed.
    Groups,
}

/// A rule; whose addresses it matches is kept apart, see [`super::sources::EntrySets`].
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) traffic: Traffic,
    /// What a match means, without the untracked bit.
    pub(super) rule: Rule,
    /// By family: it names all addresses by 0.0.0.0/0 or ::/0.
    pub(super) is_open: [bool; 2],
}

impl Entry {
    pub(super) fn of_acl(entry: &AclEntry, slot: u32) -> Self {
        let allow = entry.action == Action::Allow;
        Self { traffic: entry.traffic, rule: Rule::new(allow, false, false, slot), is_open: [false; 2] }
    }

    pub(super) fn of_group(rule: &GroupRule, slot: u32) -> Self {
        Self {
            traffic: rule.traffic,
            rule: Rule::new(true, false, rule.reserved, slot),
            is_open: open_families(&rule.cidr_blocks),
        }
    }
}

/// By family, whether one of the CIDRs is the whole of it.
pub(super) fn open_families(cidrs: &[IpNet]) -> [bool; 2] {
    let is_open = |ipv4: bool| cidrs.iter().any(|net| net.prefix_len() == 0 && net.addr().is_ipv4() == ipv4);
    [is_open(true), is_open(false)]
}

/// The keys of a column that traffic covers in a family, both ends included. `family` is 0 for IPv4, 1 for IPv6.
pub(super) fn keys(traffic: Traffic, family: usize, column: Column, is_acl: bool) -> Option<(u16, u16)> {
    let is_ipv4 = family == 0;
    match (traffic, column) {
        (Traffic::All, _) => Some((0, 0xffff)),
        (Traffic::Tcp(PortRange { from, to }), Column::Tcp)
        | (Traffic::Udp(PortRange { from, to }), Column::Udp) => Some((from, to)),
        (Traffic::Icmp(kind), Column::Icmp) if is_ipv4 => Some(icmp_keys(kind)),
        (Traffic::Icmpv6(kind), Column::Icmp) if !is_ipv4 => Some(icmp_keys(kind)),
        // The other family's ICMP is a protocol like any other, to an ACL; groups know no such thing.
        (Traffic::Icmp(_), Column::Other) if !is_ipv4 && is_acl => Some((1, 1)),
        (Traffic::Icmpv6(_), Column::Other) if is_ipv4 && is_acl => Some((58, 58)),
        (Traffic::Protocol(number), Column::Other) => Some((u16::from(number), u16::from(number))),
        _ => None,
    }
}

fn icmp_keys(kind: IcmpMatch) -> (u16, u16) {
    let Some(icmp_type) = kind.kind else { return (0, 0xffff) };
    match kind.code {
        Some(code) => (u16::from_be_bytes([icmp_type, code]), u16::from_be_bytes([icmp_type, code])),
        None => (u16::from_be_bytes([icmp_type, 0]), u16::from_be_bytes([icmp_type, 0xff])),
    }
}
