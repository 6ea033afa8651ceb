//! Segmentation and checksums that are still to come: what sockets send over a veth pair.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use fw_common::{Reason, Verdict};
use fw_tests::fwctl::{Counters, Fwctl};
use fw_tests::kernel::Received;
use fw_tests::netns::{BpffsDir, Host, Namespace, Rig};
use fw_tests::packet::{self, Packet, Wrong, checksum};
use fw_tests::skb::Watch;
use fw_tests::traffic::Outcome::Reached;
use fw_tests::traffic::{Echo, capture, send_frame, timeout, udp_ask};
use serde_json::{Value, json};

use super::kinds;
use super::twin::{Trial, Twin, is_bypass};
use super::wire::Receiver;

const PORT: u16 = 80;
const AMOUNT: usize = 8 << 20;
/// What one wire packet of 1514 bytes carries of TCP, with time stamps, over IPv6: over IPv4 a bit more.
const LEAST_SEGMENT: u64 = 1428;
const ETHERNET_AND_IP_LIMIT: u64 = 14 + 65_535;

/// One TCP port in; and out what replies need, for the ACL.
fn rules(mode: &str, acl_denies: bool) -> Value {
    let peers = ["10.77.1.0/24", "fd77:1::/64"];
    let all = json!([
        { "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" },
        { "rule_number": 101, "action": "allow", "protocol": "all", "cidr_block": "::/0" },
    ]);
    let mut ingress = all.as_array().unwrap().clone();
    if acl_denies {
        ingress.clear();
    }
    // Another subnet than the client's: within one no ACL is asked.
    json!({ "version": 1,
            "subnets": { "subnet": { "cidr_blocks": ["10.99.0.0/24"], "network_acl": "acl" } },
            "network_acls": { "acl": { "ingress": ingress, "egress": all } },
            "security_groups": { "sg": { "ingress": [{ "id": "web", "protocol": "tcp", "from_port": PORT,
                                                       "to_port": PORT, "cidr_blocks": peers }] } },
            "interfaces": { "nic": { "device": "eth0", "mode": mode, "subnet": "subnet",
                                     "security_groups": ["sg"] } },
            "settings": { "adopt_seconds": 0 } })
}

/// A connection through which much is sent.
struct Stream {
    client: TcpStream,
    server: TcpStream,
}

impl Stream {
    fn open(client: &Namespace, server: &Namespace, at: SocketAddr) -> Self {
        let listener = server.run(|| TcpListener::bind(at)).unwrap();
        let client = client.run(|| TcpStream::connect_timeout(&at, Duration::from_secs(5))).unwrap();
        let (server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(timeout())).unwrap();
        client.set_nonblocking(true).unwrap();
        Self { client, server }
    }

    /// Sends until so much has come, or nothing comes any more: how much came.
    fn push(&mut self, amount: usize) -> usize {
        let data = vec![7; 1 << 20];
        let (mut sent, mut come) = (0, 0);
        let mut room = vec![0; 1 << 20];
        while come < amount {
            while sent < amount {
                match self.client.write(&data[..data.len().min(amount - sent)]) {
                    Ok(len) => sent += len,
                    Err(_) => break,
                }
            }
            match self.server.read(&mut room) {
                Ok(len) if len > 0 => come += len,
                _ => break,
            }
        }
        come
    }
}

/// Packets and bytes that arrived, all reasons.
fn arrived(stats: &Counters) -> (u64, u64) {
    let rows = stats.0["reasons"].as_array().unwrap().iter().filter(|row| row["direction"] == "ingress");
    rows.fold((0, 0), |(packets, bytes), row| {
        (packets + row["packets"].as_u64().unwrap(), bytes + row["bytes"].as_u64().unwrap())
    })
}

/// Skbs and bytes that a device received.
fn received(host: &Namespace) -> (u64, u64) {
    let text = host.ip("-json -stats link show dev eth0").unwrap();
    let link: Value = serde_json::from_str(&text).unwrap();
    let rx = &link[0]["stats64"]["rx"];
    (rx["packets"].as_u64().unwrap(), rx["bytes"].as_u64().unwrap())
}

/// What the filter and the device counted at the same moment: between two looks at the device nothing came.
fn counted(fwctl: &Fwctl<'_>, host: &Namespace) -> (Counters, (u64, u64)) {
    loop {
        let (before, stats, after) = (received(host), fwctl.stats().unwrap(), received(host));
        if before == after {
            return (stats, after);
        }
    }
}

