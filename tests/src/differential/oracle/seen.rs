//! What of a packet matters: taken from what the sender meant, not from bytes.

use std::net::{IpAddr, Ipv4Addr};

use fw_common::{Direction, Reason};

use crate::packet::{Body, Extension, Ip, Network, Packet, Tcp, ethertype, flag};

/// An IP packet as rules and tracking see it.
#[derive(Clone, Debug)]
pub(super) struct Seen<'a> {
    pub(super) ipv6: bool,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    pub(super) ttl: u8,
    pub(super) piece: Piece,
    /// Source and destination port of TCP and UDP.
    pub(super) ports: Option<(u16, u16)>,
    /// Type, code and identifier of the family's ICMP.
    pub(super) icmp: Option<(u8, u8, u16)>,
    pub(super) tcp: Option<&'a Tcp>,
}

/// Whole or part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Whole,
    /// With the offset of what comes next, in bytes.
    First {
        id: u32,
        end: usize,
    },
    Later {
        id: u32,
        offset: usize,
    },
}

/// What a frame carries.
pub(super) enum Carried<'a> {
    Ip(Seen<'a>),
    /// By type, and whether it goes to 01:80:c2:00:00:0X.
    Other(u16, bool),
}

/// Reads a frame, or says why nobody should.
pub(super) fn look(packet: &Packet) -> Result<Carried<'_>, Reason> {
    if packet.link.tags.len() > 2 {
        return Err(Reason::TooManyVlanTags);
    }
    match &packet.network {
        Network::Ip(ip) => look_ip(ip).map(Carried::Ip),
        Network::Other { ethertype, .. } => {
            let link_local =
                matches!(packet.link.destination, Some([1, 0x80, 0xc2, 0, 0, last]) if last < 16);
            Ok(Carried::Other(*ethertype, link_local))
        }
        Network::Whole(_) => unreachable!("only packets that somebody meant are asked about"),
    }
}

fn look_ip(ip: &Ip) -> Result<Seen<'_>, Reason> {
    let ipv6 = ip.source.is_ipv6();
    if is_mapped(ip.source) || is_mapped(ip.destination) {
        return Err(Reason::Ipv4MappedAddress);
    }
    options(&ip.options)?;
    let next = extensions(ip)?;
    let piece = piece(ip);
    let mut seen = Seen {
        ipv6,
        source: ip.source,
        destination: ip.destination,
        protocol: next,
        ttl: ip.ttl,
        piece,
        ports: None,
        icmp: None,
        tcp: None,
    };
    if let Piece::Later { offset, .. } = piece {
        return if next == 6 && offset < 20 { Err(Reason::FragmentOverlapsHeader) } else { Ok(seen) };
    }
    match &ip.body {
        Body::Tcp(tcp) => {
            if tcp.flags & flag::SYN != 0 && tcp.flags & (flag::FIN | flag::RST) != 0 {
                return Err(Reason::BadTcpFlags);
            }
            seen.ports = Some((tcp.source, tcp.destination));
            seen.tcp = Some(tcp);
        }
        Body::Udp { source, destination, .. } => seen.ports = Some((*source, *destination)),
        Body::Icmp(icmp) => seen.icmp = Some((icmp.kind, icmp.code, icmp.id)),
        Body::Other { .. } => {}
    }
    Ok(seen)
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

fn piece(ip: &Ip) -> Piece {
    match ip.fragment {
        Some(fragment) if fragment.offset_bytes > 0 => {
            Piece::Later { id: fragment.id, offset: fragment.offset_bytes.into() }
        }
        Some(fragment) if fragment.more => Piece::First { id: fragment.id, end: ip.fragmentable_bytes() },
        _ => Piece::Whole,
    }
}

/// IPv4 options: 0 ends, 1 is one byte long, all others tell their length.
fn options(mut options: &[u8]) -> Result<(), Reason> {
    while let [kind, rest @ ..] = options {
        options = match (*kind, rest.first().map(|len| usize::from(*len))) {
            (0, _) => return Ok(()),
            (1, _) => rest,
            (131 | 137, _) => return Err(Reason::Ipv4SourceRoute),
            (_, Some(len)) if len >= 2 && len <= options.len() => &options[len..],
            _ => return Err(Reason::Ipv4Option),
        };
    }
    Ok(())
}

