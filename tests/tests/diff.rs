//! `fwctl diff` against brute force: of random pairs of rules files, each packet of a universe of interesting ones changes
//! its verdict exactly where a region says so. And against what is loaded, which needs root.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;

use fw_common::packet::{protocol, tcp_flags};
use fw_common::{Direction, Verdict};
use fw_tests::case::merge;
use fw_tests::differential::rules;
use fw_tests::fwctl::{Fwctl, Output, RULES};
use fw_tests::netns::{BpffsDir, Rig};
use fw_tests::run;
use fw_userspace::compile::DEFAULT_MAX_MEMORY;
use fw_userspace::diff::{ChangedTraffic, Side, diff};
use fw_userspace::explain::{Endpoint, Flow, IcmpType};
use fw_userspace::report::ProtocolName;
use fw_userspace::simulate::Simulation;
use proptest::collection::vec;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

const PAIRS: u64 = 200;
/// Of all packets of the universe, one in so many; which ones differs from pair to pair.
const SHARE: usize = 11;

#[test]
fn regions_are_exactly_where_verdicts_change() {
    let half = |odd: u64| {
        thread::spawn(move || {
            let seeds = (0..PAIRS).filter(|seed| seed % 2 == odd);
            seeds.fold(Tally::default(), |sum, seed| sum.and(check(seed)))
        })
    };
    let halves = [half(0), half(1)].map(|half| half.join().expect("every pair is exact"));
    let sum = halves[0].and(halves[1]);
    println!("{sum:?}");
    assert!(sum.packets > PAIRS * 5_000, "{sum:?}");
    assert!(sum.changed > sum.packets / 50, "{sum:?}");
    assert!(sum.regions > PAIRS * 10, "{sum:?}");
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    packets: u64,
    changed: u64,
    regions: u64,
}

impl Tally {
    fn and(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            changed: self.changed + other.changed,
            regions: self.regions + other.regions,
        }
    }
}

/// The pair of a seed.
fn check(seed: u64) -> Tally {
    let [old, new] = pair(seed);
    let side = |rules: &Value| Side::of_rules(run::policy(rules).expect("the generator makes valid rules"));
    let report = diff(side(&old), side(&new), None, DEFAULT_MAX_MEMORY).expect("the rules are small");
    let mut tally = Tally::default();
    for view in ["first", "established"] {
        let hosts = [&old, &new].map(|rules| host(rules, view));
        let names = hosts.each_ref().map(names);
        for at in names[0].intersection(&names[1]) {
            let change = report.interfaces.iter().find(|change| change.interface == *at);
            let regions = change.map_or(&[][..], |change| &change.regions);
            let of_view = |region: &&ChangedTraffic| [view, "all"].contains(&region.packets);
            let regions: Vec<&ChangedTraffic> = regions.iter().filter(of_view).collect();
            tally.regions += regions.len() as u64;
            tally = tally.and(sweep(seed, [&old, &new], &hosts, at, &regions));
        }
        let one_sided: BTreeSet<&String> = names[0].symmetric_difference(&names[1]).collect();
        let said = report.interfaces.iter().filter(|change| change.filter != "kept");
        assert_eq!(said.map(|change| &change.interface).collect::<BTreeSet<_>>(), one_sided, "seed {seed}");
    }
    tally
}

