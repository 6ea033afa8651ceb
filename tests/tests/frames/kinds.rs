//! One frame of each kind, and the rules that they are judged by.

use fw_common::Reason;
use fw_tests::packet;
use serde_json::{Value, json};

/// The interface in all rules here.
pub(crate) const NIC: &str = "nic";

/// Frames that arrive, with what comes of them under [`some`].
pub(crate) const KINDS: [(&str, Reason); 36] = [
    ("tcp 198.51.100.7:40000 > 10.20.1.10:443 syn", Reason::GroupRule),
    ("tcp 198.51.100.7:40000 > 10.20.1.10:443 syn len=6 options=40", Reason::GroupRule),
    ("tcp 198.51.100.7:40000 > 10.20.1.10:444 syn", Reason::NoGroupRule),
    ("tcp 198.51.100.7:40001 > 10.20.1.10:443 ack", Reason::MidStream),
    ("tcp 198.51.100.7:40000 > 10.20.1.10:443 syn+fin", Reason::BadTcpFlags),
    ("udp 198.51.100.7:40000 > 10.20.1.10:53 len=5", Reason::GroupRule),
    ("udp 198.51.100.7:40000 > 10.20.1.10:53 len=5 options=4", Reason::GroupRule),
    ("udp 198.51.100.200:40000 > 10.20.1.10:53 len=5", Reason::AclDeny),
    ("udp 198.51.100.7:0 > 10.20.1.10:0 len=5", Reason::NoGroupRule),
    ("udp 198.51.100.7:40000 > 10.20.1.10:53 len=5 vlan=7", Reason::GroupRule),
    ("udp 198.51.100.7:40000 > 10.20.1.10:53 len=5 vlan=7 vlan=8", Reason::GroupRule),
    ("udp 198.51.100.7:40000 > 10.20.1.10:53 len=5 vlan=7 vlan=8 vlan=9", Reason::TooManyVlanTags),
    ("icmp 198.51.100.7 > 10.20.1.10 8/0 id=7 seq=1", Reason::GroupRule),
    ("icmp 198.51.100.9 > 10.20.1.10 3/4 quote (udp 10.20.1.10:1053 > 198.51.100.7:1024)", Reason::Related),
    (
        "icmp 198.51.100.9 > 10.20.1.10 3/4 quote (udp 10.20.1.10:1054 > 198.51.100.7:1024)",
        Reason::NoGroupRule,
    ),
    ("proto 47 198.51.100.7 > 10.20.1.10 len=12", Reason::GroupRule),
    ("proto 50 198.51.100.7 > 10.20.1.10 len=12", Reason::NoGroupRule),
    ("udp 198.51.100.7:40000 > 10.20.1.10:53 len=16 frag=7:0+", Reason::GroupRule),
    ("udp 198.51.100.7:40000 > 10.20.1.10:53 len=16 frag=8:24", Reason::FragmentWithoutFirst),
    ("tcp 198.51.100.7:40000 > 10.20.1.10:443 frag=9:16+", Reason::FragmentOverlapsHeader),
    ("tcp [2001:db8::7]:40000 > [fd20::10]:443 syn", Reason::GroupRule),
    ("udp [2001:db8::7]:40000 > [fd20::10]:53 len=5", Reason::GroupRule),
    ("udp [2001:db8::7]:40000 > [fd20::10]:53 len=5 ext=hop,dst,routing,frag,ah,dst", Reason::GroupRule),
    ("udp [2001:db8::7]:40000 > [fd20::10]:54 ext=dst,dst,dst,dst,dst,dst,dst,dst", Reason::NoGroupRule),
    (
        "udp [2001:db8::7]:40000 > [fd20::10]:53 ext=dst,dst,dst,dst,dst,dst,dst,dst,dst",
        Reason::Ipv6TooManyExtensions,
    ),
    ("udp [2001:db8::7]:40000 > [fd20::10]:53 ext=routing0", Reason::Ipv6RoutingHeader0),
    ("udp [2001:db8::7]:40000 > [fd20::10]:53 len=16 frag=7:0+", Reason::GroupRule),
    (
        "udp [2001:db8::7]:40000 > [fd20::10]:53 len=16 frag=8:24 ext=dst,frag,dst",
        Reason::FragmentWithoutFirst,
    ),
    ("icmpv6 2001:db8::7 > fd20::10 128/0 id=7 seq=1 vlan=7", Reason::GroupRule),
    ("icmpv6 2001:db8::9 > fd20::10 2/0 quote (udp [fd20::10]:1053 > [2001:db8::7]:1024)", Reason::Related),
    ("nd-solicit fe80::7 > ff02::1:ff00:10", Reason::AlwaysNeighbourDiscovery),
    ("dhcpv6-solicit fe80::7 > ff02::1:2", Reason::AlwaysDhcp),
    ("dhcp-offer 198.51.100.1 > 10.20.1.10 vlan=7", Reason::AlwaysDhcp),
    ("arp 198.51.100.7 > 10.20.1.10", Reason::AlwaysArp),
    ("ethertype 0x88cc dst-mac=01:80:c2:00:00:0e", Reason::AlwaysLinkControl),
    ("ethertype 0x1234", Reason::EthertypeDropped),
];

/// What the host sent before, so that errors about it are related.
pub(crate) const SENT: [&str; 2] =
    ["udp 10.20.1.10:1053 > 198.51.100.7:1024", "udp [fd20::10]:1053 > [2001:db8::7]:1024"];

/// The frame of a kind.
pub(crate) fn frame(text: &str) -> Vec<u8> {
    packet::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Rules that let in some of them.
pub(crate) fn some() -> Value {
    let peers = json!(["198.51.100.0/24", "2001:db8::/32"]);
    let ingress = json!([
        { "id": "web", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": peers },
        { "id": "dns", "protocol": "udp", "from_port": 53, "to_port": 53, "cidr_blocks": peers },
        { "id": "ping", "protocol": "icmp", "icmp_type": 8, "icmp_code": -1, "cidr_blocks": ["198.51.100.0/24"] },
        { "id": "ping6", "protocol": "icmpv6", "icmp_type": 128, "cidr_blocks": ["2001:db8::/32"] },
        { "id": "gre", "protocol": 47, "cidr_blocks": peers },
    ]);
    let entries = json!([
        { "rule_number": 90, "action": "deny", "protocol": "udp", "from_port": 53, "to_port": 53,
          "cidr_block": "198.51.100.128/25" },
        { "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" },
        { "rule_number": 101, "action": "allow", "protocol": "all", "cidr_block": "::/0" },
    ]);
    json!({ "version": 1,
            "subnets": { "subnet": { "cidr_blocks": ["10.20.1.0/24", "fd20::/64"], "network_acl": "acl" } },
            "network_acls": { "acl": { "ingress": entries, "egress": entries } },
            "security_groups": { "sg": { "ingress": ingress } },
            "interfaces": { NIC: { "device": "eth0", "subnet": "subnet", "security_groups": ["sg"] } },
            "settings": { "adopt_seconds": 0 } })
}

/// Rules that let in nothing, and out nothing.
pub(crate) fn none() -> Value {
    json!({ "version": 1,
            "security_groups": { "sg": { "ingress": [], "egress": [] } },
            "interfaces": { NIC: { "device": "eth0", "security_groups": ["sg"] } },
            "settings": { "adopt_seconds": 0 } })
}

/// The same rules at a device in a mode.
pub(crate) fn at(mut rules: Value, device: &str, mode: &str) -> Value {
    rules["interfaces"][NIC]["device"] = json!(device);
    rules["interfaces"][NIC]["mode"] = json!(mode);
    rules
}
