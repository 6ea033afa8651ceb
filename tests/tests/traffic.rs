//! Real sockets through real hooks: TCP, UDP, ping and raw frames, both families, both faces, both modes.
//! Needs root.

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Host, Namespace, Rig, join};
use fw_tests::packet;
use fw_tests::traffic::Outcome::{self, Blocked, Reached};
use fw_tests::traffic::{Echo, LiveTcp, capture, ping, send_frame, tcp_connect, udp_ask, udp_ask_within};
use serde_json::{Value, json};

/// Client and server of both families, and the host between or beside them that filters the server's traffic.
struct Filtered {
    rig: Rig,
    bpffs: BpffsDir,
    faces: &'static str,
    mode: &'static str,
}

/// The networks of the client.
const CLIENTS: [&str; 2] = ["10.77.1.0/24", "fd77:1::/64"];

impl Filtered {
    /// The server filters its own NIC.
    fn own_nic(mode: &'static str) -> Self {
        Self { rig: Rig::direct().unwrap(), bpffs: BpffsDir::new().unwrap(), faces: "network", mode }
    }

    /// The router filters its end of the server's veth pair.
    fn veth_of_instance(mode: &'static str) -> Self {
        Self { rig: Rig::routed().unwrap(), bpffs: BpffsDir::new().unwrap(), faces: "instance", mode }
    }

    /// The same, and the server's namespace has no name and no process: only a file that we have open holds it.
    fn veth_of_hidden_instance(mode: &'static str) -> Self {
        let filtered = Self::veth_of_instance(mode);
        let name = filtered.rig.server.name();
        let removed = Command::new("ip").args(["netns", "delete", name]).status().unwrap();
        assert!(removed.success(), "{name}");
        filtered
    }

    fn host(&self) -> &Namespace {
        self.rig.router.as_ref().unwrap_or(&self.rig.server.namespace)
    }

    fn device(&self) -> &'static str {
        if self.rig.router.is_some() { "server0" } else { "eth0" }
    }

    fn fwctl(&self) -> Fwctl<'_> {
        Fwctl::new(self.host(), &self.bpffs).unwrap()
    }

    fn interface(&self) -> Value {
        json!({ "device": self.device(), "faces": self.faces, "mode": self.mode, "security_groups": ["sg"] })
    }

    /// A file with one group on the device.
    fn rules(&self, ingress: &Value, egress: &Value) -> Value {
        json!({ "version": 1,
                "security_groups": { "sg": { "ingress": ingress, "egress": egress } },
                "interfaces": { "server": self.interface() },
                "settings": { "adopt_seconds": 0 } })
    }

    fn load(&self, ingress: &Value, egress: &Value) -> Value {
        self.fwctl().load(&self.rules(ingress, egress)).unwrap()
    }

    /// TCP 80 and UDP 53 are served at both ends, and ports beside them that no rule names.
    fn services(&self) -> Vec<Echo> {
        let mut services = Vec::new();
        for host in [&self.rig.client, &self.rig.server] {
            for port in [80, 81] {
                services.push(Echo::tcp(host, (host.v4, port)).unwrap());
                services.push(Echo::tcp(host, (host.v6, port)).unwrap());
            }
            for port in [53, 54] {
                services.push(Echo::udp(host, (host.v4, port)).unwrap());
                services.push(Echo::udp(host, (host.v6, port)).unwrap());
            }
        }
        services
    }

    /// A TCP connection from the client to the server, opened before or under the rules.
    fn live(&self, port: u16) -> LiveTcp {
        let Rig { client, server, .. } = &self.rig;
        LiveTcp::open(client, (client.v4, 0), server, (server.v4, port)).unwrap()
    }

    fn tcp(&self, port: u16) -> Outcome {
        tcp_connect(&self.rig.client, ("0.0.0.0", 0), (self.rig.server.v4, port)).unwrap()
    }
}

fn tcp_rule(id: &str, port: u16, peers: &[&str]) -> Value {
    json!({ "id": id, "protocol": "tcp", "from_port": port, "to_port": port, "cidr_blocks": peers })
}