/// All packets at one interface.
fn sweep(
    seed: u64,
    rules: [&Value; 2],
    hosts: &[Simulation; 2],
    at: &str,
    regions: &[&ChangedTraffic],
) -> Tally {
    let mut tally = Tally::default();
    let addresses = addresses(rules);
    for (direction, is_ipv4) in
        [Direction::Ingress, Direction::Egress].into_iter().flat_map(|way| [(way, true), (way, false)])
    {
        let family = if is_ipv4 { "ipv4" } else { "ipv6" };
        let here = |region: &&ChangedTraffic| (region.direction, region.family) == (direction.name(), family);
        let regions: Vec<&ChangedTraffic> = regions.iter().copied().filter(here).collect();
        let all: Vec<IpAddr> = addresses.iter().copied().filter(|it| it.is_ipv4() == is_ipv4).collect();
        let own: Vec<IpAddr> = own(rules, at).into_iter().filter(|it| it.is_ipv4() == is_ipv4).collect();
        let services = services(is_ipv4);
        for (i, remote) in all.iter().enumerate() {
            for (j, (number, key)) in services.iter().enumerate() {
                let number_of = i * services.len() + j + seed as usize;
                if !number_of.is_multiple_of(SHARE) {
                    continue;
                }
                let turn = number_of / SHARE;
                let local = match own.get(turn / 2 % own.len().max(1)) {
                    Some(own) if turn.is_multiple_of(2) => *own,
                    _ => all[turn % all.len()],
                };
                let flow = flow(direction, *remote, local, *number, *key);
                let frame = flow.frame().expect("both ends are of one family");
                let passes = hosts.each_ref().map(|host| {
                    let said = host.rehearse(at, direction, &frame).expect("it is filtered");
                    matches!(said.decision.reason.verdict(), Verdict::Pass)
                });
                let hits: Vec<&str> = regions
                    .iter()
                    .filter(|region| contains(region, *remote, local, *number, *key))
                    .map(|region| region.verdict)
                    .collect();
                let expected: &[&str] = match passes {
                    [false, true] => &["allow"],
                    [true, false] => &["deny"],
                    _ => &[],
                };
                assert_eq!(
                    hits,
                    expected,
                    "seed {seed}: \"{flow}\" {} at {at}, before and after {passes:?}\n{}\n{}",
                    direction.name(),
                    rules[0],
                    rules[1]
                );
                tally.packets += 1;
                tally.changed += u64::from(!expected.is_empty());
            }
        }
    }
    tally
}

fn contains(region: &ChangedTraffic, remote: IpAddr, local: IpAddr, number: u8, key: u16) -> bool {
    let family_icmp = if remote.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 };
    let [kind, code] = key.to_be_bytes();
    let serves = match region.protocol {
        "all" => true,
        "tcp" | "udp" => {
            let is_of = number == if region.protocol == "tcp" { protocol::TCP } else { protocol::UDP };
            is_of && region.ports.iter().flatten().any(|span| (span.from..=span.to).contains(&key))
        }
        "icmp" | "icmpv6" => {
            let in_span = |span: &fw_userspace::diff::IcmpSpan| {
                (span.from_type..=span.to_type).contains(&kind)
                    && (span.from_code..=span.to_code).contains(&code)
            };
            number == family_icmp && region.icmp.iter().flatten().any(in_span)
        }
        _ => {
            let has_own_column = [protocol::TCP, protocol::UDP, family_icmp].contains(&number);
            let mut spans = region.numbers.iter().flatten();
            !has_own_column && spans.any(|span| (span.from..=span.to).contains(&u16::from(number)))
        }
    };
    serves
        && region.remote.iter().any(|net| net.contains(&remote))
        && region.local.iter().any(|net| net.contains(&local))
}

fn flow(direction: Direction, remote: IpAddr, local: IpAddr, number: u8, key: u16) -> Flow {
    let (source, destination) = match direction {
        Direction::Ingress => (remote, local),
        Direction::Egress => (local, remote),
    };
    let port = matches!(number, protocol::TCP | protocol::UDP).then_some(key);
    let [kind, code] = key.to_be_bytes();
    Flow {
        protocol: ProtocolName(number),
        source: Endpoint { address: source, port: None },
        destination: Endpoint { address: destination, port },
        tcp_flags: tcp_flags::SYN,
        icmp: IcmpType { kind, code },
    }
}

