//! The compiled search against a linear search, written straight from the rules.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use fw_common::classify::Generation;
use fw_common::layout::{Column, InterfaceLine, Line, PolicyLine, Root, RootLine, Rule, head};
use fw_common::memory::MemoryTables;
use fw_common::{Address, Direction, Family, Tables};
use ipnet::IpNet;

use super::lcg::Lcg;
use super::*;
use crate::model::*;

const PACKETS: u32 = 150;
const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// What rules can see of a packet.
#[derive(Debug, Clone, Copy)]
struct Probe {
    remote: IpAddr,
    protocol: u8,
    /// Port, or type and code.
    service: u16,
}

fn net(random: &mut Lcg) -> IpNet {
    let (address, bits, base) = address_and_bits(random);
    let prefix_len = match random.below(5) {
        0 => 0,
        1 => bits,
        _ => base + random.below(u32::from(bits - base)) as u8,
    };
    IpNet::new(address, prefix_len).expect("a valid length").trunc()
}

/// Few enough that CIDRs overlap; the length at which they begin to differ.
fn address_and_bits(random: &mut Lcg) -> (IpAddr, u8, u8) {
    if random.below(2) == 0 {
        (IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | random.below(64) << 13 | random.below(4))), 32, 8)
    } else {
        let low = u128::from(random.below(64)) << 60 | u128::from(random.below(4));
        (IpAddr::V6(Ipv6Addr::from(0x2001_0db8_u128 << 96 | low)), 128, 32)
    }
}

fn traffic(random: &mut Lcg) -> Traffic {
    let ports = |random: &mut Lcg| {
        let from = random.below(30) as u16;
        if random.below(4) == 0 {
            return PortRange { from: 0, to: 65_535 };
        }
        PortRange { from, to: from + random.below(10) as u16 }
    };
    let icmp = |random: &mut Lcg| match random.below(3) {
        0 => IcmpMatch { kind: None, code: None },
        1 => IcmpMatch { kind: Some(random.below(4) as u8), code: None },
        _ => IcmpMatch { kind: Some(random.below(4) as u8), code: Some(random.below(2) as u8) },
    };
    match random.below(8) {
        0 => Traffic::All,
        1 | 2 => Traffic::Tcp(ports(random)),
        3 | 4 => Traffic::Udp(ports(random)),
        5 => Traffic::Icmp(icmp(random)),
        6 => Traffic::Icmpv6(icmp(random)),
        _ => Traffic::Protocol(50),
    }
}

fn probe(random: &mut Lcg) -> Probe {
    let remote = address_and_bits(random).0;
    let protocol = *random.pick(&[6, 6, 17, 17, 1, 58, 50, 47]);
    let service = match protocol {
        6 | 17 => *random.pick(&[0, 3, 7, 12, 20, 29, 33, 39, 40, 65_535]),
        1 | 58 => (random.below(5) << 8 | random.below(3)) as u16,
        _ => 0,
    };
    Probe { remote, protocol, service }
}

