//! What a decision reads and writes besides the packet.

use crate::conntrack::{Class, Connection, Record, begin_or_end};
use crate::flow::{Direction, FlowKey};
use crate::fragment::{Datagram, FragmentKey};
use crate::layout::Line;
use crate::packet::Packet;

/// A new connection found no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFull;

/// The maps and the clock: a handle to be copied about. Its implementations are the BPF maps (`fw-ebpf`), a reference to
/// [`crate::memory::MemoryTables`], and in the loader a generation that is not in force yet.
pub trait Tables<'a>: Copy {
    /// A connection's words, in place.
    type Record: Record;

    /// The line of the live generation's root; 0 when nothing is in force.
    fn live(self) -> u32;

    /// One line of the policy array.
    fn line(self, number: u32) -> Option<&'a Line>;

    /// Returns `value`, of which the compiler then knows nothing. So it keeps the mask in front of a load, where it would
    /// else see that the index cannot be too large, which a verifier that does not follow `|` does not see (Linux 6.1:
    /// "R0 unbounded memory access"). And it leaves arithmetic alone that it would else turn into branches.
    fn opaque(self, value: u64) -> u64;

    /// Makes the compiler read `memory` again from here on: nothing that it knew of it, a constant on one path or a
    /// register's content, is still known. So where paths meet the verifier has one state to go on with and not as many
    /// as there were paths.
    fn reread<M>(self, memory: &mut M);

    /// `CLOCK_MONOTONIC`, nanoseconds; may be as coarse as a scheduler tick.
    fn now_ns(self) -> u64;

    /// The entry of `key`, in place.
    ///
    /// Two CPUs may change one entry at a time: the worst outcome is one lost update of a timestamp or a
    /// counter, or a TCP state one packet late, never another verdict than one of the two orders would give.
    fn connection(self, key: &FlowKey) -> Option<Connection<Self::Record>>;

    /// [`begin_or_end`], perhaps as a function of its own.
    #[inline(always)]
    fn begin_or_end(
        self,
        connection: &mut Connection<Self::Record>,
        packet: &Packet,
        direction: Direction,
        is_quiet: bool,
    ) -> u32 {
        begin_or_end(connection, packet, direction, is_quiet)
    }

    /// The same for a copy that nobody shares.
    #[inline(always)]
    fn begin_or_end_copy(
        self,
        connection: &mut Connection,
        packet: &Packet,
        direction: Direction,
        is_quiet: bool,
    ) -> u32 {
        begin_or_end(connection, packet, direction, is_quiet)
    }

    /// Forgets the entry of `key`.
    fn forget(self, key: &FlowKey);

    /// Remembers a flow that has no entry. Whom it may recycle its class says: see [`crate::store`].
    fn insert(self, key: &FlowKey, connection: &Connection, class: Class) -> Result<(), TableFull>;

    /// Gives the entry of `key` a class that is kept. `Ok` also if it has gone meanwhile.
    fn promote(self, key: &FlowKey, class: Class) -> Result<(), TableFull>;

    /// Whether [`Self::insert`] of a flow with these flags would find room. Removes nothing but what has expired.
    fn has_room(self, key: &FlowKey, flags: u8, class: Class) -> bool;

    /// Off for a rehearsal: what was decided would be so, but nothing is written.
    #[inline(always)]
    fn records(self) -> bool {
        true
    }

    /// What was remembered of a fragmented datagram.
    fn datagram(self, key: &FragmentKey) -> Option<Datagram>;

    /// Remembers the verdict on a first fragment.
    fn remember_datagram(self, key: &FragmentKey, datagram: &Datagram);

    /// Remembers that a frame of this ethertype was dropped at this interface.
    fn note_ethertype(self, zone: u32, ethertype: u16);
}

/// Tables that a rehearsal reads: the same decision, and nothing is remembered of it.
#[derive(Debug, Clone, Copy)]
pub struct Rehearsal<T>(pub T);

impl<'a, T: Tables<'a>> Tables<'a> for Rehearsal<T> {
    type Record = T::Record;

    #[inline(always)]
    fn live(self) -> u32 {
        self.0.live()
    }

    #[inline(always)]
    fn line(self, number: u32) -> Option<&'a Line> {
        self.0.line(number)
    }

    #[inline(always)]
    fn opaque(self, value: u64) -> u64 {
        self.0.opaque(value)
    }

    #[inline(always)]
    fn reread<M>(self, memory: &mut M) {
        self.0.reread(memory);
    }

    #[inline(always)]
    fn now_ns(self) -> u64 {
        self.0.now_ns()
    }

    #[inline(always)]
    fn connection(self, key: &FlowKey) -> Option<Connection<Self::Record>> {
        self.0.connection(key)
    }

    #[inline(always)]
    fn begin_or_end_copy(
        self,
        connection: &mut Connection,
        packet: &Packet,
        direction: Direction,
        is_quiet: bool,
    ) -> u32 {
        self.0.begin_or_end_copy(connection, packet, direction, is_quiet)
    }

    #[inline(always)]
    fn forget(self, _key: &FlowKey) {}

    #[inline(always)]
    fn insert(self, key: &FlowKey, connection: &Connection, class: Class) -> Result<(), TableFull> {
        if self.has_room(key, connection.status().flags(), class) { Ok(()) } else { Err(TableFull) }
    }

    #[inline(always)]
    fn promote(self, key: &FlowKey, class: Class) -> Result<(), TableFull> {
        let Some(connection) = self.connection(key) else { return Ok(()) };
        if self.has_room(key, connection.status().flags(), class) { Ok(()) } else { Err(TableFull) }
    }

    #[inline(always)]
    fn has_room(self, key: &FlowKey, flags: u8, class: Class) -> bool {
        self.0.has_room(key, flags, class)
    }

    #[inline(always)]
    fn records(self) -> bool {
        false
    }

    #[inline(always)]
    fn datagram(self, key: &FragmentKey) -> Option<Datagram> {
        self.0.datagram(key)
    }

    #[inline(always)]
    fn remember_datagram(self, _key: &FragmentKey, _datagram: &Datagram) {}

    #[inline(always)]
    fn note_ethertype(self, _zone: u32, _ethertype: u16) {}
}
