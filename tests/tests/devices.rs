//! Whatever becomes of devices and their names, what the rules select stays filtered, or `status` says that it is not.
//! Needs root.

use std::ops::Deref;
use std::process::Command;

use fw_tests::fwctl::{Fwctl, RULES};
use fw_tests::kill;
use fw_tests::netns::{BpffsDir, Namespace, Rig, join};
use fw_tests::server::{self, ONLY_80, PASSES};
use fw_tests::traffic::LiveTcp;
use serde_json::{Value, json};

const MODES: [&str; 2] = ["tc", "xdp"];

struct Server(server::Server);

impl Deref for Server {
    type Target = server::Server;

    fn deref(&self) -> &server::Server {
        &self.0
    }
}

impl Server {
    fn new() -> Self {
        Self(server::Server::new())
    }

    fn ip(&self, arguments: &str) {
        self.rig.server.ip(arguments).unwrap();
    }

    fn load_command(&self, rules: &Value) -> Command {
        self.fwctl().command_with(["load", RULES], rules.to_string().as_bytes()).unwrap()
    }

    /// Exit status, and what is said.
    fn status(&self) -> (i32, String) {
        let output = self.fwctl().run(["status"]).unwrap();
        (output.code(), output.stdout)
    }

    #[track_caller]
    fn is_filtered_and_well(&self, when: &str) {
        assert_eq!(self.tcp(), ONLY_80, "{when}");
        assert_eq!(self.status().0, 0, "{when}: {}", self.status().1);
    }
}

/// TCP 79 and 80 in at each of these devices, by interfaces "i0", "i1" and so on.
fn rules(mode: &str, devices: &[Value]) -> Value {
    let interfaces = devices.iter().enumerate().map(|(number, device)| {
        let interface = json!({ "device": device, "mode": mode, "security_groups": ["web"] });
        (format!("i{number}"), interface)
    });
    json!({
        "version": 1,
        "security_groups": { "web": { "ingress": [
            { "protocol": "tcp", "from_port": 79, "to_port": 80, "cidr_blocks": ["0.0.0.0/0"] }
        ] } },
        "interfaces": interfaces.collect::<serde_json::Map<_, _>>(),
        "settings": { "adopt_seconds": 0 }
    })
}

#[test]
fn a_device_that_is_renamed_stays_filtered_however_it_is_named() {
    for mode in MODES {
        for named in ["name", "mac", "altname", "glob"] {
            let server = Server::new();
            server.ip("link property add dev eth0 altname wan0");
            let mac = server.rig.server.mac("eth0").unwrap().map(|octet| format!("{octet:02x}")).join(":");
            let device = match named {
                "mac" => json!({ "mac": mac }),
                "altname" => json!({ "altname": "wan0" }),
                "glob" => json!("*0"),
                _ => json!("eth0"),
            };
            let when = |what: &str| format!("{mode}, by {named}: {what}");
            server.fwctl().load(&rules(mode, std::slice::from_ref(&device))).unwrap();
            let Rig { client, server: host, .. } = &server.rig;
            let mut live = LiveTcp::open(client, (client.v4, 0), host, (host.v4, 79)).unwrap();
            server.ip("link set eth0 name lan0");
            server.is_filtered_and_well(&when("renamed"));
            assert!(server.status().1.contains("lan0"), "{}", server.status().1);
            // The same file: nothing of that name is there any more.
            server.fwctl().load(&rules(mode, &[device])).unwrap();
            server.is_filtered_and_well(&when("loaded again"));
            server.fwctl().load(&rules(mode, &[json!("lan0")])).unwrap();
            server.is_filtered_and_well(&when("named in the file"));
            assert!(live.exchange() && live.exchange_from_server(), "{}", when("the connection is lost"));
            // A file that means another device lets go of this one.
            server.fwctl().load(&rules(mode, &[json!("other0")])).unwrap();
            assert_eq!(server.tcp(), PASSES, "{}", when("let go"));
        }
    }
}

#[test]
fn devices_that_exchange_names_are_both_filtered() {
    for mode in MODES {
        let server = Server::new();
        let Rig { client, server: host, .. } = &server.rig;
        join(client, "eth1", host, "eth1").unwrap();
        client.address("eth1", "10.78.1.2/24").unwrap();
        host.address("eth1", "10.78.1.3/24").unwrap();
        let rules = rules(mode, &[json!("eth0"), json!("eth1")]);
        server.fwctl().load(&rules).unwrap();
        for step in ["eth0 name tmp0", "eth1 name eth0", "tmp0 name eth1"] {
            server.ip(&format!("link set {step}"));
            assert_eq!((server.tcp(), server.tcp_to("10.78.1.3")), (ONLY_80, ONLY_80), "{mode}: {step}");
        }
        server.fwctl().load(&rules).unwrap();
        server.is_filtered_and_well(mode);
        assert_eq!(server.tcp_to("10.78.1.3"), ONLY_80, "{mode}");
    }
}

