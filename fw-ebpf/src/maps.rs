//! The maps and their face towards the decision core; the only unsafe around map memory.
//!
//! Sizes here are the smallest; the loader sets the real ones before it creates the maps.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_NOEXIST};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray};
use fw_common::conntrack::{Class, Connection};
use fw_common::fragment::{Datagram, FragmentKey};
use fw_common::layout::Line;
use fw_common::limits::{MAX_ETHERTYPES, MAX_FRAGMENTED_DATAGRAMS, RECLAIM_STEPS, reserved_connections};
use fw_common::tables::TableFull;
use fw_common::verdict::Counter;
use fw_common::{FlowKey, Scratch, Tables};

use crate::frame::{opaque, reread};

/// All generations, in lines, as one value: a line is then reached by an addition and not by a look-up, whose index
/// goes through the stack. The loader makes the value as large as it has to be. Only user space writes.
#[map]
static POLICY: Array<Line> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Connections with proof of return. A plain hash: nothing is ever evicted from it.
#[map]
static CONNECTIONS: HashMap<FlowKey, Connection> = HashMap::with_max_entries(1024, 0);

/// Flows seen in one direction only. Recycles its oldest.
#[map]
static HALF_OPEN: LruHashMap<FlowKey, Connection> = LruHashMap::with_max_entries(1024, 0);

/// Where each confirmed connection is noted, so that the next ones find the expired among them. A power of two,
/// at least twice the size of CONNECTIONS.
#[map]
static EXPIRY: Array<FlowKey> = Array::with_max_entries(2048, 0);

#[map]
static DATAGRAMS: LruHashMap<FragmentKey, Datagram> =
    LruHashMap::with_max_entries(MAX_FRAGMENTED_DATAGRAMS, 0);

/// Frames dropped for their ethertype, by zone << 16 | ethertype.
#[map]
static ETHERTYPES: LruHashMap<u32, u64> = LruHashMap::with_max_entries(MAX_ETHERTYPES, 0);

/// By [`fw_common::verdict::counter_index`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(256, 0);

/// By the rule's slot.
#[map]
pub(crate) static RULES: PerCpuArray<Counter> = PerCpuArray::with_max_entries(256, 0);

/// Room for the packet at hand.
#[map]
static SCRATCH: PerCpuArray<Room> = PerCpuArray::with_max_entries(1, 0);

/// What a program needs besides its stack.
pub(crate) struct Room {
    /// For the judgement.
    pub(crate) scratch: Scratch,
    /// For `Frame::forget`.
    pub(crate) memory: u32,
}

/// This CPU's room.
#[inline(always)]
pub(crate) fn room<'a>() -> Option<&'a mut Room> {
    // SAFETY: a per-CPU element, used by one program at a time: XDP and TC run with softirqs off, and neither calls
    // the other. All its bits were written by these programs or are the zeroes of a fresh map, which are valid for
    // every enum in it.
    SCRATCH.get_ptr_mut(0).map(|room| unsafe { &mut *room })
}

/// How many CONNECTIONS there are: the kernel does not say.
#[map]
static COUNT: Array<u64> = Array::with_max_entries(1, 0);

/// The number of EXPIRY's slots, minus one; set by the loader.
#[unsafe(no_mangle)]
static EXPIRY_MASK: u32 = 2047;

/// The number of CONNECTIONS that fit; set by the loader.
#[unsafe(no_mangle)]
static MAX_CONNECTIONS: u32 = 1024;

/// Where the last line of POLICY begins, in bytes; set by the loader.
#[unsafe(no_mangle)]
static POLICY_LAST: u64 = 0;

const LINE_SHIFT: u32 = size_of::<Line>().trailing_zeros();

/// The maps as [`Tables`].
#[derive(Clone, Copy)]
pub(crate) struct Maps {
    policy: *const Line,
}

impl Maps {
    /// `None` never: the array has its one element.
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        POLICY.get_ptr(0).map(|policy| Self { policy })
    }
}