/// Two files that have nothing to do with each other, or one and some changes of it.
fn pair(seed: u64) -> [Value; 2] {
    let mut bytes = [0xd1; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::XorShift, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let choices = (rules::document(), rules::document(), vec(rules::change(), 1..4));
    let (old, mut new, changes) = choices.new_tree(&mut runner).expect("nothing is rejected").current();
    if !seed.is_multiple_of(4) {
        new = old.clone();
        changes.iter().for_each(|change| merge(&mut new, change));
    }
    [old, new]
}

/// A host by these rules; of established connections the network ACL judges alone.
fn host(rules: &Value, view: &str) -> Simulation {
    let mut rules = rules.clone();
    if view == "established" {
        let interfaces = rules["interfaces"].as_object_mut().expect("there are some");
        interfaces.values_mut().for_each(|interface| interface["security_groups"] = json!([]));
        rules["settings"]["exempt_services"] = json!("none");
    }
    Simulation::new(run::policy(&rules).expect("still valid")).expect("small")
}

fn names(host: &Simulation) -> BTreeSet<String> {
    host.bindings().iter().map(|binding| binding.carries.name().to_owned()).collect()
}

fn own(rules: [&Value; 2], at: &str) -> Vec<IpAddr> {
    let of = |rules: &Value| rules["interfaces"][at]["addresses"].as_array().cloned().unwrap_or_default();
    rules.into_iter().flat_map(of).filter_map(|text| text.as_str()?.parse().ok()).collect()
}

/// Both ends of whatever is written anywhere as an address or a CIDR, their neighbours, and addresses that mean
/// something to the core.
fn addresses(rules: [&Value; 2]) -> Vec<IpAddr> {
    const OTHERS: [&str; 18] = [
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "224.0.0.251",
        "239.1.1.1",
        "ff02::1",
        "ff0e::1",
        "fe80::7",
        "169.254.169.253",
        "169.254.169.254",
        "169.254.169.123",
        "fd00:ec2::253",
        "fd00:ec2::254",
        "10.0.0.1",
        "10.0.0.2",
        "10.0.1.1",
        "203.0.113.5",
        "2001:db8:0:1::1",
    ];
    let mut words = Vec::new();
    rules.into_iter().for_each(|rules| collect(rules, &mut words));
    let mut found: BTreeSet<IpAddr> = OTHERS.iter().filter_map(|text| text.parse().ok()).collect();
    for word in words {
        let net: Option<ipnet::IpNet> =
            word.parse().ok().or_else(|| word.parse::<IpAddr>().ok().map(Into::into));
        for end in net.into_iter().flat_map(|net| [net.network(), net.broadcast()]) {
            found.insert(end);
            found.extend(beside(end));
        }
    }
    // Dropped whatever the rules say.
    found.retain(|it| !matches!(it, IpAddr::V6(it) if it.to_ipv4_mapped().is_some()));
    found.into_iter().collect()
}

fn beside(address: IpAddr) -> [IpAddr; 2] {
    match address {
        IpAddr::V4(it) => [-1, 1].map(|by| Ipv4Addr::from(u32::from(it).wrapping_add_signed(by)).into()),
        IpAddr::V6(it) => [-1, 1].map(|by| Ipv6Addr::from(u128::from(it).wrapping_add_signed(by)).into()),
    }
}

fn collect<'v>(value: &'v Value, words: &mut Vec<&'v str>) {
    match value {
        Value::String(word) => words.push(word),
        Value::Array(values) => values.iter().for_each(|value| collect(value, words)),
        Value::Object(values) => values.values().for_each(|value| collect(value, words)),
        _ => {}
    }
}

