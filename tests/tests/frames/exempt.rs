//! What always passes is no way round a deny-all.

use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Namespace, Rig, join};
use fw_tests::packet::{self, Packet, flag};
use fw_tests::traffic::Outcome::{Blocked, Reached};
use fw_tests::traffic::{Echo, capture, send_frame, udp_ask};
use serde_json::{Value, json};
use socket2::SockRef;

use super::kinds;
use super::wire::{Receiver, Wire, gathered, settle};

/// Datagrams in frames to addresses that always pass with other ethertypes, with and without priority tags, and to the
/// groups that such frames are for.
fn multicast(mode: &str) {
    let wire = Wire::new(true);
    let sockets = ["0.0.0.0:53", "[::]:54"].map(|at| Receiver::new(&wire.far, at));
    let group = "224.0.0.251".parse().unwrap();
    SockRef::from(sockets[0].socket()).join_multicast_v4(&group, &"10.20.1.10".parse().unwrap()).unwrap();
    let index = wire.far.index("eth0").unwrap();
    sockets[1].socket().join_multicast_v6(&"ff02::fb".parse().unwrap(), index).unwrap();
    let targets = |tag: &str| {
        let own = (0..16).map(|last| ("10.20.1.10:53", Some([1, 0x80, 0xc2, 0, 0, last])));
        let v6 = (0..16).map(|last| ("[fd20::10]:54", Some([1, 0x80, 0xc2, 0, 0, last])));
        let groups = [("224.0.0.251:53", None), ("[ff02::fb]:54", None), ("10.20.1.255:53", Some([0xff; 6]))];
        let tag = tag.to_owned();
        own.chain(v6).chain(groups).zip(0..).map(move |((to, mac), number)| {
            let from = if to.starts_with('[') { "[fd20::7]:4000" } else { "10.20.1.7:4000" };
            let payload = format!("{tag} {number}").into_bytes();
            let packet = packet::udp(from, to).payload(&payload);
            (mac.into_iter().fold(packet, Packet::destination_mac), payload)
        })
    };
    let mut counted = 0;
    for (rules, filtered) in [(None, false), (Some(kinds::none()), true)] {
        if let Some(rules) = rules {
            wire.load(rules, mode);
        }
        for tags in 0..=2 {
            let mut expected = Vec::new();
            for (packet, payload) in targets(&format!("{filtered} {tags}")) {
                let packet = (0..tags).fold(packet, |packet, _| packet.vlan(0));
                send_frame(&wire.near, "eth0", &packet.build()).unwrap();
                expected.push(payload);
            }
            if filtered {
                counted += expected.len() as u64;
                wire.counts(counted);
                settle();
                expected.clear();
            }
            expected.sort();
            let got = gathered(&sockets, expected.len());
            assert_eq!(got, expected, "{mode}, {tags} tags, filtered: {filtered}");
        }
    }
    let counts = wire.counts(counted);
    assert_eq!(counts.get("no_group_rule"), Some(&counted), "{counts:?}");
    assert_eq!(counts.get("link_control"), None, "{counts:?}");
}

#[test]
fn datagrams_to_addresses_of_link_control_reach_nobody_through_a_deny_all_at_xdp() {
    multicast("xdp");
}

#[test]
fn datagrams_to_addresses_of_link_control_reach_nobody_through_a_deny_all_at_tc() {
    multicast("tc");
}

/// Whoever says to be a service of AWS's gets in only where he was asked.
fn services(mode: &str) {
    let rig = Rig::direct().unwrap();
    let (client, server) = (&rig.client, &rig.server);
    let bpffs = BpffsDir::new().unwrap();
    let fwctl = Fwctl::new(server, &bpffs).unwrap();
    let services = ["169.254.169.253", "169.254.169.123"];
    for service in services {
        client.address("eth0", &format!("{service}/32")).unwrap();
        server.route(&format!("{service}/32"), &client.v4.to_string()).unwrap();
    }
    let _echoes =
        [(services[0], 53), (services[1], 123), (services[0], 54)].map(|at| Echo::udp(client, at).unwrap());
    let socket = Receiver::new(server, "0.0.0.0:5000");
    let mac = server.mac("eth0").unwrap();
    let forge = |from: &str, payload: &str| {
        let packet = packet::udp(from, (server.v4, 5000)).payload(payload.as_bytes());
        send_frame(client, "eth0", &packet.destination_mac(mac).build()).unwrap();
        socket.gets(payload.as_bytes())
    };
    let forged = ["169.254.169.253:53", "169.254.169.123:123", "169.254.169.254:80"];
    for from in forged {
        assert!(forge(from, from), "{from} before any rules");
    }
    let mut rules = kinds::at(kinds::none(), "eth0", mode);
    rules["settings"]["exempt_services"] = json!("link_local");
    fwctl.load(&rules).unwrap();
    for from in forged {
        assert!(!forge(from, from), "{mode}: forged by {from}");
    }
    // A SYN-ACK that nobody asked for would be answered with a reset.
    let seen = capture(client, "eth0").unwrap();
    let packet = packet::tcp("169.254.169.254:80", (server.v4, 5000)).flags(flag::SYN | flag::ACK);
    send_frame(client, "eth0", &packet.destination_mac(mac).build()).unwrap();
    assert!(seen.find(|frame| frame.get(23) == Some(&6)).unwrap().is_none(), "{mode}: forged SYN-ACK");
    // Asked for they come, from whom was asked and for nothing else.
    let ask = |from: u16, to: (&str, u16)| udp_ask(server, (server.v4, from), to).unwrap();
    assert_eq!(ask(5001, (services[0], 53)), Reached, "{mode}");
    assert_eq!(ask(5002, (services[1], 123)), Reached, "{mode}");
    assert_eq!(ask(5003, (services[0], 54)), Blocked, "{mode}: not the service's port");
    drop(socket);
    assert_eq!(ask(5000, (services[0], 53)), Reached, "{mode}");
    let socket = Receiver::new(server, "0.0.0.0:5000");
    let other = packet::udp("169.254.169.123:123", (server.v4, 5000)).payload(b"other").destination_mac(mac);
    send_frame(client, "eth0", &other.build()).unwrap();
    assert!(!socket.gets(b"other"), "{mode}: by another service than was asked");
}