impl<'a> Tables<'a> for Maps {
    #[inline(always)]
    fn live(self) -> u32 {
        // SAFETY: the first word of the array; volatile, since the loader writes it while programs run.
        unsafe { core::ptr::read_volatile(self.policy.cast()) }
    }

    #[inline(always)]
    fn line(self, number: u32) -> Option<&'a Line> {
        // SAFETY: reads a word that the loader set before the program was loaded.
        let last = unsafe { core::ptr::read_volatile(&raw const POLICY_LAST) };
        // Compared as the whole register that is then added, and added after that: the verifier bounds no other.
        let offset = opaque((number as usize) << LINE_SHIFT);
        if offset > last as usize {
            return None;
        }
        // SAFETY: a whole line of the array, which lives as long as the program. Lines that a hook can reach are not
        // written.
        Some(unsafe { &*self.policy.byte_add(opaque(offset)) })
    }

    #[inline(always)]
    fn opaque(self, value: u64) -> u64 {
        opaque(value as usize) as u64
    }

    #[inline(always)]
    fn reread<M>(self, memory: &mut M) {
        reread(memory);
    }

    #[inline(always)]
    fn now_ns(self) -> u64 {
        // SAFETY: takes nothing, returns an integer.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn connection<R>(self, key: &FlowKey, update: impl FnOnce(&mut Connection) -> R) -> Option<R> {
        let entry = CONNECTIONS.get_ptr_mut(key).or_else(|| HALF_OPEN.get_ptr_mut(key))?;
        // SAFETY: the kernel keeps the element's memory valid until this program returns. It may be recycled for
        // another flow meanwhile, and another CPU may write it: see `Tables::connection` for what that can do.
        Some(update(unsafe { &mut *entry }))
    }

    #[inline(always)]
    fn insert(self, key: &FlowKey, connection: &Connection, class: Class) -> Result<(), TableFull> {
        match class {
            Class::HalfOpen => {
                // What is over must not answer for its successor; most flows have no predecessor.
                forget(key);
                if make_room(connection.flags) == 0 {
                    return Err(TableFull);
                }
                HALF_OPEN.insert(key, connection, 0).map_err(|_| TableFull)
            }
            Class::Confirmed => {
                // An attempt of long ago may lie there.
                let _ = HALF_OPEN.remove(key);
                insert_confirmed(key, connection)
            }
        }
    }

    #[inline(always)]
    fn confirm(self, key: &FlowKey) -> Result<(), TableFull> {
        let Some(entry) = HALF_OPEN.get_ptr(key) else { return Ok(()) };
        // SAFETY: as in `connection`; the kernel copies the value before this program returns.
        let confirmed = insert_confirmed(key, unsafe { &*entry });
        // Gone either way: a flow that found no room must not live on as a half-open one.
        let _ = HALF_OPEN.remove(key);
        confirmed
    }

    #[inline(always)]
    fn datagram(self, key: &FragmentKey) -> Option<Datagram> {
        // SAFETY: copied at once; a recycled element is caught by its generation and age, at worst it lends the
        // verdict of a datagram judged in the same instant.
        unsafe { DATAGRAMS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_datagram(self, key: &FragmentKey, datagram: &Datagram) {
        let _ = DATAGRAMS.insert(key, datagram, 0);
    }

    #[inline(always)]
    fn note_ethertype(self, zone: u32, ethertype: u16) {
        let key = (zone << 16) | u32::from(ethertype);
        match ETHERTYPES.get_ptr_mut(&key) {
            // SAFETY: as in `connection`; a lost increment is a frame less in a list for people.
            Some(count) => unsafe { *count += 1 },
            None => {
                let _ = ETHERTYPES.insert(&key, &1, BPF_NOEXIST as u64);
            }
        }
    }
}

#[inline(never)]
fn insert_confirmed(key: &FlowKey, connection: &Connection) -> Result<(), TableFull> {
    forget(key);
    let note = free_note();
    if note == NO_NOTE || counted() >= limit(connection.flags) {
        return Err(TableFull);
    }
    // Two CPUs may confirm the same flow at once: the second finds the first one's entry.
    match CONNECTIONS.insert(key, connection, BPF_NOEXIST as u64) {
        Ok(()) => count(1),
        Err(EEXIST) => return Ok(()),
        Err(_) => return Err(TableFull),
    }
    if let Some(entry) = CONNECTIONS.get_ptr_mut(key) {
        // SAFETY: as in `connection`.
        unsafe { (*entry).note = note.wrapping_add(1) };
    }
    if let Some(note) = EXPIRY.get_ptr_mut(note) {
        // SAFETY: array elements live as long as the map. Two CPUs that chose the same note lose one of the keys: its
        // connection is removed when its own packets find it expired.
        unsafe { *note = *key };
    }
    Ok(())
}

const EEXIST: i32 = -17;
const NO_NOTE: u32 = u32::MAX;

/// Removes a confirmed connection, if there is one.
#[inline(always)]
fn forget(key: &FlowKey) {
    if CONNECTIONS.remove(key).is_ok() {
        count(-1);
    }
}

/// 1 if a connection with these flags may be added; removes some expired ones if it could not be otherwise.
#[inline(always)]
fn make_room(flags: u8) -> u32 {
    let limit = limit(flags);
    if counted() >= limit {
        free_note();
    }
    u32::from(counted() < limit)
}

/// How many connections there may be before one with these flags is refused.
#[inline(always)]
fn limit(flags: u8) -> u64 {
    // SAFETY: reads a word that the loader set before the program was loaded.
    let max = unsafe { core::ptr::read_volatile(&raw const MAX_CONNECTIONS) };
    let kept = if flags & Connection::RESERVED != 0 { 0 } else { reserved_connections(max) };
    u64::from(max.saturating_sub(kept))
}

/// The number of a place to note a new connection; removes the expired connections that it comes across. Starts
/// anywhere, so that the whole table is visited over time and CPUs keep apart; bounded, so that no packet pays for a
/// sweep.
#[inline(never)]
fn free_note() -> u32 {
    // SAFETY: reads a word that the loader set before the program was loaded.
    let mask = unsafe { core::ptr::read_volatile(&raw const EXPIRY_MASK) };
    // SAFETY: takes nothing, returns an integer.
    let start = unsafe { bpf_get_prandom_u32() };
    // Steps of one would make clusters of taken places, and 16 places side by side are found taken long before half
    // of all are (1 fill of 8 of a table of 1024, in a simulation). An odd step reaches every place.
    let stride = (start >> 16) | 1;
    // SAFETY: takes nothing, returns an integer.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    let mut free = NO_NOTE;
    for step in 0..RECLAIM_STEPS {
        let number = start.wrapping_add(step.wrapping_mul(stride)) & mask;
        let Some(note) = EXPIRY.get_ptr_mut(number) else { return NO_NOTE };
        // SAFETY: array elements live as long as the map.
        let noted = unsafe { &*note };
        // SAFETY: only the age and the note are read, at once.
        match unsafe { CONNECTIONS.get(noted) } {
            None => free = number,
            // An older note of a flow that has come again.
            Some(connection) if connection.note != 0 && connection.note != number.wrapping_add(1) => {
                free = number;
            }
            Some(connection) if connection.is_expired(now_ns) => {
                forget(noted);
                free = number;
            }
            Some(_) => {}
        }
    }
    free
}

#[inline(always)]
fn counted() -> u64 {
    // A moment's negative count, between two CPUs' steps, is a small one.
    COUNT.get(0).map_or(0, |count| (*count as i64).max(0) as u64)
}

/// Adds atomically.
#[inline(always)]
fn count(change: i64) {
    let Some(count) = COUNT.get_ptr_mut(0) else { return };
    // SAFETY: an aligned u64 that lives as long as the map. `core::sync::atomic` has no read-modify-write on this target.
    unsafe {
        core::arch::asm!("lock *(u64 *)({count} + 0) += {change}", count = in(reg) count, change = in(reg) change);
    }
}