/// Walks the extension headers to the protocol that the packet is judged by.
fn extensions(ip: &Ip) -> Result<u8, Reason> {
    let transport = match &ip.body {
        Body::Tcp(_) => 6,
        Body::Udp { .. } => 17,
        Body::Icmp(_) if ip.source.is_ipv4() => 1,
        Body::Icmp(_) => 58,
        Body::Other { protocol, .. } => *protocol,
    };
    let mut chain = ip.extensions.clone();
    if ip.source.is_ipv6() && ip.fragment.is_some() && !chain.contains(&Extension::Fragment) {
        chain.push(Extension::Fragment);
    }
    for (place, extension) in chain.iter().enumerate() {
        if place == 8 {
            return Err(Reason::Ipv6TooManyExtensions);
        }
        match extension {
            Extension::HopByHop if place > 0 => return Err(Reason::Ipv6ExtensionOrder),
            Extension::Routing { kind: 0, .. } => return Err(Reason::Ipv6RoutingHeader0),
            Extension::Fragment if matches!(piece(ip), Piece::Later { .. }) => {
                return Ok(chain.get(place + 1).map_or(transport, number));
            }
            _ => {}
        }
    }
    Ok(transport)
}

fn number(extension: &Extension) -> u8 {
    match extension {
        Extension::HopByHop => 0,
        Extension::Routing { .. } => 43,
        Extension::Fragment => 44,
        Extension::Authentication => 51,
        Extension::Destination => 60,
        Extension::Other { protocol, .. } => *protocol,
    }
}

impl Seen<'_> {
    /// The interface's end.
    pub(super) fn local(&self, direction: Direction) -> IpAddr {
        if direction == Direction::Ingress { self.destination } else { self.source }
    }

    /// The other end, which rules speak of.
    pub(super) fn remote(&self, direction: Direction) -> IpAddr {
        if direction == Direction::Ingress { self.source } else { self.destination }
    }

    /// A TCP segment that opens: SYN without ACK.
    pub(super) fn is_syn(&self) -> bool {
        self.tcp.is_some_and(|tcp| tcp.flags & (flag::SYN | flag::ACK) == flag::SYN)
    }

    /// An ICMP error: ICMP 3, 4, 11, 12; ICMPv6 below 128.
    pub(super) fn is_error(&self) -> bool {
        match self.icmp {
            Some((kind, ..)) if self.ipv6 => kind < 128,
            Some((kind, ..)) => matches!(kind, 3 | 4 | 11 | 12),
            None => false,
        }
    }

    /// Whether it may be the first packet of a flow: SYN, an ICMP request, anything of other protocols.
    pub(super) fn opens(&self) -> bool {
        match (self.tcp, self.icmp) {
            (Some(_), _) => self.is_syn(),
            (None, Some((kind, ..))) => request_of(self.ipv6, kind) == Some(kind),
            (None, None) => true,
        }
    }
}

/// The request that a type is or answers.
pub(super) fn request_of(ipv6: bool, kind: u8) -> Option<u8> {
    let pairs: &[(u8, u8)] = if ipv6 { &[(128, 129)] } else { &[(8, 0), (13, 14), (15, 16), (17, 18)] };
    pairs.iter().find(|(request, reply)| *request == kind || *reply == kind).map(|(request, _)| *request)
}

/// What always passes. `from_instance`: it leaves an instance that the device looks at.
pub(super) fn always_passes(seen: &Seen<'_>, from_instance: bool) -> Option<Reason> {
    if seen.piece != Piece::Whole {
        return None;
    }
    if let (true, Some((kind, ..))) = (seen.ipv6, seen.icmp) {
        let from_router = matches!(kind, 134 | 137);
        if (133..=137).contains(&kind) && seen.ttl == 255 && !(from_router && from_instance) {
            return Some(Reason::AlwaysNeighbourDiscovery);
        }
        let is_listener = matches!(kind, 130 | 131 | 132 | 143) && seen.ttl == 1;
        if is_listener && (is_link_local(seen.source) || seen.source.is_unspecified()) {
            return Some(Reason::AlwaysMulticastListener);
        }
    }
    if let (None, Some(pair)) = (seen.tcp, seen.ports) {
        let (clients, servers): (&[_], &[_]) =
            if seen.ipv6 { (&[(546, 547)], &[(547, 546)]) } else { (&[(68, 67)], &[(67, 68), (67, 67)]) };
        let stays_on_link = if seen.ipv6 {
            is_link_local(seen.source)
        } else {
            seen.destination == IpAddr::V4(Ipv4Addr::BROADCAST)
        };
        let from_client = clients.contains(&pair) && (!from_instance || stays_on_link);
        if from_client || servers.contains(&pair) && !from_instance {
            return Some(Reason::AlwaysDhcp);
        }
    }
    None
}

/// What becomes of a frame that is not IP.
pub(super) fn other(kind: u16, link_local: bool, passes: bool) -> Reason {
    match kind {
        ethertype::ARP => Reason::AlwaysArp,
        0x888e | 0x88e5 => Reason::AlwaysLinkControl,
        _ if link_local => Reason::AlwaysLinkControl,
        _ if passes => Reason::OtherEthertype,
        _ => Reason::EthertypeDropped,
    }
}

/// fe80::/10.
pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// To many: multicast, or the limited broadcast.
pub(super) fn is_to_many(address: IpAddr) -> bool {
    address.is_multicast() || address == IpAddr::V4(Ipv4Addr::BROADCAST)
}
