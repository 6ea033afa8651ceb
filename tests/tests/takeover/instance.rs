//! Devices that face an instance: the sockets are those of the network namespace that the veth leads to.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};

use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Namespace, Rig};
use fw_tests::traffic::LiveTcp;
use serde_json::{Value, json};

use super::udp::{Question, dns_out, socket};
use super::{Served, notes, rules};

/// The router filters the server's veth.
struct Hosted {
    rig: Rig,
    bpffs: BpffsDir,
}

const SERVERS: &str = "10.77.2.0/24";

impl Hosted {
    fn new() -> Self {
        Self { rig: Rig::routed().unwrap(), bpffs: BpffsDir::new().unwrap() }
    }

    fn router(&self) -> &Namespace {
        self.rig.router.as_ref().unwrap()
    }

    fn fwctl(&self) -> Fwctl<'_> {
        Fwctl::new(self.router(), &self.bpffs).unwrap()
    }

    fn load(&self, ingress: &[Value], egress: &[Value]) -> Value {
        self.fwctl().load(&facing(ingress, egress)).unwrap()
    }
}

fn facing(ingress: &[Value], egress: &[Value]) -> Value {
    let mut rules = rules(ingress, egress);
    rules["interfaces"]["server"]["device"] = json!("server0");
    rules["interfaces"]["server"]["faces"] = json!("instance");
    rules
}

fn tcp(id: &str, port: u16) -> Value {
    json!({ "id": id, "protocol": "tcp", "from_port": port, "to_port": port, "cidr_blocks": ["10.77.0.0/16"] })
}

fn gateway() -> IpAddr {
    "10.77.2.1".parse().unwrap()
}

#[test]
fn connections_of_an_instance_in_both_directions_go_on() {
    let hosted = Hosted::new();
    let Rig { client, server, .. } = &hosted.rig;
    let at = SocketAddr::new(IpAddr::from(server.v4), 22);
    let (mut allowed, at_closed) = (Served::open(client, server, at, at), SocketAddr::new(at.ip(), 23));
    let mut never_opened = Served::open(client, server, at_closed, at_closed);
    let mut out = LiveTcp::open(server, (server.v4, 0), client, (client.v4, 443)).unwrap();
    let mut out_v6 = LiveTcp::open(server, (server.v6, 0), client, (client.v6, 443)).unwrap();
    let everything = json!({ "id": "out", "protocol": "all", "cidr_blocks": ["0.0.0.0/0", "::/0"] });
    let report = hosted.load(&[tcp("ssh", 22)], &[everything]);
    let taken = json!([{ "knowledge": "sockets", "instance": "server", "protocol": "tcp", "entries": 3 }]);
    assert_eq!((&report["taken_over"], &report["taken_over_by"]), (&json!(3), &taken), "{report}");
    let said = "the rules do not allow 1 established connection of the instance \\\"server\\\": 10.77.2.2:23 with 10.77.1.2:";
    assert!(notes(&report).contains(said), "{report}");
    assert!(allowed.exchange() && out.exchange_from_server() && out_v6.exchange_from_server());
    assert!(!never_opened.exchange(), "no rule opens port 23");
    let listed = hosted.fwctl().connections(&[]).unwrap();
    let mut openers: Vec<_> = listed.iter().map(|row| row["opened_by"].as_str().unwrap()).collect();
    openers.sort_unstable();
    assert_eq!(openers, ["local", "local", "remote"], "{listed:?}");
}

#[test]
fn an_answer_to_a_question_of_an_instance_comes_and_nothing_else_does() {
    let hosted = Hosted::new();
    let (server, router) = (&hosted.rig.server, hosted.router());
    let question = Question::new(socket(server, (server.v4, 0)), socket(router, (gateway(), 53)));
    let report = hosted.load(&[], &[dns_out()]);
    let awaited =
        json!([{ "knowledge": "expected_answers", "instance": "server", "protocol": "udp", "entries": 1 }]);
    assert_eq!(report["taken_over_by"], awaited, "{report}");
    assert!(!question.is_answered_by(&socket(router, (gateway(), 54))));
    assert!(question.is_answered());
}

