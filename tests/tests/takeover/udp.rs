//! UDP: a socket names its peer, or only the resolvers and neighbours that may have been asked.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use fw_tests::netns::{Host, Namespace};
use fw_tests::packet::Peer;
use fw_tests::traffic::timeout;
use serde_json::{Value, json};

use super::{Live, notes, rules};

/// A socket of a namespace that does not wait for ever.
pub(super) fn socket(namespace: &Namespace, at: impl Peer) -> UdpSocket {
    let at = at.peer();
    let socket = namespace.run(|| UdpSocket::bind(at)).unwrap();
    socket.set_read_timeout(Some(timeout())).unwrap();
    socket
}

/// Whether a datagram gets from one to the other.
pub(super) fn reaches(from: &UdpSocket, to: &UdpSocket, at: SocketAddr) -> bool {
    let mut read = [0; 4];
    from.send_to(b"word", at).is_ok() && to.recv(&mut read).is_ok_and(|len| read[..len] == *b"word")
}

/// A question that has arrived and was not answered yet.
pub(super) struct Question {
    asking: UdpSocket,
    resolver: UdpSocket,
    from: SocketAddr,
}

impl Question {
    pub(super) fn new(asking: UdpSocket, resolver: UdpSocket) -> Self {
        asking.send_to(b"what", resolver.local_addr().unwrap()).unwrap();
        let (_, from) = resolver.recv_from(&mut [0; 4]).unwrap();
        Self { asking, resolver, from }
    }

    pub(super) fn is_answered(&self) -> bool {
        reaches(&self.resolver, &self.asking, self.from)
    }

    /// Whether a datagram of somebody else gets where the answer should.
    pub(super) fn is_answered_by(&self, stranger: &UdpSocket) -> bool {
        reaches(stranger, &self.asking, self.from)
    }
}

pub(super) fn dns_out() -> Value {
    json!({ "id": "dns", "protocol": "udp", "from_port": 53, "to_port": 53,
            "cidr_blocks": ["0.0.0.0/0", "::/0"] })
}

fn question(asking: &Host, resolver: &Host, is_ipv6: bool) -> Question {
    let of = |host: &Host| if is_ipv6 { IpAddr::from(host.v6) } else { IpAddr::from(host.v4) };
    Question::new(socket(asking, (of(asking), 0)), socket(resolver, (of(resolver), 53)))
}

#[test]
fn an_answer_to_a_question_from_before_the_load_comes_and_nothing_else_does() {
    for is_ipv6 in [false, true] {
        let live = Live::new();
        let (client, server) = (&live.rig.client, &live.rig.server);
        let question = question(server, client, is_ipv6);
        let report = live.fwctl().load(&rules(&[], &[dns_out()])).unwrap();
        assert_eq!(report["taken_over"], 0, "{report}");
        // The configured resolvers of the machine that tests may be of this family too.
        let [taken] = &report["taken_over_by"].as_array().unwrap()[..] else { panic!("{report}") };
        assert_eq!((&taken["knowledge"], &taken["instance"]), (&json!("expected_answers"), &Value::Null));
        assert!(taken["entries"].as_u64() >= Some(1), "{report}");
        let listed = live.listed();
        let is_awaited = |row: &&Value| {
            row["remote_port"] == 53
                && row["state"] == "unreplied"
                && row["opened_by"] == "local"
                && row["rule"]["rule"] == "dns"
                && row["expires_s"].as_u64().is_some_and(|left_s| (5..=10).contains(&left_s))
        };
        assert_eq!(listed.iter().filter(is_awaited).count(), listed.len(), "{listed:?}");
        // The same host by another port, and the same port of another address.
        let at =
            |port| if is_ipv6 { (IpAddr::from(client.v6), port) } else { (IpAddr::from(client.v4), port) };
        let other = if is_ipv6 { ("fd77:1::9/64", "fd77:1::9") } else { ("10.77.1.9/24", "10.77.1.9") };
        client.address("eth0", other.0).unwrap();
        let stranger = socket(client, (other.1.parse::<IpAddr>().unwrap(), 53));
        assert!(!question.is_answered_by(&socket(client, at(54))), "by another port");
        assert!(!question.is_answered_by(&stranger), "by another address");
        assert!(question.is_answered(), "IPv6: {is_ipv6}");
    }
}

#[test]
fn an_answer_is_awaited_for_ten_seconds_and_only_where_the_question_is_allowed() {
    let live = Live::new();
    let late = question(&live.rig.server, &live.rig.client, false);
    live.fwctl().load(&rules(&[], &[dns_out()])).unwrap();
    std::thread::sleep(Duration::from_millis(10_500));
    assert!(!late.is_answered());

    let live = Live::new();
    let forbidden = question(&live.rig.server, &live.rig.client, false);
    let report = live.fwctl().load(&rules(&[], &[])).unwrap();
    assert_eq!((&report["taken_over_by"], &report["notes"]), (&json!([]), &json!([])), "{report}");
    assert!(!forbidden.is_answered());
}

