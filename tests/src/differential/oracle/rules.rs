//! The two lists, from top to bottom.

use std::net::IpAddr;

use fw_common::Direction;
use fw_userspace::model::{
    AclChoice, Action, ExemptServices, GroupRule, IcmpMatch, Interface, Policy, PortRange, Traffic,
};
use ipnet::IpNet;

use super::seen::Seen;

/// A rule by its list's name, its own, and the list's direction.
pub type Named<'p> = (&'p str, String, Direction);

/// What a network ACL says.
pub(super) enum AclSays {
    Nothing,
    Allow(String),
    Deny(String),
    /// No entry matches.
    Default,
}

/// The ACL of a subnet: the first entry by number. `name` is that of the ACL.
pub(super) fn ask_acl<'p>(
    policy: &'p Policy,
    subnet: &str,
    seen: &Seen<'_>,
    direction: Direction,
) -> (&'p str, AclSays) {
    let subnet = &policy.subnets[subnet];
    if is_inside(&subnet.cidr_blocks, seen.source) && is_inside(&subnet.cidr_blocks, seen.destination) {
        return ("", AclSays::Nothing);
    }
    let AclChoice::Named(name) = &subnet.network_acl else {
        // AWS's own: 100 for IPv4, 101 for IPv6, both allow all.
        let number = if seen.ipv6 { "101" } else { "100" };
        return ("default", AclSays::Allow(number.to_owned()));
    };
    let acl = &policy.network_acls[name];
    let entries = if direction == Direction::Ingress { &acl.ingress } else { &acl.egress };
    let first = entries
        .iter()
        .filter(|entry| entry.cidr.contains(&seen.remote(direction)))
        .filter(|entry| speaks_of(entry.traffic, seen, destination_port(seen), true))
        .min_by_key(|entry| entry.rule_number);
    let says = match first {
        Some(entry) if entry.action == Action::Allow => AclSays::Allow(entry.rule_number.to_string()),
        Some(entry) => AclSays::Deny(entry.rule_number.to_string()),
        None => AclSays::Default,
    };
    (name, says)
}

/// In the subnet, or where no router goes.
pub(super) fn is_inside(blocks: &[IpNet], address: IpAddr) -> bool {
    let everywhere = match address {
        IpAddr::V4(a) => {
            a.is_broadcast() || a.is_unspecified() || a.is_link_local() || a.octets()[..3] == [224, 0, 0]
        }
        IpAddr::V6(a) => a.is_unspecified() || a.is_unicast_link_local() || a.segments()[0] == 0xff02,
    };
    everywhere || blocks.iter().any(|block| block.contains(&address))
}

/// A group's rule that admits a packet.
#[derive(Clone)]
pub(super) struct Admitted<'p> {
    pub(super) named: Named<'p>,
    pub(super) reserved: bool,
    /// AWS does not track the flow.
    pub(super) untracked: bool,
}

/// The groups of an interface, in their order. `reply`: asks for the packet that this one would answer.
pub(super) fn ask_groups<'p>(
    policy: &'p Policy,
    interface: &'p Interface,
    seen: &Seen<'_>,
    direction: Direction,
    remote: IpAddr,
    reply: bool,
) -> Option<Admitted<'p>> {
    let port = if reply { seen.ports.map(|(source, _)| source) } else { destination_port(seen) };
    let mut matching = rules(policy, interface, direction)
        .filter(|(_, rule)| speaks_of(rule.traffic, seen, port, false) && names(policy, rule, remote))
        .peekable();
    let (group, first) = *matching.peek()?;
    let family = family_of(remote);
    let untracked = matching.any(|(_, rule)| is_open(rule, family))
        && seen.ports.is_some()
        && allows_all_responses(policy, interface, direction.reverse(), seen.tcp.is_some(), family);
    Some(Admitted { named: (group, first.id.clone(), direction), reserved: first.reserved, untracked })
}

