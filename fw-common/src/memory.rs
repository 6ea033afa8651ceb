//! Tables in ordinary memory: simulation, dry runs and tests run on them. They can be told to fail.

use core::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::vec::Vec;

use crate::conntrack::{Class, Connection, Record};
use crate::flow::FlowKey;
use crate::fragment::{Datagram, FragmentKey};
use crate::frame::Frame;
use crate::layout::{Line, head};
use crate::limits::reserved_connections;
use crate::tables::{TableFull, Tables};

type Table = RefCell<HashMap<FlowKey, (Connection, Class)>>;

/// One connection of a table, in place.
#[derive(Debug)]
pub struct Entry<'a> {
    table: &'a Table,
    key: FlowKey,
}

impl Record for Entry<'_> {
    fn word(&self, index: usize) -> u64 {
        self.table.borrow().get(&self.key).map_or(0, |(connection, _)| connection.0.word(index))
    }

    fn set_word(&mut self, index: usize, value: u64) {
        if let Some((connection, _)) = self.table.borrow_mut().get_mut(&self.key) {
            connection.0.set_word(index, value);
        }
    }
}

/// A frame in one slice.
#[derive(Debug, Clone, Copy)]
pub struct SliceFrame<'a> {
    /// From the link-layer header on.
    pub bytes: &'a [u8],
    /// Wire packets it becomes; 1 unless segmentation is pending.
    pub segments: u32,
}

impl<'a> SliceFrame<'a> {
    /// One wire packet.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, segments: 1 }
    }
}

impl Frame for SliceFrame<'_> {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = offset as usize;
        let end = start.checked_add(N)?;
        self.bytes.get(start..end)?.try_into().ok()
    }

    fn words<const N: usize>(&self, offset: u32) -> Option<[u64; N]> {
        let mut words = [0; N];
        for (word, place) in words.iter_mut().zip((offset..).step_by(8)) {
            *word = u64::from_be_bytes(self.load(place)?);
        }
        Some(words)
    }

    fn len(&self) -> u32 {
        self.bytes.len() as u32
    }

    fn len_from(&self, _end: u32) -> u32 {
        self.len()
    }

    fn forget(&self, value: u32) -> u32 {
        value
    }

    fn segments(&self) -> u32 {
        self.segments
    }
}

/// Policy array, connections, fragments and a clock that only moves when told.
#[derive(Debug, Clone, Default)]
pub struct MemoryTables {
    lines: Vec<Line>,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub now_ns: Cell<u64>,
    /// Kept connections that fit.
    pub max_connections: usize,
    kept: Table,
    unproven: Table,
    datagrams: RefCell<HashMap<FragmentKey, Datagram>>,
    ethertypes: RefCell<HashMap<(u32, u16), u64>>,
}

impl MemoryTables {
    /// Nothing loaded, room for `max_connections`.
    pub fn new(max_connections: usize) -> Self {
        Self { lines: std::vec![Line::default()], max_connections, ..Self::default() }
    }

    /// Puts an array of lines in force, which its first one names the root of.
    pub fn publish(&mut self, lines: &[Line]) {
        self.lines.clear();
        self.lines.extend_from_slice(lines);
    }

    /// Moves the clock.
    pub fn wait(&self, seconds: u64) {
        let step = seconds.saturating_mul(1_000_000_000);
        self.now_ns.set(self.now_ns.get().saturating_add(step));
    }

    /// Forgets connections, fragments and ethertypes; rules and clock stay.
    pub fn forget(&self) {
        self.kept.borrow_mut().clear();
        self.unproven.borrow_mut().clear();
        self.datagrams.borrow_mut().clear();
        self.ethertypes.borrow_mut().clear();
    }

    /// All connections with their class.
    pub fn connections(&self) -> Vec<(FlowKey, Connection, Class)> {
        let (kept, unproven) = (self.kept.borrow(), self.unproven.borrow());
        let all = kept.iter().chain(unproven.iter());
        all.map(|(key, (connection, class))| (*key, *connection, *class)).collect()
    }
}

impl<'a> Tables<'a> for &'a MemoryTables {
    type Record = Entry<'a>;

    fn live(self) -> u32 {
        self.line(0).map_or(0, |line| line.word(head::LIVE))
    }

    fn line(self, number: u32) -> Option<&'a Line> {
        self.lines.get(number as usize)
    }

    fn opaque(self, value: u64) -> u64 {
        value
    }

    fn reread<M>(self, _memory: &mut M) {}

    fn now_ns(self) -> u64 {
        self.now_ns.get()
    }

    fn connection(self, key: &FlowKey) -> Option<Connection<Entry<'a>>> {
        let tables = [&self.kept, &self.unproven];
        let table = tables.into_iter().find(|table| table.borrow().contains_key(key))?;
        Some(Connection(Entry { table, key: *key }))
    }

    fn forget(self, key: &FlowKey) {
        self.kept.borrow_mut().remove(key);
        self.unproven.borrow_mut().remove(key);
    }

    fn insert(self, key: &FlowKey, connection: &Connection, class: Class) -> Result<(), TableFull> {
        Tables::forget(self, key);
        self.make_room(connection.status().flags())?;
        let table = if class.is_kept() { &self.kept } else { &self.unproven };
        table.borrow_mut().insert(*key, (*connection, class));
        Ok(())
    }

    fn promote(self, key: &FlowKey, class: Class) -> Result<(), TableFull> {
        // Gone either way: a flow that finds no room must not live on.
        let Some((connection, _)) = self.unproven.borrow_mut().remove(key) else { return Ok(()) };
        self.insert(key, &connection, class)
    }

    fn has_room(self, _key: &FlowKey, flags: u8, _class: Class) -> bool {
        self.make_room(flags).is_ok()
    }

    fn datagram(self, key: &FragmentKey) -> Option<Datagram> {
        self.datagrams.borrow().get(key).copied()
    }

    fn remember_datagram(self, key: &FragmentKey, datagram: &Datagram) {
        self.datagrams.borrow_mut().insert(*key, *datagram);
    }

    fn note_ethertype(self, zone: u32, ethertype: u16) {
        let mut ethertypes = self.ethertypes.borrow_mut();
        let count = ethertypes.entry((zone, ethertype)).or_default();
        *count = count.wrapping_add(1);
    }
}

impl MemoryTables {
    /// Expired entries never count as full.
    fn make_room(&self, flags: u8) -> Result<(), TableFull> {
        let max = self.max_connections as u32;
        let kept = if flags & Connection::RESERVED != 0 { 0 } else { reserved_connections(max) };
        let limit = max.saturating_sub(kept) as usize;
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= limit {
            let now_ns = self.now_ns.get();
            kept.retain(|_, (connection, _)| !connection.is_expired(now_ns));
        }
        if kept.len() >= limit { Err(TableFull) } else { Ok(()) }
    }
}
