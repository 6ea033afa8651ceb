//! Memory of maps, mapped into ours.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::AtomicU64;

/// Memory of an array.
pub(super) struct Mapping {
    start: *mut u8,
    length: usize,
}

impl Mapping {
    /// Maps so many bytes of a map that can be.
    pub(super) fn new(map: BorrowedFd<'_>, length: usize, protection: libc::c_int) -> io::Result<Self> {
        // SAFETY: a new shared mapping; the kernel checks its length against the map's, and it is unmapped in drop.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, map.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Self { start: start.cast(), length })
        }
    }

    /// Of an array that nobody writes to any more.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: exactly what was mapped, readable; nobody writes to it, as the caller promises.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }

    /// Of an array that nobody else knows yet.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above; mapped to be written to, or this faults.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.length) }
    }
}

impl Mapping {
    /// As words that are shared with programs and other processes.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: exactly what was mapped, to be read and written, page-aligned; whole words.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.length / size_of::<AtomicU64>()) }
    }
}

// SAFETY: an address that stays valid until drop, and accesses as the methods promise.
unsafe impl Send for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and no slice of it outlives the value.
        unsafe { libc::munmap(self.start.cast(), self.length) };
    }
}
