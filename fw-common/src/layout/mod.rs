//! A generation of tables, as it lies in the policy array: 64-byte lines, written before anybody can reach them, read
//! by every hook.
//!
//! Lines are known by their number in the array. Line 0 names the root of the generation in force; what a root leads to
//! is never written again while a hook may read it, so that generations share the lines that they have in common.
//!
//! ```text
//! line 0 ─▶ root ─▶ device table ─▶ interface ─▶ rows of a list ─▶ row ─▶ ports or types ─▶ Rule
//!              └──▶ search by address ─▶ class ──────┘
//! ```

mod header;
mod interface;
mod link;

pub use header::{DEVICES_PER_BUCKET, Root, RootLine, head};
pub use interface::{Everywhere, Interface, InterfaceLine, Policy, PolicyLine, RowTable};
pub use link::{INNER_CHILDREN, Kind, LEAF_INTERVALS, LEAF_LINKS, Link, palette, range, table_lines, wide};

/// 64 bytes: one cache line.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Line(pub [u32; 16]);

impl Line {
    /// The `index`-th u32; counts on from the first behind the last.
    #[inline(always)]
    pub fn word(&self, index: u32) -> u32 {
        self.0.get((index & 15) as usize).copied().unwrap_or(0)
    }

    /// The `index`-th u64: two words, the low one first.
    #[inline(always)]
    pub fn long(&self, index: u32) -> u64 {
        let first = (index & 7) << 1;
        u64::from(self.word(first)) | (u64::from(self.word(first | 1)) << 32)
    }

    /// Sets the `index`-th u32.
    pub fn set_word(&mut self, index: u32, value: u32) {
        if let Some(word) = self.0.get_mut((index & 15) as usize) {
            *word = value;
        }
    }

    /// Sets the `index`-th u64.
    pub fn set_long(&mut self, index: u32, value: u64) {
        let first = (index & 7) << 1;
        self.set_word(first, value as u32);
        self.set_word(first | 1, (value >> 32) as u32);
    }
}

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

/// The four links of a row: a quarter of a line, for one address class.
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