#[test]
fn a_device_that_comes_back_with_another_index_is_filtered_by_the_next_load() {
    for mode in MODES {
        let server = Server::new();
        let away = Namespace::new("away").unwrap();
        let rules = rules(mode, &[json!("eth0")]);
        server.fwctl().load(&rules).unwrap();
        let before = server.rig.server.index("eth0").unwrap();
        server.ip(&format!("link set eth0 netns {}", away.name()));
        assert_eq!(server.status().0, 1, "{mode}: {}", server.status().1);
        server.ip(&format!("link add taken index {before} type veth peer name taker"));
        away.ip(&format!("link set eth0 netns {}", server.rig.server.name())).unwrap();
        server.ip("link set eth0 up");
        server.rig.server.address("eth0", &format!("{}/24", server.rig.server.v4)).unwrap();
        assert_ne!(server.rig.server.index("eth0").unwrap(), before);
        assert_eq!(server.status().0, 1, "{mode}: {}", server.status().1);
        server.fwctl().load(&rules).unwrap();
        server.is_filtered_and_well(mode);
        server.fwctl().run(["unload"]).unwrap();
        assert_eq!(server.tcp(), PASSES, "{mode}");
    }
}

#[test]
fn status_knows_a_device_that_came_though_nobody_told() {
    let server = Server::new();
    let rules = rules("auto", &[json!("eth?"), json!("late0")]);
    server.fwctl().load(&rules).unwrap();
    assert_eq!(server.status().0, 0);
    for device in ["late0", "eth7"] {
        server.ip(&format!("link add {device} type veth peer name {device}-peer"));
        let (code, said) = server.status();
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(&format!("fwctl attach {device}")), "{said}");
        server.do_it(&["attach", device]);
        assert_eq!(server.status().0, 0, "{}", server.status().1);
    }
}

#[test]
fn the_more_specific_selector_gets_a_device() {
    let server = Server::new();
    server.ip("link add eth-web1 type veth peer name peer1");
    server.fwctl().load(&rules("auto", &[json!("eth*"), json!("eth-web*")])).unwrap();
    let status = server.fwctl().status().unwrap();
    let carried = |device: &str| {
        let hooks = status["hooks"].as_array().unwrap().iter();
        let names = hooks.filter(|hook| hook["device"] == device).map(|hook| hook["interface"].clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(carried("eth0"), ["i0", "i0"]);
    assert_eq!(carried("eth-web1"), ["i1", "i1"]);
}

#[test]
fn a_device_that_cannot_be_filtered_stops_no_other() {
    let (server, other) = (Server::new(), BpffsDir::new().unwrap());
    server.ip("link add eth1 type veth peer name peer1");
    server.fwctl().load(&rules("xdp", &[json!("eth?")])).unwrap();
    // Somebody takes the XDP hook of a device before we come to it.
    server.ip("link add eth2 type veth peer name peer2");
    let holder = Fwctl::new(&server.rig.server, &other).unwrap();
    holder.load(&rules("xdp", &[json!("eth2")])).unwrap();
    server.ip("link add eth3 type veth peer name peer3");
    server.do_it(&["attach", "eth3"]);
    let (code, said) = server.status();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("its XDP hook is taken by"), "{said}");
    let status = server.fwctl().status().unwrap();
    for hook in status["hooks"].as_array().unwrap() {
        assert_eq!(hook["attached"], hook["device"] != "eth2", "{hook}");
    }
    assert_eq!(server.tcp(), ONLY_80);
    // A load by hand refuses, and changes nothing.
    let refused = server.fwctl().try_load(&rules("xdp", &[json!("eth?")]), &[]).unwrap();
    assert_eq!(refused.code(), 1, "{}", refused.said());
    assert_eq!(server.fwctl().status().unwrap()["generation"], status["generation"]);
}

/// Before some of the calls that change something, of a load that mends a file after a rename.
#[test]
fn a_load_that_is_killed_leaves_a_renamed_device_filtered() {
    for mode in MODES {
        let server = Server::new();
        server.fwctl().load(&rules(mode, &[json!("eth0")])).unwrap();
        let mut names = ["eth0", "lan0"].into_iter().cycle();
        for at in (0..).step_by(13) {
            let (from, to) = (names.next().unwrap(), names.clone().next().unwrap());
            server.ip(&format!("link set {from} name {to}"));
            let mended = rules(mode, &[json!(to)]);
            let calls = kill::before_change(&mut server.load_command(&mended), at).unwrap();
            let when = format!("{mode}, killed before change {at}");
            assert_eq!(server.tcp(), ONLY_80, "{when}");
            server.fwctl().load(&mended).unwrap();
            server.is_filtered_and_well(&when);
            if calls.len() < at {
                break;
            }
        }
    }
}
