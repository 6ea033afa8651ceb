//! The maps of an emulated program, on one CPU. Hash maps keep removed values readable, as the kernel does for a while.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use aya_obj::maps::Map;

use super::memory::Memory;

/// `enum bpf_map_type`.
const HASH: u32 = 1;
const ARRAY: u32 = 2;
const PER_CPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;
const ARRAY_OF_MAPS: u32 = 12;
const RING_BUFFER: u32 = 27;

/// Flags of `bpf_map_update_elem`.
const NO_EXIST: u64 = 1;
const EXIST: u64 = 2;

const ENOENT: i64 = -2;
const E2BIG: i64 = -7;
const EEXIST: i64 = -17;

/// What a program holds instead of a map: no address of [`Memory`].
const HANDLES: u64 = 1 << 32;

/// By the numbers that the linker gave them.
pub(super) struct Maps(Vec<Table>);

struct Table {
    name: String,
    key_size: u64,
    value_size: u64,
    max: usize,
    kind: Kind,
}

enum Kind {
    /// Where the first value is.
    Array(u64),
    /// Where each key's value is; the first to come is the first to go where entries are recycled.
    Hash { entries: BTreeMap<Vec<u8>, u64>, recycles: bool },
    /// Where what was reserved is, submitted or not.
    Ring { entries: Vec<u64>, room: u64 },
    /// What a program holds for the map in its one slot, 0 for none; and what such a map is.
    Slot { held: u64, like: Box<Map> },
}

impl Maps {
    pub(super) fn new(maps: Vec<(String, Map)>, memory: &mut Memory) -> Result<Self> {
        let table = |(name, map): (String, Map)| {
            let max = map.max_entries() as usize;
            let kind = match map.map_type() {
                // The sections of constants are arrays of one element; they say so only to the kernel.
                _ if !map.data().is_empty() => Kind::Array(memory.add(map.data().to_vec())),
                ARRAY | PER_CPU_ARRAY => {
                    Kind::Array(memory.add(vec![0; stride(map.value_size().into()) as usize * max]))
                }
                kind @ (HASH | LRU_HASH) => {
                    Kind::Hash { entries: BTreeMap::new(), recycles: kind == LRU_HASH }
                }
                RING_BUFFER => Kind::Ring { entries: Vec::new(), room: map.max_entries().into() },
                ARRAY_OF_MAPS => {
                    let like = map.inner().with_context(|| format!("{name} does not say what is in it"))?;
                    Kind::Slot { held: 0, like: Box::new(like) }
                }
                other => {
                    bail!("{name} is a map of type {other}, which the emulator lacks: add it in maps.rs")
                }
            };
            let (key_size, value_size) = (map.key_size().into(), map.value_size().into());
            Ok(Table { name, key_size, value_size, max, kind })
        };
        Ok(Self(maps.into_iter().map(table).collect::<Result<_>>()?))
    }

    /// What a program holds for a map.
    pub(super) fn handle(number: i32) -> u64 {
        HANDLES | u64::from(number.cast_unsigned())
    }

    /// The map's name.
    pub(super) fn name(&self, handle: u64) -> Result<&str> {
        Ok(&self.table(handle)?.name)
    }

    /// Whether it finds keys by hashing.
    pub(super) fn is_hash(&self, handle: u64) -> Result<bool> {
        Ok(matches!(self.table(handle)?.kind, Kind::Hash { .. }))
    }

    /// The address of an array's first value, by its handle.
    pub(super) fn first_value(&self, handle: u64) -> Result<u64> {
        let table = self.table(handle)?;
        let Kind::Array(first) = table.kind else { bail!("{} is no array", table.name) };
        Ok(first)
    }

    /// The address of an array's first value, by its name.
    pub(super) fn values(&self, name: &str) -> Result<u64> {
        let number = self.0.iter().position(|table| table.name == name);
        let number = number.with_context(|| format!("the object has no map {name}"))?;
        self.first_value(Self::handle(i32::try_from(number)?))
    }

    /// `bpf_map_lookup_elem`.
    pub(super) fn look_up(&self, handle: u64, key: u64, memory: &Memory) -> Result<u64> {
        let table = self.table(handle)?;
        match &table.kind {
            Kind::Array(first) => {
                let index = memory.read(key, 4)?;
                let found = (index as usize) < table.max;
                Ok(if found { first + index * stride(table.value_size) } else { 0 })
            }
            Kind::Hash { entries, .. } => {
                Ok(entries.get(memory.bytes(key, table.key_size)?).copied().unwrap_or(0))
            }
            // In place of where the value is: the kernel follows it.
            Kind::Slot { held, .. } => Ok(if memory.read(key, 4)? == 0 { *held } else { 0 }),
            Kind::Ring { .. } => bail!("{} has no keys", table.name),
        }
    }