/// Whoever binds a port that is not the kernel's choice serves there: that answers come is for the rules to say.
#[test]
fn a_port_that_a_program_chose_awaits_nothing() {
    let live = Live::new();
    let (client, server) = (&live.rig.client, &live.rig.server);
    let serving = Question::new(socket(server, (server.v4, 1053)), socket(client, (client.v4, 53)));
    let report = live.fwctl().load(&rules(&[], &[dns_out()])).unwrap();
    assert_eq!(report["taken_over_by"], json!([]), "{report}");
    assert!(!serving.is_answered());
}

#[test]
fn no_more_than_1024_answers_are_awaited() {
    let live = Live::new();
    let (client, server) = (&live.rig.client, &live.rig.server);
    let _asked = question(server, client, false);
    let _asking: Vec<UdpSocket> = (0..1100).map(|_| socket(server, (server.v4, 0))).collect();
    let report = live.fwctl().load(&rules(&[], &[dns_out()])).unwrap();
    assert_eq!(report["taken_over_by"][0]["entries"], 1024, "{report}");
    let said = "answers to questions that may be under way are awaited at 1024 places, ";
    assert!(notes(&report).contains(said), "{report}");
}

/// As of a VPN: the socket names the one host that it talks to.
#[test]
fn a_udp_socket_with_a_peer_goes_on_whoever_speaks_first() {
    let live = Live::new();
    let (client, server) = (&live.rig.client, &live.rig.server);
    let vpn = json!({ "id": "vpn", "protocol": "udp", "from_port": 1194, "to_port": 1194, "cidr_blocks": ["10.77.1.0/24"] });
    let (near, far) = (socket(server, (server.v4, 0)), socket(client, (client.v4, 1194)));
    near.connect(far.local_addr().unwrap()).unwrap();
    let report = live.fwctl().load(&rules(&[], std::slice::from_ref(&vpn))).unwrap();
    let taken = json!([{ "knowledge": "sockets", "instance": null, "protocol": "udp", "entries": 1 }]);
    assert_eq!((&report["taken_over"], &report["taken_over_by"]), (&json!(1), &taken), "{report}");
    let listed = live.listed();
    assert_eq!(
        (listed.len(), &listed[0]["opened_by"], &listed[0]["rule"]["rule"], &listed[0]["state"]),
        (1, &json!("local"), &json!("vpn"), &json!("stream")),
        "{listed:?}"
    );
    let at = near.local_addr().unwrap();
    // The near end alone would not hear anybody else; the counters say that he was stopped before.
    let stranger = socket(client, (client.v4, 1195));
    assert!(!reaches(&stranger, &near, at));
    assert_eq!(live.fwctl().stats().unwrap().packets("deny", "no_group_rule"), 1);
    assert!(reaches(&far, &near, at) && reaches(&near, &far, far.local_addr().unwrap()));

    let live = Live::new();
    let (client, server) = (&live.rig.client, &live.rig.server);
    let (near, far) = (socket(server, (server.v4, 0)), socket(client, (client.v4, 1195)));
    near.connect(far.local_addr().unwrap()).unwrap();
    let report = live.fwctl().load(&rules(&[], &[vpn])).unwrap();
    let said = format!(
        "the rules do not allow 1 UDP flow of this host: {} with {}",
        near.local_addr().unwrap(),
        far.local_addr().unwrap()
    );
    assert!(notes(&report).contains(&said) && report["taken_over"] == 0, "{report}");
    assert!(!reaches(&far, &near, near.local_addr().unwrap()));
}

/// A server may give each client a socket of its own beside the one that all write to first.
#[test]
fn a_udp_socket_with_a_peer_at_a_port_that_serves_needs_an_ingress_rule() {
    for is_allowed in [true, false] {
        let live = Live::new();
        let (client, server) = (&live.rig.client, &live.rig.server);
        let shared = |peer: Option<SocketAddr>| {
            server.run(|| {
                let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
                socket.set_reuse_address(true).unwrap();
                socket.bind(&SocketAddr::from((server.v4, 4433)).into()).unwrap();
                let socket = UdpSocket::from(socket);
                socket.set_read_timeout(Some(timeout())).unwrap();
                if let Some(peer) = peer {
                    socket.connect(peer).unwrap();
                }
                socket
            })
        };
        let far = socket(client, (client.v4, 0));
        let _serving = shared(None);
        let near = shared(Some(far.local_addr().unwrap()));
        let udp = |id: &str, from: u16, to: u16| json!({ "id": id, "protocol": "udp", "from_port": from, "to_port": to, "cidr_blocks": ["10.77.1.0/24"] });
        let ingress = if is_allowed { vec![udp("quic", 4433, 4433)] } else { vec![] };
        let report = live.fwctl().load(&rules(&ingress, &[udp("all", 0, 65_535)])).unwrap();
        assert_eq!(report["taken_over"], u64::from(is_allowed), "{report}");
        let openers: Vec<Value> = live.listed().iter().map(|row| row["opened_by"].clone()).collect();
        assert_eq!(openers.len(), usize::from(is_allowed));
        assert!(openers.iter().all(|opener| opener == "remote"), "{openers:?}");
        assert_eq!(reaches(&far, &near, SocketAddr::from((server.v4, 4433))), is_allowed);
    }
}
