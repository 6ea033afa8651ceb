//! Random rules files: small ones in which much overlaps, from a pool of CIDRs and ports so small that packets from
//! the pools of [`super::talk`] hit them often. All of them are valid; a change is a merge patch of one of them.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use crate::case::merge;

/// By family the whole, halves, networks, single hosts.
const CIDRS: [&str; 16] = [
    "0.0.0.0/0",
    "::/0",
    "198.51.100.7/32",
    "2001:db8:ffff::7/128",
    "198.51.100.0/29",
    "2001:db8:ffff::/64",
    "10.0.0.0/8",
    "2001:db8::/32",
    "10.0.0.0/24",
    "10.0.0.20/32",
    "2001:db8:1::/48",
    "2001:db8::20/128",
    "128.0.0.0/1",
    "169.254.0.0/16",
    "fe80::/10",
    "ff00::/8",
];
const PORTS: [(u16, u16); 10] = [
    (0, 65535),
    (22, 22),
    (80, 443),
    (443, 444),
    (53, 53),
    (0, 0),
    (0, 1023),
    (1024, 65535),
    (40000, 40000),
    (65535, 65535),
];
const ICMP: [(i16, i16); 8] = [(-1, -1), (8, -1), (8, 0), (0, -1), (3, 4), (3, -1), (13, -1), (11, 0)];
const ICMPV6: [(i16, i16); 7] = [(-1, -1), (128, -1), (128, 0), (129, -1), (1, -1), (2, 0), (135, 0)];
const NUMBERS: [u8; 5] = [47, 50, 132, 0, 255];

/// A rules file.
pub fn document() -> impl Strategy<Value = Value> {
    let groups = (group(), group(), group());
    let acls = (acl(), acl(), acl());
    let subnets = (subnet("s0"), subnet("s1"), subnet("s2"));
    let interfaces = (interface("e0"), interface("e1"), interface("e2"), far_groups());
    let lists = (prefix_list(), prefix_list());
    let tcp = prop_oneof![2 => Just(None), 1 => Just(Some(true)), 2 => Just(Some(false))];
    (vpcs(), settings(), groups, acls, subnets, interfaces, lists, tcp).prop_map(
        |(vpcs, settings, groups, acls, subnets, interfaces, lists, tcp)| {
            let mut document = json!({
                "version": 1,
                "settings": settings,
                "subnets": { "s0": subnets.0, "s1": subnets.1, "s2": subnets.2 },
                "network_acls": { "a0": acls.0, "a1": acls.1, "a2": acls.2 },
                "prefix_lists": { "p0": lists.0, "p1": lists.1 },
                "security_groups": { "g0": groups.0, "g1": groups.1, "g2": groups.2 },
                "interfaces": {
                    "e0": interfaces.0,
                    "e1": interfaces.1,
                    "e2": interfaces.2,
                    "far": { "addresses": ["10.0.0.20", "2001:db8::20"], "security_groups": interfaces.3 },
                    "peer": { "addresses": ["10.1.0.20", "2001:db8:1::20"], "security_groups": ["g2"] },
                },
            });
            if let Some(status) = vpcs {
                name_vpcs(&mut document, status);
            }
            // In some there is more to follow than in what chance makes.
            if let Some(is_open) = tcp {
                merge(&mut document, &open_or_narrow("g0", is_open));
            }
            document
        },
    )
}

/// A change of some rules file that is valid for all of them.
pub fn change() -> impl Strategy<Value = Value> {
    type Names = &'static [&'static str];
    let of = |section: &'static str, names: Names, key: &'static str, value: BoxedStrategy<Value>| {
        (select(names), value)
            .prop_map(move |(name, value)| json!({ section: { name: { key: value } } }))
            .boxed()
    };
    let groups = &["g0", "g1", "g2"];
    let acls = &["a0", "a1", "a2"];
    let interfaces = &["e0", "e1", "e2"];
    prop_oneof![
        4 => of("security_groups", groups, "ingress", group_rules().boxed()),
        4 => of("security_groups", groups, "egress", group_rules().boxed()),
        2 => of("network_acls", acls, "ingress", entries().boxed()),
        2 => of("network_acls", acls, "egress", entries().boxed()),
        2 => of("interfaces", &["e0", "e1", "far"], "security_groups", far_groups().boxed()),
        1 => of("interfaces", interfaces, "enforce", any::<bool>().prop_map(Value::from).boxed()),
        1 => of("interfaces", interfaces, "udp_timeout", select(&[30, 45][..]).prop_map(Value::from).boxed()),
        1 => settings().prop_map(|settings| json!({ "settings": settings })),
        4 => (select(groups), any::<bool>()).prop_map(|(group, is_open)| open_or_narrow(group, is_open)),
    ]
}

