//! A device without an Ethernet header.

use std::net::UdpSocket;

use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Namespace};
use fw_tests::packet;
use fw_tests::tun::{Carries, Tun};
use serde_json::{Value, json};

use super::wire::{Receiver, address};

const PEERS: [&str; 2] = ["10.20.1.0/24", "fd20::/64"];
/// Of both families: the host's address, and the other end's.
const ENDS: [(&str, &str); 2] = [("10.20.1.10", "10.20.1.7"), ("fd20::10", "fd20::7")];

struct Bare {
    host: Namespace,
    bpffs: BpffsDir,
    tun: Tun,
}

impl Bare {
    fn new(carries: Carries) -> Self {
        let host = Namespace::new("tun").unwrap();
        let tun = Tun::new(&host, "tun0", carries).unwrap();
        address(&host, "tun0");
        Self { host, bpffs: BpffsDir::new().unwrap(), tun }
    }

    fn fwctl(&self) -> Fwctl<'_> {
        Fwctl::new(&self.host, &self.bpffs).unwrap()
    }
}

/// UDP 53 in, UDP 4000 out.
fn rules(mode: &str) -> Value {
    let udp =
        |port: u16| json!([{ "protocol": "udp", "from_port": port, "to_port": port, "cidr_blocks": PEERS }]);
    json!({ "version": 1, "security_groups": { "sg": { "ingress": udp(53), "egress": udp(4000) } },
            "interfaces": { "nic": { "device": "tun0", "mode": mode, "security_groups": ["sg"] } } })
}

fn deny_all() -> Value {
    let mut rules = rules("auto");
    rules["security_groups"]["sg"] = json!({ "ingress": [], "egress": [] });
    rules
}

/// What gets in to ports 53 and 54 of both families, and out to ports 4000 and 4001.
fn probe(bare: &Bare, turn: u8) -> ([[bool; 2]; 2], [[bool; 2]; 2]) {
    let inward = ENDS.map(|(own, other)| {
        [53, 54].map(|port| {
            let at = if own.contains(':') { format!("[{own}]:{port}") } else { format!("{own}:{port}") };
            let socket = Receiver::new(&bare.host, &at);
            let payload = [turn, port as u8];
            // A port of its own each time: no connection answers for it.
            let packet = packet::udp((other, 5000 + u16::from(turn)), (own, port)).payload(&payload);
            bare.tun.write(&packet.ip_bytes()).unwrap();
            socket.gets(&payload)
        })
    });
    let outward = ENDS.map(|(own, other)| {
        [4000_u16, 4001].map(|port| {
            let any = if own.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = bare.host.run(|| UdpSocket::bind(any)).unwrap();
            let payload = [turn, port as u8, b'o', b'u', b't'];
            let to: std::net::IpAddr = other.parse().unwrap();
            // The socket may be told that its packet was dropped.
            let _ = socket.send_to(&payload, (to, port));
            bare.tun.sends(|packet| packet.ends_with(&payload)).unwrap()
        })
    });
    (inward, outward)
}

#[test]
fn a_device_without_ethernet_header_passes_what_is_allowed_both_ways_and_nothing_else() {
    let bare = Bare::new(Carries::Packets);
    let everything = [[true; 2]; 2];
    let first = [[true, false]; 2];
    assert_eq!(probe(&bare, 0), (everything, everything), "before any rules");
    let report = bare.fwctl().load(&rules("auto")).unwrap();
    let hooks: Vec<_> = report["hooks"].as_array().unwrap().iter().map(|hook| &hook["hook"]).collect();
    assert_eq!(hooks.len(), 2, "{report}");
    assert!(!hooks.contains(&&json!("xdp")), "{report}");
    assert_eq!(probe(&bare, 1), (first, first));
    bare.fwctl().load(&deny_all()).unwrap();
    assert_eq!(probe(&bare, 2), ([[false; 2]; 2], [[false; 2]; 2]));
}