#[test]
fn forged_replies_of_exempt_services_reach_nobody_who_did_not_ask_at_xdp() {
    services("xdp");
}

#[test]
fn forged_replies_of_exempt_services_reach_nobody_who_did_not_ask_at_tc() {
    services("tc");
}

/// What an instance says through its port of a bridge: as a client, or as the router and server that it is not.
fn instance(mode: &str) {
    let [instance, bridge, others] =
        ["instance", "bridge", "others"].map(|name| Namespace::new(name).unwrap());
    let bpffs = BpffsDir::new().unwrap();
    bridge.ip("link add br0 type bridge").unwrap();
    bridge.ip("link set br0 up").unwrap();
    for (host, port) in [(&instance, "port0"), (&others, "port1")] {
        join(host, "eth0", &bridge, port).unwrap();
        bridge.ip(&format!("link set {port} master br0")).unwrap();
    }
    let fwctl = Fwctl::new(&bridge, &bpffs).unwrap();
    let mut rules: Value = kinds::at(kinds::none(), "port0", mode);
    rules["interfaces"]["nic"]["faces"] = json!("instance");
    let fe80 = |last: u16| format!("fe80::{last:x}").parse().unwrap();
    let nodes = "ff02::1".parse().unwrap();
    let redirect = packet::icmp("fe80::7", "ff02::1", 137, 0).ttl(255).payload(&[0; 36]);
    let solicit = packet::router_solicit(fe80(7), "ff02::2".parse().unwrap());
    let relayed = packet::udp("10.20.1.7:67", "255.255.255.255:67").payload(&[1; 240]);
    let server6 = packet::udp("[fe80::7]:547", "[ff02::1]:546").payload(b"reply");
    // What it is, whether it passes from the instance, and to it.
    let all: [(&str, Packet, bool, bool); 13] = [
        ("router solicitation", solicit.clone(), true, true),
        ("router advertisement", packet::router_advert(fe80(7), nodes), false, true),
        ("router advertisement from afar", packet::router_advert(fe80(7), nodes).ttl(254), false, false),
        ("redirect", redirect, false, true),
        ("DHCP discovery", packet::dhcp_discover(), true, true),
        ("DHCP offer", packet::dhcp_offer([10, 20, 1, 7].into(), [255; 4].into()), false, true),
        ("DHCP between servers", relayed, false, true),
        ("DHCPv6 solicitation", packet::dhcpv6_solicit("fe80::7", "ff02::1:2"), true, true),
        ("DHCPv6 reply", server6, false, true),
        (
            "to a DHCP server's port",
            packet::udp("10.20.1.7:4000", "255.255.255.255:67").payload(b"a"),
            false,
            false,
        ),
        (
            "from a DHCP client's port",
            packet::udp("10.20.1.7:68", "255.255.255.255:53").payload(b"b"),
            false,
            false,
        ),
        (
            "DHCP over the other family's ports",
            packet::udp("10.20.1.7:546", "255.255.255.255:547").payload(b"c"),
            false,
            false,
        ),
        ("solicitation in a fragment", solicit.fragment(7, 0, true), false, false),
    ];
    let last = kinds::frame("arp 10.20.1.7 > 10.20.1.10");
    for (filtered, tags) in [(false, 0), (true, 0), (true, 1), (true, 2)] {
        if filtered && tags == 0 {
            fwctl.load(&rules).unwrap();
        }
        for (from, to, outward) in [(&instance, &others, true), (&others, &instance, false)] {
            let seen = capture(to, "eth0").unwrap();
            let mut expected = Vec::new();
            for (what, packet, out, into) in &all {
                let frame = (0..tags).fold(packet.clone(), |packet, _| packet.vlan(7)).build();
                send_frame(from, "eth0", &frame).unwrap();
                if !filtered || if outward { *out } else { *into } {
                    expected.push((*what, frame));
                }
            }
            settle();
            send_frame(from, "eth0", &last).unwrap();
            let mut came = seen.until(&last).unwrap();
            let name =
                |frame: &Vec<u8>| expected.iter().find(|(_, sent)| sent == frame).map(|(what, _)| *what);
            // The hosts speak for themselves as well, with addresses of their own.
            came.retain(|frame| frame[6..12] == [2, 0, 0, 0, 0, 1] && *frame != last);
            let names: Vec<_> = came.iter().map(name).collect();
            let expected: Vec<_> = expected.iter().map(|(what, _)| Some(*what)).collect();
            assert_eq!(
                names, expected,
                "{mode}, from the instance: {outward}, filtered: {filtered}, {tags} tags"
            );
        }
    }
}

#[test]
fn an_instance_is_no_router_and_no_dhcp_server_at_xdp() {
    instance("xdp");
}

#[test]
fn an_instance_is_no_router_and_no_dhcp_server_at_tc() {
    instance("tc");
}
