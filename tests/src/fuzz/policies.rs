//! The few rule sets that frames and histories are judged by. Each has one interface `web` with one device.

use fw_userspace::document;
use fw_userspace::model::Policy;
use serde_json::{Value, json};

use crate::case::merge;

/// The model of a rules file that must be right.
pub(super) fn policy(rules: &Value) -> Policy {
    let reading = document::read(rules.to_string().as_bytes());
    reading.policy.unwrap_or_else(|| panic!("{}", document::render("rules", &reading.findings)))
}

/// `base` with a change merged into it.
pub(super) fn with(mut base: Value, change: &Value) -> Value {
    merge(&mut base, change);
    base
}

/// Nothing is allowed, neither by the group nor by the network ACL.
pub(super) fn closed() -> Value {
    json!({
        "version": 1,
        "settings": { "adopt_seconds": 0 },
        "subnets": { "A": { "cidr_blocks": ["10.20.1.0/24", "2001:db8:20:1::/64"], "network_acl": "nA" } },
        "network_acls": { "nA": { "ingress": [], "egress": [] } },
        "security_groups": { "sg": { "ingress": [], "egress": [] } },
        "interfaces": {
            "web": {
                "device": "web0", "subnet": "A", "security_groups": ["sg"],
                "addresses": ["10.20.1.10", "2001:db8:20:1::10"],
            },
        },
    })
}

/// Nothing is allowed by the group; no network ACL, no addresses.
pub(super) fn closed_group() -> Value {
    let change = json!({
        "subnets": "(none)", "network_acls": "(none)",
        "interfaces": { "web": { "subnet": "(none)", "addresses": "(none)" } },
    });
    with(closed(), &change)
}

/// Everything is allowed, untracked.
pub(super) fn open() -> Value {
    let all = json!([
        { "id": "all4", "protocol": "all", "cidr_blocks": ["0.0.0.0/0"] },
        { "id": "all6", "protocol": "all", "cidr_blocks": ["::/0"] },
    ]);
    with(closed_group(), &json!({ "security_groups": { "sg": { "ingress": all, "egress": all } } }))
}

/// Something of everything.
pub(super) fn mixed() -> Value {
    let change = json!({
        "settings": { "exempt_services": "aws" },
        "vpcs": { "main": { "cidr_blocks": ["10.20.0.0/16", "2001:db8:20::/56"] } },
        "subnets": { "A": { "vpc": "main" } },
        "network_acls": { "nA": {
            "vpc": "main",
            "ingress": [
                { "rule_number": 80, "action": "deny", "protocol": "tcp", "from_port": 23, "to_port": 23, "cidr_block": "0.0.0.0/0" },
                { "rule_number": 90, "action": "deny", "protocol": "all", "cidr_block": "198.51.100.128/25" },
                { "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "198.51.100.0/24" },
                { "rule_number": 110, "action": "allow", "protocol": "udp", "from_port": 1024, "to_port": 65535, "cidr_block": "0.0.0.0/0" },
                { "rule_number": 120, "action": "allow", "protocol": "icmp", "icmp_type": 3, "icmp_code": -1, "cidr_block": "0.0.0.0/0" },
                { "rule_number": 130, "action": "allow", "protocol": "all", "cidr_block": "2001:db8:ffff::/48" },
            ],
            "egress": [
                { "rule_number": 100, "action": "deny", "protocol": "tcp", "from_port": 25, "to_port": 25, "cidr_block": "0.0.0.0/0" },
                { "rule_number": 110, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" },
                { "rule_number": 120, "action": "allow", "protocol": "icmpv6", "cidr_block": "::/0" },
                { "rule_number": 130, "action": "allow", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_block": "::/0" },
            ],
        } },
        "security_groups": { "sg": {
            "vpc": "main",
            "ingress": [
                { "id": "https", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": ["0.0.0.0/0", "::/0"] },
                { "id": "ssh", "protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": ["198.51.100.0/25"], "reserved": true },
                { "id": "dns", "protocol": "udp", "from_port": 53, "to_port": 53, "cidr_blocks": ["198.51.100.7/32"] },
                { "id": "ping", "protocol": "icmp", "icmp_type": 8, "icmp_code": -1, "cidr_blocks": ["198.51.100.0/24"] },
                { "id": "ping6", "protocol": "icmpv6", "icmp_type": 128, "icmp_code": 0, "cidr_blocks": ["2001:db8:ffff::/48"] },
                { "id": "esp", "protocol": 50, "cidr_blocks": ["198.51.100.7/32"] },
            ],
            "egress": [
                { "id": "udp", "protocol": "udp", "from_port": 0, "to_port": 65535, "cidr_blocks": ["0.0.0.0/0"] },
                { "id": "web", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": ["198.51.100.0/24", "2001:db8:ffff::/48"] },
                { "id": "icmp", "protocol": "icmp", "icmp_type": -1, "icmp_code": -1, "cidr_blocks": ["198.51.100.0/24"] },
            ],
        } },
    });
    with(closed(), &change)
}

/// Only the network ACL of [`mixed`], at a router's leg; its interface is somewhere else.
pub(super) fn leg() -> Value {
    let change = json!({
        "subnets": { "A": { "device": "leg0" } },
        "interfaces": { "web": { "device": "(none)" } },
    });
    with(mixed(), &change)
}

/// The host's end of the instance's link: what is received is outbound.
pub(super) fn facing_instance(rules: Value) -> Value {
    with(rules, &json!({ "interfaces": { "web": { "faces": "instance" } } }))
}

/// Counts only.
pub(super) fn observing(rules: Value) -> Value {
    with(rules, &json!({ "interfaces": { "web": { "enforce": false } } }))
}
