//! The rules as checked domain types: what exists here is valid.
//!
//! A `Policy` is built from a document by [`crate::document::read`] and by nothing else; every name in it
//! resolves, every range is in range, every CIDR has its host bits cleared. It knows nothing of the host:
//! devices are selectors, not interface indexes.

mod glob;
mod overlap;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use indexmap::IndexMap;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Everything that one rules file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// By name. Empty when the file names none: then one implicit VPC holds everything.
    pub vpcs: BTreeMap<String, Vpc>,
    /// By name.
    pub peerings: BTreeMap<String, Peering>,
    /// By name.
    pub subnets: BTreeMap<String, Subnet>,
    /// By name; those of the file only, AWS's default ACL is [`AclChoice::AwsDefault`].
    pub network_acls: BTreeMap<String, NetworkAcl>,
    /// By name.
    pub prefix_lists: BTreeMap<String, PrefixList>,
    /// By name.
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// In the order of the file.
    pub interfaces: IndexMap<String, Interface>,
    /// Settings of the host.
    pub settings: Settings,
}

/// A VPC: an address space that group references and subnets live in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vpc {
    /// At least one IPv4 block; the first IPv4 block is the primary one.
    pub cidr_blocks: Vec<IpNet>,
    /// Group references never match across regions.
    pub region: Option<String>,
}

/// A peering connection between two VPCs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peering {
    /// VPC name.
    pub requester: String,
    /// VPC name.
    pub accepter: String,
    /// Only an active peering carries group references.
    pub active: bool,
}

/// A subnet and the network ACL at its border.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subnet {
    /// `None` in the implicit VPC.
    pub vpc: Option<String>,
    /// At least one.
    pub cidr_blocks: Vec<IpNet>,
    /// The one ACL of this subnet, defaults already resolved.
    pub network_acl: AclChoice,
    /// A router's leg on this host: only the ACL is enforced there.
    pub leg: Option<Attachment>,
}

/// Which ACL a subnet has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AclChoice {
    /// One of the file.
    Named(String),
    /// AWS's default: 100 and 101 allow all, both ways.
    AwsDefault,
}

/// A stateless, numbered list per direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkAcl {
    /// `None` in the implicit VPC.
    pub vpc: Option<String>,
    /// The ACL of the VPC's subnets that name none.
    pub default: bool,
    /// Sorted by rule number.
    pub ingress: Vec<AclEntry>,
    /// Sorted by rule number.
    pub egress: Vec<AclEntry>,
}

/// One numbered entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AclEntry {
    /// 1..=32766.
    pub rule_number: u16,
    /// What a match means.
    pub action: Action,
    /// What is matched besides the address.
    pub traffic: Traffic,
    /// The remote address: source inbound, destination outbound. Its family limits the entry to that family.
    pub cidr: IpNet,
    /// The user's id or a hash of the content; unique in its list.
    pub id: String,
    /// As written.
    pub description: Option<String>,
}

/// Allow or deny.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Lets the packet on.
    Allow,
    /// Drops it.
    Deny,
}

/// Protocol and, where it has them, destination ports or ICMP type and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Any protocol.
    All,
    /// TCP to a range of ports.
    Tcp(PortRange),
    /// UDP to a range of ports.
    Udp(PortRange),
    /// ICMP; matches IPv4 packets only.
    Icmp(IcmpMatch),
    /// ICMPv6. In an ACL entry with an IPv4 CIDR: protocol 58 over IPv4, any type. In a group, IPv6 only.
    Icmpv6(IcmpMatch),
    /// Any other protocol by number (never 1, 6, 17 or 58).
    Protocol(u8),
}

/// Destination ports, both ends included, `from <= to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// First port.
    pub from: u16,
    /// Last port.
    pub to: u16,
}

/// ICMP type and code; `None` is any. No type means no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpMatch {
    /// `icmp_type`, `None` for -1.
    pub kind: Option<u8>,
    /// `icmp_code`, `None` for -1.
    pub code: Option<u8>,
}

/// A named set of CIDRs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrefixList {
    /// Both families may stand side by side.
    pub entries: Vec<IpNet>,
    /// What a reference costs in quotas.
    pub max_entries: u32,
}

/// Stateful, allow-only rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityGroup {
    /// `None` in the implicit VPC.
    pub vpc: Option<String>,
    /// As written.
    pub description: Option<String>,
    /// In the order of the file.
    pub ingress: Vec<GroupRule>,
    /// In the order of the file; AWS's default (all out, both families, ids `default-ipv4`, `default-ipv6`)
    /// where the file has no `egress` key.
    pub egress: Vec<GroupRule>,
}

