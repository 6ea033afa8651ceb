//! Flows that the filtering host only forwards: the kernel knows them where it tracks them.

use std::net::{IpAddr, SocketAddr};

use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Rig};
use fw_tests::traffic::LiveTcp;
use serde_json::{Value, json};

use super::udp::{Question, socket};
use super::{Served, notes, rule, rules};

/// A router has no socket for what it forwards, so only the window takes it over.
#[test]
fn a_forwarded_connection_has_the_window_alone() {
    for window_s in [0, 120] {
        let (rig, bpffs) = (Rig::routed().unwrap(), BpffsDir::new().unwrap());
        let (client, server) = (&rig.client, &rig.server);
        let mut forwarded = LiveTcp::open(client, (client.v4, 0), server, (server.v4, 22)).unwrap();
        let to_servers = json!({ "id": "ssh", "protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": ["10.77.2.0/24"] });
        let mut rules = rules(&[], &[to_servers]);
        rules["interfaces"]["server"]["device"] = json!("server0");
        rules["settings"]["adopt_seconds"] = json!(window_s);
        let router = rig.router.as_ref().unwrap();
        let report = Fwctl::new(router, &bpffs).unwrap().load(&rules).unwrap();
        assert_eq!((&report["taken_over"], &report["adopt_s"]), (&json!(0), &json!(window_s)), "{report}");
        assert_eq!(forwarded.exchange(), window_s > 0, "with adopt_seconds {window_s}");
    }
}

/// A router that masquerades: the kernel tracks what it forwards.
struct Masquerading {
    rig: Rig,
    bpffs: BpffsDir,
}

impl Masquerading {
    fn new() -> Self {
        let rig = Rig::routed().unwrap();
        let router = rig.router.as_ref().unwrap();
        let table =
            "table ip t { chain c { type nat hook postrouting priority 100; oifname client0 masquerade; }\n}";
        router.output("nft", [table]).unwrap();
        Self { rig, bpffs: BpffsDir::new().unwrap() }
    }

    /// The rules are for the device that leads to the client.
    fn load(&self, ingress: &[Value], egress: &[Value]) -> Value {
        let mut rules = rules(ingress, egress);
        rules["interfaces"]["server"]["device"] = json!("client0");
        Fwctl::new(self.rig.router.as_ref().unwrap(), &self.bpffs).unwrap().load(&rules).unwrap()
    }
}

fn tracked(protocol: &str) -> Value {
    json!([{ "knowledge": "connection_tracking", "instance": null, "protocol": protocol, "entries": 1 }])
}

#[test]
fn a_masqueraded_connection_that_the_kernel_tracks_goes_on() {
    for is_allowed in [true, false] {
        let nat = Masquerading::new();
        let (client, server) = (&nat.rig.client, &nat.rig.server);
        let mut out = LiveTcp::open(server, (server.v4, 0), client, (client.v4, 443)).unwrap();
        let port = if is_allowed { 443 } else { 80 };
        let report = nat.load(&[], &[rule("https", port)]);
        assert_eq!(report["taken_over"], u64::from(is_allowed), "{report}");
        let said = "the rules do not allow 1 established connection that this host tracks: 10.77.1.1:";
        if is_allowed {
            assert_eq!(report["taken_over_by"], tracked("tcp"), "{report}");
        } else {
            assert!(notes(&report).contains(said), "{report}");
        }
        assert_eq!(out.exchange_from_server(), is_allowed);
    }
}

#[test]
fn an_answer_to_a_forwarded_question_of_any_port_comes() {
    let nat = Masquerading::new();
    let (client, server) = (&nat.rig.client, &nat.rig.server);
    let question = Question::new(socket(server, (server.v4, 0)), socket(client, (client.v4, 123)));
    let ntp = json!({ "id": "ntp", "protocol": "udp", "from_port": 123, "to_port": 123, "cidr_blocks": ["10.77.1.0/24"] });
    let report = nat.load(&[], &[ntp]);
    assert_eq!(report["taken_over_by"], tracked("udp"), "{report}");
    assert!(!question.is_answered_by(&socket(client, (client.v4, 124))));
    assert!(question.is_answered());
}

/// What others have opened is tracked too, and is for the rules of ingress.
#[test]
fn a_tracked_connection_of_the_other_side_is_none_of_this() {
    let nat = Masquerading::new();
    let (client, server) = (&nat.rig.client, &nat.rig.server);
    let at = SocketAddr::new(IpAddr::from(server.v4), 22);
    let mut inbound = Served::open(client, server, at, at);
    let everything = json!({ "id": "out", "protocol": "all", "cidr_blocks": ["0.0.0.0/0"] });
    let report = nat.load(&[], &[everything]);
    assert_eq!(report["taken_over"], 0, "{report}");
    assert!(!inbound.exchange());
}

/// Nobody listens on a port that is translated, and yet it is served: the tracking shows that others have entered there.
#[test]
fn in_the_window_a_translated_port_that_was_never_opened_is_cut() {
    let nat = Masquerading::new();
    let (client, server) = (&nat.rig.client, &nat.rig.server);
    let router = nat.rig.router.as_ref().unwrap();
    let table = "table ip d { chain c { type nat hook prerouting priority -100; tcp dport 8080 dnat to 10.77.2.2:80; }\n}";
    router.output("nft", [table]).unwrap();
    let (at, to) = (SocketAddr::new(IpAddr::from(server.v4), 80), "10.77.1.1:8080".parse().unwrap());
    let mut published = Served::open(client, server, at, to);
    let everything = json!({ "id": "out", "protocol": "all", "cidr_blocks": ["0.0.0.0/0"] });
    let mut rules = rules(&[], &[everything]);
    rules["interfaces"]["server"]["device"] = json!("client0");
    rules["settings"]["adopt_seconds"] = json!(120);
    let report = Fwctl::new(router, &nat.bpffs).unwrap().load(&rules).unwrap();
    assert_eq!(report["taken_over"], 0, "{report}");
    assert!(!published.exchange_from_server() && !published.exchange());
}
