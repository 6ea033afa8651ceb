//! The answer: a verdict, the layer that gave it and the reason, in words that counters, messages and logs share.

use crate::flow::Direction;

/// What happens to the packet.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// On to whatever comes after this filter.
    Pass,
    /// Dropped here.
    Drop,
}

/// Who decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Layer {
    /// The device is in no rule set, or nothing is loaded.
    None,
    /// The frame itself was refused.
    Parse,
    /// Traffic that always passes.
    Exempt,
    /// The interface's own addresses.
    SourceDestCheck,
    /// The ACL of the subnet.
    NetworkAcl,
    /// Connection tracking.
    Conntrack,
    /// The groups of the interface.
    SecurityGroup,
}

impl Layer {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Parse => "parse",
            Self::Exempt => "exempt",
            Self::SourceDestCheck => "source_dest_check",
            Self::NetworkAcl => "network_acl",
            Self::Conntrack => "conntrack",
            Self::SecurityGroup => "security_group",
        }
    }
}

macro_rules! reasons {
    ($($code:literal $variant:ident $verdict:ident $layer:ident $name:literal $says:literal;)*) => {
        /// Why a packet passed or was dropped. The number is the index of its counter and part of the pinned
        /// maps' schema: never reuse one.
        #[repr(u8)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $(#[doc = $says] $variant = $code,)*
        }

        impl Reason {
            /// All of them, by number.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What it means for the packet.
            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$variant => Verdict::$verdict,)* }
            }

            /// The layer that decides for this reason.
            pub const fn layer(self) -> Layer {
                match self { $(Self::$variant => Layer::$layer,)* }
            }

            /// The word that counters, logs and `explain` print.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// One sentence for people.
            pub const fn says(self) -> &'static str {
                match self { $(Self::$variant => $says,)* }
            }

            /// The reason with this number.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

reasons! {
    0 NotConfigured Pass None "not_configured" "the device is not part of the rules in force";
    1 AlwaysArp Pass Exempt "arp" "ARP always passes";
    2 AlwaysNeighbourDiscovery Pass Exempt "neighbour_discovery" "IPv6 neighbour and router discovery always passes";
    3 AlwaysMulticastListener Pass Exempt "multicast_listener" "MLD always passes";
    4 AlwaysDhcp Pass Exempt "dhcp" "DHCP always passes on its port pairs";
    5 AlwaysLinkControl Pass Exempt "link_control" "link-local control frames (LACP, LLDP, STP, EAPOL, MACsec) always pass";
    6 ExemptService Pass Exempt "service" "traffic to an AWS service that the settings exempt, or its reply";
    7 OtherEthertype Pass Exempt "other_ethertype" "not IP, and the settings let other ethertypes pass";
    8 AclAllow Pass NetworkAcl "rule" "an entry of the network ACL allows it and no group filters this interface";
    9 GroupRule Pass SecurityGroup "rule" "a rule of a security group allows it";
    10 Established Pass Conntrack "established" "it belongs to a tracked connection";
    11 Related Pass Conntrack "related" "an ICMP error about a tracked connection";
    12 Adopted Pass Conntrack "adopted" "a connection older than the rules, taken over within adopt_seconds";
    13 Unfiltered Pass None "unfiltered" "neither a network ACL nor a group applies here";
    14 OneSided Pass Conntrack "one_sided" "it belongs to a connection whose answers do not pass here";
    15 OutOfWindow Pass Conntrack "out_of_window" "its numbers do not fit its tracked connection: it passes and changes nothing";

    20 EthernetTruncated Drop Parse "ethernet_truncated" "the frame ends inside its link-layer header";
    21 TooManyVlanTags Drop Parse "too_many_vlan_tags" "more than two VLAN tags";
    22 EthertypeDropped Drop Parse "other_ethertype" "neither IP nor ARP, and other_ethertypes is drop";
    23 IpVersion Drop Parse "ip_version" "the IP version does not fit the ethertype";
    24 Ipv4Truncated Drop Parse "ipv4_truncated" "the frame ends inside the IPv4 header";
    25 Ipv4HeaderLength Drop Parse "ipv4_header_length" "the IPv4 header length is below 20 or beyond the packet";
    26 Ipv4Length Drop Parse "ipv4_length" "the IPv4 total length is below 20 or beyond the frame";
    27 Ipv4Option Drop Parse "ipv4_option" "an IPv4 option's length is wrong";
    28 Ipv4SourceRoute Drop Parse "ipv4_source_route" "IPv4 source routing";
    29 Ipv6Truncated Drop Parse "ipv6_truncated" "the packet ends inside the IPv6 headers";
    30 Ipv6Length Drop Parse "ipv6_length" "the IPv6 payload length is beyond the frame";
    31 Ipv6ExtensionLength Drop Parse "ipv6_extension_length" "an IPv6 extension header is longer than the packet";
    32 Ipv6ExtensionOrder Drop Parse "ipv6_extension_order" "IPv6 hop-by-hop options that are not first";
    33 Ipv6TooManyExtensions Drop Parse "ipv6_too_many_extensions" "more than eight IPv6 extension headers";
    34 Ipv6RoutingHeader0 Drop Parse "ipv6_routing_header_0" "IPv6 routing header type 0";
    35 Ipv4MappedAddress Drop Parse "ipv4_mapped_address" "an IPv4-mapped IPv6 address on the wire";
    36 TransportTruncated Drop Parse "transport_truncated" "the packet ends inside its TCP, UDP or ICMP header";
    37 TcpHeaderLength Drop Parse "tcp_header_length" "the TCP header length is below 20 or beyond the packet";
    38 BadTcpFlags Drop Parse "bad_tcp_flags" "TCP SYN together with FIN or RST";
    39 FragmentOverlapsHeader Drop Parse "fragment_overlaps_header" "a later fragment begins before its first one ends, or inside the TCP header";
    40 FragmentWithoutFirst Drop Parse "fragment_without_first" "a later fragment whose first was not judged here, where that matters";
    41 FirstFragmentTruncated Drop Parse "first_fragment_truncated" "a first fragment that ends before its TCP, UDP or ICMP header does";

    45 SourceDestCheck Drop SourceDestCheck "source_dest_check" "not to or from the interface's own addresses";
    46 AclDeny Drop NetworkAcl "network_acl_rule" "an entry of the network ACL denies it";
    47 AclDefault Drop NetworkAcl "network_acl_default" "no entry of the network ACL matches";
    48 NoGroupRule Drop SecurityGroup "no_group_rule" "no rule of the interface's groups allows it";
    49 MidStream Drop Conntrack "mid_stream" "a TCP segment without SYN and without a connection";
    50 AllowanceExceeded Drop Conntrack "conntrack_allowance_exceeded" "the connection table is full";
    51 TablesDamaged Drop Parse "tables_damaged" "the rules in the kernel point outside their table";
    52 OpeningsExceeded Drop Conntrack "half_open_allowance_exceeded" "one CPU began more than a million flows a second";
}