/// TCP 80, UDP 53 and echo with these peers.
fn service_rules(peers: &[&str]) -> Value {
    json!([
        tcp_rule("web", 80, peers),
        { "id": "dns", "protocol": "udp", "from_port": 53, "to_port": 53, "cidr_blocks": peers },
        { "id": "ping", "protocol": "icmp", "icmp_type": 8, "icmp_code": -1, "cidr_blocks": [peers[0]] },
        { "id": "ping6", "protocol": "icmpv6", "icmp_type": 128, "cidr_blocks": [peers[1]] }
    ])
}

/// What TCP 80, UDP 53, ping, TCP 81 and UDP 54 come to, in both families.
fn probe(from: &Host, to: &Host) -> [[Outcome; 5]; 2] {
    [
        [
            tcp_connect(from, (from.v4, 0), (to.v4, 80)).unwrap(),
            udp_ask(from, (from.v4, 0), (to.v4, 53)).unwrap(),
            ping(from, to.v4).unwrap(),
            tcp_connect(from, (from.v4, 0), (to.v4, 81)).unwrap(),
            udp_ask(from, (from.v4, 0), (to.v4, 54)).unwrap(),
        ],
        [
            tcp_connect(from, (from.v6, 0), (to.v6, 80)).unwrap(),
            udp_ask(from, (from.v6, 0), (to.v6, 53)).unwrap(),
            ping(from, to.v6).unwrap(),
            tcp_connect(from, (from.v6, 0), (to.v6, 81)).unwrap(),
            udp_ask(from, (from.v6, 0), (to.v6, 54)).unwrap(),
        ],
    ]
}

const AS_THE_RULES_SAY: [[Outcome; 5]; 2] = [[Reached, Reached, Reached, Blocked, Blocked]; 2];
const NOTHING: [[Outcome; 5]; 2] = [[Blocked; 5]; 2];
const EVERYTHING: [[Outcome; 5]; 2] = [[Reached; 5]; 2];

/// Rules in one direction only: what they allow is answered, and nothing goes the other way.
fn both_directions(filtered: &Filtered) {
    let (client, server) = (&filtered.rig.client, &filtered.rig.server);
    let _services = filtered.services();
    assert_eq!((probe(client, server), probe(server, client)), (EVERYTHING, EVERYTHING), "before any rules");

    let report = filtered.load(&service_rules(&CLIENTS), &json!([]));
    let hooks: Vec<&str> =
        report["hooks"].as_array().unwrap().iter().filter_map(|hook| hook["hook"].as_str()).collect();
    assert_eq!(hooks.contains(&"xdp"), filtered.mode == "xdp", "{report}");
    assert_eq!(hooks.len(), 2, "{report}");
    assert_eq!(probe(client, server), AS_THE_RULES_SAY, "inbound rules");
    assert_eq!(probe(server, client), NOTHING, "no outbound rules");

    filtered.load(&json!([]), &service_rules(&CLIENTS));
    assert_eq!(probe(server, client), AS_THE_RULES_SAY, "outbound rules");
    assert_eq!(probe(client, server), NOTHING, "no inbound rules");

    let stats = filtered.fwctl().stats().unwrap();
    for rule in ["web", "dns", "ping", "ping6"] {
        assert!(stats.rule_packets("sg", rule) > 0, "{rule}: {}", stats.0);
    }
    // Two probes of five in both families, both ways, each time.
    assert!(stats.packets("deny", "no_group_rule") >= 28, "{}", stats.0);
}

#[test]
fn an_own_nic_at_tc_passes_what_its_group_allows_and_the_replies_both_ways() {
    both_directions(&Filtered::own_nic("tc"));
}

#[test]
fn an_own_nic_at_xdp_passes_what_its_group_allows_and_the_replies_both_ways() {
    both_directions(&Filtered::own_nic("xdp"));
}

#[test]
fn the_veth_of_an_instance_at_tc_passes_what_its_group_allows_and_the_replies_both_ways() {
    both_directions(&Filtered::veth_of_instance("tc"));
}

#[test]
fn the_veth_of_an_instance_at_xdp_passes_what_its_group_allows_and_the_replies_both_ways() {
    both_directions(&Filtered::veth_of_instance("xdp"));
}