fn policy(random: &mut Lcg) -> Policy {
    let mut policy = Policy::default();
    for name in ["p", "q"] {
        let entries = (0..random.below(6)).map(|_| net(random)).collect();
        policy.prefix_lists.insert(name.to_owned(), PrefixList { entries, max_entries: 9 });
    }
    for name in ["a", "b", "c"] {
        let mut rules = || {
            (0..random.below(7))
                .map(|number| GroupRule {
                    id: format!("r{number}"),
                    traffic: traffic(random),
                    cidr_blocks: (0..random.below(3)).map(|_| net(random)).collect(),
                    security_groups: (0..random.below(2))
                        .map(|_| random.pick(&["a", "b"]).to_string())
                        .collect(),
                    prefix_lists: (0..random.below(2))
                        .map(|_| random.pick(&["p", "q"]).to_string())
                        .collect(),
                    reserved: random.below(2) == 0,
                    description: None,
                })
                .collect()
        };
        let group = SecurityGroup { vpc: None, description: None, ingress: rules(), egress: rules() };
        policy.security_groups.insert(name.to_owned(), group);
    }
    let mut entries = || {
        let mut entries: Vec<AclEntry> = (1..random.below(9) as u16 + 1)
            .map(|number| AclEntry {
                rule_number: number * 10,
                action: if random.below(2) == 0 { Action::Allow } else { Action::Deny },
                traffic: traffic(random),
                cidr: net(random),
                id: format!("e{number}"),
                description: None,
            })
            .collect();
        entries.sort_by_key(|entry| entry.rule_number);
        entries
    };
    let acl = NetworkAcl { vpc: None, default: false, ingress: entries(), egress: entries() };
    policy.network_acls.insert("acl".to_owned(), acl);
    let cidr_blocks = ["10.2.0.0/16", "2001:db8::/64"].map(|net| net.parse().expect("valid")).to_vec();
    let network_acl = AclChoice::Named("acl".to_owned());
    policy.subnets.insert("s".to_owned(), Subnet { vpc: None, cidr_blocks, network_acl, leg: None });
    for (name, groups) in [("one", &["a", "c"][..]), ("two", &["c", "b", "a"]), ("far", &["b"])] {
        let attachment = (name != "far").then(|| Attachment {
            device: DeviceSelector::Name(name.to_owned()),
            faces: Faces::Network,
            mode: Mode::Auto,
        });
        let interface = Interface {
            attachment,
            subnet: (name == "one").then(|| "s".to_owned()),
            addresses: (0..random.below(4)).map(|_| address_and_bits(random).0).collect(),
            security_groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            enforce: true,
            source_dest_check: true,
            timeouts: Timeouts::default(),
        };
        policy.interfaces.insert(name.to_owned(), interface);
    }
    policy
}

fn matches_traffic(traffic: Traffic, probe: Probe, is_acl: bool) -> bool {
    let port = |range: PortRange| range.from <= probe.service && probe.service <= range.to;
    let icmp = |wanted: IcmpMatch| {
        let [kind, code] = probe.service.to_be_bytes();
        wanted.kind.is_none_or(|wanted| wanted == kind) && wanted.code.is_none_or(|wanted| wanted == code)
    };
    let is_ipv4 = probe.remote.is_ipv4();
    match traffic {
        Traffic::All => true,
        Traffic::Tcp(range) => probe.protocol == 6 && port(range),
        Traffic::Udp(range) => probe.protocol == 17 && port(range),
        Traffic::Icmp(wanted) => probe.protocol == 1 && if is_ipv4 { icmp(wanted) } else { is_acl },
        Traffic::Icmpv6(wanted) => probe.protocol == 58 && if is_ipv4 { is_acl } else { icmp(wanted) },
        Traffic::Protocol(number) => probe.protocol == number,
    }
}

fn is_open(rule: &GroupRule, probe: Probe) -> bool {
    rule.cidr_blocks.iter().any(|net| net.prefix_len() == 0 && net.contains(&probe.remote))
}

fn matches_peer(policy: &Policy, rule: &GroupRule, remote: IpAddr) -> bool {
    let in_lists = rule
        .prefix_lists
        .iter()
        .any(|name| policy.prefix_lists[name].entries.iter().any(|net| net.contains(&remote)));
    let is_member = policy.interfaces.values().any(|interface| {
        interface.addresses.contains(&remote)
            && interface.security_groups.iter().any(|group| rule.security_groups.contains(group))
    });
    rule.cidr_blocks.iter().any(|net| net.contains(&remote)) || in_lists || is_member
}

fn in_direction(group: &SecurityGroup, direction: Direction) -> &[GroupRule] {
    match direction {
        Direction::Ingress => &group.ingress,
        Direction::Egress => &group.egress,
    }
}

