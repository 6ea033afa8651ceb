//! Cells of the host.

use core::sync::atomic::{AtomicU64, Ordering};

use super::Cell;

impl Cell for AtomicU64 {
    fn load(&self) -> u64 {
        Self::load(self, Ordering::Acquire)
    }

    fn store(&self, value: u64) {
        Self::store(self, value, Ordering::Relaxed);
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        self.compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    fn flip(&self, bits: u64) {
        self.fetch_xor(bits, Ordering::SeqCst);
    }

    fn add(&self, change: i64) {
        self.fetch_add(change as u64, Ordering::Relaxed);
    }
}