/// Lets a device build and take TCP packets of up to 128 KiB in both families. `ip` knows half of these settings only
/// since version 6.3.
fn allow_big_tcp(host: &Host) {
    const SIZE: u32 = 131_072;
    const GSO_MAX_SIZE: u16 = 41;
    const GRO_MAX_SIZE: u16 = 58;
    const GSO_IPV4_MAX_SIZE: u16 = 63;
    const GRO_IPV4_MAX_SIZE: u16 = 64;
    let index = host.index("eth0").unwrap();
    let mut attributes = Vec::new();
    for kind in [GSO_MAX_SIZE, GRO_MAX_SIZE, GSO_IPV4_MAX_SIZE, GRO_IPV4_MAX_SIZE] {
        attributes.extend(8_u16.to_ne_bytes());
        attributes.extend(kind.to_ne_bytes());
        attributes.extend(SIZE.to_ne_bytes());
    }
    // A netlink header (length, type, flags: request and acknowledge, sequence, port), then `ifinfomsg`.
    let mut message = ((16 + 16 + attributes.len()) as u32).to_ne_bytes().to_vec();
    message.extend(libc::RTM_SETLINK.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    message.extend([0; 8 + 4]);
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(attributes);
    let answer = host.run(|| {
        let domain = socket2::Domain::from(libc::AF_NETLINK);
        let kind = socket2::Type::RAW;
        let socket = socket2::Socket::new(domain, kind, Some(libc::NETLINK_ROUTE.into())).unwrap();
        let mut answer = [0_u8; 256];
        socket.send(&message).unwrap();
        assert!((&socket).read(&mut answer).unwrap() >= 20);
        answer
    });
    let error = i32::from_ne_bytes(answer[16..20].try_into().unwrap());
    assert_eq!(error, 0, "{}", std::io::Error::from_raw_os_error(-error));
}

/// Much TCP data to the server, which passes by rule and is then denied by its ACL.
fn transfer(big: bool) {
    let rig = Rig::direct().unwrap();
    let (client, server) = (&rig.client, &rig.server);
    if big {
        allow_big_tcp(client);
        allow_big_tcp(server);
    }
    let bpffs = BpffsDir::new().unwrap();
    let fwctl = Fwctl::new(server, &bpffs).unwrap();
    fwctl.load(&rules("tc", false)).unwrap();
    let watch = Watch::received(server, "eth0").unwrap();
    for address in [(server.v4, PORT).into(), SocketAddr::from((server.v6, PORT))] {
        fwctl.load(&rules("tc", false)).unwrap();
        watch.seen().unwrap();
        let (stats_before, device_before) = counted(&fwctl, server);
        let mut stream = Stream::open(client, server, address);
        assert_eq!(stream.push(AMOUNT), AMOUNT, "{address}");
        let (stats, device) = counted(&fwctl, server);
        let shapes = watch.seen().unwrap();
        assert!(shapes.segments > 1, "{address}: {shapes:?}");
        assert_eq!(shapes.longest > ETHERNET_AND_IP_LIMIT, big, "{address}: {shapes:?}");
        // Once each, whatever their length: the bytes are those of the device.
        let (packets, bytes) = arrived(&stats);
        let (packets_before, bytes_before) = arrived(&stats_before);
        assert_eq!(bytes - bytes_before, device.1 - device_before.1, "{address}: {}", stats.0);
        // Counted as what would be on a wire.
        let (skbs, segments) = (device.0 - device_before.0, packets - packets_before);
        assert!(segments >= AMOUNT as u64 / 1460 && segments > 4 * skbs, "{address}: {segments} of {skbs}");
        assert!(segments <= AMOUNT as u64 / LEAST_SEGMENT + 2 * skbs, "{address}: {segments} of {skbs}");
        assert_eq!(stats.verdict("deny"), stats_before.verdict("deny"), "{}", stats.0);
        // By one connection that one rule admitted.
        let opened = stats.rule_packets("sg", "web") - stats_before.rule_packets("sg", "web");
        let established = |stats: &Counters| ingress(stats, "established");
        assert_eq!(opened, 1, "{address}: {}", stats.0);
        let others: u64 = ["arp", "neighbour_discovery", "multicast_listener"]
            .map(|reason| ingress(&stats, reason) - ingress(&stats_before, reason))
            .iter()
            .sum();
        assert_eq!(established(&stats) - established(&stats_before), segments - 1 - others, "{}", stats.0);

        fwctl.load(&rules("tc", true)).unwrap();
        watch.seen().unwrap();
        let before = fwctl.stats().unwrap();
        assert_eq!(stream.push(AMOUNT), 0, "{address}: past an ACL without entries");
        let denied = fwctl.stats().unwrap();
        let more =
            denied.packets("deny", "network_acl_default") - before.packets("deny", "network_acl_default");
        assert!(more > 1, "{address}: {}", denied.0);
        assert!(watch.seen().unwrap().longest < 200, "{address}: only neighbours may speak");
    }
}

fn ingress(stats: &Counters, reason: &str) -> u64 {
    let rows = stats.0["reasons"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["direction"] == "ingress" && row["reason"] == reason);
    rows.map(|row| row["packets"].as_u64().unwrap()).sum()
}

#[test]
fn packets_with_segmentation_to_come_are_judged_once_and_counted_as_segments() {
    transfer(false);
}

#[test]
fn packets_beyond_64_kib_pass_by_rule_and_are_denied_like_others() {
    transfer(true);
}

#[test]
fn a_zero_length_is_believed_only_with_segmentation_to_come() {
    let zero =
        |packet: Packet| packet.payload(&[7; 400]).wrong(Wrong { length: Some(0), ..Wrong::default() });
    let syn = |from: &str, to: &str| zero(packet::tcp(from, to).flags(packet::flag::SYN)).build();
    let frames = [
        (syn("198.51.100.7:40000", "10.20.1.10:443"), Reason::Ipv4Length, Reason::GroupRule),
        (syn("198.51.100.7:40000", "10.20.1.10:444"), Reason::Ipv4Length, Reason::NoGroupRule),
        (syn("[2001:db8::7]:40000", "[fd20::10]:443"), Reason::TransportTruncated, Reason::GroupRule),
        (syn("[2001:db8::7]:40000", "[fd20::10]:444"), Reason::TransportTruncated, Reason::NoGroupRule),
    ];
    for received in [Received::Xdp, Received::Tc] {
        let mut open = Twin::new(received, &kinds::some());
        let mut closed = Twin::new(received, &kinds::none());
        for (frame, alone, pending) in &frames {
            // One segment is none to come.
            let mut trials = vec![(Trial::whole(frame), *alone)];
            if received == Received::Tc {
                trials.extend([(Trial::segmented(frame, 1), *alone), (Trial::segmented(frame, 5), *pending)]);
            }
            for (trial, reason) in trials {
                let what = format!("{received:?}: {trial:02x?}");
                assert_eq!(open.agree(&what, std::slice::from_ref(&trial))[0].reason, reason, "{what}");
                let decision = closed.agree(&what, &[trial])[0];
                assert!(!is_bypass(&decision) && decision.verdict() == Verdict::Drop, "{what}");
            }
        }
    }
}

/// A socket's datagram, whose checksum nobody finished, and one whose checksum is wrong.
fn checksums(mode: &str) {
    let rig = Rig::direct().unwrap();
    let (client, server) = (&rig.client, &rig.server);
    let bpffs = BpffsDir::new().unwrap();
    let fwctl = Fwctl::new(server, &bpffs).unwrap();
    let rule = json!([{ "id": "dns", "protocol": "udp", "from_port": 53, "to_port": 54,
                        "cidr_blocks": ["10.77.1.0/24"] }]);
    let mut rules = kinds::at(kinds::none(), "eth0", mode);
    rules["security_groups"]["sg"]["ingress"] = rule;
    fwctl.load(&rules).unwrap();
    let echo = Echo::udp(server, (server.v4, 53)).unwrap();
    let seen = capture(server, "eth0").unwrap();
    assert_eq!(udp_ask(client, (client.v4, 4000), (server.v4, 53)).unwrap(), Reached, "{mode}");
    assert_eq!(echo.served(), 1);
    if mode == "tc" {
        // At XDP the kernel finishes it, since no program could.
        let frame = seen.find(|frame| frame.get(36..38) == Some(&[0, 53])).unwrap().expect("the question");
        let pseudo = [&frame[26..34], &[0, 17], &frame[38..40]].concat();
        assert_ne!(checksum(&[pseudo, frame[34..].to_vec()].concat()), 0, "finished: this shows nothing");
    }
    let counted = || fwctl.stats().unwrap().rule_packets("sg", "dns");
    let socket = Receiver::new(server, "0.0.0.0:54");
    let mac = server.mac("eth0").unwrap();
    for (from, wrong, gets) in [(5000, None, true), (5001, Some(0x1234), false)] {
        let before = counted();
        let packet = packet::udp((client.v4, from), (server.v4, 54)).payload(b"sum").destination_mac(mac);
        let wrong = Wrong { transport_checksum: wrong, ..Wrong::default() };
        send_frame(client, "eth0", &packet.wrong(wrong).build()).unwrap();
        // The filter lets both pass; the socket takes one.
        assert_eq!(socket.gets(b"sum"), gets, "{mode}");
        assert_eq!(counted(), before + 1, "{mode}");
    }
    fwctl.load(&kinds::at(kinds::none(), "eth0", mode)).unwrap();
    let _ = udp_ask(client, (client.v4, 4001), (server.v4, 53)).unwrap();
    assert_eq!(echo.served(), 1, "{mode}: nothing allowed");
}

#[test]
fn checksums_are_not_judged_at_xdp() {
    checksums("xdp");
}

#[test]
fn checksums_are_not_judged_at_tc() {
    checksums("tc");
}
