//! Which connection a packet is about: its own, or, for an ICMP error, that of the packet it quotes.

use crate::address::{Address, Family};
use crate::flow::{Direction, FlowKey};
use crate::frame::{Frame, load_u16};
use crate::packet::{Fragment, Packet, protocol};

/// Both ICMP and ICMPv6 errors have 8 bytes before the quote (RFC 792, RFC 4443).
const ERROR_HEADER_LEN: u32 = 8;
const IPV4_HEADER_LEN: u32 = 20;
const IPV6_HEADER_LEN: u32 = 40;
/// RFC 8200 section 4.5.
const IPV6_FRAGMENT: u8 = 44;
const IPV6_FRAGMENT_LEN: u32 = 8;

/// The connection that a packet is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    /// How.
    pub kind: SubjectKind,
    /// Which; its zone is filled in by the caller.
    pub key: FlowKey,
}

/// How a packet relates to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// It is a packet of that connection, or its first.
    Own,
    /// It is an ICMP error that quotes a packet of that connection, which went the other way.
    Quoted,
    /// An ICMP message that belongs to no connection.
    None,
}

impl Subject {
    /// None yet.
    pub const EMPTY: Self = Self {
        kind: SubjectKind::None,
        key: FlowKey {
            zone: 0,
            protocol: 0,
            local: Address { high: 0, low: 0 },
            remote: Address { high: 0, low: 0 },
            local_port: 0,
            remote_port: 0,
            reserved: 0,
        },
    };

    /// Finds it. The last step that reads the frame: what follows is a matter of plain values.
    #[inline(always)]
    pub fn find<F: Frame>(&mut self, frame: &F, packet: &Packet, direction: Direction) {
        self.own(packet, direction);
        if !packet.is_icmp() {
            return;
        }
        let key = &mut self.key;
        key.local_port = 0;
        key.remote_port = 0;
        self.kind = if is_error(packet) {
            let found = packet.fragment == Fragment::Whole && quote(frame, packet, direction, key);
            if found { SubjectKind::Quoted } else { SubjectKind::None }
        } else {
            key.local_port = packet.identifier;
            match request_of(packet.family, packet.icmp_type()) {
                Some(request) => {
                    key.remote_port = requester(packet.icmp_type(), request, direction);
                    SubjectKind::Own
                }
                None => SubjectKind::None,
            }
        };
    }

    /// The connection that a packet other than ICMP belongs to.
    #[inline(always)]
    pub fn own(&mut self, packet: &Packet, direction: Direction) {
        self.kind = SubjectKind::Own;
        let key = &mut self.key;
        key.protocol = u32::from(packet.protocol);
        key.local = *packet.local(direction);
        key.remote = *packet.remote(direction);
        key.reserved = 0;
        (key.local_port, key.remote_port) = match direction {
            Direction::Ingress => (packet.service, packet.source_port),
            Direction::Egress => (packet.source_port, packet.service),
        };
    }
}

/// Errors: ICMP 3 destination unreachable, 4 source quench, 11 time exceeded, 12 parameter problem; ICMPv6
/// types below 128 (RFC 4443 section 2.1).
#[inline(always)]
pub fn is_error(packet: &Packet) -> bool {
    match packet.family {
        Family::V4 => packet.protocol == protocol::ICMP && matches!(packet.icmp_type(), 3 | 4 | 11 | 12),
        Family::V6 => packet.protocol == protocol::ICMPV6 && packet.icmp_type() < 128,
    }
}

/// Reads the quote of an error that travels in `direction`, and makes `key` that of the quoted connection. False
/// if the quote is cut off before the ports, if it is a later fragment, or if the error was not sent to the quoted
/// packet's source.
#[inline(always)]
fn quote<F: Frame>(frame: &F, error: &Packet, direction: Direction, key: &mut FlowKey) -> bool {
    read_quote(frame, error, direction, key).is_some()
}

