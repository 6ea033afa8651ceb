//! The file as written: one type per object, the source of its reader and of the JSON Schema.
//!
//! Nothing here is checked across fields; that is [`super::check`]. Doc comments are the schema's descriptions.

use super::device::Device;
use super::network::{Address, Cidr, Protocol};
use super::object::document_object;
use super::prefix_entry::PrefixEntry;
use super::scalar::{Description, Flag, Name, PeeringStatus, Ranged, Word};
use super::value::{List, Named};
use crate::model::{Action, ExemptServices, Faces, MidStream, Mode, OtherEthertypes};

document_object! {
    /// The rules of one host: AWS security groups and network ACLs.
    Document {
        /// The version of this format.
        required version: Ranged<1, 1>,
        /// A remark.
        optional description: Description,
        /// VPCs by name. Without any, one implicit VPC holds everything.
        optional vpcs: Named<DocumentVpc>,
        /// Peering connections by name.
        optional peerings: Named<DocumentPeering>,
        /// Subnets by name.
        optional subnets: Named<DocumentSubnet>,
        /// Network ACLs by name.
        optional network_acls: Named<DocumentNetworkAcl>,
        /// Prefix lists by name.
        optional prefix_lists: Named<DocumentPrefixList>,
        /// Security groups by name.
        optional security_groups: Named<DocumentSecurityGroup>,
        /// Network interfaces by name: filtered devices of this host, and remote ones that lend their addresses.
        optional interfaces: Named<DocumentInterface>,
        /// Settings of the host.
        optional settings: DocumentSettings,
    }
}

document_object! {
    /// A VPC.
    DocumentVpc {
        /// At least one IPv4 block. Two VPCs may overlap unless they are peered.
        required cidr_blocks: List<Cidr>,
        /// Group references never match across regions.
        optional region: Name,
        /// A remark.
        optional description: Description,
    }
}

document_object! {
    /// A peering connection.
    DocumentPeering {
        /// A VPC.
        required requester: Name,
        /// The other VPC.
        required accepter: Name,
        /// As AWS writes it. Rules may name groups of the peer while it is active.
        required status: Word<PeeringStatus>,
        /// A remark.
        optional description: Description,
    }
}

document_object! {
    /// A subnet.
    DocumentSubnet {
        /// The VPC; every object names one or none does.
        optional vpc: Name,
        /// Inside the VPC's blocks; subnets of one VPC do not overlap.
        required cidr_blocks: List<Cidr>,
        /// Default: the VPC's ACL with `"default": true`, else AWS's default ACL, which allows all.
        optional network_acl: Name,
        /// This router's leg in the subnet; only the network ACL is enforced there.
        optional device: Device,
        /// `instance` (default): what the device receives leaves the subnet. `network`: the device faces the
        /// rest of the world.
        #[schemars(extend("default" = "instance"))]
        optional faces: Word<Faces>,
        /// Which hook.
        #[schemars(extend("default" = "auto"))]
        optional mode: Word<Mode>,
        /// A remark.
        optional description: Description,
    }
}

document_object! {
    /// A network ACL: stateless, numbered entries per direction, deny at the end.
    DocumentNetworkAcl {
        /// The VPC; every object names one or none does.
        optional vpc: Name,
        /// What enters the subnet.
        optional ingress: List<DocumentEntry>,
        /// What leaves the subnet.
        optional egress: List<DocumentEntry>,
        /// The ACL of the VPC's subnets that name none; one per VPC.
        #[schemars(extend("default" = false))]
        optional default: Flag,
        /// A remark.
        optional description: Description,
    }
}

document_object! {
    /// One numbered entry of a network ACL.
    DocumentEntry {
        /// Names the entry in counters, metrics and logs; unique in its list.
        optional id: Name,
        /// The lowest number that matches decides; unique per direction.
        required rule_number: Ranged<1, 32766>,
        /// What a match means.
        required action: Word<Action>,
        /// A word, or a number where -1 is all.
        required protocol: Protocol,
        /// First destination port; required for tcp and udp, refused for others.
        optional from_port: Ranged<0, 65535>,
        /// Last destination port.
        optional to_port: Ranged<0, 65535>,
        /// -1 is any; required for icmp, optional for icmpv6, refused for others.
        optional icmp_type: Ranged<-1, 255>,
        /// -1 is any, and so it is when the type is.
        optional icmp_code: Ranged<-1, 255>,
        /// The remote address: source inbound, destination outbound.
        required cidr_block: Cidr,
        /// A remark.
        optional description: Description,
    }
}