/// One written rule; it may name several peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRule {
    /// The user's id or a hash of the content; unique in its list.
    pub id: String,
    /// What is matched besides the address.
    pub traffic: Traffic,
    /// Remote CIDRs.
    pub cidr_blocks: Vec<IpNet>,
    /// Groups whose members match. `self` is written out here as the group's own name; groups that are
    /// missing, in a VPC without an active peering or in another region were left out with a warning.
    pub security_groups: Vec<String>,
    /// Prefix lists.
    pub prefix_lists: Vec<String>,
    /// Flows that this rule admits may use the reserved slice of the connection table.
    pub reserved: bool,
    /// As written.
    pub description: Option<String>,
}

/// An elastic network interface: a filtered device of this host, or a remote one that lends its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Where it is attached; `None` for a remote one.
    pub attachment: Option<Attachment>,
    /// Without one no network ACL applies.
    pub subnet: Option<String>,
    /// Without any there is no source/destination check and the device's own addresses count.
    pub addresses: Vec<IpAddr>,
    /// In the order of the file; empty means no group filter.
    pub security_groups: Vec<String>,
    /// `false`: judge and count, but let pass.
    pub enforce: bool,
    /// Drop what is not to or from `addresses`.
    pub source_dest_check: bool,
    /// Idle limits.
    pub timeouts: Timeouts,
}

/// A device of this host and how to filter it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Which device.
    pub device: DeviceSelector,
    /// What the device receives: inbound or outbound.
    pub faces: Faces,
    /// Which hook.
    pub mode: Mode,
}

/// Of a device: `IFNAMSIZ` less its final zero.
pub(crate) const MAX_NAME_BYTES: usize = 15;

/// How a rules file names a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceSelector {
    /// Exactly this name, never `lo`.
    Name(String),
    /// A name with `*`, `?` or `[...]`.
    Glob(String),
    /// By hardware address.
    Mac([u8; 6]),
    /// By alternative name.
    Altname(String),
}

impl fmt::Display for DeviceSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) | Self::Glob(name) => f.write_str(name),
            Self::Mac([a, b, c, d, e, last]) => {
                write!(f, "mac {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{last:02x}")
            }
            Self::Altname(name) => write!(f, "altname {name}"),
        }
    }
}

/// Which side of the filter a device looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Faces {
    /// The instance's own NIC: what it receives is inbound.
    Network,
    /// The host's end of the instance's veth or tap: what it receives is the instance's outbound traffic.
    Instance,
}

/// Which hook the received side uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// XDP where it costs nothing, else TC.
    Auto,
    /// Native XDP or an error.
    Xdp,
    /// TC.
    Tc,
}

/// AWS's ConnectionTrackingSpecification, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// 60..=432000.
    pub tcp_established: u32,
    /// 30..=60.
    pub udp: u32,
    /// 60..=180.
    pub udp_stream: u32,
}

/// Settings of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// 1024..=16777216 confirmed connections.
    pub conntrack_max: u32,
    /// TCP segments without SYN and without an entry.
    pub mid_stream: MidStream,
    /// 0..=3600.
    pub adopt_seconds: u32,
    /// Which of AWS's services pass unjudged.
    pub exempt_services: ExemptServices,
    /// `None`: the default, drop but pass on bridge ports.
    pub other_ethertypes: Option<OtherEthertypes>,
}

/// What to do with a mid-stream segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MidStream {
    /// Refuse it.
    Drop,
    /// Let it open a flow if the rules allow it.
    Pickup,
}

/// Which service traffic passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExemptServices {
    /// None.
    None,
    /// AWS's link-local services.
    LinkLocal,
    /// Also the resolver at VPC + 2 and the subnets' router addresses.
    Aws,
}

/// Frames that are neither IP nor ARP nor always let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherEthertypes {
    /// Drop and count by type.
    Drop,
    /// Let pass.
    Pass,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            conntrack_max: 262_144,
            mid_stream: MidStream::Drop,
            adopt_seconds: 120,
            exempt_services: ExemptServices::None,
            other_ethertypes: None,
        }
    }
}

impl Default for Timeouts {
    /// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html>
    fn default() -> Self {
        Self { tcp_established: 432_000, udp: 30, udp_stream: 180 }
    }
}