/// Group and rule of the first match with its reserved bit, and whether the flow is untracked.
fn linear_groups(
    policy: &Policy,
    at: &str,
    direction: Direction,
    probe: Probe,
) -> Option<(String, bool, bool)> {
    let groups =
        || policy.interfaces[at].security_groups.iter().map(|name| (name, &policy.security_groups[name]));
    let matching: Vec<_> = groups()
        .flat_map(|(name, group)| in_direction(group, direction).iter().map(move |rule| (name, rule)))
        .filter(|(_, rule)| {
            matches_traffic(rule.traffic, probe, false) && matches_peer(policy, rule, probe.remote)
        })
        .collect();
    let is_transport = matches!(probe.protocol, 6 | 17);
    let all_ports = |port| matches_traffic_at(port, probe);
    let answers = groups().flat_map(|(_, group)| in_direction(group, direction.reverse())).any(|rule| {
        is_open(rule, probe) && [0, 1, 40_000, 65_535].iter().all(|port| all_ports(*port)(rule.traffic))
    });
    let untracked = is_transport && answers && matching.iter().any(|(_, rule)| is_open(rule, probe));
    matching.first().map(|(name, rule)| (format!("{name} {}", rule.id), rule.reserved, untracked))
}

fn matches_traffic_at(port: u16, probe: Probe) -> impl Fn(Traffic) -> bool {
    move |traffic| matches_traffic(traffic, Probe { service: port, ..probe }, false)
}

fn linear_acl(policy: &Policy, direction: Direction, probe: Probe) -> (String, bool) {
    let acl = &policy.network_acls["acl"];
    let entries = if direction == Direction::Ingress { &acl.ingress } else { &acl.egress };
    let hit = entries
        .iter()
        .find(|entry| entry.cidr.contains(&probe.remote) && matches_traffic(entry.traffic, probe, true));
    hit.map_or(("*".to_owned(), false), |entry| {
        (entry.rule_number.to_string(), entry.action == Action::Allow)
    })
}

/// A published generation.
struct Loaded {
    compiled: Compiled,
    tables: MemoryTables,
}

impl Loaded {
    /// Compiled beside what an array holds and written to it, as the loader does it.
    fn beside(image: &mut Vec<Line>, policy: &Policy) -> Self {
        let live = image.first().map_or(0, |line| line.word(head::LIVE));
        let held = if live == 0 { Held::nothing() } else { Held::by(image, &[live]).expect("not damaged") };
        let root = Root { previous: live, ..Root::default() };
        let bindings = pretend_bindings(policy);
        let bounds = Bounds::default();
        let compiled = compile_beside(&held, policy, &bindings, Numbering::default(), root, &bounds);
        let compiled = compiled.expect("it compiles");
        let is_free = |number: u32| held.is_held.get(number as usize) != Some(&true);
        assert!(
            compiled.patch.lines.iter().all(|(number, _)| is_free(*number)),
            "a line that is in use is written"
        );
        let before = live_lines(image, live);
        image.resize(image.len().max(compiled.patch.end as usize), Line::default());
        for (number, line) in &compiled.patch.lines {
            image[*number as usize] = *line;
        }
        assert_eq!(live_lines(image, live), before, "what is in force has changed");
        image[0].set_word(head::LIVE, compiled.patch.root);
        let mut tables = MemoryTables::new(1);
        tables.publish(image);
        Self { compiled, tables }
    }