/// The server's subnet, whose ACL is judged at the server's interface.
fn acl_rules(filtered: &Filtered, ingress: &Value, egress: &Value) -> Value {
    let everything = json!([{ "protocol": "all", "cidr_blocks": ["0.0.0.0/0", "::/0"] }]);
    let mut rules = filtered.rules(&everything, &everything);
    rules["subnets"] =
        json!({ "subnet": { "cidr_blocks": ["10.77.2.0/24", "fd77:2::/64"], "network_acl": "acl" } });
    rules["network_acls"] = json!({ "acl": { "ingress": ingress, "egress": egress } });
    rules["interfaces"]["server"]["subnet"] = json!("subnet");
    rules
}

fn acl_entries(action: &str, first: u16, port: u16) -> [Value; 2] {
    ["0.0.0.0/0", "::/0"].map(|peer| {
        let number = if peer == "::/0" { first + 1 } else { first };
        json!({ "rule_number": number, "action": action, "protocol": "tcp", "from_port": port,
                "to_port": port, "cidr_block": peer })
    })
}

fn acl_everything() -> [Value; 2] {
    [(100, "0.0.0.0/0"), (101, "::/0")].map(|(number, peer)| {
        json!({ "rule_number": number, "action": "allow", "protocol": "all", "cidr_block": peer })
    })
}

/// An ACL knows no connections, and goes by number.
fn acl_in_mode(mode: &'static str) {
    let filtered = Filtered::veth_of_instance(mode);
    let (client, server) = (&filtered.rig.client, &filtered.rig.server);
    let _services = filtered.services();
    let fwctl = filtered.fwctl();
    let web = |from: &Host, to: &Host| {
        [
            tcp_connect(from, (from.v4, 0), (to.v4, 80)).unwrap(),
            tcp_connect(from, (from.v6, 0), (to.v6, 80)).unwrap(),
        ]
    };
    let inbound = acl_entries("allow", 100, 80);
    fwctl.load(&acl_rules(&filtered, &json!(inbound), &json!([]))).unwrap();
    assert_eq!(web(client, server), [Blocked; 2], "the answer has no entry of its own");
    assert_eq!(web(server, client), [Blocked; 2]);
    fwctl.load(&acl_rules(&filtered, &json!(inbound), &json!(acl_everything()))).unwrap();
    assert_eq!(web(client, server), [Reached; 2]);

    let mut entries = acl_everything().to_vec();
    entries.extend(acl_entries("deny", 90, 80));
    fwctl.load(&acl_rules(&filtered, &json!(entries), &json!(acl_everything()))).unwrap();
    assert_eq!(web(client, server), [Blocked; 2], "90 before 100");
    let stats = fwctl.stats().unwrap();
    // More than one where an answer that was held back before comes late and is refused.
    for number in ["90", "91"] {
        assert!(stats.rule_packets("acl", number) >= 1, "{number}: {}", stats.0);
    }
    assert_eq!(ping(client, server.v4).unwrap(), Reached);
    assert_eq!(ping(client, server.v6).unwrap(), Reached);
}

#[test]
fn a_network_acl_at_tc_goes_by_number_and_needs_an_entry_for_replies() {
    acl_in_mode("tc");
}

#[test]
fn a_network_acl_at_xdp_goes_by_number_and_needs_an_entry_for_replies() {
    acl_in_mode("xdp");
}

#[test]
fn a_deny_in_the_acl_cuts_a_live_connection_and_a_removed_group_rule_does_not() {
    let filtered = Filtered::veth_of_instance("tc");
    let fwctl = filtered.fwctl();
    let rules = |group: &Value, acl: &[Value]| {
        let mut rules = acl_rules(&filtered, &json!(acl), &json!(acl_everything()));
        rules["security_groups"]["sg"]["ingress"] = group.clone();
        rules
    };
    let web = json!([tcp_rule("web", 80, &CLIENTS)]);
    fwctl.load(&rules(&web, &acl_everything())).unwrap();
    let mut live = filtered.live(80);
    assert!(live.exchange() && live.exchange_from_server());

    fwctl.load(&rules(&json!([]), &acl_everything())).unwrap();
    assert!(
        live.exchange() && live.exchange_from_server(),
        "the group rule is gone, the connection is tracked"
    );
    assert_eq!(filtered.tcp(80), Blocked, "a new connection");

    let mut deny = acl_everything().to_vec();
    deny.extend(acl_entries("deny", 90, 80));
    fwctl.load(&rules(&web, &deny)).unwrap();
    assert!(!live.exchange(), "the ACL knows no connections");
    fwctl.load(&rules(&web, &acl_everything())).unwrap();
    assert!(live.exchange_within(Duration::from_secs(5)), "nothing but the ACL was in the way");
}

