//! The rules that are measured, and the frames that meet them: five groups of 60 rules each way on one
//! interface (AWS allows five), and a network ACL of 40 entries each way, both families mixed.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail};
use fw_common::Reason;
use fw_userspace::compile::{self, Compiled, Numbering};
use fw_userspace::document;
use fw_userspace::model::Policy;
use serde_json::{Value, json};

use crate::kernel::{IFINDEX, Kernel};
use crate::packet::{self, flag};

/// The interface in the rules.
pub const INTERFACE: &str = "server";
/// The port that is open to the client's network.
pub const OPEN_PORT: u16 = 5201;
/// The addresses of [`crate::netns::Rig::direct`].
const CLIENT: [&str; 2] = ["10.77.1.2", "fd77:1::2"];
const SERVER: [&str; 2] = ["10.77.1.3", "fd77:1::3"];

const GROUPS: usize = 5;
const RULES: usize = 60;
const ENTRIES: usize = 40;

/// In a line, for the header.
pub fn describe() -> String {
    format!("{GROUPS} groups of {RULES} rules and a network ACL of {ENTRIES} entries, each way")
}

/// The rules file for `eth0` of the server.
pub fn file(mode: &str) -> Value {
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

/// Reads rules; ours have no mistakes.
pub fn policy(source: &[u8]) -> Result<Policy> {
    let reading = document::read(source);
    if reading.policy.is_none() {
        bail!("the rules are refused: {}", document::render("workload", &reading.findings));
    }
    reading.policy.context("the rules are refused")
}

/// The rules as tables, for a device with this index, and the zone that its packets are counted in.
pub fn compiled(ifindex: u32) -> Result<(Compiled, u32)> {
    let compiled = compiled_at(&policy(&serde_json::to_vec(&file("auto"))?)?, ifindex)?;
    let zone =
        compiled.zones.iter().find(|(_, name, _)| name == INTERFACE).context("the interface has no zone")?.0;
    Ok((compiled, zone))
}

/// The tables of a policy, all of it at the device with this index.
fn compiled_at(policy: &Policy, ifindex: u32) -> Result<Compiled> {
    let mut bindings = compile::pretend_bindings(policy);
    for binding in &mut bindings {
        binding.ifindex = ifindex;
    }
    Ok(compile::compile(policy, &bindings, Numbering::default(), 1)?)
}

/// The loaded programs with these rules in force, for the one device of test runs.
pub fn kernel_with(source: &[u8]) -> Result<(Kernel, Compiled)> {
    let compiled = compiled_at(&policy(source)?, IFINDEX)?;
    let mut kernel = Kernel::load()?;
    kernel.publish(&compiled.patch)?;
    Ok((kernel, compiled))
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

/// A frame that is dropped.
pub struct Denied {
    /// What to call it.
    pub name: &'static str,
    /// The bytes, 60 at least.
    pub frame: Vec<u8>,
    /// Why it is dropped.
    pub reason: Reason,
}

/// By the ACL and by the groups, in both families.
pub fn denied() -> [Denied; 6] {
    let frame = |source: &str, family: usize| {
        let to = SocketAddr::new(address(SERVER[family]), 9);
        packet::udp(SocketAddr::new(address(source), 4000), to).payload(&[0; 18]).build()
    };
    let syn = |source: &str, family: usize| {
        let to = SocketAddr::new(address(SERVER[family]), 9);
        packet::tcp(SocketAddr::new(address(source), 4000), to).flags(flag::SYN).payload(&[0; 6]).build()
    };
    [
        ("IPv4, denied by the ACL", "198.18.0.1", 0, Reason::AclDeny),
        ("IPv4, denied by the groups", "198.51.100.1", 0, Reason::NoGroupRule),
        ("IPv4, SYN denied by the groups", "198.51.100.1", 0, Reason::NoGroupRule),
        ("IPv6, denied by the ACL", "2001:db8:18::1", 1, Reason::AclDeny),
        ("IPv6, denied by the groups", "2001:db8:51::1", 1, Reason::NoGroupRule),
        ("IPv6, SYN denied by the groups", "2001:db8:51::1", 1, Reason::NoGroupRule),
    ]
    .map(|(name, source, family, reason)| Denied {
        name,
        frame: if name.contains("SYN") { syn(source, family) } else { frame(source, family) },
        reason,
    })
}

/// A connection from the client, packet by packet.
pub struct Connection {
    /// The first.
    pub syn: Vec<u8>,
    /// The server's answer.
    pub answer: Vec<u8>,
    /// The third.
    pub ack: Vec<u8>,
    /// Any later one, with data.
    pub data: Vec<u8>,
    /// The same from the server.
    pub reply: Vec<u8>,
}

/// From this port to the open one; family 0 is IPv4, 1 is IPv6.
pub fn connection(family: usize, port: u16) -> Connection {
    let client = SocketAddr::new(address(CLIENT[family]), port);
    let server = SocketAddr::new(address(SERVER[family]), OPEN_PORT);
    let sent = packet::tcp(client, server);
    let answer = packet::tcp(server, client).flags(flag::SYN | flag::ACK).seq(9000).ack(1001);
    let reply = answer.clone().flags(flag::PSH | flag::ACK).seq(9001).payload(&[7; 18]);
    let ack = sent.clone().flags(flag::ACK).seq(1001).ack(9001);
    Connection {
        syn: sent.flags(flag::SYN).seq(1000).build(),
        answer: answer.build(),
        data: ack.clone().flags(flag::PSH | flag::ACK).payload(&[7; 18]).build(),
        ack: ack.build(),
        reply: reply.build(),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address is written above")
}
