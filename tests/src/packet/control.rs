//! The packets that keep a link alive: ARP, neighbour discovery, DHCP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::model::{Body, Host, Icmp, Network, Packet};
use super::{ethertype, udp};

/// The hardware address that ARP and neighbour discovery tell: the builder's own sender.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// An ARP request: who has `target`, tell `source`.
#[must_use]
pub fn arp(source: Ipv4Addr, target: Ipv4Addr) -> Packet {
    let mut payload = vec![0, 1, 8, 0, 6, 4, 0, 1];
    payload.extend(SENDER);
    payload.extend(source.octets());
    payload.extend([0; 6]);
    payload.extend(target.octets());
    Packet::new(Network::Other { ethertype: ethertype::ARP, payload }).destination_mac([0xff; 6])
}

/// A neighbour solicitation (RFC 4861, 4.3) for `destination`, or for the link-local address whose
/// solicited-node group it is.
#[must_use]
pub fn nd_solicit(source: Ipv6Addr, destination: Ipv6Addr) -> Packet {
    let target = match destination.segments() {
        [0xff02, 0, 0, 0, 0, 1, high, low] if high >> 8 == 0xff => {
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, high & 0xff, low)
        }
        _ => destination,
    };
    let mut payload = target.octets().to_vec();
    // An unspecified source tells no link-layer address (RFC 4861, 4.3).
    if !source.is_unspecified() {
        payload.extend(link_layer_option(1));
    }
    discovery(source, destination, 135, [0; 4], payload)
}

/// A neighbour advertisement (RFC 4861, 4.4) of `source`; solicited if it goes to one host.
#[must_use]
pub fn nd_advert(source: Ipv6Addr, destination: Ipv6Addr) -> Packet {
    let flags = if destination.is_multicast() { 0x20 } else { 0x60 };
    let mut payload = source.octets().to_vec();
    payload.extend(link_layer_option(2));
    discovery(source, destination, 136, [flags, 0, 0, 0], payload)
}

/// A router solicitation (RFC 4861, 4.1).
#[must_use]
pub fn router_solicit(source: Ipv6Addr, destination: Ipv6Addr) -> Packet {
    let payload = if source.is_unspecified() { Vec::new() } else { link_layer_option(1) };
    discovery(source, destination, 133, [0; 4], payload)
}

/// A router advertisement (RFC 4861, 4.2): hop limit 64, a default router for 1800 s.
#[must_use]
pub fn router_advert(source: Ipv6Addr, destination: Ipv6Addr) -> Packet {
    let mut payload = vec![0; 8];
    payload.extend(link_layer_option(1));
    discovery(source, destination, 134, [64, 0, 0x07, 0x08], payload)
}

fn discovery(source: Ipv6Addr, destination: Ipv6Addr, kind: u8, word: [u8; 4], payload: Vec<u8>) -> Packet {
    let [a, b, c, d] = word;
    let (id, seq) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let body = Body::Icmp(Icmp { kind, code: 0, id, seq, payload });
    Packet::ip(IpAddr::V6(source), IpAddr::V6(destination), body).ttl(255)
}

fn link_layer_option(kind: u8) -> Vec<u8> {
    let mut option = vec![kind, 1];
    option.extend(SENDER);
    option
}

/// A DHCP client that looks for a server (RFC 2131): 0.0.0.0:68 to 255.255.255.255:67.
#[must_use]
pub fn dhcp_discover() -> Packet {
    dhcp((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), 1, 1)
}

/// A DHCP server's offer, from port 67 to port 68.
#[must_use]
pub fn dhcp_offer(source: Ipv4Addr, destination: Ipv4Addr) -> Packet {
    dhcp((source, 67), (destination, 68), 2, 2)
}

fn dhcp(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), operation: u8, message: u8) -> Packet {
    let mut payload = vec![0; 236];
    payload[..4].copy_from_slice(&[operation, 1, 6, 0]);
    payload[4..8].copy_from_slice(&0x1234_5678_u32.to_be_bytes());
    payload[28..34].copy_from_slice(&SENDER);
    payload.extend([0x63, 0x82, 0x53, 0x63]);
    payload.extend([53, 1, message, 255]);
    udp(source, destination).payload(&payload)
}

/// A DHCPv6 client that looks for servers (RFC 8415), from port 546 to port 547.
#[must_use]
pub fn dhcpv6_solicit(source: impl Host, destination: impl Host) -> Packet {
    // Solicit, a transaction, and the client's identifier: DUID-LL with our address.
    let mut payload = vec![1, 0x12, 0x34, 0x56, 0, 1, 0, 10, 0, 3, 0, 1];
    payload.extend(SENDER);
    udp((source, 546), (destination, 547)).payload(&payload)
}