#[test]
fn nothing_changes_when_the_loader_is_gone() {
    let filtered = Filtered::own_nic("tc");
    let _services = filtered.services();
    let mut ingress = service_rules(&CLIENTS);
    ingress.as_array_mut().unwrap().push(tcp_rule("app", 82, &CLIENTS));
    filtered.load(&ingress, &json!([]));
    let mut live = filtered.live(82);
    // Every command ends before the next line; this one has nothing to do with the rules.
    assert_eq!(filtered.fwctl().run(["--version"]).unwrap().code(), 0);
    assert!(live.exchange());
    assert_eq!(probe(&filtered.rig.client, &filtered.rig.server), AS_THE_RULES_SAY);
    let status = filtered.fwctl().run(["status", "--json"]).unwrap().success().unwrap();
    assert_eq!(status["healthy"], json!(true), "{status}");
}

/// For what must arrive, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(10);

/// Twenty, or `FWCTL_TEST_LOADS` on a slow machine.
fn loads() -> usize {
    std::env::var("FWCTL_TEST_LOADS").ok().and_then(|loads| loads.parse().ok()).unwrap_or(20)
}

/// Twenty loads under a connection that talks, questions that are asked, and knocks at a closed port.
fn reloads_under_traffic(mode: &'static str) {
    let filtered = Filtered::own_nic(mode);
    let (client, server) = (&filtered.rig.client, &filtered.rig.server);
    let (dns, closed) =
        (Echo::udp(server, (server.v4, 53)).unwrap(), Echo::udp(server, (server.v4, 54)).unwrap());
    let rules = |turn: usize| {
        let mut ingress = service_rules(&CLIENTS);
        ingress
            .as_array_mut()
            .unwrap()
            .extend((0..turn % 2 * 5).map(|n| tcp_rule(&format!("extra-{n}"), 8000 + n as u16, &CLIENTS)));
        filtered.rules(&ingress, &json!([]))
    };
    filtered.fwctl().load(&rules(0)).unwrap();
    let mut live = filtered.live(80);
    let done = AtomicBool::new(false);
    let (talked, asked, knocked) = thread::scope(|scope| {
        let count = |mut work: Box<dyn FnMut() -> bool + Send>| {
            let done = &done;
            move || {
                let (mut good, mut bad) = (0, 0);
                while !done.load(Ordering::Relaxed) {
                    if work() { good += 1 } else { bad += 1 }
                }
                (good, bad)
            }
        };
        let talk = scope.spawn(count(Box::new(|| live.exchange_within(PATIENCE))));
        // Ports of their own: every question is a connection of its own, and counts at its rule.
        let mut port = 10_000;
        let ask = move || {
            port += 1;
            udp_ask_within(client, (client.v4, port), (server.v4, 53), PATIENCE).unwrap() == Reached
        };
        let ask = scope.spawn(count(Box::new(ask)));
        let mac = server.mac("eth0").unwrap();
        let knock = move || {
            let frame = packet::udp((client.v4, 4000), (server.v4, 54)).payload(b"knock");
            let frame = frame.destination_mac(mac).build();
            send_frame(client, "eth0", &frame).is_ok()
        };
        let knock = scope.spawn(count(Box::new(knock)));
        let loaded: Vec<_> = (1..=loads()).map(|turn| filtered.fwctl().load(&rules(turn))).collect();
        done.store(true, Ordering::Relaxed);
        for report in loaded {
            report.unwrap();
        }
        (talk.join().unwrap(), ask.join().unwrap(), knock.join().unwrap())
    });
    let stats = filtered.fwctl().stats().unwrap();
    assert!(talked.0 > 20 && talked.1 == 0, "exchanges: {talked:?}; {}", stats.0);
    assert!(asked.0 > 20 && asked.1 == 0, "questions: {asked:?}; {}", stats.0);
    assert_eq!(dns.served(), asked.0);
    assert!(knocked.0 > 20 && closed.served() == 0, "{} of {knocked:?} got in", closed.served());
    // Only the knocks were dropped: nothing of the rest was lost and repeated.
    assert_eq!(stats.verdict("deny"), knocked.0, "{}", stats.0);
    assert_eq!(stats.packets("deny", "no_group_rule"), knocked.0, "{}", stats.0);
    // The rule was there all the time: its counter went on.
    assert_eq!(stats.rule_packets("sg", "dns"), asked.0, "{}", stats.0);
}

