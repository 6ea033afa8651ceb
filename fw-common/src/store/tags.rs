//! A bucket's line: sixteen tags of 16 bits in four words, then when each place was given its tag.
//!
//! Place 4 × lane + word has the tag in that lane of that word, so that the four words fold into one mask: its bit
//! 16 × lane + word.

use crate::conntrack::{Class, Status};

use super::hash::TAG_BITS;
use super::key::Entry;
use super::{ATTEMPTS, Buckets, Cell, Layout, TAG_WORDS};

/// Nothing there.
pub(super) const FREE: u64 = 0;
/// Somebody writes there.
pub(super) const BUSY: u64 = 1;
/// What of a tag the key chooses; above it is the code of a [`Class`].
const HASH: u64 = (1 << TAG_BITS) - 1;
/// The bit of what is kept.
pub(super) const KEPT: u64 = 0x8000;

const LANES: u64 = 0x0001_0001_0001_0001;
const TOPS: u64 = LANES << 15;
const WORDS: u32 = 4;
/// Times are kept in units of 2²⁴ ns, of which 16 bits are 18 minutes.
const STAMP_SHIFT: u32 = 24;

/// One bucket's.
pub(super) struct Tags<'a, B: Buckets<'a>> {
    buckets: B,
    cells: &'a [B::Cell; TAG_WORDS],
}

// Not derived: that would want the cells to be Copy.
impl<'a, B: Buckets<'a>> Copy for Tags<'a, B> {}
impl<'a, B: Buckets<'a>> Clone for Tags<'a, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<'a, B: Buckets<'a>> Tags<'a, B> {
    #[inline(always)]
    pub(super) fn of(buckets: B, bucket: u32) -> Option<Self> {
        Some(Self { buckets, cells: buckets.tags(bucket)? })
    }

    /// The places that hold a tag, in any class.
    #[inline(always)]
    pub(super) fn with(self, tag: u64) -> u64 {
        let wanted = tag.wrapping_mul(LANES);
        self.fold(|word| !((word ^ wanted) & HASH.wrapping_mul(LANES)).wrapping_add(!TOPS))
    }

    #[inline(always)]
    pub(super) fn free(self) -> u64 {
        self.fold(|word| !((word & !TOPS).wrapping_add(!TOPS) | word))
    }

    /// The places of a class.
    #[inline(always)]
    pub(super) fn of_class(self, class: u32) -> u64 {
        let wanted = class_bits(class).wrapping_mul(LANES);
        let codes = (!HASH & 0xffff).wrapping_mul(LANES);
        self.fold(|word| {
            let differing = (word ^ wanted) & codes;
            let is_other = (differing & !TOPS).wrapping_add(!TOPS) | differing;
            (word & !(LANES | codes)).wrapping_add(!TOPS) & !is_other
        })
    }

    #[inline(always)]
    pub(super) fn taken(self) -> u64 {
        self.fold(|word| (word & !(LANES | TOPS)).wrapping_add(!TOPS) | word)
    }

    /// What has expired. Without branches, of which there would be as many paths to verify as there are places.
    #[inline(always)]
    pub(super) fn expired(self, bucket: u32, is_ipv4: bool, now_ns: u64) -> u64 {
        let Some(entries) = self.buckets.bucket(bucket) else { return 0 };
        let places = if is_ipv4 { Layout::PLACES } else { Layout::IPV6_PLACES };
        let mut expired = 0u64;
        for place in 0..places {
            let Some(status) = entries.get(Entry::of(is_ipv4, place).connection as usize) else { break };
            let (idle_ns, allowed_ns) = Status(status.load()).idle_and_ahead(now_ns);
            let idle_ns = self.buckets.opaque(idle_ns);
            let is_over = allowed_ns.wrapping_sub(idle_ns) >> 63;
            expired |= is_over.wrapping_shl(bit(place));
        }
        expired & self.taken()
    }

    /// Of each word what `tops` says in the top bits of its lanes.
    #[inline(always)]
    fn fold(self, tops: impl Fn(u64) -> u64) -> u64 {
        let [a, b, c, d, ..] = self.cells;
        let top = |cell: &B::Cell| tops(cell.load()) & TOPS;
        (top(a) >> 15) | (top(b) >> 14) | (top(c) >> 13) | (top(d) >> 12)
    }

    /// The tag at a place.
    #[inline(always)]
    pub(super) fn tag(self, place: u32) -> u64 {
        self.cell(place).map_or(FREE, |cell| (cell.load() >> shift(place)) & 0xffff)
    }

