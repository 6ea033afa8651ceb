//! The rules that are measured, and the frames that meet them: five groups of 60 rules each way on one
//! interface (AWS allows five), and a network ACL of 40 entries each way, both families mixed.

use std::net::{IpAddr, SocketAddr};

use fw_tests::packet::{self, flag};
use serde_json::{Value, json};

use crate::sets::SERVER;

/// The interface in the rules.
pub(crate) const INTERFACE: &str = "server";
/// The port that is open to the client's network.
pub(crate) const OPEN_PORT: u16 = 5201;
/// The addresses of the client of [`fw_tests::netns::Rig::direct`].
const CLIENT: [&str; 2] = ["10.77.1.2", "fd77:1::2"];

const GROUPS: usize = 5;
const RULES: usize = 60;
const ENTRIES: usize = 40;

/// In a line, for the header.
pub(crate) fn describe() -> String {
    format!("{GROUPS} groups of {RULES} rules and a network ACL of {ENTRIES} entries, each way")
}

/// The rules file for `eth0` of the server.
pub(crate) fn file(mode: &str) -> Value {
    let names: Vec<String> = (0..GROUPS).map(|group| format!("group-{group}")).collect();
    let groups = names.iter().enumerate().map(|(group, name)| {
        let mut ingress = rules(group);
        if group == GROUPS - 1 {
            // The last rule of the last group.
            ingress[RULES - 1] = json!({ "id": "bench", "protocol": "tcp", "from_port": OPEN_PORT, "to_port": OPEN_PORT,
                "cidr_blocks": ["10.77.1.0/24", "fd77:1::/64"] });
        }
        (name.clone(), json!({ "ingress": ingress, "egress": rules(group) }))
    });
    let groups: serde_json::Map<String, Value> = groups.collect();
    json!({
        "version": 1,
        "subnets": { "bench": { "cidr_blocks": ["10.77.1.0/24", "fd77:1::/64"], "network_acl": "bench" } },
        "network_acls": { "bench": { "ingress": entries(), "egress": entries() } },
        "security_groups": groups,
        "interfaces": { INTERFACE: {
            "subnet": "bench", "addresses": SERVER, "security_groups": names, "device": "eth0", "mode": mode,
        } },
    })
}

/// Ranges of ports for networks of both families, none the same.
fn rules(group: usize) -> Vec<Value> {
    let rule = |number: usize| {
        let port = 10_000 + number * 100 + group * 10;
        json!({
            "id": format!("rule-{number}"),
            "protocol": if number.is_multiple_of(2) { "tcp" } else { "udp" },
            "from_port": port, "to_port": port + 50,
            "cidr_blocks": [
                format!("172.{}.{}.0/24", 16 + number % 16, group * 40 + number / 2),
                format!("2001:db8:{group:x}:{number:x}::/64"),
            ],
        })
    };
    (0..RULES).map(rule).collect()
}

/// Denies of networks and port ranges, the two that our frames meet last of them, then allow all.
fn entries() -> Vec<Value> {
    let any = |action, block: &str| json!({ "action": action, "protocol": "all", "cidr_block": block });
    let deny = |number: usize| {
        let block = if number.is_multiple_of(2) {
            format!("203.0.{number}.0/24")
        } else {
            format!("2001:db8:ff:{number:x}::/64")
        };
        json!({ "action": "deny", "protocol": "udp", "from_port": number * 100, "to_port": number * 100 + 150,
            "cidr_block": block })
    };
    let mut entries: Vec<Value> = (0..ENTRIES - 4).map(deny).collect();
    entries.extend([any("deny", "198.18.0.0/16"), any("deny", "2001:db8:18::/64")]);
    entries.extend([any("allow", "0.0.0.0/0"), any("allow", "::/0")]);
    for (entry, number) in entries.iter_mut().zip(1..) {
        entry["rule_number"] = json!(number * 10);
    }
    entries
}

/// Frames that are dropped and what to call them: by the ACL and by the groups, in both families.
pub(crate) fn denied() -> [(&'static str, Vec<u8>); 6] {
    [
        ("IPv4, denied by the ACL", "198.18.0.1"),
        ("IPv4, denied by the groups", "198.51.100.1"),
        ("IPv4, SYN denied by the groups", "198.51.100.1"),
        ("IPv6, denied by the ACL", "2001:db8:18::1"),
        ("IPv6, denied by the groups", "2001:db8:51::1"),
        ("IPv6, SYN denied by the groups", "2001:db8:51::1"),
    ]
    .map(|(name, source)| {
        let from = SocketAddr::new(address(source), 4000);
        let to = SocketAddr::new(address(SERVER[usize::from(from.is_ipv6())]), 9);
        let packet = if name.contains("SYN") {
            packet::tcp(from, to).flags(flag::SYN).payload(&[0; 6])
        } else {
            packet::udp(from, to).payload(&[0; 18])
        };
        (name, packet.build())
    })
}

/// A connection from the client, packet by packet.
pub(crate) struct Connection {
    /// The first.
    pub(crate) syn: Vec<u8>,
    /// The server's answer.
    pub(crate) answer: Vec<u8>,
    /// The third.
    pub(crate) ack: Vec<u8>,
    /// Any later one, with data.
    pub(crate) data: Vec<u8>,
}

/// From this port to the open one; family 0 is IPv4, 1 is IPv6.
pub(crate) fn connection(family: usize, port: u16) -> Connection {
    let client = SocketAddr::new(address(CLIENT[family]), port);
    let server = SocketAddr::new(address(SERVER[family]), OPEN_PORT);
    let sent = packet::tcp(client, server);
    let answer = packet::tcp(server, client).flags(flag::SYN | flag::ACK).seq(9000).ack(1001);
    let ack = sent.clone().flags(flag::ACK).seq(1001).ack(9001);
    Connection {
        syn: sent.flags(flag::SYN).seq(1000).build(),
        answer: answer.build(),
        data: ack.clone().flags(flag::PSH | flag::ACK).payload(&[7; 18]).build(),
        ack: ack.build(),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address is written above")
}