#[test]
fn twenty_loads_at_tc_lose_nothing_let_nothing_in_and_keep_a_live_connection() {
    reloads_under_traffic("tc");
}

#[test]
fn twenty_loads_at_xdp_lose_nothing_let_nothing_in_and_keep_a_live_connection() {
    reloads_under_traffic("xdp");
}

#[test]
fn the_first_load_takes_over_a_connection_that_its_rules_allow() {
    for (faces, is_known) in [
        (Filtered::own_nic as fn(_) -> _, true),
        (Filtered::veth_of_instance, true),
        (Filtered::veth_of_hidden_instance, false),
    ] {
        let filtered: Filtered = faces("tc");
        let (mut allowed, mut foreign) = (filtered.live(22), filtered.live(23));
        assert!(allowed.exchange() && foreign.exchange());
        let mut rules = filtered.rules(&json!([tcp_rule("ssh", 22, &CLIENTS)]), &json!([]));
        rules["settings"] = json!({});
        let report = filtered.fwctl().load(&rules).unwrap();
        assert_eq!(report["adopt_s"], json!(120), "{report}");
        // Whoever speaks first: the server's side is the reverse of what is allowed.
        assert!(allowed.exchange_from_server() && allowed.exchange());
        assert!(!foreign.exchange(), "no rule allows it");
        let stats = filtered.fwctl().stats().unwrap();
        // Sockets tell of the ones, only its segments of the other.
        assert_eq!(report["taken_over"], json!(u64::from(is_known)), "{report}");
        assert_eq!(stats.packets("allow", "adopted") > 0, !is_known, "{}", stats.0);
    }
}

#[test]
fn with_adopt_seconds_0_the_first_load_takes_over_nothing_that_has_no_socket_that_is_known() {
    let filtered = Filtered::veth_of_hidden_instance("tc");
    let mut live = filtered.live(22);
    filtered.load(&json!([tcp_rule("ssh", 22, &CLIENTS)]), &json!([]));
    assert!(!live.exchange());
    assert!(filtered.fwctl().stats().unwrap().packets("deny", "mid_stream") > 0);
}

/// Only its entry keeps the connection: no rule allows it any more, and none is taken over.
#[test]
fn another_conntrack_max_moves_the_live_connections_to_another_table() {
    let filtered = Filtered::own_nic("tc");
    let fwctl = filtered.fwctl();
    let rules = |most: u32, ingress: &Value| {
        let mut rules = filtered.rules(ingress, &json!([]));
        rules["settings"] = json!({ "conntrack_max": most, "adopt_seconds": 0 });
        rules
    };
    fwctl.load(&rules(262_144, &json!([tcp_rule("ssh", 22, &["0.0.0.0/0"])]))).unwrap();
    let mut live = filtered.live(22);
    assert!(live.exchange());
    for most in [1024, 1_000_000, 2048] {
        let report = fwctl.load(&rules(most, &json!([]))).unwrap();
        assert!(format!("{report:?}").contains(&format!("conntrack_max is {most} now")), "{report:?}");
        assert!(live.exchange_from_server() && live.exchange(), "with {most}");
        let status = fwctl.status().unwrap();
        let tables = status["tables"].as_array().unwrap().clone();
        let connections = tables.iter().find(|table| table["table"] == "connections").unwrap();
        assert_eq!((&connections["used"], &connections["capacity"]), (&json!(1), &json!(most)));
    }
}

