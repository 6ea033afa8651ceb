//! The probes on a rig without any filter, and with one of the kernel's own routes as filter. Needs root.

use super::*;
use crate::netns::Rig;
use crate::packet;

#[test]
fn tcp_and_udp_reach_a_server_and_are_refused_without_one() {
    let rig = Rig::direct().unwrap();
    for (client, server) in [
        (IpPair::of(rig.client.v4), IpPair::of(rig.server.v4)),
        (IpPair::of(rig.client.v6), IpPair::of(rig.server.v6)),
    ] {
        let tcp = Echo::tcp(&rig.server, server.port(80)).unwrap();
        let udp = Echo::udp(&rig.server, server.port(53)).unwrap();
        // Twice from the same port: nothing lingers.
        for _ in 0..2 {
            assert_eq!(
                tcp_connect(&rig.client, client.port(51000), tcp.address()).unwrap(),
                Outcome::Reached
            );
        }
        assert_eq!(udp_ask(&rig.client, client.port(51000), udp.address()).unwrap(), Outcome::Reached);
        assert_eq!(udp.served(), 1);
        assert_eq!(tcp_connect(&rig.client, client.port(0), server.port(81)).unwrap(), Outcome::Refused);
        assert_eq!(udp_ask(&rig.client, client.port(0), server.port(54)).unwrap(), Outcome::Refused);
    }
}

#[derive(Clone, Copy)]
struct IpPair(std::net::IpAddr);

impl IpPair {
    fn of(address: impl packet::Host) -> Self {
        Self(address.host())
    }

    fn port(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.0, port)
    }
}

#[test]
fn silence_is_blocked_and_a_prohibition_refused() {
    let rig = Rig::routed().unwrap();
    let router = rig.router.as_ref().unwrap();
    let (from, to) = (("0.0.0.0", 0), (rig.server.v4, 80));
    for (route, outcome) in [("blackhole", Outcome::Blocked), ("prohibit", Outcome::Refused)] {
        router.ip(&format!("route replace {route} 10.77.2.2/32")).unwrap();
        router.ip(&format!("-6 route replace {route} fd77:2::2/128")).unwrap();
        // A router answers a blackhole with nothing over IPv4; over IPv6 likewise (RTN_BLACKHOLE).
        assert_eq!(ping(&rig.client, rig.server.v4).unwrap(), outcome, "{route}");
        assert_eq!(ping(&rig.client, rig.server.v6).unwrap(), outcome, "{route}");
        assert_eq!(tcp_connect(&rig.client, from, to).unwrap(), outcome, "{route}");
    }
}

#[test]
fn a_live_connection_notices_when_it_is_cut_and_when_it_is_free_again() {
    let rig = Rig::routed().unwrap();
    let router = rig.router.as_ref().unwrap();
    let mut live = LiveTcp::open(&rig.client, (rig.client.v4, 0), &rig.server, (rig.server.v4, 22)).unwrap();
    assert!(live.exchange() && live.exchange_from_server());
    router.ip("route replace blackhole 10.77.2.2/32").unwrap();
    assert!(!live.exchange() && !live.exchange());
    router.ip("route del blackhole 10.77.2.2/32").unwrap();
    assert!(live.exchange_within(Duration::from_secs(5)));
    live.close().unwrap();
}

#[test]
fn frames_arrive_byte_for_byte_with_their_tags() {
    let rig = Rig::direct().unwrap();
    let seen = capture(&rig.server, "eth0").unwrap();
    for text in [
        "ethertype 0x88cc dst-mac=01:80:c2:00:00:0e",
        "udp 10.77.1.2:1 > 10.77.1.3:2 len=20",
        "udp 10.77.1.2:1 > 10.77.1.3:2 vlan=7",
        "udp [fd77:1::2]:1 > [fd77:1::3]:2 vlan=7 vlan=8",
    ] {
        let frame = packet::parse(text).unwrap();
        send_frame(&rig.client, "eth0", &frame).unwrap();
        assert!(seen.sees(&frame).unwrap(), "{text}");
    }
    assert!(!seen.sees(&[0; 14]).unwrap());
}

#[test]
fn a_crafted_udp_datagram_reaches_a_real_socket() {
    let rig = Rig::direct().unwrap();
    let echo = Echo::udp(&rig.server, (rig.server.v4, 53)).unwrap();
    let seen = capture(&rig.client, "eth0").unwrap();
    let frame = packet::udp((rig.client.v4, 4000), (rig.server.v4, 53))
        .payload(b"hello")
        .source_mac(rig.client.mac("eth0").unwrap())
        .destination_mac(rig.server.mac("eth0").unwrap());
    send_frame(&rig.client, "eth0", &frame.build()).unwrap();
    let reply = seen.find(|frame| frame.len() > 42 && frame[23] == 17 && frame.ends_with(b"hello")).unwrap();
    assert!(reply.is_some());
    assert_eq!(echo.served(), 1);
}

#[test]
fn an_address_that_is_not_there_is_a_fault_of_the_rig() {
    let rig = Rig::direct().unwrap();
    let error = udp_ask(&rig.client, "192.0.2.1:1", (rig.server.v4, 53)).unwrap_err();
    assert!(error.to_string().contains("cannot bind to 192.0.2.1:1"), "{error:#}");
}
