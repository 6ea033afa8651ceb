//! What always passes, both layers, because links die without it. The conditions are exact: every loose
//! exemption is a bypass.

use crate::address::{Address, Family};
use crate::flow::Direction;
use crate::packet::{Fragment, Packet, protocol};
use crate::verdict::Reason;
use crate::wire::ethertype;

/// What the device looks at, as far as exemptions care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Direction of the packet.
    pub direction: Direction,
    /// The device is the host's end of an instance's link: what leaves the instance may only be a client's
    /// side of these protocols.
    pub faces_instance: bool,
}

impl Port {
    /// The packet comes from an instance that is not trusted to act as router or DHCP server.
    #[inline(always)]
    const fn is_client(self) -> bool {
        self.faces_instance && matches!(self.direction, Direction::Egress)
    }
}

/// A frame that is not IP.
#[inline(always)]
pub fn frame(ethertype: u16, link_local: bool) -> Option<Reason> {
    match ethertype {
        ethertype::ARP => Some(Reason::AlwaysArp),
        ethertype::EAPOL | ethertype::MACSEC => Some(Reason::AlwaysLinkControl),
        // LACP, LLDP and STP; IP to such an address would reach an ordinary socket and is not exempt.
        _ if link_local => Some(Reason::AlwaysLinkControl),
        _ => None,
    }
}

/// An IP packet.
#[inline(always)]
pub fn packet(packet: &Packet, port: Port) -> Option<Reason> {
    if packet.fragment != Fragment::Whole {
        return None;
    }
    match (packet.protocol, packet.family) {
        (protocol::ICMPV6, Family::V6) => icmpv6(packet, port),
        (protocol::UDP, family) => dhcp(packet, family, port),
        _ => None,
    }
}

#[inline(always)]
fn icmpv6(packet: &Packet, port: Port) -> Option<Reason> {
    // RFC 4861: 133 router solicitation, 134 router advertisement, 135 and 136 neighbour solicitation and
    // advertisement, 137 redirect; each is valid with hop limit 255 only, which no router lets through.
    let is_discovery = matches!(packet.icmp_type(), 133..=137) && packet.hop_limit == 255;
    let acts_as_router = matches!(packet.icmp_type(), 134 | 137);
    if is_discovery && !(acts_as_router && port.is_client()) {
        return Some(Reason::AlwaysNeighbourDiscovery);
    }
    // MLD, RFC 2710 section 3 and RFC 3810 section 5: hop limit 1, from a link-local or unspecified source.
    let is_listener = matches!(packet.icmp_type(), 130..=132 | 143) && packet.hop_limit == 1;
    if is_listener && is_on_link(packet.source) {
        return Some(Reason::AlwaysMulticastListener);
    }
    None
}

#[inline(always)]
fn is_on_link(source: Address) -> bool {
    source.is_ipv6_link_local() || source.is_unspecified()
}

/// RFC 2131 section 4.1 (67 server, 68 client, relays 67 to 67), RFC 8415 section 7.2 (547 and 546).
#[inline(always)]
fn dhcp(packet: &Packet, family: Family, port: Port) -> Option<Reason> {
    let (server, client) = match family {
        Family::V4 => (67, 68),
        Family::V6 => (547, 546),
    };
    let pair = (packet.source_port, packet.service);
    let from_client = pair == (client, server) && (!port.is_client() || stays_on_link(packet));
    let from_server = pair == (server, client) || (matches!(family, Family::V4) && pair == (server, server));
    if from_client || (from_server && !port.is_client()) { Some(Reason::AlwaysDhcp) } else { None }
}

/// What an instance sends to one server is a renewal, and a way out to any host if it were exempt. Where the rules drop
/// it the client asks everybody in time (RFC 2131 section 4.4.5); DHCPv6 clients have link-local addresses (RFC 8415
/// section 13.1), which no router forwards.
#[inline(always)]
fn stays_on_link(packet: &Packet) -> bool {
    match packet.family {
        Family::V4 => packet.destination == Address::from_ipv4([255; 4]),
        Family::V6 => packet.source.is_ipv6_link_local(),
    }
}
