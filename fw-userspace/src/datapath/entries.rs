//! All entries of a hash map in a few system calls: aya has two per entry.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use aya::Pod;
use aya::maps::MapData;

use super::batch::{Attributes, Command};

/// Entries of one call.
const MOST: usize = 8192;

/// `bpf_cmd`, include/uapi/linux/bpf.h.
const DELETE_ELEM: libc::c_long = 3;

/// The part of `union bpf_attr` that single entries use.
#[repr(C)]
#[derive(Default)]
struct Single {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// All entries of a hash map that nobody adds to meanwhile.
pub(super) fn entries<K: Pod, V: Pod>(map: &MapData) -> io::Result<Vec<(K, V)>> {
    let info = map.info().map_err(io::Error::other)?;
    if (info.key_size() as usize, info.value_size() as usize) != (size_of::<K>(), size_of::<V>()) {
        return Err(io::Error::other("its entries are of another size"));
    }
    // A call gives whole buckets, or none if there is no room for one.
    let room = MOST.min(info.max_entries() as usize).max(1024);
    let mut keys = Vec::<K>::with_capacity(room);
    let mut values = Vec::<V>::with_capacity(room);
    let mut all = Vec::new();
    let mut bucket: Option<u32> = None;
    loop {
        let mut next = 0u32;
        let mut batch = Attributes {
            in_batch: bucket.as_ref().map_or(0, |bucket| std::ptr::from_ref(bucket) as u64),
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: room as u32,
            map_fd: map.fd().as_fd().as_raw_fd() as u32,
            ..Attributes::default()
        };
        let command = Command::Lookup as libc::c_long;
        // SAFETY: the kernel reads a word at `in_batch`, and writes a word at `out_batch` and at most `count` keys and
        // values, of the sizes that were compared, to vectors with room for them; all of it lives until the call is over.
        let failed =
            unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut batch, size_of::<Attributes>()) } < 0;
        let error = failed.then(io::Error::last_os_error);
        // Says so at the end of the map, with what it found.
        let is_end = error.as_ref().is_some_and(|error| error.raw_os_error() == Some(libc::ENOENT));
        if let Some(error) = error
            && !is_end
        {
            return Err(error);
        }
        let found = (batch.count as usize).min(room);
        // SAFETY: so many keys were written, plain data.
        unsafe { keys.set_len(found) };
        // SAFETY: as many values.
        unsafe { values.set_len(found) };
        all.extend(keys.drain(..).zip(values.drain(..)));
        if is_end {
            return Ok(all);
        }
        bucket = Some(next);
    }
}

/// Takes the map out of the first slot of an array of maps: aya can only put another one there.
pub(super) fn clear_slot(slots: &MapData) -> io::Result<()> {
    let key = 0u32;
    let mut single = Single {
        map_fd: slots.fd().as_fd().as_raw_fd() as u32,
        key: std::ptr::from_ref(&key) as u64,
        ..Single::default()
    };
    // SAFETY: the kernel reads a key of a word, which lives until the call is over.
    let failed = unsafe { libc::syscall(libc::SYS_bpf, DELETE_ELEM, &raw mut single, size_of::<Single>()) };
    if failed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