    /// `bpf_map_update_elem`.
    pub(super) fn update(
        &mut self,
        handle: u64,
        key: u64,
        value: u64,
        flags: u64,
        memory: &mut Memory,
    ) -> Result<i64> {
        let found = self.look_up(handle, key, memory)?;
        let table = self.table_mut(handle)?;
        let at = match (&mut table.kind, found) {
            (Kind::Array(_), 0) => return Ok(E2BIG),
            (Kind::Hash { .. }, 0) if flags & EXIST != 0 => return Ok(ENOENT),
            (_, at) if at != 0 && flags & NO_EXIST != 0 => return Ok(EEXIST),
            (Kind::Hash { entries, recycles }, 0) => {
                if entries.len() >= table.max {
                    if !*recycles {
                        return Ok(E2BIG);
                    }
                    entries.pop_first();
                }
                let at = memory.add(vec![0; table.value_size as usize]);
                entries.insert(memory.bytes(key, table.key_size)?.to_vec(), at);
                at
            }
            (_, at) => at,
        };
        memory.copy(value, at, table.value_size)?;
        Ok(0)
    }

    /// `bpf_ringbuf_reserve`: each entry has a header of 8 bytes.
    pub(super) fn reserve(&mut self, handle: u64, size: u64, memory: &mut Memory) -> Result<u64> {
        let table = self.table_mut(handle)?;
        let Kind::Ring { entries, room } = &mut table.kind else { bail!("{} is no ring buffer", table.name) };
        let Some(left) = room.checked_sub(size.next_multiple_of(8) + 8) else { return Ok(0) };
        *room = left;
        let at = memory.add(vec![0; size as usize]);
        entries.push(at);
        Ok(at)
    }

    /// Takes the entries of a ring buffer, oldest first.
    pub(super) fn take_entries(&mut self, name: &str, memory: &mut Memory) -> Result<Vec<Vec<u8>>> {
        let table = self.0.iter_mut().find(|table| table.name == name);
        let Some(Table { kind: Kind::Ring { entries, room }, max, .. }) = table else {
            bail!("the object has no ring buffer {name}");
        };
        *room = *max as u64;
        let mut taken = Vec::new();
        for at in entries.drain(..) {
            taken.push(memory.whole(at).context("an entry has no memory")?.to_vec());
            memory.remove(at);
        }
        Ok(taken)
    }

    /// Puts a new map with so many places into the slot of an array of maps, as the kernel's user would.
    pub(super) fn fill_slot(&mut self, name: &str, places: u32) -> Result<()> {
        let handle = Self::handle(i32::try_from(self.0.len())?);
        let table = self.0.iter_mut().find(|table| table.name == name);
        let Some(Table { kind: Kind::Slot { held, like }, .. }) = table else {
            bail!("the object has no array of maps {name}");
        };
        *held = handle;
        let (key_size, value_size) = (like.key_size().into(), like.value_size().into());
        let kind = Kind::Hash { entries: BTreeMap::new(), recycles: false };
        self.0.push(Table { name: format!("{name}[0]"), key_size, value_size, max: places as usize, kind });
        Ok(())
    }

    /// Keys and values of the map in the slot of an array of maps.
    pub(super) fn in_slot(&self, name: &str, memory: &mut Memory) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let table = self.0.iter().find(|table| table.name == name);
        let Some(Table { kind: Kind::Slot { held, .. }, .. }) = table else {
            bail!("the object has no array of maps {name}");
        };
        let Kind::Hash { entries, .. } = &self.table(*held)?.kind else { bail!("{name} holds no hash map") };
        let pair = |(key, at): (&Vec<u8>, &u64)| {
            Ok((key.clone(), memory.whole(*at).context("an entry has no memory")?.to_vec()))
        };
        entries.iter().map(pair).collect()
    }

    /// `bpf_map_delete_elem`.
    pub(super) fn delete(&mut self, handle: u64, key: u64, memory: &Memory) -> Result<i64> {
        let table = self.table_mut(handle)?;
        let Kind::Hash { entries, .. } = &mut table.kind else { bail!("{} is no hash map", table.name) };
        let removed = entries.remove(memory.bytes(key, table.key_size)?);
        Ok(if removed.is_some() { 0 } else { ENOENT })
    }

    fn table(&self, handle: u64) -> Result<&Table> {
        ensure!(handle & HANDLES != 0, "{handle:#x} was given to a helper as a map");
        self.0.get(handle as u32 as usize).with_context(|| format!("there is no map {}", handle as u32))
    }

    fn table_mut(&mut self, handle: u64) -> Result<&mut Table> {
        ensure!(handle & HANDLES != 0, "{handle:#x} was given to a helper as a map");
        self.0.get_mut(handle as u32 as usize).with_context(|| format!("there is no map {}", handle as u32))
    }
}

/// From one value of an array to the next (`kernel/bpf/arraymap.c`).
fn stride(value_size: u64) -> u64 {
    value_size.next_multiple_of(8)
}