document_object! {
    /// A prefix list.
    DocumentPrefixList {
        /// CIDRs, or objects with a `cidr`.
        required entries: List<PrefixEntry>,
        /// What a reference costs in quotas; default: the number of entries.
        optional max_entries: Ranged<1, 4_294_967_295>,
        /// A remark.
        optional description: Description,
    }
}

document_object! {
    /// A security group: stateful, allow-only rules.
    DocumentSecurityGroup {
        /// The VPC; every object names one or none does.
        optional vpc: Name,
        /// A remark.
        optional description: Description,
        /// What may come in.
        optional ingress: List<DocumentRule>,
        /// What may go out. Without this key AWS's default, everything; `[]` means nothing.
        optional egress: List<DocumentRule>,
    }
}

document_object! {
    /// One security group rule; it may name several peers, and at least one.
    DocumentRule {
        /// Names the rule in counters, metrics and logs; unique in its list.
        optional id: Name,
        /// A word, or a number where -1 is all.
        required protocol: Protocol,
        /// First destination port; required for tcp and udp, refused for others.
        optional from_port: Ranged<0, 65535>,
        /// Last destination port.
        optional to_port: Ranged<0, 65535>,
        /// -1 is any; required for icmp, optional for icmpv6, refused for others.
        optional icmp_type: Ranged<-1, 255>,
        /// -1 is any, and so it is when the type is.
        optional icmp_code: Ranged<-1, 255>,
        /// Remote CIDRs of either family.
        optional cidr_blocks: List<Cidr>,
        /// Groups whose members match, of the same VPC or of one with an active peering in the same region.
        optional security_groups: List<Name>,
        /// Prefix lists.
        optional prefix_lists: List<Name>,
        /// The group's own members match.
        #[schemars(rename = "self")]
        #[schemars(extend("default" = false))]
        optional itself: Flag = "self",
        /// Flows that this rule admits may use the reserved 1 % of the connection table.
        #[schemars(extend("default" = false))]
        optional reserved: Flag,
        /// A remark.
        optional description: Description,
    }
}

document_object! {
    /// A network interface.
    DocumentInterface {
        /// Groups of the same VPC; `[]` means no group filter.
        required security_groups: List<Name>,
        /// Without one no network ACL applies.
        optional subnet: Name,
        /// Inside the subnet; optional where there is a device.
        optional addresses: List<Address>,
        /// A device of this host; without one the interface only lends its addresses to its groups.
        optional device: Device,
        /// `network` (default): the device is the instance's own NIC. `instance`: the device is the host's end of
        /// the instance's veth or tap.
        #[schemars(extend("default" = "network"))]
        optional faces: Word<Faces>,
        /// Which hook; `xdp` is native XDP or an error.
        #[schemars(extend("default" = "auto"))]
        optional mode: Word<Mode>,
        /// false: judge, count and report, but let pass.
        #[schemars(extend("default" = true))]
        optional enforce: Flag,
        /// Drops what is not to or from `addresses`.
        #[schemars(extend("default" = true))]
        optional source_dest_check: Flag,
        /// Seconds an established TCP connection may be idle.
        #[schemars(extend("default" = 432000))]
        optional tcp_established_timeout: Ranged<60, 432_000>,
        /// Seconds a UDP flow in one direction, or of one exchange, may be idle.
        #[schemars(extend("default" = 30))]
        optional udp_timeout: Ranged<30, 60>,
        /// Seconds a UDP flow of more than one exchange may be idle.
        #[schemars(extend("default" = 180))]
        optional udp_stream_timeout: Ranged<60, 180>,
        /// A remark.
        optional description: Description,
    }
}

document_object! {
    /// Settings of the host.
    DocumentSettings {
        /// Confirmed connections of this host.
        #[schemars(extend("default" = 262144))]
        optional conntrack_max: Ranged<1024, 16_777_216>,
        /// A TCP segment without SYN and without an entry.
        #[schemars(extend("default" = "drop"))]
        optional mid_stream: Word<MidStream>,
        /// How long connections older than the first attach are taken over at their next segment; 0 turns it off. Those
        /// that the kernel of this host lists are taken over whatever it says.
        #[schemars(extend("default" = 120))]
        optional adopt_seconds: Ranged<0, 3600>,
        /// AWS services whose traffic passes unjudged.
        #[schemars(extend("default" = "none"))]
        optional exempt_services: Word<ExemptServices>,
        /// Frames that are neither IP nor ARP nor always let through; default drop, but pass on bridge ports.
        optional other_ethertypes: Word<OtherEthertypes>,
        /// A remark.
        optional description: Description,
    }
}