pub(super) fn rules<'p>(
    policy: &'p Policy,
    interface: &'p Interface,
    direction: Direction,
) -> impl Iterator<Item = (&'p str, &'p GroupRule)> {
    interface.security_groups.iter().flat_map(move |name| {
        let group = &policy.security_groups[name];
        let rules = if direction == Direction::Ingress { &group.ingress } else { &group.egress };
        rules.iter().map(move |rule| (name.as_str(), rule))
    })
}

/// Whether a rule names an address, by CIDR, prefix list or group.
fn names(policy: &Policy, rule: &GroupRule, remote: IpAddr) -> bool {
    rule.cidr_blocks.iter().any(|net| net.contains(&remote))
        || rule
            .prefix_lists
            .iter()
            .any(|list| policy.prefix_lists[list].entries.iter().any(|net| net.contains(&remote)))
        || rule.security_groups.iter().any(|group| {
            let mut interfaces = policy.interfaces.values();
            interfaces.any(|of| of.security_groups.contains(group) && of.addresses.contains(&remote))
        })
}

fn family_of(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

/// It names the whole family by a CIDR.
fn is_open(rule: &GroupRule, family: usize) -> bool {
    rule.cidr_blocks.iter().any(|net| net.prefix_len() == 0 && family_of(net.addr()) == family)
}

/// One open rule of a direction lets every port of TCP (or UDP) pass.
fn allows_all_responses(
    policy: &Policy,
    interface: &Interface,
    direction: Direction,
    tcp: bool,
    family: usize,
) -> bool {
    let all = PortRange { from: 0, to: 65535 };
    rules(policy, interface, direction).any(|(_, rule)| {
        let covers = match rule.traffic {
            Traffic::All => true,
            Traffic::Tcp(ports) => tcp && ports == all,
            Traffic::Udp(ports) => !tcp && ports == all,
            _ => false,
        };
        covers && is_open(rule, family)
    })
}

fn destination_port(seen: &Seen<'_>) -> Option<u16> {
    seen.ports.map(|(_, destination)| destination)
}

/// Whether protocol, ports, type and code fit. `port` is the one to compare with.
fn speaks_of(traffic: Traffic, seen: &Seen<'_>, port: Option<u16>, in_acl: bool) -> bool {
    let fits = |ports: PortRange| port.is_some_and(|port| ports.from <= port && port <= ports.to);
    let fits_icmp = |matched: IcmpMatch| {
        seen.icmp.is_some_and(|(kind, code, _)| {
            matched.kind.is_none_or(|it| it == kind) && matched.code.is_none_or(|it| it == code)
        })
    };
    match traffic {
        Traffic::All => true,
        Traffic::Tcp(ports) => seen.protocol == 6 && fits(ports),
        Traffic::Udp(ports) => seen.protocol == 17 && fits(ports),
        Traffic::Icmp(matched) if !seen.ipv6 => fits_icmp(matched),
        Traffic::Icmpv6(matched) if seen.ipv6 => fits_icmp(matched),
        // The other family's ICMP is a protocol by its number, to an ACL.
        Traffic::Icmp(_) => in_acl && seen.protocol == 1,
        Traffic::Icmpv6(_) => in_acl && seen.protocol == 58,
        Traffic::Protocol(number) => seen.icmp.is_none() && seen.protocol == number,
    }
}

/// Whether an exempt service stands at an address, for this port of TCP or UDP or (a router) for everything.
pub(super) fn is_service(
    policy: &Policy,
    vpc: Option<&str>,
    address: IpAddr,
    seen: &Seen<'_>,
    port: Option<u16>,
) -> bool {
    if policy.settings.exempt_services == ExemptServices::None {
        return false;
    }
    let text = address.to_string();
    let (tcp, udp) = match seen.protocol {
        6 => (port, None),
        17 => (None, port),
        _ => (None, None),
    };
    let is_resolver = tcp == Some(53) || udp == Some(53);
    let link_local = match text.as_str() {
        "169.254.169.253" | "fd00:ec2::253" => is_resolver,
        "169.254.169.254" | "fd00:ec2::254" | "169.254.170.2" => tcp == Some(80),
        "169.254.169.250" | "169.254.169.251" | "fd00:ec2::250" => tcp == Some(1688),
        "169.254.169.123" | "fd00:ec2::123" => udp == Some(123),
        _ => false,
    };
    match policy.settings.exempt_services {
        ExemptServices::None | ExemptServices::LinkLocal => link_local,
        ExemptServices::Aws => {
            let blocks = vpc.map_or(&[][..], |vpc| &policy.vpcs[vpc].cidr_blocks);
            let primary = blocks.iter().find(|net| net.addr().is_ipv4());
            let at_resolver = primary.is_some_and(|net| nth(net, 2) == address);
            let mut subnets = policy.subnets.values().filter(|subnet| subnet.vpc.as_deref() == vpc);
            let at_router = subnets.any(|subnet| subnet.cidr_blocks.iter().any(|net| nth(net, 1) == address));
            link_local || at_resolver && is_resolver || at_router
        }
    }
}

/// The subnet's, else the first group's.
pub(super) fn vpc_of<'p>(policy: &'p Policy, interface: &Interface) -> Option<&'p str> {
    match &interface.subnet {
        Some(subnet) => policy.subnets[subnet].vpc.as_deref(),
        None => policy.security_groups[interface.security_groups.first()?].vpc.as_deref(),
    }
}

