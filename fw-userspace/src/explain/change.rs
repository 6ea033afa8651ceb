//! The change of the rules that would let a packet pass a filter that drops it.

use fw_common::Direction;
use fw_common::packet::protocol;
use ipnet::IpNet;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::flow::{Endpoint, Flow};
use super::path::Step;
use super::source::RuleNumber;
use crate::model::{AclChoice, AclEntry, Action, GroupRule, IcmpMatch, Policy, PortRange, Traffic};

/// One change of the rules file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The list that gets something more, or the value that becomes another: `security_groups.sg-db.ingress`.
    pub at: String,
    /// What is to be added or set there.
    pub value: Value,
    /// In a sentence.
    pub says: String,
}

/// AWS's advice for replies through a network ACL.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/custom-network-acl.html#nacl-ephemeral-ports>
const EPHEMERAL: PortRange = PortRange { from: 1024, to: 65_535 };
const LAST_NUMBER: u16 = 32_766;

/// Changes the rules so that the blocked packet passes; `None` if no rule would help. `other` is the interface at the
/// other end.
pub(super) fn against(policy: &mut Policy, blocked: &Step, other: &str) -> Option<Change> {
    match blocked.explanation.reason {
        "no_group_rule" => group_rule(policy, blocked, other),
        "network_acl_rule" | "network_acl_default" => acl_entry(policy, blocked),
        "source_dest_check" => {
            policy.interfaces.get_mut(&blocked.interface)?.source_dest_check = false;
            Some(Change {
                at: format!("interfaces.{}.source_dest_check", blocked.interface),
                value: json!(false),
                says: format!("turn off the source/destination check of \"{}\"", blocked.interface),
            })
        }
        _ => None,
    }
}

fn group_rule(policy: &mut Policy, blocked: &Step, other: &str) -> Option<Change> {
    let vpc_of = |name: &str| {
        let subnet = policy.interfaces.get(name)?.subnet.as_ref()?;
        policy.subnets.get(subnet)?.vpc.clone()
    };
    let own = policy.interfaces.get(&blocked.interface)?;
    let group = own.security_groups.first()?.clone();
    // A reference goes on to hold when addresses change, and is what AWS recommends inside a VPC.
    let other_group = policy.interfaces.get(other).and_then(|other| other.security_groups.first().cloned());
    let peer = other_group.filter(|_| vpc_of(&blocked.interface) == vpc_of(other));
    let traffic = traffic_of(&blocked.flow, false);
    let remote = remote_of(blocked);
    let mut value = written(traffic);
    match &peer {
        Some(peer) => value.insert("security_groups".to_owned(), json!([peer])),
        None => value.insert("cidr_blocks".to_owned(), json!([remote])),
    };
    let rule = GroupRule {
        id: unused(
            "added",
            &list(policy, &group, blocked.direction_at)?
                .iter()
                .map(|rule| rule.id.as_str())
                .collect::<Vec<_>>(),
        ),
        traffic,
        cidr_blocks: if peer.is_some() { Vec::new() } else { vec![remote] },
        security_groups: peer.iter().cloned().collect(),
        prefix_lists: Vec::new(),
        reserved: false,
        description: None,
    };
    list(policy, &group, blocked.direction_at)?.push(rule);
    let direction = blocked.direction;
    Some(Change {
        at: format!("security_groups.{group}.{direction}"),
        value: Value::Object(value),
        says: format!("let \"{group}\" allow it by a rule for {direction}"),
    })
}

fn list<'p>(policy: &'p mut Policy, group: &str, direction: Direction) -> Option<&'p mut Vec<GroupRule>> {
    let group = policy.security_groups.get_mut(group)?;
    Some(match direction {
        Direction::Ingress => &mut group.ingress,
        Direction::Egress => &mut group.egress,
    })
}