/// Protocols with keys: ends of the generator's ranges, and their neighbours.
fn services(is_ipv4: bool) -> Vec<(u8, u16)> {
    const PORTS: [u16; 22] = [
        0, 1, 21, 22, 23, 52, 53, 54, 79, 80, 81, 123, 442, 443, 444, 445, 1023, 1024, 39_999, 40_000,
        40_001, 65_535,
    ];
    const ICMP: [(u8, u8); 14] = [
        (0, 0),
        (0, 9),
        (3, 3),
        (3, 4),
        (3, 5),
        (8, 0),
        (8, 1),
        (11, 0),
        (11, 1),
        (13, 0),
        (14, 0),
        (17, 255),
        (128, 0),
        (255, 255),
    ];
    const ICMPV6: [(u8, u8); 12] = [
        (0, 0),
        (1, 0),
        (1, 4),
        (2, 0),
        (2, 1),
        (8, 0),
        (127, 255),
        (128, 0),
        (128, 1),
        (129, 0),
        (135, 0),
        (255, 255),
    ];
    let (icmp, kinds, numbers): (u8, &[(u8, u8)], &[u8]) = if is_ipv4 {
        (protocol::ICMP, &ICMP, &[0, 2, 47, 50, 58, 59, 132, 133, 255])
    } else {
        (protocol::ICMPV6, &ICMPV6, &[1, 2, 47, 50, 59, 132, 133, 255])
    };
    let ports =
        [protocol::TCP, protocol::UDP].into_iter().flat_map(|number| PORTS.map(|port| (number, port)));
    let kinds = kinds.iter().map(|(kind, code)| (icmp, u16::from_be_bytes([*kind, *code])));
    ports.chain(kinds).chain(numbers.iter().map(|number| (*number, 0))).collect()
}

