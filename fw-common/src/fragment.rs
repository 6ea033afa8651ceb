//! Fragments follow their first fragment (RFC 8200 section 4.5, RFC 791): only it carries ports. None may overlap it
//! (RFC 5722), so that nothing of what was judged is written over, wherever its headers end and whatever protocol a later
//! fragment says it has.

use crate::address::{Address, Family};
use crate::flow::Direction;
use crate::limits::FRAGMENT_SECONDS;
use crate::packet::{Fragment, Packet};
use crate::verdict::Reason;

/// What the fragments of one datagram have in common at one interface.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FragmentKey {
    /// [`crate::layout::Interface::zone`].
    pub zone: u32,
    /// Identification; 16 bits in IPv4.
    pub id: u32,
    /// Source address.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// IPv4: protocol number. IPv6: 0, since further extension headers of the first fragment may stand between, and
    /// its identification is unique without (RFC 8200 section 4.5).
    pub protocol: u8,
    /// [`Direction`].
    pub direction: u8,
    /// Always zero.
    pub padding: [u8; 6],
}

/// What was decided about the first fragment.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// When, `CLOCK_MONOTONIC`.
    pub judged_ns: u64,
    /// By which generation; another one has not judged it.
    pub generation: u32,
    /// [`crate::Decision::acl_rule`].
    pub acl_rule: u32,
    /// [`crate::Decision::group_rule`].
    pub group_rule: u32,
    /// [`Reason`].
    pub reason: u8,
    /// Always zero.
    pub padding: u8,
    /// Where it ends: [`Packet::fragment_offset`].
    pub end: u16,
}

impl Datagram {
    /// Whether it still counts.
    #[inline(always)]
    pub fn is_valid(&self, now_ns: u64, generation: u32) -> bool {
        let limit_ns = u64::from(FRAGMENT_SECONDS).wrapping_mul(1_000_000_000);
        self.generation == generation && now_ns.saturating_sub(self.judged_ns) <= limit_ns
    }

    /// The reason of the first fragment's verdict, which is every later one's.
    #[inline(always)]
    pub fn reason(&self) -> Reason {
        Reason::from_code(self.reason).unwrap_or(Reason::FragmentWithoutFirst)
    }

    /// Whether a later fragment begins before the first one ends.
    #[inline(always)]
    pub fn overlaps(&self, later: &Packet) -> bool {
        later.fragment_offset < self.end
    }
}

impl FragmentKey {
    /// The key of a fragment.
    #[inline(always)]
    pub fn of(packet: &Packet, zone: u32, direction: Direction) -> Self {
        let id = match packet.fragment {
            Fragment::First { id } | Fragment::Later { id } => id,
            Fragment::Whole => 0,
        };
        Self {
            zone,
            id,
            source: packet.source,
            destination: packet.destination,
            protocol: if matches!(packet.family, Family::V4) { packet.protocol } else { 0 },
            direction: direction.code(),
            padding: [0; 6],
        }
    }
}
