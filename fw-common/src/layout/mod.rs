//! A generation of tables, as it lies in the policy array: 64-byte lines, written once, read by every hook.
//!
//! A generation is an extent of lines whose first is its root. Line numbers inside it count from that root, so
//! the compiler need not know where the loader will put it. Published lines are never written again.
//!
//! ```text
//! live word ─▶ root ─▶ device table ─▶ interface ─▶ row table ─▶ row ─▶ tree over port ─▶ Rule
//!                 └──▶ tree over address ─▶ class ──────┘
//! ```

mod header;

use crate::Family;

pub use header::{DEVICES_PER_BUCKET, Interface, InterfaceLines, Root, RootLine};

/// 64 bytes: one cache line, one element of the policy array.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Line(pub [u64; 8]);

impl Line {
    /// The `index`-th u64; 0 past the end.
    #[inline(always)]
    pub fn long(&self, index: u32) -> u64 {
        self.0.get((index & 7) as usize).copied().unwrap_or(0)
    }

    /// The `index`-th u32, the low half of a u64 first.
    #[inline(always)]
    pub fn word(&self, index: u32) -> u32 {
        let long = self.long(index >> 1);
        (long >> ((index & 1) << 5)) as u32
    }

    /// Sets the `index`-th u32.
    pub fn set_word(&mut self, index: u32, value: u32) {
        let shift = (index & 1) << 5;
        if let Some(long) = self.0.get_mut((index >> 1) as usize) {
            *long = (*long & !(0xffff_ffff << shift)) | (u64::from(value) << shift);
        }
    }
}

/// A value, or a tree to descend with the next 16-bit chunk of a key: payload << 4 | kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link(pub u32);

impl Link {
    /// Largest payload: a value or a line number.
    pub const MAX_PAYLOAD: u32 = (1 << 28) - 1;

    /// The end of a search.
    #[inline(always)]
    pub const fn value(value: u32) -> Self {
        Self(value << 4)
    }

    /// A tree whose root line has `inner_levels` levels above its leaves.
    pub const fn tree(line: u32, inner_levels: u32) -> Self {
        Self((line << 4) | inner_levels.wrapping_add(1))
    }

    /// Whether the search goes on.
    #[inline(always)]
    pub const fn is_tree(self) -> bool {
        self.0 & 0xf != 0
    }

    /// Levels above the leaves.
    #[inline(always)]
    pub const fn inner_levels(self) -> u32 {
        (self.0 & 0xf).wrapping_sub(1)
    }

    /// The value or the line.
    #[inline(always)]
    pub const fn payload(self) -> u32 {
        self.0 >> 4
    }
}

/// Intervals of a leaf line: ten inclusive ends (the last interval ends at 0xffff), eleven links.
pub const LEAF_INTERVALS: usize = 11;
/// Children of an inner line: the number of the first, then twenty-eight inclusive ends.
pub const INNER_CHILDREN: usize = 29;
/// Word of a leaf at which its links start.
pub const LEAF_LINKS: u32 = 5;

/// What a (class, protocol, service) search ends at: bit 0 allow, bit 1 untracked (of a denying rule: the implicit
/// last one of an ACL), bit 2 reserved, from bit 3 the counter slot of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule(pub u32);

impl Rule {
    /// No rule: denied, no slot.
    pub const NONE: Self = Self(0);
    const ALLOW: u32 = 1;
    const UNTRACKED: u32 = 2;
    const RESERVED: u32 = 4;
    /// Largest counter slot.
    pub const MAX_SLOT: u32 = (1 << 25) - 1;

    /// A rule with its counter slot.
    pub const fn new(allow: bool, untracked: bool, reserved: bool, slot: u32) -> Self {
        let mut bits = slot << 3;
        if allow {
            bits |= Self::ALLOW;
        }
        if untracked {
            bits |= Self::UNTRACKED;
        }
        if reserved {
            bits |= Self::RESERVED;
        }
        Self(bits)
    }

    /// The implicit last deny of a network ACL, with its counter slot.
    pub const fn implicit_deny(slot: u32) -> Self {
        Self::new(false, true, false, slot)
    }

    /// The implicit last deny of a network ACL.
    #[inline(always)]
    pub const fn is_implicit(self) -> bool {
        self.0 & (Self::ALLOW | Self::UNTRACKED) == Self::UNTRACKED
    }

    /// Allow or deny.
    #[inline(always)]
    pub const fn allows(self) -> bool {
        self.0 & Self::ALLOW != 0
    }

    /// An open rule whose replies are all allowed the other way: AWS does not track such flows.
    #[inline(always)]
    pub const fn is_untracked(self) -> bool {
        self.0 & (Self::ALLOW | Self::UNTRACKED) == Self::ALLOW | Self::UNTRACKED
    }

    /// Its flows may use the slice of the connection table that is kept for administrators.
    #[inline(always)]
    pub const fn is_reserved(self) -> bool {
        self.0 & Self::RESERVED != 0
    }

    /// Counter slot; 0 for none.
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.0 >> 3
    }
}

/// An entry of a row table: where the row of a class is, and whether the class lies inside the subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRef(pub u32);

impl RowRef {
    const INSIDE: u32 = 1 << 31;

    /// The `quarter`-th row of a line.
    pub const fn new(line: u32, quarter: u32, inside: bool) -> Self {
        Self((line << 2) | quarter | if inside { Self::INSIDE } else { 0 })
    }

    /// The class lies inside the subnet (network ACLs only).
    #[inline(always)]
    pub const fn is_inside(self) -> bool {
        self.0 & Self::INSIDE != 0
    }

    /// The line that holds the row.
    #[inline(always)]
    pub const fn line(self) -> u32 {
        (self.0 & !Self::INSIDE) >> 2
    }

    /// The word of the row's first link.
    #[inline(always)]
    pub const fn first_word(self) -> u32 {
        (self.0 & 3).wrapping_mul(4)
    }
}

/// The four links of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Column {
    /// Keyed by destination port.
    Tcp = 0,
    /// Keyed by destination port.
    Udp = 1,
    /// The ICMP of the family, keyed by type << 8 | code.
    Icmp = 2,
    /// Keyed by protocol number.
    Other = 3,
}

/// The chunks of an address that its family's tree is descended with, as (first, end).
#[inline(always)]
pub fn chunks(family: Family) -> (u8, u8) {
    match family {
        Family::V4 => (6, 8),
        Family::V6 => (0, 8),
    }
}
