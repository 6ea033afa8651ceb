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
use fw_common::limits::{MAX_ETHERTYPES, MAX_FRAGMENTED_DATAGRAMS, RECLAIM_STEPS};
use fw_common::tables::TableFull;
use fw_common::verdict::Counter;
use fw_common::{FlowKey, Scratch, Tables};

/// Absolute line of the live generation's root. The one word that publishes a rule set.
#[map]
static LIVE: Array<u32> = Array::with_max_entries(1, 0);

/// All generations, in lines. Only user space writes, and only lines that no reader can reach.
#[map]
static POLICY: Array<Line> = Array::with_max_entries(64, BPF_F_MMAPABLE);

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

/// The number of EXPIRY's slots, minus one; set by the loader.
#[unsafe(no_mangle)]
static EXPIRY_MASK: u32 = 2047;

/// The maps as [`Tables`].
pub(crate) struct Maps;

impl Tables for Maps {
    #[inline(always)]
    fn live(&self) -> u32 {
        LIVE.get(0).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn line(&self, number: u32) -> Option<&Line> {
        POLICY.get(number)
    }

    #[inline(always)]
    fn now_ns(&self) -> u64 {
        // SAFETY: takes nothing, returns an integer.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn connection<R>(&self, key: &FlowKey, update: impl FnOnce(&mut Connection) -> R) -> Option<R> {
        let entry = CONNECTIONS.get_ptr_mut(key).or_else(|| HALF_OPEN.get_ptr_mut(key))?;
        // SAFETY: the kernel keeps the element's memory valid until this program returns. It may be recycled for
        // another flow meanwhile, and another CPU may write it: see `Tables::connection` for what that can do.
        Some(update(unsafe { &mut *entry }))
    }

    #[inline(always)]
    fn insert(&self, key: &FlowKey, connection: &Connection, class: Class) -> Result<(), TableFull> {
        match class {
            Class::HalfOpen => {
                // What is over must not answer for its successor; most flows have no predecessor.
                let _ = CONNECTIONS.remove(key);
                HALF_OPEN.insert(key, connection, 0).map_err(|_| TableFull)
            }
            Class::Confirmed => insert_confirmed(key, connection),
        }
    }

    #[inline(always)]
    fn confirm(&self, key: &FlowKey) -> Result<(), TableFull> {
        let Some(entry) = HALF_OPEN.get_ptr(key) else { return Ok(()) };
        // SAFETY: as in `connection`; the kernel copies the value before this program returns.
        insert_confirmed(key, unsafe { &*entry })?;
        let _ = HALF_OPEN.remove(key);
        Ok(())
    }

    #[inline(always)]
    fn datagram(&self, key: &FragmentKey) -> Option<Datagram> {
        // SAFETY: copied at once; a recycled element is caught by its generation and age, at worst it lends the
        // verdict of a datagram judged in the same instant.
        unsafe { DATAGRAMS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_datagram(&self, key: &FragmentKey, datagram: &Datagram) {
        let _ = DATAGRAMS.insert(key, datagram, 0);
    }

    #[inline(always)]
    fn note_ethertype(&self, zone: u32, ethertype: u16) {
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
    let note = free_note().ok_or(TableFull)?;
    CONNECTIONS.insert(key, connection, 0).map_err(|_| TableFull)?;
    // SAFETY: array elements live as long as the map. Two CPUs that chose the same note lose one of the keys; its
    // connection is then found by lookup or by a sweep from user space.
    unsafe { *note = *key };
    Ok(())
}

/// A place to note a new connection, making one by removing an expired connection if need be. Starts anywhere, so
/// that the whole table is visited over time and CPUs keep apart; bounded, so that no packet pays for a sweep.
#[inline(always)]
fn free_note() -> Option<*mut FlowKey> {
    // SAFETY: reads a word that the loader set before the program was loaded.
    let mask = unsafe { core::ptr::read_volatile(&raw const EXPIRY_MASK) };
    // SAFETY: takes nothing, returns an integer.
    let start = unsafe { bpf_get_prandom_u32() };
    // SAFETY: takes nothing, returns an integer.
    let now_ns = unsafe { bpf_ktime_get_coarse_ns() };
    for step in 0..RECLAIM_STEPS {
        let note = EXPIRY.get_ptr_mut(start.wrapping_add(step) & mask)?;
        // SAFETY: array elements live as long as the map.
        let noted = unsafe { &*note };
        // SAFETY: only the age is read, at once.
        match unsafe { CONNECTIONS.get(noted) } {
            None => return Some(note),
            Some(connection) if connection.is_expired(now_ns) => {
                let _ = CONNECTIONS.remove(noted);
                return Some(note);
            }
            Some(_) => {}
        }
    }
    None
}
