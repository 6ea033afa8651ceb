//! The rules files of the hosts.
//!
//! Peers are written as narrow as they are: flows of a rule that is open to the whole internet, both ways, are
//! not tracked, and would be cut with their rule.

use serde_json::{Value, json};

use crate::world::Host;

/// Everybody in London.
pub(crate) const LONDON: &str = "20.0.0.0/16";
/// Everybody in Seoul.
pub(crate) const SEOUL: &str = "10.0.0.0/16";

/// An instance that filters its own NIC by these groups (name and content), attached in this order.
pub(crate) fn instance(host: &Host, addresses: &[&str], groups: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = groups.iter().map(|(name, _)| *name).collect();
    let groups: serde_json::Map<String, Value> =
        groups.iter().map(|(name, group)| ((*name).to_owned(), group.clone())).collect();
    let mut interfaces = serde_json::Map::new();
    interfaces.insert(
        host.name.to_owned(),
        json!({ "device": "eth0", "addresses": addresses, "security_groups": names }),
    );
    // adopt_seconds is off, so that nothing passes in this demo only because it was there before the rules.
    json!({ "version": 1, "security_groups": groups, "interfaces": interfaces,
            "settings": { "adopt_seconds": 0 } })
}

/// London's instance, which has two addresses, with one group.
pub(crate) fn london(host: &Host, ingress: &[Value]) -> Value {
    instance(host, &["20.0.1.10", "20.0.1.11"], &[("london", group(ingress))])
}

/// A group with these inbound rules; no `egress` means everything out, as in AWS.
pub(crate) fn group(ingress: &[Value]) -> Value {
    json!({ "ingress": ingress })
}

/// A group rule that allows a TCP port from London.
pub(crate) fn tcp(id: &str, port: u16) -> Value {
    json!({ "id": id, "protocol": "tcp", "from_port": port, "to_port": port, "cidr_blocks": [LONDON] })
}

/// A group rule that allows all ICMP.
pub(crate) fn ping(from: &str) -> Value {
    json!({ "id": "ping", "protocol": "icmp", "icmp_type": -1, "icmp_code": -1, "cidr_blocks": [from] })
}

/// The router: two VPCs that are peered, and the network ACL of Seoul's subnet on its leg there.
pub(crate) fn router(ingress: &[Value], egress: &[Value]) -> Value {
    json!({
        "version": 1,
        "vpcs": { "seoul": { "cidr_blocks": [SEOUL] }, "london": { "cidr_blocks": [LONDON] } },
        "peerings": { "seoul-london": { "requester": "seoul", "accepter": "london", "status": "active" } },
        "subnets": {
            "seoul-a": { "vpc": "seoul", "cidr_blocks": ["10.0.1.0/24"], "network_acl": "acl-seoul",
                         "device": "seoul0", "faces": "instance" }
        },
        "network_acls": { "acl-seoul": { "vpc": "seoul", "ingress": ingress, "egress": egress } }
    })
}

/// An ACL entry for a TCP port.
pub(crate) fn entry(number: u16, action: &str, port: u16, peer: &str) -> Value {
    ports(number, action, (port, port), peer)
}

/// An ACL entry for TCP ports.
pub(crate) fn ports(number: u16, action: &str, (from, to): (u16, u16), peer: &str) -> Value {
    json!({ "rule_number": number, "action": action, "protocol": "tcp", "from_port": from, "to_port": to,
            "cidr_block": peer })
}

/// The ACL entry that allows everything.
pub(crate) fn everything(number: u16) -> Value {
    json!({ "rule_number": number, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" })
}

/// What a person wants to see of a rules file: one line per rule.
pub(crate) fn summary(rules: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    for section in ["network_acls", "security_groups"] {
        for (name, lists) in rules[section].as_object().into_iter().flatten() {
            for direction in ["ingress", "egress"] {
                let head = format!("{name} {direction}");
                match lists[direction].as_array().map(Vec::as_slice) {
                    None => lines.push(format!("{head}: everything (the default)")),
                    Some([]) => lines.push(format!("{head}: nothing")),
                    Some(rules) => {
                        lines.extend(rules.iter().map(|rule| format!("{head}: {}", line(direction, rule))))
                    }
                }
            }
        }
    }
    lines
}

/// `90 deny tcp 80 from 20.0.0.0/16`, as far as the rule says so.
fn line(direction: &str, rule: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    let mut words = Vec::new();
    for key in ["rule_number", "id", "action", "protocol"] {
        words.extend(rule.get(key).map(text));
    }
    match (rule.get("from_port"), rule.get("to_port")) {
        (Some(from), Some(to)) if from == to => words.push(text(from)),
        (Some(from), Some(to)) => words.push(format!("{from}-{to}")),
        _ => {}
    }
    let toward = if direction == "ingress" { "from" } else { "to" };
    let peer = rule.get("cidr_block").or_else(|| rule.get("cidr_blocks"));
    words.extend(peer.map(|peer| format!("{toward} {}", text(peer))));
    words.join(" ")
}
