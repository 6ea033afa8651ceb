//! Bytes that outlive us: an array in the kernel, pinned, written and read through its memory.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use aya::maps::{Array, IterableMap as _, Map, MapData};

use super::mapping::Mapping;

/// Values of one page lie one behind the other in an array that can be mapped, on every kernel that has those (5.5);
/// a single value may be no larger than 4 MiB before 6.0.
const PAGE: usize = 4096;

/// The number of bytes stands before them.
const HEADER: usize = size_of::<u64>();

/// `BPF_F_MMAPABLE`, include/uapi/linux/bpf.h.
const MMAPABLE: u32 = 1 << 10;

/// Pins `bytes` at `path`, whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let pages = (HEADER + bytes.len()).div_ceil(PAGE);
    let entries = u32::try_from(pages).map_err(io::Error::other)?;
    let map = Array::<MapData, [u8; PAGE]>::create(entries, MMAPABLE).map_err(io::Error::other)?;
    let mut memory = Mapping::new(map.map().fd().as_fd(), pages * PAGE, libc::PROT_READ | libc::PROT_WRITE)?;
    let (header, rest) = memory.bytes_mut().split_at_mut(HEADER);
    header.copy_from_slice(&(bytes.len() as u64).to_ne_bytes());
    rest[..bytes.len()].copy_from_slice(bytes);
    // Left by a load that was cut off.
    let _ = std::fs::remove_file(path);
    map.pin(path).map_err(io::Error::other)
}

/// The bytes that were pinned at `path`.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let map = MapData::from_pin(path).map_err(io::Error::other)?;
    let entries = map.info().map_err(io::Error::other)?.max_entries();
    let map = Map::from_map_data(map).map_err(io::Error::other)?;
    let map = Array::<MapData, [u8; PAGE]>::try_from(map).map_err(io::Error::other)?;
    let memory = Mapping::new(map.map().fd().as_fd(), entries as usize * PAGE, libc::PROT_READ)?;
    let (header, rest) = memory.bytes().split_at(HEADER);
    let length = header.try_into().map_or(usize::MAX, |bytes| u64::from_ne_bytes(bytes) as usize);
    rest.get(..length)
        .map(<[u8]>::to_vec)
        .ok_or_else(|| io::Error::other("it says that it is longer than it is"))
}