/// An open rule both ways: its connections are not tracked.
fn open_rules(filtered: &Filtered, ingress: &Value) -> Value {
    let everything = json!([{ "protocol": "all", "cidr_blocks": ["0.0.0.0/0", "::/0"] }]);
    filtered.rules(ingress, &everything)
}

/// T80.
#[test]
fn a_load_that_narrows_its_own_open_rule_keeps_the_untracked_connection() {
    let filtered = Filtered::own_nic("tc");
    let fwctl = filtered.fwctl();
    let rules = |peer: &str| {
        let mut rules = open_rules(&filtered, &json!([tcp_rule("ssh", 22, &[peer])]));
        rules["settings"] = json!({});
        rules
    };
    fwctl.load(&rules("0.0.0.0/0")).unwrap();
    let mut live = filtered.live(22);
    assert!(live.exchange());
    assert_eq!(fwctl.stats().unwrap().packets("allow", "established"), 0, "the flow should be untracked");
    fwctl.load(&rules(&format!("{}/32", filtered.rig.client.v4))).unwrap();
    assert!(live.exchange_from_server() && live.exchange());
    let stats = fwctl.stats().unwrap();
    assert!(stats.packets("allow", "adopted") > 0, "{}", stats.0);
}

/// T79, without the window in which connections are taken over.
#[test]
fn a_load_that_removes_an_open_rule_cuts_its_untracked_connection() {
    let filtered = Filtered::own_nic("tc");
    let fwctl = filtered.fwctl();
    fwctl.load(&open_rules(&filtered, &json!([tcp_rule("ssh", 22, &["0.0.0.0/0"])]))).unwrap();
    let mut live = filtered.live(22);
    assert!(live.exchange());
    fwctl.load(&open_rules(&filtered, &json!([]))).unwrap();
    assert!(!live.exchange());
}

/// Tagged frames cross a bridge, whose port judges them.
fn tagged_frames(mode: &str) {
    let [client, bridge, server] = ["client", "bridge", "server"].map(|name| Namespace::new(name).unwrap());
    let bpffs = BpffsDir::new().unwrap();
    bridge.ip("link add br0 type bridge").unwrap();
    bridge.ip("link set br0 up").unwrap();
    for (host, port) in [(&client, "client0"), (&server, "server0")] {
        join(host, "eth0", &bridge, port).unwrap();
        bridge.ip(&format!("link set {port} master br0")).unwrap();
    }
    let fwctl = Fwctl::new(&bridge, &bpffs).unwrap();
    let group = json!({ "ingress": service_rules(&CLIENTS), "egress": service_rules(&CLIENTS) });
    let interface = json!({ "device": "client0", "mode": mode, "security_groups": ["sg"] });
    fwctl
        .load(
            &json!({ "version": 1, "security_groups": { "sg": group }, "interfaces": { "port": interface } }),
        )
        .unwrap();

    for (from, to, direction) in [(&client, &server, "inbound"), (&server, &client, "outbound")] {
        let seen = capture(to, "eth0").unwrap();
        for tags in [[].as_slice(), &[7], &[7, 8]] {
            for (port, passes) in [(53, true), (54, false)] {
                let packet = packet::udp("10.77.1.2:4000", ("10.77.1.3", port)).payload(b"tagged");
                let packet =
                    tags.iter().fold(packet.destination_mac([0xff; 6]), |packet, tag| packet.vlan(*tag));
                let frame = packet.build();
                send_frame(from, "eth0", &frame).unwrap();
                assert_eq!(
                    seen.sees(&frame).unwrap(),
                    passes,
                    "{mode} {direction}, tags {tags:?}, UDP {port}"
                );
            }
        }
    }
    let stats = fwctl.stats().unwrap();
    assert_eq!(stats.packets("deny", "no_group_rule"), 6, "{}", stats.0);
}

#[test]
fn packets_with_vlan_tags_are_judged_at_tc_like_those_without() {
    tagged_frames("tc");
}

