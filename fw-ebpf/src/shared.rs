//! Words that programs on all CPUs and user space share, and the buckets of connections made of them.

use core::cell::UnsafeCell;

use fw_common::FlowKey;
use fw_common::store::{Bucket, Buckets, Cell, Layout, Place, TAG_WORDS};

use crate::apart;
use crate::frame::opaque;
use crate::maps;

/// A word.
#[repr(transparent)]
pub(crate) struct Shared(UnsafeCell<u64>);

// SAFETY: accessed by whole aligned words only, each by one instruction.
unsafe impl Sync for Shared {}

// `core::sync::atomic` has no read-modify-write on this target. Those that return the value before are full barriers
// (Documentation/bpf/standardization/instruction-set.rst, and the JITs since Linux 5.12).
impl Cell for Shared {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: an aligned word of a map.
        unsafe { core::ptr::read_volatile(self.0.get()) }
    }

    #[inline(always)]
    fn store(&self, value: u64) {
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(self.0.get(), value) }
    }

    #[inline(always)]
    fn replace(&self, old: u64, new: u64) -> bool {
        let found: u64;
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("r0 = cmpxchg_64({word} + 0, r0, {new})",
                word = in(reg) self.0.get(), new = in(reg) new, inout("r0") old => found);
        }
        found == old
    }

    #[inline(always)]
    fn flip(&self, bits: u64) {
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("{bits} = atomic_fetch_xor((u64 *)({word} + 0), {bits})",
                word = in(reg) self.0.get(), bits = inout(reg) bits => _);
        }
    }

    #[inline(always)]
    fn add(&self, change: i64) {
        // SAFETY: as above.
        unsafe {
            core::arch::asm!("lock *(u64 *)({word} + 0) += {change}", word = in(reg) self.0.get(), change = in(reg) change);
        }
    }
}

impl Shared {
    /// Sets bits.
    #[inline(always)]
    pub(crate) fn set_bits(&self, bits: u64) {
        // SAFETY: an aligned word of a map.
        unsafe {
            core::arch::asm!("lock *(u64 *)({word} + 0) |= {bits}", word = in(reg) self.0.get(), bits = in(reg) bits);
        }
    }
}

/// The map of connections and what belongs to it.
#[derive(Clone, Copy)]
pub(crate) struct Connections;

impl<'a> Buckets<'a> for Connections {
    type Cell = Shared;

    #[inline(always)]
    fn bucket(self, number: u32) -> Option<Bucket<'a, Shared>> {
        maps::bucket(number)
    }

    #[inline(always)]
    fn tags(self, bucket: u32) -> Option<&'a [Shared; TAG_WORDS]> {
        maps::tags(bucket)
    }

    #[inline(always)]
    fn words<const OF: usize, const COUNT: usize>(
        self,
        all: &'a [Shared; OF],
        offset: u32,
    ) -> Option<&'a [Shared; COUNT]> {
        // Compared as the whole register that is then added: the verifier bounds no other.
        let bytes = opaque((offset as usize).wrapping_mul(size_of::<Shared>()));
        if bytes > (OF - COUNT) * size_of::<Shared>() {
            return None;
        }
        // SAFETY: inside them, as compared, and a multiple of eight.
        Some(unsafe { &*core::ptr::from_ref(all).byte_add(opaque(bytes)).cast() })
    }

    #[inline(always)]
    fn find(self, key: &FlowKey) -> Place {
        Place::from_word(apart::find(key))
    }

    #[inline(always)]
    fn choose(self, first: u32, second: u32, class: u32) -> Place {
        Place::from_word(apart::choose(first, second, class))
    }

    #[inline(always)]
    fn oldest(self, bucket: u32, class: u32) -> Place {
        Place::from_word(apart::oldest(bucket, class))
    }

    #[inline(always)]
    fn reclaim(self, key: &FlowKey) -> u64 {
        apart::reclaim(key)
    }

    #[inline(always)]
    fn clear_expired(self, bucket: u32) -> u32 {
        apart::clear_expired(bucket)
    }

    #[inline(always)]
    fn layout(self) -> Layout {
        maps::layout()
    }

    #[inline(always)]
    fn hash_word(self, index: u32) -> u64 {
        maps::hash_word(index)
    }

    #[inline(always)]
    fn counts(self) -> Option<&'a [Shared; 2]> {
        maps::counts()
    }

    #[inline(always)]
    fn now_ns(self) -> u64 {
        maps::now_ns()
    }

    #[inline(always)]
    fn opaque(self, value: u64) -> u64 {
        opaque(value as usize) as u64
    }
}
