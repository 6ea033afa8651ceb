//! The policy array: where generations lie, and how one is written beside the live one and published.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aya::maps::{Map, MapData};
use fw_common::event::Wanted;
use fw_common::flow_log::RECORDING;
use fw_common::layout::{Line, Root, head};

use super::mapping::Mapping;
use super::programs::POLICY;
use crate::compile::{Damaged, Held};
use crate::error::{Error, Result};

/// The lines of the array, mapped into our memory.
pub struct PolicyArray {
    lines: *mut Line,
    capacity: u32,
}

/// One generation's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The line of its root.
    pub(super) base: u32,
    pub(super) root: Root,
}

impl PolicyArray {
    /// Opens the pinned map.
    pub fn open(pin: &Path) -> Result<Self> {
        Self::of(&MapData::from_pin(pin).map_err(|error| map_error(&pin.display().to_string(), &error))?)
    }

    /// Maps an array of one value.
    pub fn of(map: &MapData) -> Result<Self> {
        let bytes = map.info().map_err(|error| map_error("POLICY", &error))?.value_size() as usize;
        let fd = map.fd().as_fd().as_raw_fd();
        // SAFETY: a shared mapping of the whole value, which the kernel checks against its size; unmapped in drop.
        let memory = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, 0)
        };
        if memory == libc::MAP_FAILED {
            let error = std::io::Error::last_os_error();
            return Err(Error::system(format!("cannot map the policy array: {error}")));
        }
        Ok(Self { lines: memory.cast(), capacity: (bytes / size_of::<Line>()) as u32 })
    }

    /// Lines that fit.
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// One line; `None` outside the array.
    pub fn line(&self, number: u32) -> Option<Line> {
        // SAFETY: inside the mapping. Lines that are read here are not written meanwhile: that is the business of
        // whoever has the lock.
        (number < self.capacity).then(|| unsafe { self.place(number).read_volatile() })
    }

    /// The generation that the live word names, confirmed or not.
    pub(super) fn live(&self) -> Option<Extent> {
        self.at(self.head(head::LIVE).load(Ordering::Acquire))
    }

    /// The generation with its root at this line; `None` for line 0 or one outside the array.
    pub(super) fn at(&self, base: u32) -> Option<Extent> {
        if base == 0 {
            return None;
        }
        Some(Extent { base, root: Root::from_line(&self.line(base)?) })
    }

    /// The generation that every hook follows now.
    pub(super) fn in_force(&self, now_ns: u64) -> Option<Extent> {
        let live = self.live()?;
        if live.root.deadline_ns == 0 || now_ns < live.root.deadline_ns {
            return Some(live);
        }
        self.at(live.root.previous)
    }

    /// What these generations hold.
    pub(super) fn held(&self, kept: &[Extent]) -> std::result::Result<Held<'_>, Damaged> {
        let roots: Vec<u32> = kept.iter().map(|extent| extent.base).collect();
        Held::by(self.lines(), &roots)
    }

    /// All lines. Those of line 0 and the deadlines of roots may be out of date.
    pub(super) fn lines(&self) -> &[Line] {
        // SAFETY: the whole mapping; what is written to it goes through `&mut self`, or is the deadline of a root or a
        // word of line 0, which nobody looks at through this.
        unsafe { std::slice::from_raw_parts(self.lines, self.capacity as usize) }
    }

    /// Writes lines that no reader can reach: none that is held, and [`Self::settle`] has returned since the others were.
    pub fn write(&mut self, lines: &[(u32, Line)]) {
        for (number, line) in lines {
            assert!(*number < self.capacity, "the array was made large enough for these lines");
            // SAFETY: inside the mapping (asserted), and no reader follows a root to these lines, as the caller promises.
            unsafe { self.place(*number).write(*line) };
        }
    }

    /// Makes a generation the live one, or none with 0: one store, for all hooks at once.
    pub fn publish(&mut self, root: u32) {
        self.head(head::SETTLED).store(0, Ordering::Release);
        self.head(head::LIVE).store(root, Ordering::SeqCst);
    }

    /// Returns when no hook can be reading what was in force before: its lines may then be written again. At once, where
    /// that has been waited for already.
    pub(super) fn settle(&self) {
        if self.head(head::SETTLED).load(Ordering::Acquire) != 0 {
            return;
        }
        wait_for_readers();
        self.head(head::SETTLED).store(1, Ordering::Release);
    }

    /// Takes the deadline off a live generation: an aligned word, which readers see before or after.
    pub(super) fn confirm(&mut self, base: u32) {
        let word = self.place(base).cast::<u64>().wrapping_add(Root::DEADLINE as usize);
        // SAFETY: inside the mapping, since `base` came from `at`, and aligned as lines are; other processes only read
        // it.
        unsafe { AtomicU64::from_ptr(word) }.store(0, Ordering::SeqCst);
    }

    /// Copies all lines of another array to the same places.
    pub(super) fn copy_from(&mut self, other: &Self) {
        let count = other.capacity.min(self.capacity) as usize;
        // SAFETY: both mappings are at least `count` lines long and distinct; this one has no readers yet.
        unsafe { std::ptr::copy_nonoverlapping(other.lines, self.lines, count) };
    }

    /// A word of line 0.
    fn head(&self, word: u32) -> &AtomicU32 {
        // SAFETY: the first line is there, and words are aligned.
        unsafe { AtomicU32::from_ptr(self.lines.cast::<u32>().wrapping_add(word as usize)) }
    }

    /// The address of a line; to be followed only below `capacity`.
    fn place(&self, number: u32) -> *mut Line {
        self.lines.wrapping_add(number as usize)
    }
}

