//! Many per-CPU counters in one system call: aya has one call per element.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use aya::maps::MapData;
use aya::util::nr_cpus;
use fw_common::verdict::Counter;

/// Elements of one call: 256 KiB of counters on 16 CPUs.
const MOST: usize = 1024;

/// `bpf_cmd`, include/uapi/linux/bpf.h; hash maps have batches since 5.6, per-CPU arrays since 5.13.
#[derive(Clone, Copy)]
pub(super) enum Command {
    Lookup = 24,
    Update = 26,
}

/// The part of `union bpf_attr` that batches use.
#[repr(C)]
#[derive(Default)]
pub(super) struct Attributes {
    pub(super) in_batch: u64,
    pub(super) out_batch: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
    pub(super) count: u32,
    pub(super) map_fd: u32,
    pub(super) elem_flags: u64,
    pub(super) flags: u64,
}

/// A pinned per-CPU array of counters.
#[derive(Debug)]
pub struct Counters {
    map: MapData,
    length: u32,
    cpus: usize,
}

impl Counters {
    /// Opens it by its pin.
    pub fn open(pin: &Path) -> io::Result<Self> {
        let map = MapData::from_pin(pin).map_err(io::Error::other)?;
        let length = map.info().map_err(io::Error::other)?.max_entries();
        let cpus = nr_cpus().map_err(|(_, error)| error)?;
        Ok(Self { map, length, cpus })
    }

    /// Sets the counters of these slots to zero.
    pub(super) fn clear(&self, slots: &[u32]) -> io::Result<()> {
        let mut zeroes = vec![Counter::default(); self.cpus * MOST.min(slots.len())];
        for slots in slots.chunks(MOST) {
            self.run(Command::Update, &mut slots.to_vec(), &mut zeroes)?;
        }
        Ok(())
    }

    /// Takes over what another, smaller one has counted.
    pub(super) fn copy_from(&self, other: &Self) -> io::Result<()> {
        let count = self.length.min(other.length);
        let mut values = vec![Counter::default(); self.cpus * MOST];
        for first in (0..count).step_by(MOST) {
            let mut slots = other.look_up(first..count.min(first + MOST as u32), &mut values)?;
            self.run(Command::Update, &mut slots, &mut values)?;
        }
        Ok(())
    }

    /// These counters, as far as there are any, each summed over all CPUs.
    pub fn sums(&self, slots: Range<u32>) -> io::Result<Vec<Counter>> {
        let wanted = slots.start..slots.end.min(self.length);
        let mut sums = Vec::with_capacity(wanted.len());
        let mut values = vec![Counter::default(); self.cpus * MOST.min(wanted.len())];
        for first in wanted.clone().step_by(MOST) {
            let slots = self.look_up(first..wanted.end.min(first + MOST as u32), &mut values)?;
            sums.extend(values.chunks(self.cpus).take(slots.len()).map(|each| {
                each.iter().fold(Counter::default(), |sum, one| Counter {
                    packets: sum.packets + one.packets,
                    bytes: sum.bytes + one.bytes,
                })
            }));
        }
        Ok(sums)
    }

    fn look_up(&self, wanted: Range<u32>, values: &mut [Counter]) -> io::Result<Vec<u32>> {
        let mut slots: Vec<u32> = wanted.clone().collect();
        self.run(Command::Lookup, &mut slots, values)?;
        if !slots.iter().copied().eq(wanted) {
            return Err(io::Error::other("the kernel gave other counters than were asked for"));
        }
        Ok(slots)
    }

    /// One call for all of `slots`, with a counter per slot and CPU. A lookup begins at the first slot, and writes
    /// which ones it found.
    fn run(&self, command: Command, slots: &mut [u32], values: &mut [Counter]) -> io::Result<()> {
        assert!(values.len() >= slots.len() * self.cpus, "there is a counter per slot and CPU");
        // An array's place is the slot before the one to begin with; nothing for the very first.
        let before = slots.first().and_then(|first| first.checked_sub(1));
        let mut out_batch = 0u32;
        let mut attributes = Attributes {
            in_batch: before.as_ref().map_or(0, |before| std::ptr::from_ref(before) as u64),
            out_batch: std::ptr::from_mut(&mut out_batch) as u64,
            keys: slots.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: slots.len() as u32,
            map_fd: self.map.fd().as_fd().as_raw_fd() as u32,
            ..Attributes::default()
        };
        // SAFETY: the kernel reads and writes `count` slots and as many times `cpus` counters of 16 bytes, which is
        // what the slices hold (asserted), and one u32 at both batch places; all of it lives until the call is over.
        let failed = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command as libc::c_long,
                &raw mut attributes,
                size_of::<Attributes>(),
            )
        };
        if failed < 0 {
            let error = io::Error::last_os_error();
            // Lookups say so at the end of the array, with what they found.
            let at_end = matches!(command, Command::Lookup) && error.raw_os_error() == Some(libc::ENOENT);
            if !(at_end && attributes.count as usize == slots.len()) {
                return Err(error);
            }
        }
        Ok(())
    }
}