#[inline(always)]
fn read_quote<F: Frame>(frame: &F, error: &Packet, direction: Direction, key: &mut FlowKey) -> Option<()> {
    let start = frame.forget(error.transport.wrapping_add(ERROR_HEADER_LEN));
    let quoted = direction.reverse();
    let mut transport = start.wrapping_add(IPV6_HEADER_LEN);
    match error.family {
        Family::V4 => {
            let [version_ihl] = frame.load::<1>(start)?;
            let fragment = load_u16(frame, start.wrapping_add(6))?;
            let [protocol] = frame.load::<1>(start.wrapping_add(9))?;
            let source = Address::from_ipv4(frame.load::<4>(start.wrapping_add(12))?);
            let destination = Address::from_ipv4(frame.load::<4>(start.wrapping_add(16))?);
            let len = u32::from(version_ihl & 0x0f).wrapping_mul(4);
            if version_ihl >> 4 != 4 || len < IPV4_HEADER_LEN || fragment & 0x1fff != 0 {
                return None;
            }
            transport = start.wrapping_add(len);
            ends(key, quoted, protocol, source, destination);
        }
        Family::V6 => {
            let [version] = frame.load::<1>(start)?;
            let [mut protocol] = frame.load::<1>(start.wrapping_add(6))?;
            let source = Address::from_ipv6(frame.load::<16>(start.wrapping_add(8))?);
            let destination = Address::from_ipv6(frame.load::<16>(start.wrapping_add(24))?);
            if version >> 4 != 6 {
                return None;
            }
            // What was sent in fragments may be too big all the same, where the path got narrower.
            if protocol == IPV6_FRAGMENT {
                let [following, _, offset, flags] = frame.load::<4>(transport)?;
                if u16::from_be_bytes([offset, flags]) >> 3 != 0 {
                    return None;
                }
                protocol = following;
                transport = transport.wrapping_add(IPV6_FRAGMENT_LEN);
            }
            ends(key, quoted, protocol, source, destination);
        }
    }
    // RFC 1122 section 3.2.2: an error goes to the source of the packet that caused it.
    let quoted_source = match quoted {
        Direction::Ingress => key.remote,
        Direction::Egress => key.local,
    };
    if quoted_source != error.destination {
        return None;
    }
    let transport = frame.forget(transport);
    if transport.wrapping_add(8) > error.end {
        return None;
    }
    ports(frame, error.family, transport, quoted, key)
}

#[inline(always)]
fn ends(key: &mut FlowKey, quoted: Direction, protocol: u8, source: Address, destination: Address) {
    key.protocol = u32::from(protocol);
    match quoted {
        Direction::Ingress => {
            key.local = destination;
            key.remote = source;
        }
        Direction::Egress => {
            key.local = source;
            key.remote = destination;
        }
    }
}

/// RFC 792 promises 64 bits of the quoted transport header.
#[inline(always)]
fn ports<F: Frame>(
    frame: &F,
    family: Family,
    transport: u32,
    direction: Direction,
    key: &mut FlowKey,
) -> Option<()> {
    match (key.protocol as u8, family) {
        (protocol::TCP | protocol::UDP, _) => {
            let source = load_u16(frame, transport)?;
            let destination = load_u16(frame, transport.wrapping_add(2))?;
            match direction {
                Direction::Ingress => {
                    key.local_port = destination;
                    key.remote_port = source;
                }
                Direction::Egress => {
                    key.local_port = source;
                    key.remote_port = destination;
                }
            }
        }
        (protocol::ICMP, Family::V4) | (protocol::ICMPV6, Family::V6) => {
            let [kind] = frame.load::<1>(transport)?;
            key.local_port = load_u16(frame, transport.wrapping_add(4))?;
            key.remote_port = requester(kind, request_of(family, kind)?, direction);
        }
        _ => {}
    }
    Some(())
}

/// What stands in a key for the request that a message of type `kind` is or answers: its type, and which side asked.
/// Without the side, requests of the other end would pass as replies.
#[inline(always)]
fn requester(kind: u8, request: u8, direction: Direction) -> u16 {
    let asked = if kind == request { direction } else { direction.reverse() };
    u16::from(request) | (u16::from(asked.code()) << 8)
}

/// The request type that a request or reply belongs to; `None` for any other message.
/// ICMP: echo 8/0, timestamp 13/14, information 15/16, address mask 17/18 (RFC 792, RFC 950); ICMPv6: echo
/// 128/129 (RFC 4443).
#[inline(always)]
pub fn request_of(family: Family, kind: u8) -> Option<u8> {
    match (family, kind) {
        (Family::V4, 8 | 0) => Some(8),
        (Family::V4, 13 | 14) => Some(13),
        (Family::V4, 15 | 16) => Some(15),
        (Family::V4, 17 | 18) => Some(17),
        (Family::V6, 128 | 129) => Some(128),
        _ => None,
    }
}

/// Whether a type is a request.
#[inline(always)]
pub fn is_request(family: Family, kind: u8) -> bool {
    request_of(family, kind) == Some(kind)
}