#[test]
fn packets_with_vlan_tags_are_judged_at_xdp_like_those_without() {
    tagged_frames("xdp");
}

#[test]
fn with_enforce_off_everything_passes_and_what_would_be_denied_is_counted() {
    for mode in ["tc", "xdp"] {
        let filtered = Filtered::own_nic(mode);
        let _services = filtered.services();
        let mut rules = filtered.rules(&json!([]), &json!([]));
        rules["interfaces"]["server"]["enforce"] = json!(false);
        filtered.fwctl().load(&rules).unwrap();
        assert_eq!(probe(&filtered.rig.client, &filtered.rig.server), EVERYTHING);
        assert_eq!(probe(&filtered.rig.server, &filtered.rig.client), EVERYTHING);
        let stats = filtered.fwctl().stats().unwrap();
        assert_eq!(stats.verdict("deny"), 0, "{}", stats.0);
        assert!(stats.verdict("would_deny") >= 20, "{}", stats.0);
        filtered.load(&json!([]), &json!([]));
        assert_eq!(filtered.tcp(80), Blocked);
    }
}

#[test]
fn a_device_that_comes_later_is_pending_until_it_is_attached_and_free_when_detached() {
    let filtered = Filtered::own_nic("tc");
    let _services = filtered.services();
    let server = &filtered.rig.server;
    let mut rules = filtered.rules(&json!([tcp_rule("web", 80, &["10.88.0.0/24"])]), &json!([]));
    rules["interfaces"]["server"]["device"] = json!("later");
    let report = filtered.fwctl().load(&rules).unwrap();
    assert_eq!(report["pending"], json!([{ "interface": "server", "device": "later" }]), "{report}");
    assert_eq!(filtered.tcp(81), Reached, "another device is nobody's business");

    join(&filtered.rig.client, "later", server, "later").unwrap();
    filtered.rig.client.address("later", "10.88.0.2/24").unwrap();
    server.address("later", "10.88.0.3/24").unwrap();
    let _later = [80, 81].map(|port| Echo::tcp(server, ("10.88.0.3", port)).unwrap());
    let tcp = |port: u16| tcp_connect(&filtered.rig.client, ("0.0.0.0", 0), ("10.88.0.3", port)).unwrap();
    assert_eq!((tcp(80), tcp(81)), (Reached, Reached), "not attached yet");

    let attached = filtered.fwctl().run(["attach", "later", "--interface", "server"]).unwrap();
    assert_eq!(attached.code(), 0, "{}", attached.said());
    assert_eq!((tcp(80), tcp(81)), (Reached, Blocked));
    let status = filtered.fwctl().run(["status", "--json"]).unwrap().success().unwrap();
    assert_eq!(status["pending"], json!([]), "{status}");

    let detached = filtered.fwctl().run(["detach", "later"]).unwrap();
    assert_eq!(detached.code(), 0, "{}", detached.said());
    // The kernel ends a link a moment after its pin.
    assert!((0..5).any(|_| tcp(81) == Reached), "still filtered");
    assert_eq!(tcp(80), Reached);

    // Who took it away did so for a reason.
    let attach = |device: &str| filtered.fwctl().run(["attach", device, "--json"]).unwrap();
    assert_eq!(attach("later").success().unwrap(), json!(null));
    assert_eq!(tcp(81), Reached);
    filtered.fwctl().load(&rules).unwrap();
    assert_eq!(tcp(81), Blocked);
}

