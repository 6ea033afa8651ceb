//! The identity of a connection at one interface.

use crate::address::Address;

/// Where a packet is going, seen from the instance. Everything else is relative to it: the local end of an
/// inbound packet is its destination.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the instance, or into the subnet.
    Ingress = 0,
    /// From the instance, or out of the subnet.
    Egress = 1,
}

impl Direction {
    /// The other one.
    #[inline(always)]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }

    /// `ingress` or `egress`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// As stored in [`crate::conntrack::Connection`].
    #[inline(always)]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// One connection. Since every hook knows which end is local, local and remote are the canonical order: the
/// two directions of a connection have the same key, and a packet cannot match an entry the wrong way round.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The interface, by [`crate::layout::Interface::zone`]: state made at one interface never serves another.
    pub zone: u32,
    /// IP protocol number; a whole word, since map keys are compared bytewise and must have no padding.
    pub protocol: u32,
    /// The interface's end.
    pub local: Address,
    /// The other end.
    pub remote: Address,
    /// TCP or UDP port; ICMP identifier; 0 for other protocols.
    pub local_port: u16,
    /// TCP or UDP port; ICMP: the type of the request, and in the high byte the direction it went.
    pub remote_port: u16,
    /// Always zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<FlowKey>() == 48);