/// A group whose TCP is untracked, or one that still permits some of it: what a load in between takes over.
fn open_or_narrow(group: &str, is_open: bool) -> Value {
    let cidrs: &[&str] = if is_open {
        &["0.0.0.0/0", "::/0"]
    } else {
        &["198.51.100.0/29", "2001:db8:ffff::/64", "10.0.0.0/8", "2001:db8::/32"]
    };
    let rules =
        json!([{ "id": "r9", "protocol": "tcp", "from_port": 0, "to_port": 65535, "cidr_blocks": cidrs }]);
    json!({ "security_groups": { group: { "ingress": rules, "egress": rules } } })
}

/// `Some`: two VPCs, peered or not.
fn vpcs() -> impl Strategy<Value = Option<&'static str>> {
    option::of(select(&["active", "pending-acceptance"][..]))
}

fn name_vpcs(document: &mut Value, status: &str) {
    for (section, name, vpc) in [
        ("subnets", "s0", "v0"),
        ("subnets", "s1", "v0"),
        ("subnets", "s2", "v1"),
        ("network_acls", "a0", "v0"),
        ("network_acls", "a1", "v0"),
        ("network_acls", "a2", "v1"),
        ("security_groups", "g0", "v0"),
        ("security_groups", "g1", "v0"),
        ("security_groups", "g2", "v1"),
    ] {
        document[section][name]["vpc"] = vpc.into();
    }
    document["vpcs"] = json!({
        "v0": { "cidr_blocks": ["10.0.0.0/16", "2001:db8::/48"] },
        "v1": { "cidr_blocks": ["10.1.0.0/16", "2001:db8:1::/48"] },
    });
    document["peerings"] = json!({ "x": { "requester": "v0", "accepter": "v1", "status": status } });
}

fn settings() -> impl Strategy<Value = Value> {
    let services = select(&["none", "none", "link_local", "aws"][..]);
    let ethertypes = option::of(select(&["drop", "pass"][..]));
    let mid_stream = select(&["drop", "drop", "pickup"][..]);
    (mid_stream, services, ethertypes, select(&[0, 60, 120][..])).prop_map(
        |(mid_stream, services, ethertypes, adopt_seconds)| {
            let mut settings = json!({
                "mid_stream": mid_stream,
                "exempt_services": services,
                "adopt_seconds": adopt_seconds,
            });
            if let Some(ethertypes) = ethertypes {
                settings["other_ethertypes"] = ethertypes.into();
            }
            settings
        },
    )
}

fn subnet(name: &'static str) -> impl Strategy<Value = Value> {
    let (blocks, acls, device) = match name {
        "s0" => (["10.0.0.0/24", "2001:db8::/64"], &["a0", "a1"][..], "l0"),
        "s1" => (["10.0.1.0/24", "2001:db8:0:1::/64"], &["a0", "a1"][..], "l1"),
        _ => (["10.1.0.0/24", "2001:db8:1::/64"], &["a2"][..], "l2"),
    };
    (option::weighted(0.8, select(acls)), option::weighted(0.3, any::<bool>())).prop_map(move |(acl, leg)| {
        let mut subnet = json!({ "cidr_blocks": blocks });
        if let Some(acl) = acl {
            subnet["network_acl"] = acl.into();
        }
        if let Some(faces_network) = leg {
            subnet["device"] = device.into();
            subnet["faces"] = if faces_network { "network" } else { "instance" }.into();
        }
        subnet
    })
}

fn interface(name: &'static str) -> impl Strategy<Value = Value> {
    let (subnet, addresses, groups) = match name {
        "e0" => ("s0", &["10.0.0.10", "10.0.0.11", "2001:db8::10"][..], &["g0", "g1"][..]),
        "e1" => ("s1", &["10.0.1.10", "2001:db8:0:1::10"][..], &["g0", "g1"][..]),
        _ => ("s2", &["10.1.0.10", "2001:db8:1::10"][..], &["g2"][..]),
    };
    let flags = proptest::bits::u8::ANY;
    (flags, flags, some_of(groups)).prop_map(move |(switches, timers, groups)| {
        let on = |bits: u8, mask: u8| bits & mask == mask;
        let mut interface = Map::new();
        let mut set = |key: &str, value: Value| interface.insert(key.to_owned(), value);
        set("device", name.into());
        set("security_groups", groups);
        if !on(switches, 0b11) {
            set("subnet", subnet.into());
        }
        if !on(switches, 0b1100) {
            set("addresses", addresses.into());
        }
        if on(switches, 0b1_0000) {
            set("faces", "instance".into());
        }
        if on(switches, 0b1010_0001) {
            set("enforce", false.into());
        }
        if on(switches, 0b100_0000) {
            set("source_dest_check", false.into());
        }
        if on(timers, 1) {
            set("tcp_established_timeout", 180.into());
        }
        if on(timers, 2) {
            set("udp_timeout", 60.into());
        }
        if on(timers, 4) {
            set("udp_stream_timeout", 90.into());
        }
        interface.into()
    })
}