#[test]
fn attach_finds_the_interface_that_names_the_device() {
    let filtered = Filtered::own_nic("tc");
    let server = &filtered.rig.server;
    let mut rules = filtered.rules(&json!([tcp_rule("web", 80, &["10.88.0.0/24"])]), &json!([]));
    rules["interfaces"]["server"]["device"] = json!("late*");
    filtered.fwctl().load(&rules).unwrap();
    let attach = |device: &str| filtered.fwctl().run(["attach", device, "--json"]).unwrap();
    assert_eq!(attach("eth0").success().unwrap(), json!(null), "another device is nobody's business");
    let gone = attach("later");
    assert!(gone.code() == 1 && gone.stderr.contains("no device \"later\""), "{}", gone.said());

    join(&filtered.rig.client, "later", server, "later").unwrap();
    filtered.rig.client.address("later", "10.88.0.2/24").unwrap();
    server.address("later", "10.88.0.3/24").unwrap();
    let _later = [80, 81].map(|port| Echo::tcp(server, ("10.88.0.3", port)).unwrap());
    let tcp = |port: u16| tcp_connect(&filtered.rig.client, ("0.0.0.0", 0), ("10.88.0.3", port)).unwrap();
    assert_eq!(tcp(81), Reached, "not attached yet");
    let attached = attach("later").success().unwrap();
    assert_eq!(attached["pending"], json!([]), "{attached}");
    assert_eq!((tcp(80), tcp(81)), (Reached, Blocked));
    assert_eq!(attach("later").code(), 0, "twice is once");
    assert_eq!((tcp(80), tcp(81)), (Reached, Blocked));
}

#[test]
fn status_fails_when_a_hook_is_gone_and_a_load_brings_it_back() {
    let filtered = Filtered::own_nic("tc");
    let (client, server) = (&filtered.rig.client, &filtered.rig.server);
    filtered.load(&service_rules(&CLIENTS), &json!([]));
    assert_eq!(filtered.fwctl().run(["status"]).unwrap().code(), 0);

    server.ip("link del eth0").unwrap();
    let gone = filtered.fwctl().run(["status", "--json"]).unwrap();
    assert_eq!(gone.code(), 1, "{}", gone.said());
    assert_eq!(gone.json().unwrap()["healthy"], json!(false), "{}", gone.said());

    // The same name, but another device.
    join(client, "eth0", server, "eth0").unwrap();
    for (host, address) in [(client, client.v4), (server, server.v4)] {
        host.address("eth0", &format!("{address}/24")).unwrap();
    }
    let _closed = Echo::tcp(server, (server.v4, 81)).unwrap();
    let unfiltered = filtered.fwctl().run(["status"]).unwrap();
    assert_eq!(unfiltered.code(), 1, "{}", unfiltered.said());
    assert_eq!(filtered.tcp(81), Reached);
    filtered.load(&service_rules(&CLIENTS), &json!([]));
    assert_eq!(filtered.fwctl().run(["status"]).unwrap().code(), 0);
    assert_eq!(filtered.tcp(81), Blocked);
}

#[test]
fn two_interfaces_of_one_host_have_groups_of_their_own() {
    for mode in ["tc", "xdp"] {
        let filtered = Filtered::veth_of_instance(mode);
        let (client, server) = (&filtered.rig.client, &filtered.rig.server);
        let _services = filtered.services();
        // The client may ask anything, the server is asked for the web only; the server may ask nothing.
        let mut rules = filtered.rules(&json!([tcp_rule("web", 80, &CLIENTS)]), &json!([]));
        rules["security_groups"]["clients"] = json!({ "ingress": [] });
        rules["interfaces"]["client"] = json!({ "device": "client0", "faces": "instance", "mode": mode,
                                                "security_groups": ["clients"] });
        let report = filtered.fwctl().load(&rules).unwrap();
        assert_eq!(report["hooks"].as_array().unwrap().len(), 4, "{report}");
        let web = [Reached, Blocked, Blocked, Blocked, Blocked];
        assert_eq!(probe(client, server), [web; 2], "{mode}");
        assert_eq!(probe(server, client), NOTHING, "{mode}");
        let stats = filtered.fwctl().stats().unwrap();
        let dropped_at = |interface: &str| {
            let rows = stats.0["reasons"].as_array().unwrap().iter();
            let rows = rows.filter(|row| row["interface"] == interface && row["verdict"] == "deny");
            rows.map(|row| format!("{} {}", row["direction"], row["reason"])).collect::<Vec<_>>()
        };
        let both = [r#""ingress" "no_group_rule""#, r#""egress" "no_group_rule""#];
        let mut at_server = dropped_at("server");
        at_server.sort_by_key(|row| row.contains("egress"));
        assert_eq!(at_server, both, "{mode}: {}", stats.0);
        assert_eq!(dropped_at("client"), Vec::<String>::new(), "{mode}: the server drops its own first");
    }
}
