//! From which client ports a service is reached. A network ACL has no state and judges the answer by the port that the
//! client chose, which depends on what the client is.

use serde::Serialize;

use super::path::Step;
use crate::model::{AclChoice, Policy, PortRange, Traffic};
use fw_common::packet::protocol;

/// Ports of clients that meet the same fate: exact, and together all that clients choose.
#[derive(Debug, Clone, Serialize)]
pub struct ClientPorts {
    /// The first.
    pub from: u16,
    /// The last.
    pub to: u16,
    /// `allow` if the packet and its answer get through.
    pub verdict: &'static str,
    /// The filter that drops one of them.
    pub blocked: Option<Step>,
}

/// What clients of one kind may expect.
#[derive(Debug, Clone, Serialize)]
pub struct Client {
    /// What they are.
    pub system: &'static str,
    /// The first port that they choose.
    pub from: u16,
    /// The last one.
    pub to: u16,
    /// `allow` from all of these ports, `deny` from none of them, or `partly`.
    pub verdict: &'static str,
}

/// Who chooses which ports; the ranges of the usual systems first.
const SYSTEMS: [(&str, PortRange); 3] = [
    // net.ipv4.ip_local_port_range, https://docs.kernel.org/networking/ip-sysctl.html
    ("Linux", PortRange { from: 32_768, to: 60_999 }),
    // https://www.rfc-editor.org/rfc/rfc6335 section 6
    ("Windows, macOS", PortRange { from: 49_152, to: 65_535 }),
    // https://docs.aws.amazon.com/vpc/latest/userguide/custom-network-acl.html#nacl-ephemeral-ports
    ("NAT gateway, load balancer", ANY),
];

const ANY: PortRange = PortRange { from: 1024, to: 65_535 };

/// All client ports, cut where an entry of a network ACL on the way begins or ends. Groups do not tell them apart: they
/// know a reply by its connection, or, untracked, by a rule for all ports.
pub(super) fn cut(policy: &Policy, ends: [&str; 2], number: u8) -> Vec<PortRange> {
    let lists = ends.into_iter().filter_map(|name| {
        let subnet = policy.interfaces.get(name)?.subnet.as_ref()?;
        match &policy.subnets.get(subnet)?.network_acl {
            AclChoice::Named(acl) => policy.network_acls.get(acl),
            AclChoice::AwsDefault => None,
        }
    });
    let entries = lists.flat_map(|acl| acl.ingress.iter().chain(&acl.egress));
    let ports = entries.filter_map(|entry| match entry.traffic {
        Traffic::Tcp(ports) if number == protocol::TCP => Some(ports),
        Traffic::Udp(ports) if number == protocol::UDP => Some(ports),
        _ => None,
    });
    let (first, end) = (u32::from(ANY.from), u32::from(ANY.to) + 1);
    let mut borders: Vec<u32> = ports.flat_map(|it| [u32::from(it.from), u32::from(it.to) + 1]).collect();
    borders.retain(|border| (first..end).contains(border));
    borders.extend([first, end]);
    borders.sort_unstable();
    borders.dedup();
    let pieces = borders.array_windows().map(|[from, next]| (*from, *next - 1));
    pieces.map(|(from, to)| PortRange { from: from as u16, to: to as u16 }).collect()
}

/// What the usual clients may expect.
pub(super) fn clients(ports: &[ClientPorts]) -> Vec<Client> {
    let of = |(system, PortRange { from, to }): (&'static str, PortRange)| {
        let own = ports.iter().filter(|ports| ports.from <= to && from <= ports.to);
        Client { system, from, to, verdict: verdict(own.map(|ports| ports.verdict == "allow")) }
    };
    if ports.is_empty() { Vec::new() } else { SYSTEMS.map(of).to_vec() }
}

/// Of what each of some ports gets.
pub(super) fn verdict(passes: impl Iterator<Item = bool> + Clone) -> &'static str {
    match (passes.clone().any(|passes| passes), passes.clone().all(|passes| passes)) {
        (_, true) => "allow",
        (true, false) => "partly",
        (false, false) => "deny",
    }
}

/// A port that is not let through, of the most usual system that has one.
pub(super) fn lost(ports: &[ClientPorts]) -> Option<u16> {
    SYSTEMS.iter().find_map(|(_, system)| {
        let mut denied = ports.iter().filter(|ports| ports.verdict == "deny");
        let ports = denied.find(|ports| ports.from <= system.to && system.from <= ports.to)?;
        Some(ports.from.max(system.from))
    })
}
