//! The policy array: where generations lie, and how one is written beside the live one and published.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{Array, Map, MapData};
use fw_common::layout::{Line, Root};

use crate::error::{Error, Result};

/// The array, mapped into our memory, and the word that publishes a generation.
pub(super) struct PolicyArray {
    live: Array<MapData, u32>,
    lines: *mut Line,
    capacity: u32,
}

/// One generation's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) base: u32,
    pub(super) root: Root,
}

impl PolicyArray {
    /// Opens the pinned maps `POLICY` and `LIVE` in `maps`.
    pub(super) fn open(policy: &Path, live: &Path) -> Result<Self> {
        let refused = |error: &dyn std::fmt::Display| map_error(&policy.display().to_string(), error);
        let map = MapData::from_pin(policy).map_err(|error| refused(&error))?;
        let capacity = map.info().map_err(|error| refused(&error))?.max_entries();
        let bytes = capacity as usize * size_of::<Line>();
        let fd = map.fd().as_fd().as_raw_fd();
        let live = open_array(live)?;
        // SAFETY: a shared mapping of the whole array, which the kernel checks against its size; unmapped in drop.
        let memory = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, 0)
        };
        if memory == libc::MAP_FAILED {
            let error = std::io::Error::last_os_error();
            return Err(Error::system(format!("cannot map the policy array: {error}")));
        }
        Ok(Self { live, lines: memory.cast(), capacity })
    }

    /// Lines that fit.
    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// The generation that the live word names, confirmed or not.
    pub(super) fn live(&self) -> Result<Option<Extent>> {
        let base = self.live.get(&0, 0).map_err(|error| map_error("LIVE", &error))?;
        Ok(self.at(base))
    }

    /// The generation at an absolute line; `None` for line 0 or one outside the array.
    pub(super) fn at(&self, base: u32) -> Option<Extent> {
        if base == 0 || base >= self.capacity {
            return None;
        }
        // SAFETY: inside the mapping; a root is not written while it is live, but for its deadline, which is read
        // again where it matters.
        let line = unsafe { self.line(base).read_volatile() };
        Some(Extent { base, root: Root::from_line(&line) })
    }

    /// The generation that every hook follows now.
    pub(super) fn in_force(&self, now_ns: u64) -> Result<Option<Extent>> {
        let Some(live) = self.live()? else { return Ok(None) };
        if live.root.deadline_ns == 0 || now_ns < live.root.deadline_ns {
            return Ok(Some(live));
        }
        Ok(self.at(live.root.previous))
    }

    /// Room for `lines` that overlaps none of `kept`; `None` if the array is too small.
    pub(super) fn find_room(&self, lines: u32, kept: &[Extent]) -> Option<u32> {
        let mut taken: Vec<(u32, u32)> =
            kept.iter().map(|extent| (extent.base, extent.base + extent.root.lines)).collect();
        taken.sort_unstable();
        let mut base = 1;
        for (start, end) in taken {
            if start >= base && start - base >= lines {
                return Some(base);
            }
            base = base.max(end);
        }
        (self.capacity.checked_sub(base)? >= lines).then_some(base)
    }

    /// Writes a generation to lines that no reader can reach.
    pub(super) fn write(&mut self, base: u32, lines: &[Line]) {
        assert!(base as usize + lines.len() <= self.capacity as usize, "the room was found for these lines");
        wait_for_readers();
        // SAFETY: inside the mapping (asserted), and no reader follows a root to these lines: they belong to no kept
        // generation, and those that once did have been waited for.
        unsafe { std::ptr::copy_nonoverlapping(lines.as_ptr(), self.line(base), lines.len()) };
    }

    /// Makes a generation the live one: one store, for all hooks at once.
    pub(super) fn publish(&mut self, base: u32) -> Result<()> {
        // A system call orders nothing by itself on every architecture.
        std::sync::atomic::fence(Ordering::SeqCst);
        self.live.set(0, base, 0).map_err(|error| map_error("LIVE", &error))
    }

    /// Takes the deadline off a live generation. The one write to a published line: an aligned word, which readers
    /// see before or after.
    pub(super) fn confirm(&mut self, base: u32) {
        // SAFETY: inside the mapping, since `base` came from `at`; the second u64 of a root is its deadline, aligned
        // as lines are; other processes only read it.
        let deadline = unsafe { AtomicU64::from_ptr(self.line(base).cast::<u64>().wrapping_add(1)) };
        deadline.store(0, Ordering::SeqCst);
    }

    /// The address of a line; to be followed only below `capacity`.
    fn line(&self, number: u32) -> *mut Line {
        self.lines.wrapping_add(number as usize)
    }

    /// Copies all lines of another array to the same places.
    pub(super) fn copy_from(&mut self, other: &Self) {
        let count = other.capacity.min(self.capacity) as usize;
        // SAFETY: both mappings are at least `count` lines long and distinct; this one has no readers yet.
        unsafe { std::ptr::copy_nonoverlapping(other.lines, self.lines, count) };
    }
}

impl Drop for PolicyArray {
    fn drop(&mut self) {
        // SAFETY: exactly what `open` mapped.
        unsafe { libc::munmap(self.lines.cast(), self.capacity as usize * size_of::<Line>()) };
    }
}

/// Returns when every program that was running has ended. BPF programs run inside RCU read sections, and
/// `MEMBARRIER_CMD_GLOBAL` waits for all of them (`synchronize_rcu`, kernel/sched/membarrier.c, 4.3).
fn wait_for_readers() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: a system call without pointers.
    let failed = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if failed != 0 {
        // Refused on nohz_full systems: programs run for microseconds, this waits for many scheduler ticks.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Opens a pinned array.
pub(super) fn open_array<V: aya::Pod>(path: &Path) -> Result<Array<MapData, V>> {
    open_map(path)?.try_into().map_err(|error| map_error(&path.display().to_string(), &error))
}

/// Opens a pinned map.
pub(super) fn open_map(path: &Path) -> Result<Map> {
    let data = MapData::from_pin(path).map_err(|error| map_error(&path.display().to_string(), &error))?;
    Map::from_map_data(data).map_err(|error| map_error(&path.display().to_string(), &error))
}

/// A map that does not do what it should.
pub(super) fn map_error(name: &str, error: &dyn std::fmt::Display) -> Error {
    Error::system(format!(
        "the map \"{name}\" cannot be used: {error}; `fwctl unload --force` removes everything"
    ))
}