impl Drop for PolicyArray {
    fn drop(&mut self) {
        // SAFETY: exactly what `of` mapped.
        unsafe { libc::munmap(self.lines.cast(), self.capacity as usize * size_of::<Line>()) };
    }
}

/// Line 0 alone: the rest of the array may be large.
pub(super) struct Head(Mapping);

impl Head {
    pub(super) fn open(pin: &Path) -> Result<Self> {
        let error = |error: &dyn std::fmt::Display| map_error(POLICY, error);
        let map = MapData::from_pin(pin).map_err(|fault| error(&fault))?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        Mapping::new(map.fd().as_fd(), size_of::<Line>(), protection).map(Self).map_err(|fault| error(&fault))
    }

    /// The root of the live generation.
    pub(super) fn live(&self) -> u32 {
        self.pair(head::LIVE).map_or(0, |pair| words(pair.load(Ordering::Acquire))[0])
    }

    /// Asks the programs for events until a tick.
    pub(super) fn want(&self, wanted: Wanted, until: u32) {
        self.change_events(|[word, _]| [word & !Wanted::BITS | wanted as u32, until]);
    }

    /// Asks the programs to record flows until a tick, or no more.
    pub(super) fn want_flows(&self, until: Option<u32>) {
        if let (Some(pair), Some(until)) = (self.pair(head::FLOWS_UNTIL), until) {
            pair.store(pair_of([until, 0]), Ordering::Release);
        }
        let bit = if until.is_some() { RECORDING } else { 0 };
        self.change_events(|[word, events_until]| [word & !RECORDING | bit, events_until]);
    }

    /// Two processes may share these words: who reads events, and who keeps a flow log.
    fn change_events(&self, change: impl Fn([u32; 2]) -> [u32; 2]) {
        let Some(pair) = self.pair(head::EVENTS) else { return };
        // Never refuses.
        let _ =
            pair.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(pair_of(change(words(now)))));
    }

    /// The pair of words of which this is the first.
    fn pair(&self, word: u32) -> Option<&AtomicU64> {
        self.0.words().get(word as usize / 2)
    }
}

fn pair_of([first, second]: [u32; 2]) -> u64 {
    let [[a, b, c, d], [e, f, g, h]] = [first, second].map(u32::to_ne_bytes);
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

fn words(pair: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = pair.to_ne_bytes();
    [[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes)
}

/// Returns when every program that was running has ended. BPF programs run inside RCU read sections, and
/// `MEMBARRIER_CMD_GLOBAL` waits for all of them (`synchronize_rcu`, kernel/sched/membarrier.c, 4.3).
pub(super) fn wait_for_readers() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    // SAFETY: a system call without pointers.
    let failed = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if failed != 0 {
        // Refused on nohz_full systems: programs run for microseconds, this waits for many scheduler ticks.
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
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
