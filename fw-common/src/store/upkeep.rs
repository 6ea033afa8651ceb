//! What user space tells the programs that keep the store in order: the words of a test run's frame and result.

use crate::conntrack::{Class, Connection};
use crate::flow::FlowKey;

/// Where they begin: behind an Ethernet header without meaning, which a test run wants.
pub const OFFSET: u32 = 16;

/// Keys of one call, at most. A frame of a test run lies in one page, less what the kernel puts around it (some 500
/// bytes).
pub const FLUSHED: u32 = 64;

/// The same for connections.
pub const MOVED: u32 = 30;

const _: () = assert!(OFFSET as usize + FLUSHED as usize * size_of::<FlowKey>() <= 3500);
const _: () = assert!(OFFSET as usize + MOVED as usize * size_of::<Moved>() <= 3500);

/// A connection that moves.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    /// Its key.
    pub key: FlowKey,
    /// What is known of it.
    pub connection: Connection,
    /// [`Class::code`], and [`Moved::LIMITED`].
    pub flags: u64,
}

impl Moved {
    /// Only if there is room for one more: it is new, and comes from no other table.
    pub const LIMITED: u64 = 1 << 8;

    /// What it has earned.
    #[inline(always)]
    pub const fn class(&self) -> Class {
        Class::from_code(self.flags as u32 & 7)
    }
}

/// What the sweep did: strides << 16 | entries removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept(pub u32);

impl Swept {
    /// Puts them together.
    #[inline(always)]
    pub const fn new(strides: u32, removed: u32) -> Self {
        Self(strides << 16 | removed & 0xffff)
    }

    /// Strides of [`STRIDE`] buckets of either family.
    pub const fn strides(self) -> u32 {
        self.0 >> 16
    }

    /// Entries that were removed.
    pub const fn removed(self) -> u32 {
        self.0 & 0xffff
    }
}

/// Buckets of either family that are swept between two looks at the clock.
pub const STRIDE: u32 = 8;