#[test]
fn xdp_asked_for_on_a_device_without_ethernet_header_is_an_error_that_says_so() {
    let bare = Bare::new(Carries::Packets);
    let refused = bare.fwctl().try_load(&rules("xdp"), &[]).unwrap();
    assert_eq!(refused.code(), 1, "{}", refused.said());
    for part in ["\"tun0\"", "no link-layer header", "use mode auto or tc"] {
        assert!(refused.stderr.contains(part), "{}", refused.said());
    }
    assert_eq!(probe(&bare, 0), ([[true; 2]; 2], [[true; 2]; 2]), "nothing was attached");
}

/// The flags and the ethertype that a packet is announced with.
fn announced(ethertype: u16, packet: &[u8]) -> Vec<u8> {
    let [high, low] = ethertype.to_be_bytes();
    [&[0, 0, high, low], packet].concat()
}

#[test]
fn without_ethernet_header_a_packet_is_what_its_first_nibble_says() {
    let bare = Bare::new(Carries::AnnouncedPackets);
    bare.fwctl().load(&rules("tc")).unwrap();
    let sockets = ["10.20.1.10:53", "10.20.1.10:54"].map(|at| Receiver::new(&bare.host, at));
    let dropped = || bare.fwctl().stats().unwrap().packets("deny", "ip_version");
    let datagram =
        |port: u16, payload: &[u8]| packet::udp("10.20.1.7:5000", ("10.20.1.10", port)).payload(payload);
    for nibble in (0..16).filter(|nibble| !matches!(nibble, 4 | 6)) {
        let before = dropped();
        let mut packet = datagram(53, b"version").ip_bytes();
        packet[0] = nibble << 4 | 5;
        bare.tun.write(&announced(0x0800, &packet)).unwrap();
        assert_eq!(dropped(), before + 1, "nibble {nibble}");
    }
    // Announced as what it is not, or behind a priority tag that the kernel takes out.
    for (port, socket) in [53_u16, 54].iter().zip(&sockets) {
        for (kind, tag) in [(0x86dd, None), (0x0806, None), (0x8100, Some([0, 0, 8, 0])), (0x0800, None)] {
            let payload = format!("{kind:04x}");
            let packet = datagram(*port, payload.as_bytes()).ip_bytes();
            let packet = [tag.as_ref().map_or(&[][..], |tag| &tag[..]), &packet].concat();
            bare.tun.write(&announced(kind, &packet)).unwrap();
            let reaches = *port == 53 && matches!(kind, 0x8100 | 0x0800);
            assert_eq!(socket.gets(payload.as_bytes()), reaches, "announced as {kind:04x}, UDP {port}");
        }
    }
    let stats = bare.fwctl().stats().unwrap();
    assert_eq!(stats.packets("deny", "no_group_rule"), 4, "{}", stats.0);
}

#[test]
fn packets_without_ethernet_header_cut_off_at_any_byte_get_nowhere() {
    let bare = Bare::new(Carries::Packets);
    bare.fwctl().load(&rules("tc")).unwrap();
    for (own, other) in ENDS {
        let packet = packet::udp((other, 5000), (own, 53)).payload(b"whole").ip_bytes();
        let at = if own.contains(':') { format!("[{own}]:53") } else { format!("{own}:53") };
        let socket = Receiver::new(&bare.host, &at);
        let before = bare.fwctl().stats().unwrap();
        for len in 1..packet.len() {
            bare.tun.write(&packet[..len]).unwrap();
        }
        bare.tun.write(&packet).unwrap();
        assert!(socket.gets(b"whole"));
        assert_eq!(socket.all(), Vec::<Vec<u8>>::new());
        let after = bare.fwctl().stats().unwrap();
        let more = |reason: &str| after.packets("deny", reason) - before.packets("deny", reason);
        let reasons = if own.contains(':') {
            ["ipv6_truncated", "ipv6_length"]
        } else {
            ["ipv4_truncated", "ipv4_length"]
        };
        assert_eq!(reasons.map(more).iter().sum::<u64>(), packet.len() as u64 - 1, "{}", after.0);
    }
}
