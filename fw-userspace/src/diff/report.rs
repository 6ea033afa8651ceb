//! What `diff` says, as plain data: the JSON of `--json` is these types. Keys are stable: add, never rename.

use std::sync::Arc;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use crate::explain::Explanation;

/// The difference of two rule sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiffReport {
    /// Some traffic meets another fate, or is filtered no more, or for the first time.
    pub verdicts_change: bool,
    /// What differs as written.
    pub objects: Vec<ObjectChange>,
    /// Interfaces and routers' legs at which something changes.
    pub interfaces: Vec<InterfaceChange>,
}

/// Something with a name, or the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ObjectChange {
    /// `vpc`, `peering`, `subnet`, `network_acl`, `prefix_list`, `security_group`, `interface` or `settings`.
    pub kind: &'static str,
    /// Its name; empty for the settings.
    pub name: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// What differs in it; nothing where it is new or gone.
    pub parts: Vec<PartChange>,
}

/// A rule, an entry or a value of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PartChange {
    /// Like `ingress https` (a rule's id), `egress 100` (an entry's number), `device`.
    pub part: String,
    /// What it was, in words; null if it was not there.
    pub before: Option<String>,
    /// What it is, in words; null if it is gone.
    pub after: Option<String>,
}

/// What changes at one interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InterfaceChange {
    /// Interface, or subnet for a router's leg.
    pub interface: String,
    /// `interface` or `subnet`.
    pub kind: &'static str,
    /// `added`: it was not filtered on this host and will be; `removed`: the other way round; `kept`.
    pub filter: &'static str,
    /// Whether drops were and will be enforced; null where there is no filter.
    pub enforced: [Option<bool>; 2],
    /// The traffic whose verdict changes; of an interface that is added or removed, nothing.
    pub regions: Vec<Region>,
}

/// Traffic whose verdict changes in the same way: each remote address with each service and each local address. Regions
/// of one interface, direction and kind of packets do not overlap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Region {
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// The verdict that it gets: `allow` or `deny`.
    pub verdict: &'static str,
    /// `first`: packets that begin a flow; `established`: those of connections that the groups have let begin; `all`.
    pub packets: &'static str,
    /// `all`, `tcp`, `udp`, `icmp`, `icmpv6`, or `other`.
    pub protocol: &'static str,
    /// Every port, type and code, or number of that protocol.
    pub all_keys: bool,
    /// Destination ports; null but for TCP and UDP.
    pub ports: Option<Vec<Span>>,
    /// ICMP types and codes; null but for ICMP and ICMPv6.
    pub icmp: Option<Vec<IcmpSpan>>,
    /// Protocol numbers; null but for other protocols.
    pub numbers: Option<Vec<Span>>,
    /// The other end: source inbound, destination outbound. Interfaces that are judged alike share it.
    #[serde(serialize_with = "listed")]
    pub remote: Arc<[IpNet]>,
    /// The interface's end.
    pub local: Vec<IpNet>,
    /// `local` is all that passes the source/destination check on both sides, or everything where it is off.
    pub local_is_usual: bool,
    /// One of its packets.
    pub example: Example,
}

/// Both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// First.
    pub from: u16,
    /// Last.
    pub to: u16,
}

/// Types with codes: each with each, all ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct IcmpSpan {
    /// First type.
    pub from_type: u8,
    /// Last type.
    pub to_type: u8,
    /// First code.
    pub from_code: u8,
    /// Last code.
    pub to_code: u8,
}

/// A packet with what the decision core says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// As `explain` takes and prints it.
    pub packet: String,
    /// By the old rules.
    pub before: Explanation,
    /// By the new ones.
    pub after: Explanation,
}

fn listed<S: Serializer>(nets: &Arc<[IpNet]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(nets.iter())
}