    fn generation(&self) -> Generation<'_, &MemoryTables> {
        let tables = &self.tables;
        let root = RootLine(tables.line(tables.live()).expect("just published"));
        Generation { tables, root }
    }

    fn info(&self, rule: Rule) -> &RuleInfo {
        self.compiled.rules.iter().find(|info| info.slot == rule.slot()).expect("every slot has its rule")
    }

    /// What the searches of the core find: `acl` or groups of the interface with this index.
    fn rule(&self, ifindex: u32, acl: bool, direction: Direction, probe: Probe) -> (Rule, bool) {
        let generation = self.generation();
        let bucket = generation.root.devices() + (ifindex & generation.root.device_mask());
        let bucket = generation.tables.line(bucket).expect("a bucket");
        let pairs = (0..8).map(|place| bucket.long(place));
        let pair = pairs.into_iter().find(|pair| *pair as u32 == ifindex).expect("the device is there");
        let number = (pair >> 32) as u32;
        let (family, address) = match probe.remote {
            IpAddr::V4(address) => (Family::V4, Address::from_ipv4(address.octets())),
            IpAddr::V6(address) => (Family::V6, Address::from_ipv6(address.octets())),
        };
        let policy = PolicyLine(
            generation.tables.line(InterfaceLine::policy(number, family, direction)).expect("a line"),
        );
        let rows = if acl { policy.acl() } else { policy.groups() };
        assert_ne!(rows.line, 0);
        let own_icmp = if family == Family::V4 { 1 } else { 58 };
        let (column, key) = match probe.protocol {
            6 => (Column::Tcp, probe.service),
            17 => (Column::Udp, probe.service),
            number if number == own_icmp => (Column::Icmp, probe.service),
            number => (Column::Other, u16::from(number)),
        };
        let class = generation.classify(family, &address);
        let link = generation.column(rows, class, column as u32).expect("a row");
        (generation.rule(link, key).expect("a rule"), link.is_inside())
    }
}

/// The lines that a root leads to.
fn live_lines(image: &[Line], root: u32) -> Vec<(usize, Line)> {
    let held = if root == 0 { Held::nothing() } else { Held::by(image, &[root]).expect("not damaged") };
    let lines = image.iter().copied().enumerate().skip(1);
    lines.filter(|(number, _)| held.is_held.get(*number) == Some(&true)).collect()
}

#[test]
fn the_compiled_search_finds_what_a_linear_search_finds() {
    let mut random = Lcg::new(4);
    let mut image = Vec::new();
    for round in 0..300 {
        let policy = policy(&mut random);
        let loaded = Loaded::beside(&mut image, &policy);
        for _ in 0..PACKETS {
            let probe = probe(&mut random);
            for direction in DIRECTIONS {
                for (at, ifindex) in [("one", 1), ("two", 2)] {
                    let (rule, _) = loaded.rule(ifindex, false, direction, probe);
                    let expected = linear_groups(&policy, at, direction, probe);
                    let got = rule.allows().then(|| {
                        let info = loaded.info(rule);
                        assert_eq!(info.direction, direction);
                        (format!("{} {}", info.id, info.rule), rule.is_reserved(), rule.is_untracked())
                    });
                    assert_eq!(got, expected, "round {round}: {at} {direction:?} {probe:?} in {policy:#?}");
                }
                let (rule, inside) = loaded.rule(1, true, direction, probe);
                let got = (loaded.info(rule).rule.clone(), rule.allows());
                assert_eq!(got, linear_acl(&policy, direction, probe), "{probe:?} in {policy:#?}");
                assert_eq!(rule.is_implicit(), got.0 == "*");
                assert_eq!(
                    inside,
                    policy.subnets["s"].cidr_blocks.iter().any(|net| net.contains(&probe.remote))
                );
            }
        }
    }
}

#[test]
fn what_did_not_change_is_not_written_again() {
    let mut random = Lcg::new(9);
    let mut policy = policy(&mut random);
    let list = |policy: &mut Policy, change: &mut dyn FnMut(&mut Vec<IpNet>)| {
        policy.prefix_lists.get_mut("p").map(|list| change(&mut list.entries)).expect("it is there");
    };
    let nets = (0..400).map(|_| net(&mut random)).filter(|net| net.prefix_len() > 0).collect::<Vec<_>>();
    list(&mut policy, &mut |entries| entries.clone_from(&nets));
    let mut image = Vec::new();
    let all = Loaded::beside(&mut image, &policy).compiled.patch;
    let again = Loaded::beside(&mut image, &policy).compiled.patch;
    assert_eq!((again.lines.len(), again.held), (1, all.held), "only the root is each generation's own");
    list(&mut policy, &mut |entries| entries.truncate(entries.len() - 1));
    let fewer = Loaded::beside(&mut image, &policy).compiled.patch;
    assert!(fewer.lines.len() < all.lines.len() / 4, "{} of {} lines", fewer.lines.len(), all.lines.len());
}