#[test]
fn the_packets_of_a_live_connection_meet_what_is_said_of_them() {
    let entry = |to: u16| {
        json!({ "rule_number": 100, "action": "allow", "protocol": "tcp", "from_port": 1024, "to_port": to,
                "cidr_block": "0.0.0.0/0" })
    };
    let rules = |to: u16| {
        let mut rules = loaded_rules();
        let all =
            json!([{ "rule_number": 1, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" }]);
        rules["subnets"] = json!({ "s": { "cidr_blocks": ["10.0.1.0/24"], "network_acl": "a" } });
        rules["network_acls"] = json!({ "a": { "ingress": all, "egress": [entry(to)] } });
        rules["interfaces"]["server"]["subnet"] = json!("s");
        rules["interfaces"]["server"]["addresses"] = json!(["10.0.1.10"]);
        rules
    };
    let [old, new] = [65_535, 50_000].map(|to| run::policy(&rules(to)).unwrap());
    let report =
        diff(Side::of_rules(old.clone()), Side::of_rules(new.clone()), None, DEFAULT_MAX_MEMORY).unwrap();
    let [change] = &report.interfaces[..] else { panic!("{report:?}") };
    let [region] = &change.regions[..] else { panic!("{report:?}") };
    assert_eq!((region.packets, region.direction, region.verdict), ("established", "egress", "deny"));

    let (remote, local) = ("198.51.100.7".parse().unwrap(), "10.0.1.10".parse().unwrap());
    for port in [1024, 50_000, 50_001, 65_535] {
        let mut host = Simulation::new(old.clone()).unwrap();
        let mut syn = flow(Direction::Ingress, remote, local, protocol::TCP, 80);
        syn.source.port = Some(port);
        let mut reply = flow(Direction::Egress, remote, local, protocol::TCP, port);
        (reply.source.port, reply.tcp_flags) = (Some(80), tcp_flags::SYN | tcp_flags::ACK);
        let passes = |host: &Simulation, direction, flow: &Flow| {
            let judged = host.judge("server", direction, &flow.frame().unwrap()).unwrap();
            judged.decision.reason.verdict() == Verdict::Pass
        };
        assert!(passes(&host, Direction::Ingress, &syn), "{syn}");
        assert!(passes(&host, Direction::Egress, &reply), "{reply}");
        host.load(new.clone()).unwrap();
        let is_cut = contains(region, remote, local, protocol::TCP, port);
        assert_eq!(is_cut, port > 50_000);
        assert_eq!(passes(&host, Direction::Egress, &reply), !is_cut, "{reply}");
    }
}

/// The server filters its own NIC.
struct Loaded {
    rig: Rig,
    bpffs: BpffsDir,
}

impl Loaded {
    fn new() -> Self {
        Self { rig: Rig::direct().unwrap(), bpffs: BpffsDir::new().unwrap() }
    }

    fn fwctl(&self) -> Fwctl<'_> {
        Fwctl::new(&self.rig.server.namespace, &self.bpffs).unwrap()
    }

    fn diff(&self, rules: &Value, options: &[&str]) -> Output {
        let words = ["diff", RULES].iter().chain(options);
        self.fwctl().run_with(words, rules.to_string().as_bytes()).unwrap()
    }
}

/// Without addresses: those of the device count, for members too.
fn loaded_rules() -> Value {
    json!({
        "version": 1,
        "security_groups": { "sg": { "egress": [], "ingress": [
            { "id": "web", "protocol": "tcp", "from_port": 80, "to_port": 80, "cidr_blocks": ["0.0.0.0/0"] }
        ] } },
        "interfaces": { "server": { "device": "eth0", "security_groups": ["sg"] } }
    })
}

#[test]
fn nothing_loaded_is_nothing_to_compare_with() {
    let loaded = Loaded::new();
    let output = loaded.diff(&loaded_rules(), &["--exit-code"]);
    assert_eq!(output.code(), 1, "{}", output.said());
    assert!(output.stderr.contains("nothing is loaded under"), "{}", output.said());
}

#[test]
fn what_is_loaded_is_compared_and_stays() {
    let loaded = Loaded::new();
    loaded.fwctl().load(&loaded_rules()).unwrap();
    let same = loaded.diff(&loaded_rules(), &["--exit-code"]);
    assert_eq!((same.code(), &same.stdout[..]), (0, "the rules are the same\n\nno verdict changes\n"));

    let mut new = loaded_rules();
    let rules = new["security_groups"]["sg"]["ingress"].as_array_mut().unwrap();
    rules.push(json!({ "id": "ssh", "protocol": "tcp", "from_port": 22, "to_port": 22, "self": true }));
    let output = loaded.diff(&new, &["--exit-code", "--json"]);
    assert_eq!(output.code(), 3, "{}", output.said());
    let report = output.json().unwrap();
    let regions = report["interfaces"][0]["regions"].as_array().unwrap();
    // The group's member is this interface, by what its device has.
    let remote: Vec<&str> = regions
        .iter()
        .flat_map(|region| region["remote"].as_array().unwrap())
        .filter_map(Value::as_str)
        .collect();
    let own = format!("{}/32", loaded.rig.server.v4);
    assert!(remote.contains(&own.as_str()), "{report}");
    assert!(regions.iter().all(|region| region["ports"] == json!([{ "from": 22, "to": 22 }])), "{report}");

    // What it says becomes true by a load and not before.
    let status = loaded.fwctl().status().unwrap();
    assert_eq!(status["generation"], 1);
    loaded.fwctl().load(&new).unwrap();
    assert_eq!(loaded.diff(&new, &["--exit-code"]).code(), 0);
    let back = loaded.diff(&loaded_rules(), &["--exit-code"]);
    assert_eq!(back.code(), 3);
    assert!(back.stdout.contains("- deny  tcp 22 from"), "{}", back.said());

    // The device of another interface is not there, and would be filtered when it comes.
    new["interfaces"]["later"] = json!({ "device": "eth7", "security_groups": ["sg"] });
    let output = loaded.diff(&new, &[]);
    assert!(output.stdout.contains("later is filtered for the first time"), "{}", output.said());
    let output = loaded.diff(&new, &["--interface", "nobody"]);
    assert_eq!(output.code(), 2, "{}", output.said());
    assert!(output.stderr.contains("must be \"server\", \"later\""), "{}", output.said());
}

#[test]
fn rules_that_were_not_confirmed_are_not_compared_with() {
    let loaded = Loaded::new();
    loaded.fwctl().load_with(&loaded_rules(), &["--confirm", "1"]).unwrap();
    thread::sleep(std::time::Duration::from_millis(1500));
    let output = loaded.diff(&loaded_rules(), &[]);
    assert_eq!(output.code(), 1, "{}", output.said());
    assert!(output.stderr.contains("nothing is in force"), "{}", output.said());
}