fn nth(net: &IpNet, number: u8) -> IpAddr {
    match net.network() {
        IpAddr::V4(first) => IpAddr::from((u32::from(first) + u32::from(number)).to_be_bytes()),
        IpAddr::V6(first) => IpAddr::from((u128::from(first) + u128::from(number)).to_be_bytes()),
    }
}

/// How rules have become narrower.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Narrowed {
    /// The interface has got groups.
    FromNothing,
    /// Some TCP flow is tracked or refused that was admitted untracked.
    Open,
}

/// The interfaces whose flows may now need an entry that they have not.
pub(super) fn narrowed<'p>(old: &'p Policy, new: &Policy) -> Vec<(&'p str, Narrowed)> {
    let narrowed = old.interfaces.iter().filter_map(|(name, before)| {
        let after = new.interfaces.get(name)?;
        // What has no device here is not filtered here.
        if before.attachment.is_none() || after.attachment.is_none() || after.security_groups.is_empty() {
            return None;
        }
        if before.security_groups.is_empty() {
            return Some((name.as_str(), Narrowed::FromNothing));
        }
        narrows_open_rules((old, before), (new, after)).then_some((name.as_str(), Narrowed::Open))
    });
    narrowed.collect()
}

fn narrows_open_rules(before: (&Policy, &Interface), after: (&Policy, &Interface)) -> bool {
    [Direction::Ingress, Direction::Egress].iter().any(|direction| {
        [0, 1].iter().any(|family| {
            // Something begins to be admitted or not only where some range begins or ends.
            let mut ports = [before, after].into_iter().flat_map(|(policy, interface)| {
                rules(policy, interface, *direction).flat_map(|(_, rule)| match rule.traffic {
                    Traffic::Tcp(range) => [0, range.from, range.to.saturating_add(1)],
                    _ => [0; 3],
                })
            });
            ports.any(|port| {
                is_untracked(before.0, before.1, *direction, *family, port)
                    && !is_untracked(after.0, after.1, *direction, *family, port)
            })
        })
    })
}

/// Whether an interface's TCP flows to a port, opened in a direction, had no entry.
pub(super) fn was_untracked(policy: &Policy, at: &str, opener: Direction, ipv6: bool, port: u16) -> bool {
    let interface = policy.interfaces.get(at);
    interface.is_some_and(|it| is_untracked(policy, it, opener, usize::from(ipv6), port))
}

/// Whether TCP to a port has no entry, whoever speaks.
fn is_untracked(policy: &Policy, it: &Interface, direction: Direction, family: usize, port: u16) -> bool {
    let mut rules = rules(policy, it, direction);
    rules.any(|(_, rule)| {
        let covers = match rule.traffic {
            Traffic::All => true,
            Traffic::Tcp(ports) => ports.from <= port && port <= ports.to,
            _ => false,
        };
        covers && is_open(rule, family)
    }) && allows_all_responses(policy, it, direction.reverse(), true, family)
}