/// Numbers of reasons are below this: the counters of one interface and direction.
pub const REASON_SLOTS: u32 = 64;

/// Counters of one zone: two directions, each for what was done and for what would have been denied.
pub const REASON_SLOTS_PER_ZONE: u32 = REASON_SLOTS * 4;

/// What was decided about one packet, and all that counters and events need to know of it.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decision {
    /// Verdict, layer and reason in one.
    pub reason: Reason,
    /// Direction at the interface.
    pub direction: Direction,
    /// The interface's `enforce` is off: a drop is counted as such but the packet passes.
    pub observed: bool,
    /// [`crate::layout::Interface::zone`]; 0 for a device that is not configured.
    pub zone: u32,
    /// Counter slot of the network ACL's entry that decided or let the packet on; 0 for none.
    pub acl_rule: u32,
    /// Counter slot of the group rule that admitted it; 0 for none.
    pub group_rule: u32,
}

impl Decision {
    /// What the hook does.
    #[inline(always)]
    pub fn verdict(&self) -> Verdict {
        if self.observed { Verdict::Pass } else { self.reason.verdict() }
    }

    /// Index of its counter, see [`counter_index`].
    #[inline(always)]
    pub fn counter_index(&self) -> u32 {
        let would_deny = self.observed && matches!(self.reason.verdict(), Verdict::Drop);
        counter_index(self.zone, self.direction, would_deny, self.reason)
    }
}

/// Where the counter of a reason stands: per zone and direction [`REASON_SLOTS`] for what was done and as many
/// for what would have been denied.
#[inline(always)]
pub fn counter_index(zone: u32, direction: Direction, would_deny: bool, reason: Reason) -> u32 {
    let row = zone.wrapping_mul(2).wrapping_add(direction.code() as u32);
    let row = row.wrapping_mul(2).wrapping_add(would_deny as u32);
    row.wrapping_mul(REASON_SLOTS).wrapping_add(reason as u32)
}

/// Packets and bytes of one counter.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counter {
    /// Wire packets (segments where segmentation is pending).
    pub packets: u64,
    /// Bytes from the link-layer header on.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_names_and_layers_are_unique_and_fit() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert!(u32::from(*reason as u8) < REASON_SLOTS);
            assert_eq!(Reason::from_code(*reason as u8), Some(*reason));
            let key = (reason.verdict() == Verdict::Drop, reason.layer(), reason.name());
            for other in Reason::ALL.iter().skip(index + 1) {
                let other = (other.verdict() == Verdict::Drop, other.layer(), other.name());
                assert_ne!(key, other);
            }
        }
    }
}
