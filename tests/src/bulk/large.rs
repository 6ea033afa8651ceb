//! Files as a large host has them.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::text::{Random, address, host, joined, quoted, tcp};

/// One group of rules, each with a CIDR and a port of its own.
pub(super) fn rules(count: u32) -> String {
    host(&joined((0..count).map(|number| tcp(number & 0xffff, number & 0xffff, cidr(number)))), "")
}

fn cidr(number: u32) -> String {
    format!("{}/32", address(number))
}

/// A prefix list of hosts all over IPv4.
pub(super) fn hosts(count: u32) -> String {
    list(&quoted((0..count).map(cidr)))
}

/// A prefix list of routes: lengths as they are in the Internet's tables, most of them near /24, and some hosts.
pub(super) fn mixed(count: u32) -> String {
    let mut random = Random(1);
    list(&quoted((0..count).map(|_| {
        let length = match random.below(10) {
            0 => 16 + random.below(8),
            1..7 => 22 + random.below(3),
            _ => 32,
        } as u32;
        let network = random.next() as u32 & (u32::MAX << (32 - length));
        format!("{}/{length}", Ipv4Addr::from(network))
    })))
}

/// A prefix list of IPv6 networks, from /32 to /64.
pub(super) fn ipv6(count: u32) -> String {
    let mut random = Random(2);
    list(&quoted((0..count).map(|_| {
        let length = [32, 40, 44, 48, 48, 48, 56, 64][random.below(8) as usize];
        let network = (0x2000 << 112 | u128::from(random.next() & 0x1fff_ffff_ffff_ffff) << 64)
            & (u128::MAX << (128 - length));
        format!("{}/{length}", Ipv6Addr::from(network))
    })))
}

fn list(entries: &str) -> String {
    let lists = format!("\n\"prefix_lists\": {{ \"long\": {{ \"entries\": [\n{entries}\n] }} }},");
    host(r#"{"protocol":"tcp","from_port":443,"to_port":443,"prefix_lists":["long"]}"#, &lists)
}

/// A group with many members in twenty subnets' worth of addresses, and a rule that names it.
pub(super) fn members(count: u32) -> String {
    let member = |number: u32| {
        let address = Ipv4Addr::from(0x0a00_0000 + ((number % 20) << 16) + number / 20 * 3);
        format!(r#""eni-{number}":{{"addresses":["{address}"],"security_groups":["peers"]}}"#)
    };
    format!(
        "{{ \"version\": 1, \"security_groups\": {{ \"peers\": {{ \"ingress\": [\
         {{\"protocol\":\"tcp\",\"from_port\":5432,\"to_port\":5432,\"self\":true}}] }} }},\n\
         \"interfaces\": {{ \"eth0\": {{ \"device\": \"eth0\", \"security_groups\": [\"peers\"] }},\n{} }} }}\n",
        joined((0..count).map(member))
    )
}

/// Router's legs in as many subnets, each with a network ACL of its own.
pub(super) fn acls(count: u32, entries: u32) -> String {
    let mut random = Random(3);
    let mut entry = |number: u32| {
        let action = if random.below(2) == 0 { "allow" } else { "deny" };
        let port = random.below(65_000);
        let network = Ipv4Addr::from(random.next() as u32 & 0xffff_ff00);
        format!(
            r#"{{"rule_number":{},"action":"{action}","protocol":"tcp","from_port":{port},"to_port":{},"cidr_block":"{network}/24"}}"#,
            number + 1,
            port + 100
        )
    };
    let mut acl = |number: u32| {
        let ingress = joined((0..entries).map(&mut entry));
        format!("\"acl-{number}\": {{ \"ingress\": [\n{ingress}\n], \"egress\": [] }}")
    };
    let acls = joined((0..count).map(&mut acl));
    let subnets = joined((0..count).map(|number| {
        format!(
            r#""subnet-{number}":{{"cidr_blocks":["10.0.{number}.0/24"],"network_acl":"acl-{number}","device":"veth{number}"}}"#
        )
    }));
    format!("{{ \"version\": 1,\n\"network_acls\": {{\n{acls}\n}},\n\"subnets\": {{\n{subnets}\n}} }}\n")
}

/// A host of containers: each has its own group, whose rules name CIDRs of its own and a common one.
pub(super) fn groups(count: u32, rules: u32) -> String {
    let group = |number: u32| {
        let own = (0..rules).map(|rule| tcp(rule * 10, rule * 10 + 5, cidr(number * rules + rule)));
        let common = tcp(22, 22, "10.0.0.0/8");
        format!("\"g-{number}\": {{ \"ingress\": [\n{}\n] }}", joined(own.chain([common])))
    };
    let interface = |number: u32| {
        format!(r#""eni-{number}":{{"device":"veth{number}","security_groups":["g-{number}"]}}"#)
    };
    format!(
        "{{ \"version\": 1,\n\"security_groups\": {{\n{}\n}},\n\"interfaces\": {{\n{}\n}} }}\n",
        joined((0..count).map(group)),
        joined((0..count).map(interface))
    )
}

/// Prefix lists that overlap at random, each named by a rule of its own.
pub(super) fn blocklists(count: u32, entries: u32) -> String {
    let mut random = Random(4);
    let mut list = |number: u32| {
        let entries = quoted((0..entries).map(|_| {
            let length = [16, 20, 24, 24, 32][random.below(5) as usize];
            let network = (random.below(1 << 24) as u32 * 7) & (u32::MAX << (32 - length));
            format!("{}/{length}", Ipv4Addr::from(network))
        }));
        format!("\"list-{number}\": {{ \"entries\": [\n{entries}\n] }}")
    };
    let lists = joined((0..count).map(&mut list));
    let rule = |number: u32| {
        format!(
            r#"{{"protocol":"tcp","from_port":{number},"to_port":{},"prefix_lists":["list-{number}"]}}"#,
            number + 20
        )
    };
    host(&joined((0..count).map(rule)), &format!("\n\"prefix_lists\": {{\n{lists}\n}},"))
}