/// A resolver that is no neighbour is known by the configuration that a process in the instance sees.
#[test]
fn the_resolvers_of_an_instance_are_those_of_its_processes() {
    let hosted = Hosted::new();
    let Rig { client, server, .. } = &hosted.rig;
    let folder = std::env::temp_dir().join(format!("{}-root", server.name()));
    std::fs::create_dir_all(folder.join("etc")).unwrap();
    std::fs::write(folder.join("etc/resolv.conf"), format!("nameserver {}\n", client.v4)).unwrap();
    // A mount namespace of its own, whose root is that folder.
    let script = format!("mount --bind {}/etc /etc && echo ready && read line", folder.display());
    let mut command: Command = server.command("unshare", ["--mount", "sh", "-c", &script]);
    let mut process =
        fw_tests::netns::Process::start(command.stdin(Stdio::piped()).stdout(Stdio::piped())).unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(process.child().stdout.as_mut().unwrap(), &mut ready).unwrap();
    let question = Question::new(socket(server, (server.v4, 0)), socket(client, (client.v4, 53)));
    let report = hosted.load(&[], &[dns_out()]);
    let answered = question.is_answered();
    drop(process);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(answered, "{report}");
}

#[test]
fn an_instance_that_cannot_be_entered_is_named() {
    // Of a virtual machine this kernel knows no sockets.
    let (router, bpffs) = (Namespace::new("router").unwrap(), BpffsDir::new().unwrap());
    router.ip("tuntap add dev server0 mode tap").unwrap();
    let report = Fwctl::new(&router, &bpffs).unwrap().load(&facing(&[], &[])).unwrap();
    let said = |why: &str| {
        format!(
            "connections of the instance \\\"server\\\" behind \\\"server0\\\" are not known: {why}; they are cut"
        )
    };
    assert!(notes(&report).contains(&said("it leads to no other network namespace")), "{report}");

    // Only we hold it, by a file that is open.
    let hosted = Hosted::new();
    let removed = Command::new("ip").args(["netns", "delete", hosted.rig.server.name()]).status();
    assert!(removed.unwrap().success());
    let report = hosted.load(&[], &[]);
    assert!(
        notes(&report).contains(&said("its network namespace has neither a name nor a process")),
        "{report}"
    );
}

/// Not one of ours: this host's own connection to the instance has a socket on both sides, and the veth carries the
/// instance's.
#[test]
fn a_connection_between_host_and_instance_is_the_instances() {
    let hosted = Hosted::new();
    let own = LiveTcp::open(&hosted.rig.server, (hosted.rig.server.v4, 0), hosted.router(), (gateway(), 22));
    let mut own = own.unwrap();
    let ssh =
        json!({ "id": "ssh", "protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": [SERVERS] });
    let report = hosted.load(&[], &[ssh]);
    assert_eq!(report["taken_over"], 1, "{report}");
    assert!(own.exchange_from_server());

    let hosted = Hosted::new();
    let own = LiveTcp::open(hosted.router(), (gateway(), 0), &hosted.rig.server, (hosted.rig.server.v4, 22));
    let mut own = own.unwrap();
    let report = hosted.load(&[], &[]);
    assert_eq!(report["taken_over"], 0, "{report}");
    assert!(!own.exchange(), "no rule lets the host in");
}

/// Nor does the window: the instance's own listeners are known.
#[test]
fn in_the_window_too_a_port_of_an_instance_that_was_never_opened_is_cut() {
    let hosted = Hosted::new();
    let Rig { client, server, .. } = &hosted.rig;
    let at = SocketAddr::new(IpAddr::from(server.v4), 23);
    let mut session = Served::open(client, server, at, at);
    let everything = json!({ "id": "out", "protocol": "all", "cidr_blocks": ["0.0.0.0/0"] });
    let mut rules = facing(&[], &[everything]);
    rules["settings"]["adopt_seconds"] = json!(120);
    let report = hosted.fwctl().load(&rules).unwrap();
    assert_eq!((&report["taken_over"], &report["adopt_s"]), (&json!(0), &json!(120)), "{report}");
    assert!(!session.exchange_from_server() && !session.exchange());
}
