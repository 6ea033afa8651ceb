//! The rule sets of histories: three places, `web` with addresses in a subnet, `app` behind the host's end of its link
//! without a network ACL, and the leg of subnet `B`.

use fw_userspace::model::Policy;
use fw_userspace::simulate::Simulation;
use serde_json::{Value, json};

use super::super::policies::{policy as model, with};

/// Of all confirmed connections 64 are kept for flows of `reserved` rules.
pub(super) const MOST_CONNECTIONS: usize = 67;
/// Confirmed connections of ordinary rules.
pub(super) const MOST_ORDINARY: usize = 3;
/// By its number: nothing is allowed.
pub(super) const CLOSED: usize = 3;
const COUNT: usize = 7;

thread_local! {
    static PREPARED: Vec<(Policy, Simulation)> = prepared();
}

/// A host with the rule set of this number, and no connection.
pub(super) fn host(number: u8) -> Simulation {
    PREPARED.with(|prepared| prepared[which(number)].1.clone())
}

/// The rule set of this number.
pub(super) fn policy(number: u8) -> Policy {
    PREPARED.with(|prepared| prepared[which(number)].0.clone())
}

/// Which rule set a byte means.
pub(super) fn which(number: u8) -> usize {
    usize::from(number) % COUNT
}

fn prepared() -> Vec<(Policy, Simulation)> {
    let prepare = |rules: &Value| {
        let mut policy = model(rules);
        // Fewer than a file may ask for.
        policy.settings.conntrack_max = MOST_CONNECTIONS as u32;
        let host = Simulation::new(policy.clone()).unwrap_or_else(|error| panic!("{error}"));
        (policy, host)
    };
    let all: Vec<_> = [tracked(), outbound_only(), open(), closed(), acl_denies(), pickup(), observed()]
        .iter()
        .map(prepare)
        .collect();
    assert_eq!(all.len(), COUNT);
    all
}

/// Rules that name their peers, so that every flow is tracked.
fn tracked() -> Value {
    let peers = json!(["198.51.100.0/24", "203.0.113.0/24", "10.20.1.0/24"]);
    let peers6 = json!(["2001:db8:ffff::/48"]);
    json!({
        "version": 1,
        "settings": { "adopt_seconds": 120 },
        "vpcs": { "main": { "cidr_blocks": ["10.20.0.0/16", "2001:db8:20::/56"] } },
        "subnets": {
            "A": { "vpc": "main", "cidr_blocks": ["10.20.1.0/24", "2001:db8:20:1::/64"], "network_acl": "nA" },
            "B": { "vpc": "main", "cidr_blocks": ["10.20.2.0/24"], "network_acl": "nA", "device": "legB" },
        },
        "network_acls": { "nA": {
            "vpc": "main",
            "ingress": allow_all_entries(),
            "egress": allow_all_entries(),
        } },
        "security_groups": { "sg": {
            "vpc": "main",
            "ingress": [
                { "id": "https", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": peers.clone() },
                { "id": "https6", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": peers6.clone() },
                { "id": "ssh", "protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": peers.clone(), "reserved": true },
                { "id": "dns", "protocol": "udp", "from_port": 53, "to_port": 53, "cidr_blocks": peers.clone() },
                { "id": "ping", "protocol": "icmp", "icmp_type": 8, "icmp_code": -1, "cidr_blocks": peers.clone() },
                { "id": "esp", "protocol": 50, "cidr_blocks": peers.clone() },
            ],
            "egress": [
                { "id": "all", "protocol": "all", "cidr_blocks": peers },
                { "id": "all6", "protocol": "all", "cidr_blocks": peers6 },
            ],
        } },
        "interfaces": {
            "web": {
                "device": "web0", "subnet": "A", "security_groups": ["sg"],
                "addresses": ["10.20.1.10", "2001:db8:20:1::10"],
            },
            "app": { "device": "app0", "faces": "instance", "security_groups": ["sg"] },
        },
    })
}

fn allow_all_entries() -> Value {
    json!([
        { "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" },
        { "rule_number": 101, "action": "allow", "protocol": "all", "cidr_block": "::/0" },
    ])
}

fn outbound_only() -> Value {
    with(tracked(), &json!({ "security_groups": { "sg": { "ingress": [] } } }))
}

fn open() -> Value {
    let all = json!([
        { "id": "all4", "protocol": "all", "cidr_blocks": ["0.0.0.0/0"] },
        { "id": "all6", "protocol": "all", "cidr_blocks": ["::/0"] },
    ]);
    with(tracked(), &json!({ "security_groups": { "sg": { "ingress": all, "egress": all } } }))
}

fn closed() -> Value {
    let change = json!({
        "network_acls": { "nA": { "ingress": [], "egress": [] } },
        "security_groups": { "sg": { "ingress": [], "egress": [] } },
    });
    with(tracked(), &change)
}

/// Replies do not get back through the network ACL.
fn acl_denies() -> Value {
    let ingress = json!([
        { "rule_number": 90, "action": "deny", "protocol": "tcp", "from_port": 1024, "to_port": 65535, "cidr_block": "0.0.0.0/0" },
        { "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" },
    ]);
    with(tracked(), &json!({ "network_acls": { "nA": { "ingress": ingress } } }))
}

fn pickup() -> Value {
    with(tracked(), &json!({ "settings": { "mid_stream": "pickup", "exempt_services": "aws" } }))
}

fn observed() -> Value {
    with(outbound_only(), &json!({ "interfaces": { "web": { "enforce": false } } }))
}