    /// Changes the tag at a place if it is still the one that is expected.
    #[inline(always)]
    pub(super) fn change(self, place: u32, from: u64, to: u64) -> bool {
        let Some(cell) = self.cell(place) else { return false };
        for _ in 0..ATTEMPTS {
            let word = cell.load();
            if (word >> shift(place)) & 0xffff != from {
                return false;
            }
            if cell.replace(word, word ^ ((from ^ to) << shift(place))) {
                return true;
            }
        }
        false
    }

    /// Gives a claimed place its tag.
    #[inline(always)]
    pub(super) fn publish(self, place: u32, tag: u64) {
        if let Some(cell) = self.cell(place) {
            cell.flip((BUSY ^ tag) << shift(place));
        }
    }

    /// Notes the time at a place. Another CPU may do so for its neighbour: one of the two notes may be lost, and a flow be
    /// recycled out of turn.
    #[inline(always)]
    pub(super) fn stamp(self, place: u32, now_ns: u64) {
        let Some(cell) = self.cell(place.wrapping_add(0x100)) else { return };
        let word = cell.load() & !(0xffff << shift(place));
        cell.store(word | (stamp(now_ns) << shift(place)));
    }

    /// The place + 1 of the oldest of a class, 0 if there is none. Ages go round after 18 minutes: of streams, which may be
    /// older, it may then be another.
    #[inline(always)]
    pub(super) fn oldest(self, class: u32, now_ns: u64) -> u32 {
        let candidates = self.of_class(class);
        let now = stamp(now_ns);
        let mut oldest = 0u64;
        for (word, cell) in (0u32..).zip(self.cells.iter().skip(WORDS as usize).take(WORDS as usize)) {
            let stamps = cell.load();
            for lane in 0..4u32 {
                let is_candidate = candidates >> lane.wrapping_mul(16).wrapping_add(word) & 1;
                let is_candidate = self.buckets.opaque(is_candidate);
                let age = now.wrapping_sub(stamps >> lane.wrapping_mul(16)) & 0xffff;
                let place = u64::from(lane.wrapping_mul(4).wrapping_add(word));
                let rank = ((age << 8) | place).wrapping_add(1).wrapping_mul(is_candidate);
                oldest = self.larger(oldest, rank);
            }
        }
        oldest as u32 & 0xff
    }

    /// Of two numbers below 2⁶³. Opaque, or it would become a branch, and sixteen of them many paths to verify.
    #[inline(always)]
    fn larger(self, left: u64, right: u64) -> u64 {
        let difference = right.wrapping_sub(left);
        let is_left = self.buckets.opaque((difference as i64 >> 63) as u64);
        left.wrapping_add(difference & !is_left)
    }

    /// Word of a place; with 0x100 added that of its time.
    #[inline(always)]
    fn cell(self, place: u32) -> Option<&'a B::Cell> {
        let index = (place & 3) | (place >> 6 & 4);
        let [cell] = self.buckets.words(self.cells, index)?;
        Some(cell)
    }
}

/// What of a tag the key chooses.
#[inline(always)]
pub(super) const fn hash_of(tag: u64) -> u64 {
    tag & HASH
}

/// The class of a tag.
#[inline(always)]
pub(super) const fn class_of(tag: u64) -> Class {
    Class::from_code((tag >> TAG_BITS) as u32)
}

/// The code of a class as it stands in a tag.
#[inline(always)]
pub(super) const fn class_bits(class: u32) -> u64 {
    (class as u64) << TAG_BITS
}

/// The places that there are.
#[inline(always)]
pub(super) fn usable(is_ipv4: bool) -> u64 {
    // Of IPv6 two lanes and a half: Layout::IPV6_PLACES.
    const _: () = assert!(Layout::IPV6_PLACES == 10 && Layout::PLACES == 4 * WORDS);
    if is_ipv4 { 0x000f_000f_000f_000f } else { 0x0000_0003_000f_000f }
}

/// The place of a mask's lowest bit.
#[inline(always)]
pub(super) fn lowest(mask: u64) -> u32 {
    let bit = mask.trailing_zeros();
    (bit >> 2 & 0xc) | (bit & 3)
}

/// A mask of one place.
#[inline(always)]
pub(super) fn only(place: u32) -> u64 {
    1u64.wrapping_shl(bit(place))
}

#[inline(always)]
fn bit(place: u32) -> u32 {
    shift(place).wrapping_add(place & 3)
}

#[inline(always)]
fn shift(place: u32) -> u32 {
    (place & 0xc).wrapping_mul(4)
}

#[inline(always)]
fn stamp(now_ns: u64) -> u64 {
    now_ns >> STAMP_SHIFT & 0xffff
}
