//! One frame reduced to what rules, tracking and exemptions can see.

use crate::address::{Address, Family};
use crate::flow::Direction;
use crate::verdict::Reason;

/// IP protocol numbers that have ports, types or a meaning of their own here.
/// <https://www.iana.org/assignments/protocol-numbers>
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// TCP flag bits (RFC 9293 section 3.1).
pub mod tcp_flags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// ACK.
    pub const ACK: u8 = 0x10;
}

/// An IP packet. Ports, service, identifier and flags are zero where its protocol has none; sequence numbers and
/// payload mean something for TCP only, the fragment's offset for fragments only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Version of the IP header.
    pub family: Family,
    /// The protocol behind the last extension header that is understood.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// TCP or UDP.
    pub source_port: u16,
    /// TCP or UDP; ICMP and ICMPv6: type in the high byte, code in the low one. What rules compare.
    pub service: u16,
    /// ICMP: identifier of an echo-like message.
    pub identifier: u16,
    /// TCP sequence number.
    pub sequence: u32,
    /// TCP acknowledgement number.
    pub acknowledgement: u32,
    /// TCP window, as it stands in the segment.
    pub window: u16,
    /// Of a SYN with ACK, and of a first SYN when its flow begins: by how much its side will shift its windows (RFC 7323),
    /// [`Packet::SHIFT_NONE`] if it will not. Of a first SYN before that [`Packet::SHIFT_UNREAD`]; of others nothing.
    pub window_shift: u8,
    /// TCP payload bytes.
    pub payload_len: u32,
    /// Where the transport header starts in the frame.
    pub transport: u32,
    /// Where the IP packet ends in the frame.
    pub end: u32,
    /// Whether it is a piece of a larger datagram.
    pub fragment: Fragment,
    /// In units of 8 bytes: where a later fragment begins, and where a first one ends, rounded up.
    pub fragment_offset: u16,
}

/// What kind of fragment a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fragment {
    /// A whole packet; an atomic IPv6 fragment is one (RFC 6946).
    Whole,
    /// The first fragment: it carries the transport header.
    First {
        /// Identification.
        id: u32,
    },
    /// A later one: no ports.
    Later {
        /// Identification.
        id: u32,
    },
}

impl Packet {
    /// The SYN has no window scale option.
    pub const SHIFT_NONE: u8 = 0xff;
    /// Nobody has looked for one.
    pub const SHIFT_UNREAD: u8 = 0xfe;

    /// Nothing yet; to be filled by [`crate::wire::parse`].
    pub const EMPTY: Self = Self {
        family: Family::V4,
        protocol: 0,
        hop_limit: 0,
        tcp_flags: 0,
        source: Address { high: 0, low: 0 },
        destination: Address { high: 0, low: 0 },
        source_port: 0,
        service: 0,
        identifier: 0,
        sequence: 0,
        acknowledgement: 0,
        window: 0,
        window_shift: Self::SHIFT_UNREAD,
        payload_len: 0,
        transport: 0,
        end: 0,
        fragment: Fragment::Whole,
        fragment_offset: 0,
    };

    /// The end that belongs to the interface.
    #[inline(always)]
    pub fn local(&self, direction: Direction) -> &Address {
        match direction {
            Direction::Ingress => &self.destination,
            Direction::Egress => &self.source,
        }
    }

    /// The other end: what rules compare with their CIDRs.
    #[inline(always)]
    pub fn remote(&self, direction: Direction) -> &Address {
        match direction {
            Direction::Ingress => &self.source,
            Direction::Egress => &self.destination,
        }
    }

    /// Why a packet is refused that ends before its transport header does: `whole`, or as a first fragment, which
    /// must hold all headers (RFC 7112, RFC 1858), the reason of its own.
    #[inline(always)]
    pub(crate) fn cut_short(&self, whole: Reason) -> Reason {
        if let Fragment::First { .. } = self.fragment { Reason::FirstFragmentTruncated } else { whole }
    }

    /// Notes that this is a first fragment, of whose datagram so many bytes are here.
    #[inline(always)]
    pub(crate) fn set_first(&mut self, id: u32, bytes: u32) {
        self.fragment = Fragment::First { id };
        self.fragment_offset = (bytes.wrapping_add(7) >> 3) as u16;
    }

    /// TCP: a SYN without ACK, which begins a connection.
    #[inline(always)]
    pub fn is_first_syn(&self) -> bool {
        self.tcp_flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN
    }

    /// TCP: how many sequence numbers it takes.
    #[inline(always)]
    pub fn stream_len(&self) -> u32 {
        let controls = u32::from(self.tcp_flags & tcp_flags::FIN != 0)
            .wrapping_add(u32::from(self.tcp_flags & tcp_flags::SYN != 0));
        self.payload_len.wrapping_add(controls)
    }

    /// ICMP or ICMPv6 type.
    #[inline(always)]
    pub fn icmp_type(&self) -> u8 {
        (self.service >> 8) as u8
    }

    /// Whether the protocol is the ICMP of its family.
    #[inline(always)]
    pub fn is_icmp(&self) -> bool {
        self.protocol
            == match self.family {
                Family::V4 => protocol::ICMP,
                Family::V6 => protocol::ICMPV6,
            }
    }
}
