//! Files that somebody wrote to hurt: their size says nothing of what they cost.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::text::{Random, address, host, joined, quoted, tcp};

/// A prefix list with every length of many nestings.
pub(super) fn nesting_ipv4(chains: u32) -> String {
    let chain = |number: u32| {
        (1..=32).map(move |length| {
            let network = u32::from(address(number)) & (u32::MAX << (32 - length));
            format!("{}/{length}", Ipv4Addr::from(network))
        })
    };
    list(&quoted((0..chains).flat_map(chain)))
}

/// The same for IPv6, with its 128 lengths.
pub(super) fn nesting_ipv6(chains: u32) -> String {
    let mut random = Random(5);
    let mut chain = |_| {
        let address = u128::from(random.next()) << 64 | u128::from(random.next());
        // Nothing that is IPv4 in disguise.
        let address = address | 1 << 127;
        (1..=128).map(move |length| {
            format!("{}/{length}", Ipv6Addr::from(address & (u128::MAX << (128 - length))))
        })
    };
    list(&quoted((0..chains).flat_map(&mut chain)))
}

fn list(entries: &str) -> String {
    let lists = format!("\n\"prefix_lists\": {{ \"long\": {{ \"entries\": [\n{entries}\n] }} }},");
    host(r#"{"protocol":"all","prefix_lists":["long"]}"#, &lists)
}

/// Nested CIDRs, and in each of them nested ranges of ports, the narrow ones first.
pub(super) fn staircase(count: u32) -> String {
    host(
        &joined((0..count).rev().map(|number| {
            let length = number % 33;
            let network = Ipv4Addr::from(0x0a0b_0c0du32 & u32::MAX.checked_shl(32 - length).unwrap_or(0));
            tcp(number, 65_535 - number, format!("{network}/{length}"))
        })),
        "",
    )
}

/// A rule for every port there is, each for the same few CIDRs.
pub(super) fn single_ports() -> String {
    let cidrs = quoted(["10.0.0.0/8", "192.168.0.0/16", "203.0.113.0/24", "0.0.0.0/0"]);
    let rule = |port: u32| {
        format!(r#"{{"protocol":"tcp","from_port":{port},"to_port":{port},"cidr_blocks":[{cidrs}]}}"#)
    };
    host(&joined((0..65_536).map(rule)), "")
}

/// One CIDR again and again.
pub(super) fn identical(count: u32) -> String {
    list(&quoted((0..count).map(|_| "203.0.113.7/32")))
}

/// Many ports open to everywhere, and many hosts that have one more each: every host needs all ports again.
pub(super) fn product(ports: u32, hosts: u32) -> String {
    let everywhere = (0..ports).map(|port| tcp(port * 2, port * 2, "0.0.0.0/0"));
    let each = (0..hosts).map(|host| tcp(host | 1, host | 1, format!("{}/32", address(host))));
    host(&joined(everywhere.chain(each)), "")
}

/// The same, but what the hosts have is open to everywhere already: equal tables, the work of finding that out.
pub(super) fn silent_product(ports: u32, hosts: u32) -> String {
    let everywhere = (0..ports).map(|port| tcp(port * 2, port * 2, "0.0.0.0/0"));
    let each = (0..hosts).map(|host| tcp(0, 0, format!("{}/32", address(host))));
    host(&joined(everywhere.chain(each)), "")
}

/// Nested CIDRs, each in many rules of its own, around many hosts: each host is in all of these sets.
pub(super) fn deep(levels: u32, each: u32, hosts: u32) -> String {
    let network = 0x2001_0db8_u128 << 96;
    let cidr = |level: u32| {
        let length = 128 - levels + level;
        format!("{}/{length}", Ipv6Addr::from(network))
    };
    // Each level again in a rule with the level below it: no two CIDRs have the same rules, so each is a set.
    let nested = (0..levels).flat_map(|level| {
        let cidr = &cidr;
        (0..each).map(move |rule| tcp(level * each + rule, level * each + rule, cidr(level)))
    });
    let lists = (0..each)
        .map(|list| format!("\"list-{list}\": {{ \"entries\": [{}] }}", quoted((0..levels).map(cidr))));
    let lists = format!("\n\"prefix_lists\": {{ {} }},", joined(lists));
    let named = (0..each).map(|list| {
        format!(r#"{{"protocol":"udp","from_port":{list},"to_port":{list},"prefix_lists":["list-{list}"]}}"#)
    });
    let hosts = (0..hosts).map(|host| {
        tcp(host & 0xffff, host & 0xffff, format!("{}/128", Ipv6Addr::from(network | u128::from(host))))
    });
    host(&joined(nested.chain(named).chain(hosts)), &lists)
}