fn far_groups() -> impl Strategy<Value = Value> {
    some_of(&["g0", "g1"])
}

/// Groups in either order; rarely none.
fn some_of(groups: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let all: Vec<Value> = groups.iter().map(|group| json!([group])).collect();
    let turned: Vec<&str> = groups.iter().rev().copied().collect();
    prop_oneof![4 => select(all), 4 => Just(json!(groups)), 4 => Just(json!(turned)), 1 => Just(json!([]))]
}

fn prefix_list() -> impl Strategy<Value = Value> {
    vec(select(&CIDRS[..]), 0..4).prop_map(|entries| json!({ "entries": entries, "max_entries": 10 }))
}

fn acl() -> impl Strategy<Value = Value> {
    (entries(), entries()).prop_map(|(ingress, egress)| json!({ "ingress": ingress, "egress": egress }))
}

/// Entries by their numbers in any order. The last two keep an ACL from denying nearly everything.
fn entries() -> impl Strategy<Value = Value> {
    let entry = (1..200u16, proptest::bool::weighted(0.6), traffic(), select(&CIDRS[..]));
    (vec(entry, 0..5), proptest::bool::weighted(0.7)).prop_map(|(written, ends_open)| {
        let mut entries: Vec<Value> = Vec::new();
        let mut numbers = Vec::new();
        for (number, allow, traffic, cidr) in written {
            if numbers.contains(&number) {
                continue;
            }
            numbers.push(number);
            let mut entry = traffic;
            entry["rule_number"] = number.into();
            entry["action"] = if allow { "allow" } else { "deny" }.into();
            entry["cidr_block"] = cidr.into();
            entries.push(entry);
        }
        if ends_open {
            for (number, cidr) in [(900, "0.0.0.0/0"), (901, "::/0")] {
                let entry = json!({
                    "rule_number": number, "action": "allow", "protocol": "all", "cidr_block": cidr,
                });
                entries.push(entry);
            }
        }
        entries.into()
    })
}

/// Without `egress` a group has AWS's default.
fn group() -> impl Strategy<Value = Value> {
    (group_rules(), option::weighted(0.8, group_rules())).prop_map(|(ingress, egress)| {
        let mut group = json!({ "ingress": ingress });
        if let Some(egress) = egress {
            group["egress"] = egress;
        }
        group
    })
}

fn group_rules() -> impl Strategy<Value = Value> {
    let peers = proptest::bits::u8::masked(0b11_1111);
    let rule = (traffic(), vec(select(&CIDRS[..]), 0..3), peers, peers, proptest::bool::weighted(0.1));
    vec(rule, 0..5).prop_map(|rules| {
        let rules = rules.into_iter().enumerate();
        rules
            .map(|(place, (traffic, cidrs, one, other, reserved))| {
                let mut rule = traffic;
                rule["id"] = format!("r{place}").into();
                // Few have peers that are not CIDRs.
                let peers = if cidrs.is_empty() { one | 1 } else { one & other };
                let named = |names: [&str; 3], first: usize| -> Vec<Value> {
                    let chosen = names.iter().enumerate().filter(|(bit, _)| peers >> (first + bit) & 1 != 0);
                    chosen.map(|(_, name)| (*name).into()).collect()
                };
                let (groups, lists) = (named(["g0", "g1", "g2"], 0), named(["p0", "p1", ""], 3));
                let lists: Vec<Value> = lists.into_iter().filter(|name| name != "").collect();
                for (key, list) in [("security_groups", groups), ("prefix_lists", lists)] {
                    if !list.is_empty() {
                        rule[key] = list.into();
                    }
                }
                if !cidrs.is_empty() {
                    rule["cidr_blocks"] = cidrs.into();
                }
                if peers & 0b10_0000 != 0 {
                    rule["self"] = true.into();
                }
                if reserved {
                    rule["reserved"] = true.into();
                }
                rule
            })
            .collect()
    })
}

/// Protocol, ports, type and code.
fn traffic() -> impl Strategy<Value = Value> {
    fn ports(protocol: &'static str) -> impl Strategy<Value = Value> {
        select(&PORTS[..])
            .prop_map(move |(from, to)| json!({ "protocol": protocol, "from_port": from, "to_port": to }))
    }
    fn icmp(protocol: &'static str, pairs: &'static [(i16, i16)]) -> impl Strategy<Value = Value> {
        select(pairs).prop_map(
            move |(kind, code)| json!({ "protocol": protocol, "icmp_type": kind, "icmp_code": code }),
        )
    }
    prop_oneof![
        4 => Just(json!({ "protocol": "all" })),
        6 => ports("tcp"),
        4 => ports("udp"),
        2 => icmp("icmp", &ICMP),
        2 => icmp("icmpv6", &ICMPV6),
        1 => select(&NUMBERS[..]).prop_map(|number| json!({ "protocol": number })),
    ]
}