fn acl_entry(policy: &mut Policy, blocked: &Step) -> Option<Change> {
    let decided = blocked.explanation.network_acl.as_ref()?;
    let subnet = policy.interfaces.get(&blocked.interface)?.subnet.as_ref()?;
    let AclChoice::Named(name) = policy.subnets.get(subnet)?.network_acl.clone() else { return None };
    let acl = policy.network_acls.get_mut(&name)?;
    let entries = match blocked.direction_at {
        Direction::Ingress => &mut acl.ingress,
        Direction::Egress => &mut acl.egress,
    };
    let is_free = |number: &u16| entries.iter().all(|entry| entry.rule_number != *number);
    let number = match decided.rule_number {
        RuleNumber::Number(denying) => (1..denying).rev().find(is_free)?,
        RuleNumber::Implicit(_) => {
            let last = entries.last().map_or(0, |entry| entry.rule_number);
            let next = last.saturating_add(10) / 10 * 10;
            if next <= LAST_NUMBER { next } else { (last..=LAST_NUMBER).find(is_free)? }
        }
    };
    let traffic = traffic_of(&blocked.flow, blocked.way == "back");
    let cidr = remote_of(blocked);
    let mut value = Map::new();
    value.insert("rule_number".to_owned(), json!(number));
    value.insert("action".to_owned(), json!("allow"));
    value.extend(written(traffic));
    value.insert("cidr_block".to_owned(), json!(cidr));
    let id = unused("added", &entries.iter().map(|entry| entry.id.as_str()).collect::<Vec<_>>());
    let entry = AclEntry { rule_number: number, action: Action::Allow, traffic, cidr, id, description: None };
    let place = entries.partition_point(|entry| entry.rule_number < number);
    entries.insert(place, entry);
    let direction = blocked.direction;
    let before = match &decided.rule_number {
        RuleNumber::Number(denying) => format!(" before entry {denying}, which denies it"),
        RuleNumber::Implicit(_) => String::new(),
    };
    Some(Change {
        at: format!("network_acls.{name}.{direction}"),
        value: Value::Object(value),
        says: format!("let \"{name}\" allow it by an entry for {direction}{before}"),
    })
}

/// What a rule must name to match a packet. An answer goes to a port that is another one each time.
fn traffic_of(flow: &Flow, is_answer: bool) -> Traffic {
    let ports = match flow.destination.port {
        Some(port) if is_answer && port >= EPHEMERAL.from => EPHEMERAL,
        Some(port) => PortRange { from: port, to: port },
        None => PortRange { from: 0, to: u16::MAX },
    };
    let icmp = IcmpMatch { kind: Some(flow.icmp.kind), code: Some(flow.icmp.code) };
    match flow.protocol.0 {
        protocol::TCP => Traffic::Tcp(ports),
        protocol::UDP => Traffic::Udp(ports),
        protocol::ICMP => Traffic::Icmp(icmp),
        protocol::ICMPV6 => Traffic::Icmpv6(icmp),
        number => Traffic::Protocol(number),
    }
}

/// The other end's address, as a network of its own.
fn remote_of(blocked: &Step) -> IpNet {
    let Endpoint { address, .. } = match blocked.direction_at {
        Direction::Ingress => blocked.flow.source,
        Direction::Egress => blocked.flow.destination,
    };
    IpNet::from(address)
}

/// Protocol and ports as a rules file has them.
fn written(traffic: Traffic) -> Map<String, Value> {
    let ports = |name: &str, ports: PortRange| json!({ "protocol": name, "from_port": ports.from, "to_port": ports.to });
    let icmp = |name: &str, icmp: IcmpMatch| {
        let number = |number: Option<u8>| number.map_or(-1, i32::from);
        json!({ "protocol": name, "icmp_type": number(icmp.kind), "icmp_code": number(icmp.code) })
    };
    let value = match traffic {
        Traffic::All => json!({ "protocol": "all" }),
        Traffic::Tcp(range) => ports("tcp", range),
        Traffic::Udp(range) => ports("udp", range),
        Traffic::Icmp(matched) => icmp("icmp", matched),
        Traffic::Icmpv6(matched) => icmp("icmpv6", matched),
        Traffic::Protocol(number) => json!({ "protocol": number }),
    };
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

fn unused(wish: &str, taken: &[&str]) -> String {
    let mut names = std::iter::once(wish.to_owned()).chain((2..).map(|number| format!("{wish}-{number}")));
    names.find(|name| !taken.contains(&name.as_str())).unwrap_or_default()
}
